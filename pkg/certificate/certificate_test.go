package certificate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/certificate"
)

func ExampleRefused() {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs the handshake that fails
	server.StartTLS()
	defer server.Close()
	_, err := http.Get(server.URL)
	refused := certificate.Refused(err, "OS_CACERT", "OS_AUTH_URL")
	fmt.Println(strings.Split(refused.Error(), ": ")[0])
	// Output: the certificate is not trusted (set OS_CACERT to its CA certificate)
}

func TestAuthorities(t *testing.T) {
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	text := authority(t).pem()
	for name, content := range map[string]string{file: "a private authority\n" + text, empty: "nothing"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ value, want string }{
		{"", ""},
		{file, ""},
		{text, ""},
		{"a private authority\n" + text, ""},
		{filepath.Join(dir, "none.pem"), "read the certificates that OS_CACERT names: open "},
		{empty, "no PEM certificate in " + empty},
		{"-----BEGIN CERTIFICATE-----\nx", "no PEM certificate in OS_CACERT"},
	} {
		pool, err := certificate.Authorities("OS_CACERT", tt.value)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%.40q: %v", tt.value, err)
			}
			continue
		}
		if err != nil || (pool == nil) != (tt.value == "") {
			t.Errorf("%.40q: %v, %v", tt.value, pool, err)
		}
	}
}

// pair is a certificate and its key.
type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func (p pair) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw}))
}

func authority(t *testing.T) pair {
	t.Helper()
	return issue(t, pair{}, time.Hour)
}

// issue creates an authority, or, if by is one, a server's certificate for 127.0.0.1. The certificate expires after
// ends.
func issue(t *testing.T, by pair, ends time.Duration) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wanted := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: time.Now().Add(ends),
	}
	if by.key == nil {
		wanted.IsCA, wanted.BasicConstraintsValid, by = true, true, pair{wanted, key}
	} else {
		wanted.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	raw, err := x509.CreateCertificate(rand.Reader, wanted, by.certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return pair{made, key}
}

func TestRefused(t *testing.T) {
	ours := authority(t)
	for _, tt := range []struct {
		name string
		host string // of the request
		ends time.Duration
		by   pair
		want string
	}{
		{"trusted", "127.0.0.1", time.Hour, ours, ""},
		{"another authority", "127.0.0.1", time.Hour, authority(t),
			"the certificate is not trusted (set CACERT to its CA certificate): "},
		{"another name", "localhost", time.Hour, ours,
			"the certificate is for another name (use one that it has in ADDRESS): "},
		{"expired", "127.0.0.1", -time.Hour, ours, "has expired or is not valid yet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			served := issue(t, tt.by, tt.ends)
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{served.certificate.Raw},
				PrivateKey: served.key}}}
			server.StartTLS()
			defer server.Close()
			roots, err := certificate.Authorities("CACERT", ours.pem())
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
			resp, err := client.Get(strings.Replace(server.URL, "127.0.0.1", tt.host, 1))
			if err == nil {
				_ = resp.Body.Close()
			}
			refused := certificate.Refused(err, "CACERT", "ADDRESS")
			switch {
			case tt.want == "" && (err != nil || refused != nil):
				t.Errorf("%v, %v", err, refused)
			case tt.want != "" && (refused == nil || !strings.Contains(refused.Error(), tt.want)):
				t.Errorf("%v, want %q", refused, tt.want)
			}
		})
	}
	if err := certificate.Refused(errors.New("connection refused"), "CACERT", "ADDRESS"); err != nil {
		t.Error(err)
	}
}
