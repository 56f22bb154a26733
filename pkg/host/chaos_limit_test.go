//go:build chaos

package host_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// limit is an API with a rate limit.
type limit struct {
	inner     http.RoundTripper
	perSecond float64

	mu      sync.Mutex
	tokens  float64
	at      time.Time
	calls   int
	refused int
}

func (l *limit) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	now := time.Now()
	l.tokens = min(l.perSecond, l.tokens+now.Sub(l.at).Seconds()*l.perSecond)
	l.at = now
	l.calls++
	refuse := l.tokens < 1
	if refuse {
		l.refused++
	} else {
		l.tokens--
	}
	l.mu.Unlock()
	if refuse {
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"overLimit": {"code": 429, "message": "slow down"}}`)),
		}, nil
	}
	return l.inner.RoundTrip(r)
}

// TestChaosRateLimit: 200 servers created in the same second are all tagged, without flooding an API with a rate limit.
func TestChaosRateLimit(t *testing.T) {
	const servers, perSecond = 200, 12 // what two workers of a real nova-api managed
	synctest.Test(t, func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{JournalSize: -1})
		net := &limit{inner: sim.Transport(), perSecond: perSecond}
		q, l := newQueue(), &ledger{outcomes: map[string]apply.Outcome{}}
		r := rand.New(rand.NewPCG(*chaosSeed, 1))
		var things []*thing
		for i := range servers {
			x := &thing{id: fmt.Sprintf("00000000-0000-4000-8000-%012x", i), name: fmt.Sprintf("web-%d", i)}
			x.want = map[string]string{"env": "dev", "origin": x.name, "cost": "CC-1", "owner": "alice"}
			things = append(things, x)
			sim.PutServer(simcloud.Server{ID: x.id, Name: x.name, VMState: "building",
				BuildTime: time.Duration(10+r.IntN(20)) * time.Second})
			q.send(x.id, chaosEvent(x), 0)
		}
		var pollers sync.WaitGroup
		var kills, invocations atomic.Int64
		for i := range chaosPollers {
			pollers.Go(func() {
				poll(t, rand.New(rand.NewPCG(*chaosSeed, uint64(i+2))), net, q, l, &kills, &invocations)
			})
		}
		time.AfterFunc(10*time.Minute, func() {
			fmt.Printf("%d servers at once, %d calls a second allowed: %d not tagged after 10 minutes\n", servers, perSecond,
				q.length())
		})
		pollers.Wait()
		for _, x := range things {
			if s, _ := sim.Server(x.id); s.Metadata["owner"] != "alice" || s.Metadata["origin"] != x.name {
				t.Errorf("%s: %v", x.id, s.Metadata)
			}
		}
		last := time.Duration(0)
		for _, age := range l.ages {
			last = max(last, age)
		}
		fmt.Printf("  all tagged after %s; %d calls, %d of them refused; %d invocations\n", last.Round(time.Second),
			net.calls, net.refused, invocations.Load())
		// A process obeys Retry-After, so each second costs at most one burst per process.
		if most := net.calls / 2; net.refused > most {
			t.Errorf("%d of %d calls were refused, want %d at most", net.refused, net.calls, most)
		}
	})
}
