package host_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

func newHTTP(s *script, secret string, concurrency int) *host.HTTP {
	return host.NewHTTP(host.HTTPOptions{
		Processor: processor(s, concurrency), Concurrency: concurrency, Secret: config.NewSecret(secret),
		Metrics: func(w io.Writer) error {
			_, err := io.WriteString(w, "tagger_up 1\n")
			return err
		},
	})
}

func TestHTTPRequests(t *testing.T) {
	structured := http.Header{"Content-Type": {"application/cloudevents+json"}}
	asking := func(accept string) http.Header {
		return http.Header{"Content-Type": structured["Content-Type"], "Accept": {accept}}
	}
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
		{"structured", "POST", "/", structured, event("tagged"), "", 204, ``},
		{"binary", "POST", "/", http.Header{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Subject": {"gone"}, "Content-Type": {"application/json"},
		}, "{}", "", 204, ``},
		{"batch", "POST", "/any/path", http.Header{"Content-Type": {"application/cloudevents-batch+json; charset=utf-8"}}, "[" + event("tagged") + "," + event("rejected") + "]", "", 422, "rejected: because"},
		{"deferred", "POST", "/", structured, event("deferred"), "", 503, "deferred: because"},
		{"malformed", "POST", "/", structured, "{", "", 400, "rejected: read HTTP request"},
		{"credentials", "POST", "/", structured, event("broken"), "", 500, "deferred: configuration or credentials are at fault; see the log"},
		{"panic", "POST", "/", structured, event("panic"), "", 503, "panic"},
		{"too large", "POST", "/", structured, strings.Repeat("x", ingress.MaxPayload+1), "", 413, "more than"},
		{"another method", "PUT", "/", structured, event("tagged"), "", 405, "POST a CloudEvent"},
		{"health", "GET", "/healthz", nil, "", "s3cret", 200, "ok"},
		{"metrics", "GET", "/metrics", nil, "", "s3cret", 200, "tagger_up 1"},
		{"no secret", "POST", "/", structured, event("tagged"), "s3cret", 401, "shared secret"},
		{"wrong secret", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"Bearer s3cre"}}, event("tagged"), "s3cret", 401, "shared secret"},
		{"secret in another scheme", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"Basic s3cret"}}, event("tagged"), "s3cret", 401, ""},
		{"secret", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"bearer s3cret"}}, event("tagged"), "s3cret", 204, ""},
		{"results", "POST", "/", asking("application/json"), event("tagged"), "", 200, `{"outcome":"tagged","results":[{"event"`},
		{"results among others", "POST", "/", asking("text/html, application/json;q=0.5"), event("gone"), "", 200, `{"outcome":"gone"`},
		{"results of a failure", "POST", "/", asking("application/json"), event("rejected"), "", 422, `{"outcome":"rejected","results":[{"event"`},
		{"no results of a fault", "POST", "/", asking("application/json"), event("broken"), "", 500, `"results":[]`},
		{"results that are not wanted", "POST", "/", asking("application/json;q=0"), event("tagged"), "", 204, ""},
		{"anything", "POST", "/", asking("*/*"), event("tagged"), "", 204, ""},
		{"Knative", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Accept": {"application/json"}, "Prefer": {"respond-async, Reply"}}, event("tagged"), "", 204, ""},
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
			if resp.StatusCode == 204 && (len(body) > 0 || resp.Header.Get("Content-Type") != "") {
				t.Errorf("a body of type %q: %q", resp.Header.Get("Content-Type"), body)
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
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged")))
			r.Header.Set("Accept", "application/json") // so that there is a body to read
			h.ServeHTTP(client, r)
		})
		<-client.writing
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged"))))
		if w.Code != http.StatusNoContent {
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

func (s *unread) Write([]byte) (int, error) {
	close(s.writing)
	<-s.release
	return 0, io.ErrClosedPipe
}

// What became of an event is in the header, in ASCII and bounded, whatever an event or an API said.
func TestHTTPHeader(t *testing.T) {
	long := "caf\u00e9\r\nSet-Cookie: a=b\x00 " + strings.Repeat("x", 10_000)
	h := host.NewHTTP(host.HTTPOptions{
		Concurrency: 1, Metrics: nil,
		Processor: decide{apply.Decision{Outcome: apply.Rejected, Reason: long}},
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("{}")))
	reason := w.Header().Get("Tagger-Reason")
	if w.Header().Get("Tagger-Outcome") != "rejected" || !strings.HasPrefix(reason, "caf?  Set-Cookie: a=b? xxx") || len(reason) != 512 {
		t.Errorf("outcome %q, reason of %d bytes: %q", w.Header().Get("Tagger-Outcome"), len(reason), reason)
	}
	if w.Body.Len() > 600 || strings.Contains(w.Body.String(), "\x00") {
		t.Errorf("body of %d bytes: %q", w.Body.Len(), w.Body)
	}
}

// decide decides on every message alike.
type decide struct{ apply.Decision }

func (d decide) Process(_ context.Context, messages []delivery.Message) []delivery.Decision {
	all := make([]delivery.Decision, len(messages))
	for i := range all {
		all[i] = delivery.Decision{Decision: d.Decision}
	}
	return all
}
