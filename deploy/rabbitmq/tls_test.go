//go:build rabbitmq

package rabbitmq_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/internal/processtest"
	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
)

// With a broker and a Keystone whose certificates come from a private authority, check and listen work if the settings
// name the authority. If not, or if the certificate is for another name, they report which setting to change.
func TestTLS(t *testing.T) {
	ca, cert, key := certificates(t)
	broker := rabbitmqtest.Start(t, rabbitmqtest.Options{CAFile: ca, CertFile: cert, KeyFile: key})
	f := newFleet(t, broker.URL())
	keystone := httptest.NewUnstartedServer(f.sim)
	keystone.Config.ErrorLog = log.New(io.Discard, "", 0) // it would log the expected handshake failures
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	keystone.TLS = &tls.Config{Certificates: []tls.Certificate{loaded}}
	keystone.StartTLS()
	t.Cleanup(keystone.Close)

	plain := f.environ
	with := func(lines ...string) []string {
		return append(plain[:len(plain):len(plain)], lines...) // the last value of a name is used
	}
	amqps := "amqps://guest:guest@" + broker.TLSAddress + "/"
	https := keystone.URL + "/identity/v3"
	trusted := []string{"TAGGER_AMQP_URL=" + amqps, "OS_AUTH_URL=" + https, "TAGGER_AMQP_CACERT=" + ca, "OS_CACERT=" + ca}
	elsewhere := func(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }

	f.environ = with(trusted...)
	out, status := f.run(t, "check")
	if status != 0 {
		t.Errorf("check: status %d: %s", status, out)
	}
	for _, want := range []string{"at " + broker.TLSAddress + ", logged in", "compute      ok      " + keystone.URL} {
		if !strings.Contains(out, want) {
			t.Errorf("the output of check lacks %q: %s", want, out)
		}
	}
	l := listen(t, tagger, f.environ)
	l.WaitFor(t, "consuming")
	f.create(t, 10)
	if f.settled(t, l) == 0 {
		t.Error("no event went through a delay queue")
	}
	l.Stop(t, syscall.SIGTERM)

	for name, tt := range map[string]struct {
		lines []string
		want  string
		// fatal means that listen ends, instead of waiting until the broker works.
		fatal bool
	}{
		"broker's authority not named": {append(trusted, "TAGGER_AMQP_CACERT="),
			"the certificate is not trusted (set TAGGER_AMQP_CACERT to its CA certificate)", false},
		"broker by another name": {
			append(trusted, "TAGGER_AMQP_URL="+elsewhere(amqps)),
			"the certificate is for another name (use one that it has in TAGGER_AMQP_URL)", false,
		},
		"Keystone's authority not named": {append(trusted, "OS_CACERT="),
			"the certificate is not trusted (set OS_CACERT to its CA certificate)", false},
		"Keystone by another name": {
			append(trusted, "OS_AUTH_URL="+elsewhere(https)),
			"the certificate is for another name (use one that it has in OS_AUTH_URL or the endpoint)", false,
		},
		"no such file": {append(trusted, "TAGGER_AMQP_CACERT=/none.pem"),
			"read the certificates that TAGGER_AMQP_CACERT names: open /none.pem", true},
	} {
		t.Run(name, func(t *testing.T) {
			f.environ = with(tt.lines...)
			out, status := f.run(t, "check")
			if status == 0 || !strings.Contains(out, tt.want) || strings.Contains(out, "guest:guest") {
				t.Errorf("check: status %d: %s", status, out)
			}
			l := listen(t, tagger, f.environ)
			processtest.Until(t, "the listener reports the problem", time.Minute, interval, func() bool {
				return strings.Contains(l.Output(), tt.want)
			})
			if tt.fatal {
				<-l.Ended()
			}
			l.Stop(t, syscall.SIGTERM)
			if code := l.State().ExitCode(); tt.fatal != (code != 0) {
				t.Errorf("listen: status %d: %s", code, l.Output())
			}
		})
	}
}

// certificates writes an authority's certificate, and a server certificate for 127.0.0.1 with its key.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a private authority"}, IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	must(err)
	ca = write("ca.pem", "CERTIFICATE", raw)
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "controller"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err = x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	must(err)
	cert = write("server.pem", "CERTIFICATE", raw)
	encoded, err := x509.MarshalECPrivateKey(serverKey)
	must(err)
	return ca, cert, write("server.key", "EC PRIVATE KEY", encoded)
}
