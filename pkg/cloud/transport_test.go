package cloud_test

import (
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/cloud"
)

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		header := http.Header{"Location": {"https://elsewhere.test/path?token=" + thePassword}}
		t.Run("of Keystone", func(t *testing.T) {
			c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: answer(status, header, "")})
			_, err := c.Session(t.Context(), "")
			checkRedirect(t, err, "http://keystone.test redirects")
		})
		t.Run("of Nova", func(t *testing.T) {
			f := newFake()
			var sent []string
			c := cloud.New(cloud.Options{Credentials: passwordCredentials(),
				Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					sent = append(sent, req.URL.Host)
					if req.URL.Host == "nova.test" {
						return answer(status, header, "")(req)
					}
					return f.RoundTrip(req)
				})})
			checkRedirect(t, get(t.Context(), mustSession(t, c, "")), "http://nova.test redirects")
			if len(sent) != 2 {
				t.Errorf("requests to %v", sent)
			}
		})
	}
}

func checkRedirect(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*cloud.RefusedError](err); !ok || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), "to https://elsewhere.test, which") {
		t.Errorf("error = %v, want a RefusedError with %q", err, want)
	}
	if err != nil && strings.Contains(err.Error(), thePassword) {
		t.Errorf("error %q holds a secret", err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	const most = 1 << 20
	object := func(size int) string { return `{"x": "` + strings.Repeat("x", size-len(`{"x": ""}`)) + `"}` }
	f := newFake()
	body := ""
	f.api = func(*http.Request) (int, string) { return 200, body }
	s := mustSession(t, cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f}), "")
	if body = object(most); get(t.Context(), s) != nil {
		t.Error("a response of exactly the limit is refused")
	}
	body = object(most + 1)
	if err := get(t.Context(), s); err == nil ||
		!strings.Contains(err.Error(), "the response of nova.test is longer than 1048576 bytes") {
		t.Errorf("error = %v", err)
	}
}

func TestAnswersHeadersAreBounded(t *testing.T) {
	f := newFake()
	size := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", size))
		f.ServeHTTP(w, r)
	}))
	defer server.Close()
	f.catalog = catalog(entry("compute", "public RegionOne "+server.URL+"/v2.1"))
	credentials := passwordCredentials()
	credentials.AuthURL = server.URL + "/v3"
	s := mustSession(t, cloud.New(cloud.Options{Credentials: credentials}), "")
	for _, tt := range []struct {
		size int
		want string
	}{{60 << 10, ""}, {70 << 10, "server response headers exceeded 65536 bytes"}} {
		size = tt.size
		if err := get(t.Context(), s); tt.want == "" && err != nil || tt.want != "" && (err == nil ||
			!strings.Contains(err.Error(), tt.want)) {
			t.Errorf("a header of %d bytes: %v", tt.size, err)
		}
	}
}

func TestTLS(t *testing.T) {
	f := newFake()
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs the handshake that is meant to fail
	server.StartTLS()
	defer server.Close()
	f.catalog = catalog(entry("compute", "public RegionOne "+server.URL+"/v2.1"))
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	for name, content := range map[string][]byte{file: text, empty: []byte("no certificate")} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HTTPS_PROXY", "")

	tests := []struct{ name, caCert, want string }{
		{"file", file, ""},
		{"text", string(text), ""},
		{"authority unknown", "", "is not trusted (set OS_CACERT to its CA certificate)"},
		{"no such file", filepath.Join(dir, "none.pem"), "read the certificates that OS_CACERT names: open "},
		{"no certificate in the file", empty, "no PEM certificate in " + empty},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			credentials := passwordCredentials()
			credentials.AuthURL, credentials.CACert = server.URL+"/v3", tt.caCert
			s, err := cloud.New(cloud.Options{Credentials: credentials}).Session(t.Context(), "")
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := get(t.Context(), s); err != nil {
					t.Error(err)
				}
				return
			}
			if _, ok := errors.AsType[*cloud.RefusedError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want a RefusedError with %q", err, tt.want)
			}
			if tt.name == "no such file" && !errors.Is(err, fs.ErrNotExist) {
				t.Error("the error does not have the cause")
			}
		})
	}
}

func TestConnectErrors(t *testing.T) {
	plain := httptest.NewServer(newFake())
	defer plain.Close()
	credentials := passwordCredentials()
	credentials.AuthURL = strings.Replace(plain.URL, "http:", "https:", 1)
	_, err := cloud.New(cloud.Options{Credentials: credentials}).Session(t.Context(), "")
	if _, ok := errors.AsType[*cloud.RefusedError](err); !ok ||
		!strings.Contains(err.Error(), "does not use TLS: its address begins with http://") {
		t.Errorf("error = %v", err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	credentials.AuthURL = "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = cloud.New(cloud.Options{Credentials: credentials}).Session(t.Context(), "")
	if _, ok := errors.AsType[*cloud.RefusedError](err); ok || err == nil ||
		!strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error = %v, want a temporary one", err)
	}
}

// After a freeze, a function's connections may be closed by the other side. The login must survive that.
func TestLoginSurvivesADeadConnection(t *testing.T) {
	f := newFake()
	used := make(map[string]bool) // connections, by the client's address
	dropped := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		drop := used[r.RemoteAddr] && strings.HasSuffix(r.URL.Path, "/auth/tokens")
		used[r.RemoteAddr] = true
		if drop {
			dropped++
		}
		f.mu.Unlock()
		if !drop {
			f.ServeHTTP(w, r)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}))
	defer server.Close()
	f.catalog = catalog(entry("compute", "public RegionOne "+server.URL+"/v2.1"))
	credentials := passwordCredentials()
	credentials.AuthURL = server.URL
	s := mustSession(t, cloud.New(cloud.Options{Credentials: credentials}), "")
	f.revokeAll()
	if err := get(t.Context(), s); err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if dropped != 1 {
		t.Errorf("%d connections dropped, want 1", dropped)
	}
}
