//go:build scale

// Package scale_test measures Tagger with many events, many servers created at once, and other clients of the same API.
// The cloud is the embedded one; nothing leaves the process.
package scale_test

import (
	"container/heap"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

var (
	events  = flag.Int("events", 1_000_000, "number of events that TestEvents sends")
	servers = flag.Int("servers", 10_000, "number of servers created at once")
)

const (
	concurrency = 10 // TAGGER_CONCURRENCY's default
	writeRate   = 5  // TAGGER_RATE's default
)

// newProcessor composes the processor that every entry point uses, with the default settings. Requests go to next.
func newProcessor(t *testing.T, next http.RoundTripper, writeRate float64) *delivery.Processor {
	t.Helper()
	settings := config.Settings{API: "openstack", Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
	text := []byte("rules:\n- {name: env, on: server.created, set: {env: dev}}\n")
	set, err := tagger.Compile(settings, rules.Source{Name: "rules", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings, set, tagger.Parts{Cloud: cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: next, WriteRate: writeRate,
	})})
	if err != nil {
		t.Fatal(err)
	}
	return delivery.New(delivery.Options{
		Tagger: tg, Concurrency: concurrency, GiveUpAfter: settings.GiveUpAfter, Tolerance: 1,
		Log: slog.New(slog.DiscardHandler),
	})
}

func serverID(n int) string { return fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012d", n) }

// message returns a queue message about the creation of a server.
func message(t *testing.T, n int, sent time.Time, receives int) delivery.Message {
	t.Helper()
	batch := ingress.Decode(fmt.Appendf(nil,
		`{"specversion": "1.0", "id": "e-%[1]d", "source": "//scale", "subject": %[2]q,
		"type": "io.github.cloudtagger.server.created", "time": %[3]q}`, n, serverID(n), sent.UTC().Format(time.RFC3339)))
	if err := batch.Records[0].Err; err != nil {
		t.Fatal(err)
	}
	return delivery.Message{
		ID: fmt.Sprint(n), Events: batch.Records[0].Events, SentAt: sent, ReceivedAt: time.Now(), Receives: receives,
		Wait: 5 * time.Second,
	}
}

// TestEvents sends a million events, each about its own server, which is deleted afterwards. From the second tenth on,
// memory and allocations per event stay constant. Before that, two caches grow to their limit of 10,000 resources: the
// order of changes, and the embedded cloud's deleted servers.
func TestEvents(t *testing.T) {
	if *events < 50_000 {
		t.Fatalf("-events %d: want at least 50,000, so that a tenth exceeds the limit", *events)
	}
	sim := simcloud.New(simcloud.Options{JournalSize: -1, TokenLifetime: 24 * time.Hour})
	p := newProcessor(t, sim.Transport(), 0)
	tenth := *events / 100 * 10
	type state struct{ heap, allocated uint64 }
	var at [10]state
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := usedCPU()
	t.Logf("%12s %12s %18s %14s", "events", "heap, MiB", "allocated/event, B", "CPU/event, µs")
	for i := range at {
		for from := i * tenth; from < (i+1)*tenth; from += 10 {
			batch := make([]delivery.Message, 10)
			for j := range batch {
				sim.PutServer(simcloud.Server{ID: serverID(from + j)})
				batch[j] = message(t, from+j, time.Now(), 1)
			}
			for j, d := range p.Process(t.Context(), batch) {
				if s, _ := sim.Server(serverID(from + j)); d.Outcome != apply.Tagged || s.Metadata["env"] != "dev" {
					t.Fatalf("event %d: %s: %s", from+j, d.Outcome, d.Reason)
				}
				sim.DeleteServer(serverID(from + j))
			}
		}
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		at[i] = state{now.HeapAlloc, (now.TotalAlloc - before.TotalAlloc) / uint64(tenth)}
		before = now
		spent := float64((usedCPU() - cpu).Microseconds()) / float64(tenth)
		t.Logf("%12d %12.1f %18d %14.0f", (i+1)*tenth, float64(now.HeapAlloc)/(1<<20), at[i].allocated, spent)
		cpu = usedCPU()
	}
	first, last := at[1], at[9]
	if last.heap > first.heap+1<<20 {
		t.Errorf("the heap has grown from %d bytes to %d", first.heap, last.heap)
	}
	if last.allocated > first.allocated+first.allocated/20 {
		t.Errorf("an event allocates %d bytes after %d at first", last.allocated, first.allocated)
	}
}

func usedCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for the process itself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pending is a queue of messages by the time at which they become visible, as in SQS.
type pending []waiting

type waiting struct {
	server, receives int
	due              time.Time
}

func (p pending) Len() int           { return len(p) }
func (p pending) Less(i, j int) bool { return p[i].due.Before(p[j].due) }
func (p pending) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *pending) Push(v any)        { *p = append(*p, v.(waiting)) }
func (p *pending) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// work delivers the messages about the given number of servers to a processor, ten at a time, until all are settled. It
// returns the number of deliveries.
func work(t *testing.T, p *delivery.Processor, count int) (deliveries int) {
	began := time.Now()
	var queue pending
	for n := range count {
		queue = append(queue, waiting{n, 1, began})
	}
	for len(queue) > 0 {
		if left := time.Until(queue[0].due); left > 0 {
			time.Sleep(left)
		}
		var batch []delivery.Message
		var taken []waiting
		for len(batch) < 10 && len(queue) > 0 && !queue[0].due.After(time.Now()) {
			w := heap.Pop(&queue).(waiting)
			taken = append(taken, w)
			batch = append(batch, message(t, w.server, began, w.receives))
		}
		deliveries += len(batch)
		for i, d := range p.Process(t.Context(), batch) {
			switch d.Outcome {
			case apply.Tagged:
			case apply.Deferred:
				heap.Push(&queue, waiting{taken[i].server, taken[i].receives + 1, time.Now().Add(d.Delay)})
			default:
				t.Errorf("server %d: %s: %s", taken[i].server, d.Outcome, d.Reason)
			}
		}
	}
	return deliveries
}

// limited is an API that accepts a limited number of calls a second and answers 429 to the others.
type limited struct {
	next           http.RoundTripper
	limiter        *rate.Limiter
	calls, refused atomic.Int64
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	l.calls.Add(1)
	if l.limiter.Allow() {
		return l.next.RoundTrip(r)
	}
	l.refused.Add(1)
	sim := simcloud.New(simcloud.Options{Faults: []simcloud.Fault{{Answer: simcloud.Throttled(time.Second)}}})
	return sim.Transport().RoundTrip(r)
}

// TestCreatedAtOnce tags 10,000 servers created at once, with an API that accepts 12 calls a second and answers 429 to
// the others. Time is synctest's.
func TestCreatedAtOnce(t *testing.T) {
	for _, own := range []float64{writeRate, 0} {
		t.Run(fmt.Sprintf("TAGGER_RATE=%v", own), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := simcloud.New(simcloud.Options{JournalSize: -1, TokenLifetime: 24 * time.Hour})
				for n := range *servers {
					sim.PutServer(simcloud.Server{ID: serverID(n)})
				}
				api := &limited{next: sim.Transport(), limiter: rate.NewLimiter(12, 12)}
				began := time.Now()
				deliveries := work(t, newProcessor(t, api, own), *servers)
				took := time.Since(began)
				for n := range *servers {
					if s, _ := sim.Server(serverID(n)); s.Metadata["env"] != "dev" {
						t.Fatalf("server %d is not tagged", n)
					}
				}
				calls := float64(api.calls.Load()) / float64(*servers)
				t.Logf("all %d tagged after %s; %.2f calls an event, %d answered 429; each was delivered %.2f times",
					*servers, took.Round(time.Second), calls, api.refused.Load(), float64(deliveries)/float64(*servers))
				if calls > 2.5 {
					t.Errorf("%.2f calls an event", calls)
				}
			})
		})
	}
}

