package simcloud_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func TestFaultAnswers(t *testing.T) {
	for _, test := range []struct {
		name       string
		answer     *simcloud.Answer
		status     int
		retryAfter string
		body       string // a part of it
	}{
		{"throttled", simcloud.Throttled(90 * time.Second), 429, "90",
			`{"overLimit": {"code": 429, "message": "This request was rate-limited.", "retryAfter": "90"}}`},
		{"throttled, no time", simcloud.Throttled(0), 429, "",
			`{"overLimit": {"code": 429, "message": "This request was rate-limited."}}`},
		{"throttled by the gateway", simcloud.ThrottledByGateway(), 429, "", `"error_code":"APIG.0308"`},
		{"flow control", simcloud.FlowControl(), 202, "", `"Common.0024"`},
		{"server error", simcloud.ServerError(), 500, "", `{"computeFault": {"code": 500`},
		{"unavailable", simcloud.Unavailable(1500 * time.Millisecond), 503, "2", `{"serviceUnavailable": {"code": 503`},
		{"unavailable, no time", simcloud.Unavailable(0), 503, "", `"code": 503`},
		{"unavailable in HTML", simcloud.UnavailableHTML(time.Minute), 503, "60", "<h1>503 Service Unavailable</h1>"},
		{"wrong endpoint", simcloud.NotFoundHTML(), 404, "", "<h1>404 Not Found</h1>"},
		{"redirect", simcloud.Redirect("https://elsewhere.invalid/"), 302, "", ""},
		{"one's own", &simcloud.Answer{Status: 502, Body: "bad gateway"}, 502, "", "bad gateway"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := simcloud.New(simcloud.Options{})
			c.PutServer(simcloud.Server{ID: serverID})
			token := tokenFor(t, c, "demo", "demo")
			c.Inject(simcloud.Fault{Service: "compute", Answer: test.answer, Times: 1})
			write := func() answer {
				return call(t, c, "POST", metadataPath(""), `{"metadata": {"a": "b"}}`, "X-Auth-Token", token)
			}
			a := write()
			wantStatus(t, "the fault", a, test.status)
			if got := a.header.Get("Retry-After"); got != test.retryAfter {
				t.Errorf("got Retry-After %q, want %q", got, test.retryAfter)
			}
			if !strings.Contains(a.body, test.body) {
				t.Errorf("got %s, want %s in it", a.body, test.body)
			}
			if s, _ := c.Server(serverID); len(s.Metadata) != 0 {
				t.Errorf("the service acted: %v", s.Metadata)
			}
			wantStatus(t, "afterwards", write(), http.StatusOK)
		})
	}
}

