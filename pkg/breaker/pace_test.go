package breaker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/breaker"
)

var write = breaker.Call{Endpoint: "http://c/v2.1", Project: "p", Write: true}

// backlog writes with ten workers for d and counts the writes sent. Each write takes as long as latency returns.
func backlog(t *testing.T, b *breaker.Breaker, d time.Duration, latency func() time.Duration) int {
	t.Helper()
	sent := 0
	var mu sync.Mutex
	var workers sync.WaitGroup
	end := time.Now().Add(d)
	for range 10 {
		workers.Go(func() {
			for time.Now().Before(end) {
				err := b.Allow(t.Context(), write)
				if open, ok := errors.AsType[*breaker.OpenError](err); ok {
					<-time.NewTimer(open.RetryAfter).C
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				took := latency()
				<-time.NewTimer(took).C
				mu.Lock()
				sent++
				mu.Unlock()
				b.Record(write, breaker.Result{Kind: breaker.Success, Latency: took})
			}
		})
	}
	workers.Wait()
	return sent
}

func between(t *testing.T, what string, got, least, most int) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s: %d writes, want %d to %d", what, got, least, most)
	}
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// A single event never waits, and a backlog proceeds at the rate. While latency is three times the usual, the rate
// sinks; afterwards it recovers.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{WriteRate: 5})
		start := time.Now()
		for range 50 {
			if err := b.Allow(t.Context(), write); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("a burst of 50 writes was held up for %s", took)
		}
		between(t, "a backlog for a minute", backlog(t, b, time.Minute, always(100*time.Millisecond)), 295, 311)
		between(t, "latency doubles", backlog(t, b, 20*time.Second, always(200*time.Millisecond)), 90, 111)
		between(t, "latency grows fourfold", backlog(t, b, time.Minute, always(400*time.Millisecond)), 50, 200)
		// At the lowest rate, how many of the workers find a turn depends on the order in which they come back.
		between(t, "and stays so", backlog(t, b, time.Minute, always(400*time.Millisecond)), 1, 40)
		backlog(t, b, 3*time.Minute, always(100*time.Millisecond)) // it recovers
		between(t, "after it", backlog(t, b, time.Minute, always(100*time.Millisecond)), 290, 311)
		read := write
		read.Write = false
		for range 1000 {
			if err := b.Allow(t.Context(), read); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Noise of a fast API does not change the rate. Errors that return at once do not either.
func TestRateIgnoresNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{WriteRate: 5})
		var i atomic.Int64
		noisy := func() time.Duration { return time.Duration(1+i.Add(1)%40) * time.Millisecond }
		between(t, "a fast API", backlog(t, b, 2*time.Minute, noisy), 600, 660)
		for range 100 {
			b.Record(write, breaker.Result{Kind: breaker.Success, Latency: time.Millisecond})
		}
		between(t, "as before", backlog(t, b, time.Minute, always(time.Millisecond)), 295, 320)
	})
}

// A write that would wait too long is rejected, and one whose context ends stops waiting.
func TestRateDoesNotHoldUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{WriteRate: 0.1})
		for range 10 {
			if err := b.Allow(t.Context(), write); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		err := b.Allow(t.Context(), write)
		open, ok := errors.AsType[*breaker.OpenError](err)
		if !ok || open.RetryAfter != 10*time.Second || open.Service != "c/v2.1" {
			t.Errorf("error %v", err)
		}
		if blocked := time.Since(start); blocked != 0 {
			t.Errorf("blocked for %s", blocked)
		}
		<-time.NewTimer(6 * time.Second).C
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-time.NewTimer(time.Second).C; cancel() }()
		if err := b.Allow(ctx, write); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		// Neither took a turn away.
		start = time.Now()
		if err := b.Allow(t.Context(), write); err != nil || time.Since(start).Round(time.Millisecond) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// A circuit that opens while a write waits for its turn stops the write.
func TestOpensWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{WriteRate: 1})
		for range 10 {
			_ = b.Allow(t.Context(), write)
		}
		ended := make(chan error)
		go func() { ended <- b.Allow(t.Context(), write) }()
		synctest.Wait()
		b.Record(write, breaker.Result{Kind: breaker.Throttled, RetryAfter: time.Minute, Err: errors.New("429")})
		if open, ok := errors.AsType[*breaker.OpenError](<-ended); !ok || open.RetryAfter != 59*time.Second {
			t.Errorf("error %v", open)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"": 0, "x": 0, "-1": 0, "-10000000000": 0, "-9223372036854775808": 0, "0": 0, " 7 ": 7 * time.Second, "1.5": 0,
			"3600": time.Hour, "3601": time.Hour, "9223372036854775807": time.Hour, "99999999999999999999999": time.Hour,
			"Sat, 01 Jan 2000 00:00:30 GMT": 30 * time.Second, "Sat, 01 Jan 2050 00:00:30 GMT": time.Hour,
			"Fri, 31 Dec 1999 00:00:00 GMT": 0,
		} {
			if got := breaker.RetryAfter(value); got != want {
				t.Errorf("%q: %s, want %s", value, got, want)
			}
		}
	})
}
