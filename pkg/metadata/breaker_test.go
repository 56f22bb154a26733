package metadata_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// All clients of the process respect what the API tells one of them.
func TestBreaker(t *testing.T) {
	throttled := func(after string) *wire {
		w := &wire{status: 429, body: `{"overLimit": {"code": 429, "message": "slow down"}}`, header: http.Header{}}
		if after != "" {
			w.header.Set("Retry-After", after)
		}
		return w
	}
	down := func() *wire { return &wire{status: 503, body: "{}"} }
	for _, tt := range []struct {
		name   string
		wire   *wire
		calls  int // that fail before the pause is looked at
		pauses time.Duration
	}{
		{"seconds", throttled("7"), 1, 7 * time.Second},
		{"a day", throttled("86400"), 1, time.Hour},
		{"more than an integer holds", throttled(strings.Repeat("9", 30)), 1, time.Hour},
		{"negative seconds", throttled("-10000000000"), 1, 2 * time.Second},
		{"a time in the past", throttled("Fri, 31 Dec 1999 23:59:59 GMT"), 1, 2 * time.Second},
		// synctest begins in 2000
		{"a time in the future", throttled("Sat, 01 Jan 2000 00:00:20 GMT"), 1, 20 * time.Second},
		{"in the body", &wire{status: 429,
			body: `{"overLimit": {"code": 429, "message": "slow down", "retryAfter": "9"}}`}, 1, 9 * time.Second},
		{"not a number in the body",
			&wire{status: 429, body: `{"overLimit": {"message": "slow down", "retryAfter": -1e300}}`}, 1, 2 * time.Second},
		{"no pause requested: two seconds", throttled(""), 1, 2 * time.Second},
		{"503 with a pause", &wire{status: 503, body: "{}", header: http.Header{"Retry-After": {"5"}}}, 1, 5 * time.Second},
		{"one failure pauses nothing", down(), 1, 0},
		{"two failures pause nothing", down(), 2, 0},
		{"three in a row", down(), 3, 2 * time.Second},
		{"a refusal pauses nothing", &wire{status: 409, body: `{"conflictingRequest": {"code": 409, "message": "x"}}`}, 5, 0},
		{"a lost connection counts", &wire{err: io.ErrUnexpectedEOF}, 3, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := metadata.Options{Family: metadata.Nova, Breaker: breaker.New(breaker.Options{})}
				one := serverAt(t, service(tt.wire, "http://c/v2.1/p1/"), o)
				for range tt.calls {
					if _, err := one.Write(t.Context(), map[string]string{"k": "v"}); err == nil {
						t.Fatal("no error")
					}
				}
				fine := &wire{status: 200, body: `{"metadata": {}}`}
				other := serverAt(t, service(fine, "http://c/v2.1/p2/"), o)
				start := time.Now()
				_, err := other.Metadata(t.Context())
				if tt.pauses == 0 {
					if err != nil {
						t.Errorf("error %v", err)
					}
					return
				}
				if !metadata.IsClass(err, metadata.Throttled) ||
					!strings.Contains(err.Error(), "not sent: calls to c/v2.1 are paused for another "+tt.pauses.String()+": ") ||
					len(fine.requests) != 0 {
					t.Errorf("error %v, %d sent", err, len(fine.requests))
				}
				if time.Since(start) != 0 {
					t.Error("it blocked")
				}
				if _, err := serverAt(t, service(fine, "http://elsewhere/"), o).Metadata(t.Context()); err != nil {
					t.Errorf("another endpoint: %v", err)
				}
				timer := time.NewTimer(tt.pauses)
				<-timer.C
				if _, err := other.Metadata(t.Context()); err != nil {
					t.Errorf("after the pause: %v", err)
				}
			})
		})
	}
}

// Pauses grow while the service is unavailable, and end when it answers.
func TestBreakerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{status: 500, body: "{}"}
		servers := serverAt(t, service(w, "http://c/"), metadata.Options{Breaker: breaker.New(breaker.Options{})})
		sent := func(within time.Duration) int {
			before := len(w.requests)
			for end := time.Now().Add(within); time.Now().Before(end); {
				_, _ = servers.Metadata(t.Context())
				<-time.NewTimer(100 * time.Millisecond).C
			}
			return len(w.requests) - before
		}
		if n := sent(10 * time.Minute); n > 3+5+21 {
			t.Errorf("%d requests in ten minutes of outage", n)
		}
		w.status, w.body = 200, `{"metadata": {}}`
		if n := sent(time.Minute); n < 290 {
			t.Errorf("%d requests in the minute after it", n)
		}
	})
}

// hanging answers no earlier than after a second.
type hanging struct{ wire }