func TestFaultSelection(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	token := tokenFor(t, c, "demo", "demo")
	statuses := func(method, path string, n int) []int {
		var out []int
		for range n {
			out = append(out, call(t, c, method, path, nil, "X-Auth-Token", token).status)
		}
		return out
	}
	c.Inject(simcloud.Fault{Method: "GET", Path: "/metadata", Skip: 1, Times: 2, Answer: simcloud.ServerError()})
	c.Inject(simcloud.Fault{Service: "volume", Answer: simcloud.Unavailable(0)})
	for _, test := range []struct {
		name, method, path string
		want               []int
	}{
		{"another method", "DELETE", metadataPath("a"), []int{404}},
		{"another path", "GET", "/compute/v2.1/servers", []int{200, 200}},
		{"skips one, twice, then over", "GET", metadataPath(""), []int{200, 500, 500, 200}},
		{"a service, for ever", "GET", "/volume/v3/snapshots", []int{503, 503}},
	} {
		if diff := cmp.Diff(test.want, statuses(test.method, test.path, len(test.want))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	c.ClearFaults()
	if diff := cmp.Diff([]int{200}, statuses("GET", "/volume/v3/snapshots", 1)); diff != "" {
		t.Errorf("cleared (-want +got):\n%s", diff)
	}
}

func TestRandomFaultsAreRepeatable(t *testing.T) {
	run := func(seed uint64) []int {
		c := simcloud.New(simcloud.Options{Seed: seed,
			Faults: []simcloud.Fault{{Service: "compute", Probability: 0.3, Answer: simcloud.ServerError()}}})
		token := tokenFor(t, c, "demo", "demo")
		var out []int
		for range 200 {
			out = append(out, call(t, c, "GET", "/compute/v2.1/servers", nil, "X-Auth-Token", token).status)
		}
		return out
	}
	first := run(7)
	if diff := cmp.Diff(first, run(7)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if cmp.Equal(first, run(8)) {
		t.Error("another seed makes the same choices")
	}
	failed := 0
	for _, status := range first {
		if status == http.StatusInternalServerError {
			failed++
		}
	}
	if failed < 30 || failed > 90 {
		t.Errorf("%d of 200 failed, want about 60", failed)
	}
}

func TestDroppedConnection(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer *simcloud.Answer
		saved  bool
	}{
		{"before the service acted", simcloud.Drop(), false},
		{"after the service acted", simcloud.DropServed(), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := simcloud.New(simcloud.Options{})
			s := httptest.NewServer(c)
			t.Cleanup(s.Close)
			for how, way := range map[string]struct {
				url       string
				transport http.RoundTripper
			}{"in memory": {simcloud.DefaultEndpoint, c.Transport()}, "socket": {s.URL, s.Client().Transport}} {
				c.PutServer(simcloud.Server{ID: serverID})
				token := tokenFor(t, c, "demo", "demo")
				c.Inject(simcloud.Fault{Method: "POST", Path: "/metadata", Times: 1, Answer: test.answer})
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, way.url+metadataPath(""),
					strings.NewReader(`{"metadata": {"a": "b"}}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Auth-Token", token)
				_, err = way.transport.RoundTrip(r)
				_, isNet := errors.AsType[*net.OpError](err)
				if how == "in memory" && !isNet || how == "socket" && !isNet && !errors.Is(err, io.EOF) {
					t.Errorf("%s: got %v, want a broken connection", how, err)
				}
				got, _ := c.Server(serverID)
				if saved := got.Metadata["a"] == "b"; saved != test.saved {
					t.Errorf("%s: saved %t, want %t", how, saved, test.saved)
				}
				c.ClearFaults()
			}
		})
	}
}

func TestAnswerThatNeverComes(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer *simcloud.Answer
		saved  bool
	}{
		{"the service does not act", simcloud.Hang(), false},
		{"the service acts", simcloud.HangServed(), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := simcloud.New(simcloud.Options{})
				c.PutServer(simcloud.Server{ID: serverID})
				token := tokenFor(t, c, "demo", "demo")
				c.Inject(simcloud.Fault{Method: "POST", Path: "/metadata", Answer: test.answer})
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, simcloud.DefaultEndpoint+metadataPath(""),
					strings.NewReader(`{"metadata": {"a": "b"}}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Auth-Token", token)
				begin := time.Now()
				if _, err := c.Transport().RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want a deadline", err)
				}
				if got := time.Since(begin); got != 15*time.Second {
					t.Errorf("gave up after %v, want 15s", got)
				}
				s, _ := c.Server(serverID)
				if saved := s.Metadata["a"] == "b"; saved != test.saved {
					t.Errorf("saved %t, want %t", saved, test.saved)
				}
			})
		})
	}
}

func TestFaultDelaysAndServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{Latency: time.Second})
		token := tokenFor(t, c, "demo", "demo")
		c.Inject(simcloud.Fault{Service: "compute", Delay: time.Minute})
		begin := time.Now()
		wantStatus(t, "list", call(t, c, "GET", "/compute/v2.1/servers", nil, "X-Auth-Token", token), http.StatusOK)
		if got := time.Since(begin); got != 61*time.Second {
			t.Errorf("took %v, want 1m1s", got)
		}
	})
}
