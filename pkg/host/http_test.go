package host_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

func newHTTP(s *script, secret string, requests int) *host.HTTP {
	return host.NewHTTP(host.HTTPOptions{
		Processor: processor(s, requests), Requests: requests, Bytes: 8 << 20, Secret: config.NewSecret(secret),
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
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Subject": {"gone"},
			"Content-Type": {"application/json"},
		}, "{}", "", 204, ``},
		{"batch", "POST", "/any/path", http.Header{"Content-Type": {"application/cloudevents-batch+json; charset=utf-8"}},
			"[" + event("tagged") + "," + event("rejected") + "]", "", 422, "rejected: because"},
		{"deferred", "POST", "/", structured, event("deferred"), "", 503, "deferred: because"},
		{"malformed", "POST", "/", structured, "{", "", 400, "rejected: read HTTP request"},
		{"credentials", "POST", "/", structured, event("broken"), "", 500,
			"deferred: configuration or credentials are wrong; see the log"},
		{"panic", "POST", "/", structured, event("panic"), "", 503, "panic"},
		{"too large", "POST", "/", structured, strings.Repeat("x", ingress.MaxPayload+1), "", 413,
			"rejected: read HTTP request: the body has more than"},
		{"too large, with results", "POST", "/", asking("application/json"), strings.Repeat("x", ingress.MaxPayload+1), "",
			413, `{"outcome":"rejected","results":[{"event"`},
		{"another method", "PUT", "/", structured, event("tagged"), "", 405, "POST a CloudEvent"},
		{"health", "GET", "/healthz", nil, "", "s3cret", 200, "ok"},
		{"metrics", "GET", "/metrics", nil, "", "s3cret", 200, "tagger_up 1"},
		{"no secret", "POST", "/", structured, event("tagged"), "s3cret", 401, "shared secret"},
		{"wrong secret", "POST", "/", http.Header{"Content-Type": structured["Content-Type"],
			"Authorization": {"Bearer s3cre"}}, event("tagged"), "s3cret", 401, "shared secret"},
		{"secret in another scheme", "POST", "/", http.Header{"Content-Type": structured["Content-Type"],
			"Authorization": {"Basic s3cret"}}, event("tagged"), "s3cret", 401, ""},
		{"secret", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Authorization": {"bearer s3cret"}},
			event("tagged"), "s3cret", 204, ""},
		{"results", "POST", "/", asking("application/json"), event("tagged"), "", 200,
			`{"outcome":"tagged","results":[{"event"`},
		{"results among others", "POST", "/", asking("text/html, application/json;q=0.5"), event("gone"), "", 200,
			`{"outcome":"gone"`},
		{"results of a failure", "POST", "/", asking("application/json"), event("rejected"), "", 422,
			`{"outcome":"rejected","results":[{"event"`},
		{"no results of a fault", "POST", "/", asking("application/json"), event("broken"), "", 500, `"results":[]`},
		{"results that are not wanted", "POST", "/", asking("application/json;q=0"), event("tagged"), "", 204, ""},
		{"anything", "POST", "/", asking("*/*"), event("tagged"), "", 204, ""},
		{"Knative", "POST", "/", http.Header{"Content-Type": structured["Content-Type"], "Accept": {"application/json"},
			"Prefer": {"respond-async, Reply"}}, event("tagged"), "", 204, ""},
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
			noEvent := resp.StatusCode == 401 || resp.StatusCode == 405 || tt.method == "GET"
			if outcome := resp.Header.Get("Tagger-Outcome"); (outcome == "") != noEvent {
				t.Errorf("%s: outcome %q", resp.Status, outcome)
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

// Requests above the limit are answered 503, for a retry.
func TestHTTPLimit(t *testing.T) {
	s := &script{entered: make(chan struct{}), release: make(chan struct{})}
	h := host.NewHTTP(host.HTTPOptions{Processor: processor(s, 2), Requests: 1, Bytes: 8 << 20})
	var working sync.WaitGroup
	for range 2 { // one that may wait for its server, and one that may not
		first := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged")))
		first.Header.Set("Content-Type", "application/cloudevents+json")
		working.Go(func() { h.ServeHTTP(httptest.NewRecorder(), first) })
		<-s.entered
	}
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

// A client that sends or reads slowly does not block others.
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
	t.Run("does not read its response", func(t *testing.T) {
		client := &unread{ResponseRecorder: httptest.NewRecorder(), writing: make(chan struct{}),
			release: make(chan struct{})}
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

// unread is a connection whose writes block.
type unread struct {
	*httptest.ResponseRecorder
	writing, release chan struct{}
}

func (s *unread) Write([]byte) (int, error) {
	close(s.writing)
	<-s.release
	return 0, io.ErrClosedPipe
}

// The header has the result in ASCII, truncated, whatever the event or the API contained.
func TestHTTPHeader(t *testing.T) {
	long := "caf\u00e9\u2026\r\nSet-Cookie: a=b\x00 " + strings.Repeat("x", 10_000)
	h := host.NewHTTP(host.HTTPOptions{
		Requests: 1, Bytes: 8 << 20,
		Processor: decide{apply.Decision{Outcome: apply.Rejected, Reason: long}},
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("{}")))
	reason := w.Header().Get("Tagger-Reason")
	if w.Header().Get("Tagger-Outcome") != "rejected" || !strings.HasPrefix(reason, "caf?...  Set-Cookie: a=b? xxx") ||
		len(reason) != 512 {
		t.Errorf("outcome %q, reason of %d bytes: %q", w.Header().Get("Tagger-Outcome"), len(reason), reason)
	}
	if w.Body.Len() > 600 || strings.Contains(w.Body.String(), "\x00") {
		t.Errorf("body of %d bytes: %q", w.Body.Len(), w.Body)
	}
}

// Responses reveal neither the addresses of the cloud's APIs nor its users; only the log does.
func TestHTTPKeepsAddresses(t *testing.T) {
	const inside = "log in at keystone.internal:5000 as user tagger: dial tcp 10.0.0.5:5000: connect: connection refused"
	for _, outcome := range []apply.Outcome{apply.Deferred, apply.Rejected} {
		h := host.NewHTTP(host.HTTPOptions{
			Requests: 1, Bytes: 8 << 20,
			Processor: decide{apply.Decision{Outcome: outcome, Reason: inside, Internal: true, Delay: time.Minute}},
		})
		for _, accept := range []string{"", "application/json"} {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("{}"))
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Header().Get("Tagger-Reason") + w.Body.String()
			if !strings.Contains(got, "cannot be reached; see the log") {
				t.Errorf("%s, accepting %q: %s", outcome, accept, got)
			}
			if strings.Contains(got, "keystone") || strings.Contains(got, "10.0.0.5") {
				t.Errorf("%s, accepting %q, reveals an address: %s", outcome, accept, got)
			}
		}
	}
}

// decide returns the same decision for every message.
type decide struct{ apply.Decision }

func (d decide) Process(_ context.Context, messages []delivery.Message) []delivery.Decision {
	all := make([]delivery.Decision, len(messages))
	for i := range all {
		one := d.Decision
		all[i] = delivery.Decision{Decision: one, EventID: "e", Results: []*tagger.Result{result("e", one)}}
	}
	return all
}

func (d decide) Plan(_ context.Context, m delivery.Message) delivery.Plan {
	return delivery.Plan{Message: m}
}

func (d decide) Work(ctx context.Context, batch []delivery.Plan) []delivery.Decision {
	return d.Process(ctx, make([]delivery.Message, len(batch)))
}

// Clients that announce a body and send none hold neither slots nor bytes.
func TestIdleBodies(t *testing.T) {
	h := newHTTP(&script{}, "", 1)
	release := make(chan struct{})
	var idle sync.WaitGroup
	defer idle.Wait()
	defer close(release)
	reading := make(chan struct{})
	for range 100 {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", idleBody{reading, release})
		r.ContentLength = ingress.MaxPayload
		idle.Go(func() { h.ServeHTTP(httptest.NewRecorder(), r) })
		<-reading
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(event("tagged"))))
	if w.Code != http.StatusNoContent {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// idleBody is a body that blocks until its client disconnects.
type idleBody struct{ reading, release chan struct{} }

func (b idleBody) Read([]byte) (int, error) {
	b.reading <- struct{}{}
	<-b.release
	return 0, io.ErrUnexpectedEOF
}

// The bytes in memory are limited; a request that does not fit is answered 503.
func TestBytesInFlight(t *testing.T) {
	s := &script{entered: make(chan struct{}), release: make(chan struct{})}
	h := newHTTP(s, "", 10)
	send := func(size int, known bool) *httptest.ResponseRecorder {
		body := event("tagged")
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/",
			strings.NewReader(body+strings.Repeat(" ", size-len(body))))
		if !known {
			r.ContentLength = -1
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	var working sync.WaitGroup
	for _, known := range []bool{true, false} {
		working.Go(func() { send(3<<20, known) })
		<-s.entered
	}
	for _, known := range []bool{true, false} {
		if w := send(3<<20, known); w.Code != 503 || w.Header().Get("Retry-After") != "1" ||
			!strings.Contains(w.Body.String(), "bytes") {
			t.Errorf("length known %v: %d, Retry-After %q: %s", known, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
	working.Go(func() { send(100_000, true) }) // which fits
	<-s.entered
	close(s.release)
	working.Wait()
	go func() { <-s.entered }()
	if w := send(ingress.MaxPayload, true); w.Code != 204 {
		t.Errorf("when all are done: %d: %s", w.Code, w.Body)
	}
	if w := send(ingress.MaxPayload+1, true); w.Code != 413 {
		t.Errorf("too large: %d", w.Code)
	}
}

// A compressed body counts with its inflated size too, and is rejected if that is too large.
func TestInflatedBytesInFlight(t *testing.T) {
	s := &script{entered: make(chan struct{}), release: make(chan struct{})}
	h := newHTTP(s, "", 10)
	send := func(size int) *httptest.ResponseRecorder {
		var body bytes.Buffer
		zip := gzip.NewWriter(&body)
		_, _ = io.WriteString(zip, event("tagged")+strings.Repeat(" ", size))
		_ = zip.Close()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", &body)
		r.Header.Set("Content-Encoding", "gzip")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	var working sync.WaitGroup
	for range 2 {
		working.Go(func() {
			if w := send(3 << 20); w.Code != 204 {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		})
		<-s.entered
	}
	if w := send(3 << 20); w.Code != 503 || !strings.Contains(w.Body.String(), "bytes") {
		t.Errorf("a third body: %d: %s", w.Code, w.Body)
	}
	if w := send(ingress.MaxPayload); w.Code != 400 ||
		!strings.Contains(w.Body.String()+w.Header().Get("Tagger-Reason"), "inflated has more than") {
		t.Errorf("too large: %d %v: %s", w.Code, w.Header(), w.Body)
	}
	close(s.release)
	working.Wait()
	go func() { <-s.entered }()
	if w := send(5 << 20); w.Code != 204 {
		t.Errorf("when all are done: %d: %s", w.Code, w.Body)
	}
}

func TestMetricsSecret(t *testing.T) {
	h := host.NewHTTP(host.HTTPOptions{
		Requests: 1, Bytes: 8 << 20, Processor: decide{}, MetricsSecret: config.NewSecret("s3cret"),
		Metrics: func(io.Writer) error { return nil },
	})
	for token, want := range map[string]int{"": 401, "Bearer s3cre": 401, "Bearer s3cret": 200} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil)
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", token, w.Code, want)
		}
	}
}

// Requests that wait for servers do not block others.
func TestAbsentServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &absent{}
		h := host.NewHTTP(host.HTTPOptions{Processor: processor(s, 2), Requests: 20, Bytes: 8 << 20})
		send := func(body string) int {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		var waiting sync.WaitGroup
		for range 20 { // as many as may wait
			waiting.Go(func() {
				if code := send(event("deferred")); code != 503 {
					t.Errorf("an absent server: %d", code)
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		if code := send(event("tagged")); code != 204 || time.Since(begun) > 0 {
			t.Errorf("%d after %s", code, time.Since(begun))
		}
		waiting.Wait()
		if d := time.Since(begun); d != 20*time.Second {
			t.Errorf("waited %s", d)
		}
	})
}

// absent waits for the servers of deferred events until the end of the wait.
type absent struct{ script }

func (a *absent) Apply(ctx context.Context, p *tagger.Plan, d tagger.Delivery) *tagger.Result {
	if d.Event.Subject() == string(apply.Deferred) {
		d.Progress.Pausing("not found yet", d.Wait)
		time.Sleep(d.Wait) // of the bubble
	}
	return a.script.Apply(ctx, p, d)
}
