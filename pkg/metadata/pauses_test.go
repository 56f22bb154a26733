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

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// What the API tells one client, all clients of the process keep to.
func TestPauses(t *testing.T) {
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
		{"told for how long", throttled("7"), 1, 7 * time.Second},
		{"told for a day", throttled("86400"), 1, time.Hour},
		{"not told: two seconds", throttled(""), 1, 2 * time.Second},
		{"503 says how long", &wire{status: 503, body: "{}", header: http.Header{"Retry-After": {"5"}}}, 1, 5 * time.Second},
		{"one failure pauses nothing", down(), 1, 0},
		{"two failures pause nothing", down(), 2, 0},
		{"three on end do", down(), 3, 2 * time.Second},
		{"a refusal pauses nothing", &wire{status: 409, body: `{"conflictingRequest": {"code": 409, "message": "x"}}`}, 5, 0},
		{"a lost connection counts", &wire{err: io.ErrUnexpectedEOF}, 3, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := metadata.Options{Family: metadata.Nova, Pauses: &metadata.Pauses{}}
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
				if !metadata.IsClass(err, metadata.Throttled) || !strings.Contains(err.Error(), "not sent: the API is left alone for "+tt.pauses.String()+" more") || len(fine.requests) != 0 {
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

// Pauses grow while the service stays away, and are over when it answers.
func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{status: 500, body: "{}"}
		servers := serverAt(t, service(w, "http://c/"), metadata.Options{Pauses: &metadata.Pauses{}})
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

// Calls that the caller's own end cut off say nothing about the API.
func TestEndedCallsPauseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := serverAt(t, service(&hanging{wire{status: 200, body: `{"metadata": {}}`}}, "http://c/"), metadata.Options{Pauses: &metadata.Pauses{}})
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

// Ten calls that are refused at once are one refusal: the pause is the first, not the tenth.
func TestABurstIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{wire{status: 429, body: "{}"}}
		servers := serverAt(t, service(h, "http://c/"), metadata.Options{Pauses: &metadata.Pauses{}})
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
