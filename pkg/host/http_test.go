package host_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

func newHTTP(s *script, secret string, concurrency int) *host.HTTP {
	return host.NewHTTP(worker(s, config.Settings{Concurrency: concurrency, HTTPSecret: config.NewSecret(secret)}), func(w io.Writer) error {
		_, err := io.WriteString(w, "tagger_up 1\n")
		return err
	})
}

func TestHTTPRequests(t *testing.T) {
	structured := http.Header{"Content-Type": {"application/cloudevents+json"}}
	for _, tt := range []struct {
		name   string
		method string
		path   string
		header http.Header
		body   string
		secret string
		status int
		text   string
	}{
		{"structured", "POST", "/", structured, event("tagged"), "", 200, `{"outcome":"tagged"`},
		{"binary", "POST", "/", http.Header{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Subject": {"gone"}, "Content-Type": {"application/json"},
		}, "{}", "", 200, `{"outcome":"gone"`},
		{"batch", "POST", "/any/path", http.Header{"Content-Type": {"application/cloudevents-batch+json; charset=utf-8"}}, "[" + event("tagged") + "," + event("rejected") + "]", "", 422, `{"outcome":"rejected"`},
		{"deferred", "POST", "/", structured, event("deferred"), "", 503, "because"},
		{"malformed", "POST", "/", structured, "{", "", 400, `{"outcome":"rejected"`},
		{"credentials", "POST", "/", structured, event("broken"), "", 500, `"results":[]`},
		{"panic", "POST", "/", structured, event("panic"), "", 503, "panic"},
		{"too large", "POST", "/", structured, strings.Repeat("x", ingress.MaxPayload+1), "", 413, "more than"},
		{"another method", "PUT", "/", structured, event("tagged"), "", 405, "POST a CloudEvent"},
		{"health", "GET", "/healthz", nil, "", "s3cret", 200, "ok"},
		{"metrics", "GET", "/metrics", nil, "", "s3cret", 200, "tagger_up 1"},
		{"no secret", "POST", "/", structured, event("tagged"), "s3cret", 401, "shared secret"},
		{"wrong secret", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"Bearer s3cre"}}, event("tagged"), "s3cret", 401, "shared secret"},
		{"secret in another scheme", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"Basic s3cret"}}, event("tagged"), "s3cret", 401, ""},
		{"secret", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"bearer s3cret"}}, event("tagged"), "s3cret", 200, "tagged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(newHTTP(&script{}, tt.secret, 10))
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = tt.header
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.text) {
				t.Errorf("%s: %s; want %d with %q", resp.Status, body, tt.status, tt.text)
			}
			if strings.Contains(string(body), "s3cret") || resp.StatusCode == 404 || resp.StatusCode == 409 {
				t.Errorf("%s: %s", resp.Status, body)
			}
			if after := resp.Header.Get("Retry-After"); (tt.name == "deferred") != (after == "91") && tt.name != "panic" {
				t.Errorf("Retry-After %q", after)
			}
		})
	}
}

// More requests than can be worked on are sent away, to come again.
func TestHTTPLimit(t *testing.T) {
	s := &script{entered: make(chan struct{}), release: make(chan struct{})}
	h := newHTTP(s, "", 1)
	first := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged")))
	first.Header.Set("Content-Type", "application/cloudevents+json")
	var working sync.WaitGroup
	working.Go(func() { h.ServeHTTP(httptest.NewRecorder(), first) })
	<-s.entered
	defer working.Wait()
	defer close(s.release)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged"))))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
	if w.Code != 200 {
		t.Errorf("health: %d", w.Code)
	}
}

// Shutting down lets requests finish.
func TestServeEndsInOrder(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- host.Serve(ctx, listener, handler, time.Minute) }()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	cancel()
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("answer %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A client that is slow to send, or to read its answer, does not keep the others out.
func TestSlowClients(t *testing.T) {
	s := &script{}
	h := newHTTP(s, "", 1)
	t.Run("does not send its body", func(t *testing.T) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", iotest.ErrReader(os.ErrDeadlineExceeded)))
		if w.Code != http.StatusRequestTimeout { // which is sent again; 400 would not be
			t.Errorf("status %d", w.Code)
		}
	})
	t.Run("does not read its answer", func(t *testing.T) {
		client := &unread{ResponseRecorder: httptest.NewRecorder(), writing: make(chan struct{}), release: make(chan struct{})}
		var first sync.WaitGroup
		first.Go(func() {
			h.ServeHTTP(client, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged"))))
		})
		<-client.writing
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged"))))
		if w.Code != http.StatusOK {
			t.Errorf("status %d for another client", w.Code)
		}
		close(client.release)
		first.Wait()
	})
}

// unread is a connection that takes no more.
type unread struct {
	*httptest.ResponseRecorder
	writing, release chan struct{}
}

func (s *unread) WriteString(string) (int, error) { return s.Write(nil) }

func (s *unread) Write([]byte) (int, error) {
	close(s.writing)
	<-s.release
	return 0, io.ErrClosedPipe
}