// shared is an API that serves a few calls at a time, queues the others, and refuses none.
type shared struct {
	next  http.RoundTripper
	slots chan struct{}
}

func (s *shared) RoundTrip(r *http.Request) (*http.Response, error) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	return s.next.RoundTrip(r)
}

// TestNeighbour measures another client while Tagger tags servers that were created at once. The API serves four calls
// at a time, about 50 ms each, and refuses none. TAGGER_RATE keeps Tagger from using all of it. Time is synctest's.
func TestNeighbour(t *testing.T) {
	alone := neighbour(t, 0, nil)
	ratio := func(p95 time.Duration) float64 { return p95.Seconds() / alone.Seconds() }
	beside := func(writeRate float64) time.Duration {
		return neighbour(t, *servers, func(t *testing.T, api http.RoundTripper) {
			work(t, newProcessor(t, api, writeRate), *servers)
		})
	}
	limited, unlimited := beside(writeRate), beside(0)
	t.Logf("the other client's p95: %s alone; %s beside Tagger, %.2f times as long; %s with TAGGER_RATE=0, %.2f times",
		alone.Round(time.Millisecond), limited.Round(time.Millisecond), ratio(limited),
		unlimited.Round(time.Millisecond), ratio(unlimited))
	if ratio(limited) >= 1.5 {
		t.Errorf("%.2f times as long", ratio(limited))
	}
	if ratio(unlimited) < 1.5 {
		t.Error("without a limit, the other client is no slower, so the test proves nothing")
	}
}

// neighbour returns the 95th percentile of another client's call durations while work runs on the given number of
// servers, or during half an hour without work.
func neighbour(t *testing.T, count int, work func(*testing.T, http.RoundTripper)) (p95 time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{JournalSize: -1, TokenLifetime: 24 * time.Hour})
		for n := range max(count, 1) {
			sim.PutServer(simcloud.Server{ID: serverID(n)})
		}
		random := rand.New(rand.NewPCG(1, 2))
		var drawing sync.Mutex
		draw := func(mean time.Duration) time.Duration { // exponentially distributed
			drawing.Lock()
			defer drawing.Unlock()
			return time.Duration(random.ExpFloat64() * float64(mean))
		}
		api := &shared{slots: make(chan struct{}, 4)}
		api.next = roundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(30*time.Millisecond + draw(20*time.Millisecond))
			return sim.Transport().RoundTrip(r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		if work != nil {
			ctx, cancel = context.WithCancel(t.Context())
			all.Go(func() {
				defer cancel()
				work(t, api)
			})
		}
		var mu sync.Mutex
		var took []time.Duration
		for ; ctx.Err() == nil; time.Sleep(draw(100 * time.Millisecond)) {
			all.Go(func() {
				began := time.Now()
				url := simcloud.DefaultEndpoint + "/compute/v2.1/servers/" + serverID(0)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := api.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			})
		}
		all.Wait()
		slices.Sort(took)
		p95 = took[len(took)*95/100]
	})
	return p95
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