func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		return h.wire.RoundTrip(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// Calls that the caller cancels do not open a circuit.
func TestEndedCallsOpenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := serverAt(t, service(&hanging{wire{status: 200, body: `{"metadata": {}}`}}, "http://c/"),
			metadata.Options{Breaker: breaker.New(breaker.Options{})})
		for range 6 {
			ending, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			if _, err := servers.Metadata(ending); err == nil {
				t.Error("a call that was cut off succeeded")
			}
			cancel()
		}
		if _, err := servers.Metadata(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Ten concurrent refusals count as one: the pause is the first, not the tenth.
func TestABurstIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{wire{status: 429, body: "{}"}}
		servers := serverAt(t, service(h, "http://c/"), metadata.Options{Breaker: breaker.New(breaker.Options{})})
		var calls sync.WaitGroup
		for range 10 {
			calls.Go(func() { _, _ = servers.Metadata(t.Context()) })
		}
		calls.Wait()
		_, err := servers.Metadata(t.Context())
		if left := metadata.RetryAfter(err); left <= 0 || left > 2*time.Second {
			t.Errorf("left alone for %s: %v", left, err)
		}
	})
}

// If the API refuses fresh tokens, calls for every project wait for a pause. Until then, calls fail with the same error
// because credentials or configuration are at fault.
func TestUnauthenticatedPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{status: 401, body: `{"error": {"code": 401, "message": "who are you?"}}`}
		o := metadata.Options{Breaker: breaker.New(breaker.Options{}), Project: "p1"}
		_, err := serverAt(t, service(w, "http://c/v2.1/"), o).Metadata(t.Context())
		if !metadata.IsClass(err, metadata.Unauthenticated) {
			t.Fatal(err)
		}
		o.Project = "p2"
		other := serverAt(t, service(w, "http://c/v2.1/"), o)
		_, err = other.Metadata(t.Context())
		if !metadata.IsClass(err, metadata.Unauthenticated) || fault.ScopeOf(err) != fault.Everything {
			t.Errorf("error %v, scope %s", err, fault.ScopeOf(err))
		}
		if metadata.RetryAfter(err) != 5*time.Second || len(w.requests) != 1 {
			t.Errorf("retry after %s, %d sent", metadata.RetryAfter(err), len(w.requests))
		}
		if n := sentWithin(t, time.Hour, w, other); n > 6+12 {
			t.Errorf("%d requests in an hour", n)
		}
		w.status, w.body = 200, `{"metadata": {}}`
		<-time.NewTimer(5 * time.Minute).C
		if n := sentWithin(t, time.Minute, w, other); n < 590 {
			t.Errorf("%d requests in the minute after it", n)
		}
	})
}

// Repeated refusals of one project pause only that project, and successful reads do not end the pause.
func TestRefusalsPauseTheirProject(t *testing.T) {
	for name, w := range map[string]*wire{
		"403":      {status: 403, body: `{"forbidden": {"code": 403, "message": "Policy doesn't allow it"}}`},
		"redirect": {err: &redirected{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := metadata.Options{Breaker: breaker.New(breaker.Options{}), Project: "p1"}
				write := func(r *metadata.Resource) error {
					_, err := r.Write(t.Context(), map[string]string{"k": "v"})
					return err
				}
				refused := serverAt(t, service(w, "http://c/v2.1/"), o)
				fine := &wire{status: 200, body: `{"metadata": {}}`}
				read := serverAt(t, service(fine, "http://c/v2.1/"), o)
				for range 3 {
					if err := write(refused); metadata.RetryAfter(err) != 0 {
						t.Fatalf("paused too early: %v", err)
					}
					if _, err := read.Metadata(t.Context()); err != nil && len(w.requests) < 3 {
						t.Fatal(err)
					}
				}
				err := write(refused)
				if !metadata.IsClass(err, metadata.Forbidden, metadata.Unauthenticated) ||
					metadata.RetryAfter(err) != time.Second || len(w.requests) != 3 {
					t.Errorf("%v, again in %s, %d sent", err, metadata.RetryAfter(err), len(w.requests))
				}
				o.Project = "p2"
				if err := write(serverAt(t, service(fine, "http://c/v2.1/"), o)); err != nil {
					t.Errorf("another project: %v", err)
				}
				if n := sentWithin(t, 10*time.Minute, w, refused); n > 5+21 {
					t.Errorf("%d requests in ten minutes", n)
				}
			})
		})
	}
}

// redirected is a transport error caused by the configuration.
type redirected struct{}

func (*redirected) Error() string           { return "http://c redirects to https://c" }
func (*redirected) FaultScope() fault.Scope { return fault.Everything }

// sentWithin writes ten times a second for the given time and counts the requests sent.
func sentWithin(t *testing.T, d time.Duration, w *wire, r *metadata.Resource) int {
	t.Helper()
	before := len(w.requests)
	for end := time.Now().Add(d); time.Now().Before(end); {
		_, _ = r.Write(t.Context(), map[string]string{"k": "v"})
		<-time.NewTimer(100 * time.Millisecond).C
	}
	return len(w.requests) - before
}

// Terminal escapes from another host never appear in an error.
func TestMessagesAreVisible(t *testing.T) {
	const attack = `\u001b]0;owned\u0007\u001b[2Jgone \u202e`
	for _, body := range []string{`{"x": {"code": 400, "message": "` + attack + `"}}`, "<h1>\x1b[2J\x07</h1>",
		`{"error_code": "` + attack + `", "error_msg": "m"}`} {
		_, err := serverAt(t, service(&wire{status: 400, body: body}, "http://c/"), metadata.Options{}).Metadata(t.Context())
		if err == nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) ||
			!strings.Contains(err.Error(), `\u001b`) {
			t.Errorf("%q", err)
		}
	}
}
