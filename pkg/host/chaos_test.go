//go:build chaos

package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

var (
	chaosEvents = flag.Int("events", 10_000, "number of servers and snapshots to create")
	chaosSeed   = flag.Uint64("seed", 1, "seed of times and faults")
	chaosFaults = flag.Float64("faults", 0.2, "share of API calls that fail")
)

const (
	chaosRules = `rules:
- {name: env, on: [server.created, snapshot.created], set: {env: dev, origin: "${resource.name}"}}
- {name: owner, on: [server.created, snapshot.created], add: {owner: "${actor.name}", cost: CC-1}}
- {name: scratch, on: server.created, remove: [scratch]}
`
	chaosPollers = 5
	killed       = 0.05 // share of invocations whose process is killed
	duplicated   = 0.05 // share of events that are sent twice
	deletedEarly = 0.01 // share of resources that are deleted before they can be tagged
	owned        = 0.10 // share of resources that have an owner already
	createdOver  = 30 * time.Minute
)

// thing is a server or a snapshot, with its expected metadata.
type thing struct {
	id, name string
	snapshot bool
	gone     bool
	want     map[string]string
}

// bad injects faults of the network and the API. The fault depends on the seed, the call, and how often it was made.
type bad struct {
	inner http.RoundTripper
	seed  uint64
	share float64

	mu    sync.Mutex
	times map[string]int
	calls atomic.Int64
	wrong atomic.Int64
}

func (b *bad) decide(r *http.Request) (roll, kind float64) {
	name := r.Method + " " + r.URL.Path
	b.mu.Lock()
	b.times[name]++
	n := b.times[name]
	b.mu.Unlock()
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %d", b.seed, name, n)
	rng := rand.New(rand.NewPCG(h.Sum64(), b.seed))
	return rng.Float64(), rng.Float64()
}

var errReset = errors.New("connection reset by peer")

func (b *bad) RoundTrip(r *http.Request) (*http.Response, error) {
	b.calls.Add(1)
	roll, kind := b.decide(r)
	if roll >= b.share {
		return b.inner.RoundTrip(r)
	}
	b.wrong.Add(1)
	answer := func(status int, retryAfter, body string) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		if retryAfter != "" {
			h.Set("Retry-After", retryAfter)
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	pause := func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	switch {
	case kind < 0.15:
		return answer(429, "2", `{"overLimit": {"code": 429, "message": "slow down"}}`)
	case kind < 0.25:
		return answer(429, "", `{"error_code": "APIG.0308", "error_msg": "throttled"}`)
	case kind < 0.45:
		return answer(500, "", `{"computeFault": {"code": 500, "message": "Unexpected API Error."}}`)
	case kind < 0.60:
		return answer(503, "", "<html>503 Service Unavailable</html>")
	case kind < 0.75: // before the server acted
		return nil, errReset
	case kind < 0.90: // after the server acted
		if resp, err := b.inner.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
		return nil, errReset
	case kind < 0.98:
		if err := pause(2 * time.Second); err != nil {
			return nil, err
		}
		return b.inner.RoundTrip(r)
	}
	// The server acted, but the call times out.
	resp, err := b.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return nil, pause(time.Hour)
}

// deaths kills a process at its n-th API call, after the call reached the server.
type deaths struct {
	inner http.RoundTripper
	left  atomic.Int64 // calls until death, negative for never
	die   context.CancelFunc
}

func (d *deaths) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.left.Add(-1) == 0 {
		if resp, err := d.inner.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
		d.die()
		return nil, context.Canceled
	}
	return d.inner.RoundTrip(r)
}

// process is one running function.
type process struct {
	lambda *host.Lambda
	deaths *deaths
}

// ledger records every result, as the log does.
type ledger struct {
	mu       sync.Mutex
	outcomes map[string]apply.Outcome // by event id, the last that is final
	ages     []time.Duration
}

func (l *ledger) note(r *tagger.Result) {
	if r.Outcome == apply.Deferred || r.Fault.Err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[r.Event.ID] = r.Outcome
	if r.Outcome == apply.Tagged {
		l.ages = append(l.ages, r.Age)
	}
}

func startProcess(t *testing.T, net http.RoundTripper, q *queue, l *ledger) *process {
	d := &deaths{inner: net, die: func() {}}
	settings := config.Settings{API: "openstack", Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour,
		Concurrency: 10, DeadLetterQueueURL: "dead"}
	set, err := tagger.Compile(settings, rules.Source{Name: "chaos", Text: []byte(chaosRules)})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings, set, tagger.Parts{Observe: l.note, Cloud: cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: d,
	})})
	if err != nil {
		t.Fatal(err)
	}
	lambda := newLambda(tg, q, settings.Concurrency)
	lambda.DeadLetterQueueURL = settings.DeadLetterQueueURL
	return &process{lambda: lambda, deaths: d}
}

func TestChaos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(*chaosSeed, 0))
		sim := simcloud.New(simcloud.Options{JournalSize: -1, Seed: *chaosSeed, TokenLifetime: time.Hour})
		net := &bad{inner: sim.Transport(), seed: *chaosSeed, share: *chaosFaults, times: map[string]int{}}
		q, l := newQueue(), &ledger{outcomes: map[string]apply.Outcome{}}
		things := create(t, r, sim, q)
		fmt.Printf("%d events, seed %d, %.0f %% faults, %d pollers, %.0f %% of invocations killed\n", len(things), *chaosSeed,
			*chaosFaults*100, chaosPollers, killed*100)

		for at := 5 * time.Minute; at <= createdOver; at += 5 * time.Minute {
			time.AfterFunc(at, func() {
				fmt.Printf("  after %2.0f min of their time: %d messages in the queue\n", at.Minutes(), q.length())
			})
		}
		var pollers sync.WaitGroup
		var kills, invocations atomic.Int64
		for i := range chaosPollers {
			pollers.Go(func() {
				poll(t, rand.New(rand.NewPCG(*chaosSeed, uint64(i+1))), net, q, l, &kills, &invocations)
			})
		}
		pollers.Wait()
		report(t, sim, net, q, l, things, kills.Load(), invocations.Load())
	})
}

// create creates servers and snapshots over half an hour, and sends their events.
func create(t *testing.T, r *rand.Rand, sim *simcloud.Cloud, q *queue) []*thing {
	var things []*thing
	for i := range *chaosEvents {
		x := &thing{id: fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.Uint32()>>16, r.Uint32()>>20, r.Uint32()>>20,
			i), name: fmt.Sprintf("web-%d", i), snapshot: r.Float64() < 0.2}
		things = append(things, x)
		have := map[string]string{"scratch": "x", "theirs": x.name}
		if r.Float64() < owned {
			have["owner"] = "bob"
		}
		x.gone = r.Float64() < deletedEarly
		x.want = map[string]string{"theirs": x.name, "env": "dev", "origin": x.name, "cost": "CC-1", "owner": "alice"}
		if have["owner"] != "" {
			x.want["owner"] = "bob"
		}
		if x.snapshot {
			x.want["scratch"] = "x"
		}
		at := time.Duration(r.Int64N(int64(createdOver)))
		build := time.Duration(r.ExpFloat64() * float64(20*time.Second))
		late := time.Duration(r.ExpFloat64() * float64(5*time.Second)) // the event's way to the queue
		twice := r.Float64() < duplicated
		again := time.Duration(r.Int64N(int64(2 * time.Minute)))
		time.AfterFunc(at, func() {
			if x.snapshot {
				sim.PutSnapshot(simcloud.Snapshot{ID: x.id, Name: x.name, Metadata: have})
			} else {
				sim.PutServer(simcloud.Server{ID: x.id, Name: x.name, Metadata: have, VMState: "building",
					BuildTime: max(build, time.Millisecond)})
			}
			if x.gone {
				sim.DeleteServer(x.id)
				sim.DeleteSnapshot(x.id)
			}
			body := chaosEvent(x)
			q.send(x.id, body, late)
			if twice {
				q.send(x.id+"-again", body, again)
			}
		})
	}
	return things
}

func chaosEvent(x *thing) string {
	kind := "server.created"
	if x.snapshot {
		kind = "snapshot.created"
	}
	return fmt.Sprintf(`{"specversion": "1.0", "id": "e-%s", "source": "//chaos", "type": `+
		`"io.github.cloudtagger.%s", "subject": %q, "time": %q, "data": {"resource": {"name": %q}, "actor": `+
		`{"name": "alice"}}}`,
		x.id, kind, x.id, time.Now().UTC().Format(time.RFC3339Nano), x.name)
}

// poll does what AWS does between a queue and a function, until the queue stays empty.
func poll(t *testing.T, r *rand.Rand, net http.RoundTripper, q *queue, l *ledger, kills, invocations *atomic.Int64) {
	p := startProcess(t, net, q, l)
	start := time.Now()
	for {
		batch, until, more := q.receive(r)
		if len(batch) == 0 {
			if !more && time.Since(start) > createdOver+time.Minute {
				return
			}
			timer := time.NewTimer(max(min(until, 20*time.Second), time.Millisecond)) // a long poll
			<-timer.C
			continue
		}
		invocations.Add(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p.deaths.left.Store(-1)
		p.deaths.die = cancel
		dies := r.Float64() < killed
		if dies {
			p.deaths.left.Store(1 + r.Int64N(15))
		}
		answer, err := p.lambda.Handle(ctx, batchOf(batch))
		died := dies && ctx.Err() != nil
		cancel()
		switch response, ok := answer.(events.SQSEventResponse); {
		case died: // the response is lost
			kills.Add(1)
			p = startProcess(t, net, q, l)
		case err != nil || !ok: // the whole batch is redelivered
		default:
			failed := map[string]bool{}
			for _, f := range response.BatchItemFailures {
				failed[f.ItemIdentifier] = true
			}
			for _, m := range batch {
				if !failed[m.id] {
					q.delete(m.id)
				}
			}
		}
	}
}

func batchOf(batch []message) []byte {
	var e events.SQSEvent
	for _, m := range batch {
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: m.id, ReceiptHandle: m.receipt, Body: m.body, EventSource: "aws:sqs", EventSourceARN: queueARN,
			AWSRegion: "eu-central-1",
			Attributes: map[string]string{
				"ApproximateReceiveCount": strconv.Itoa(m.receives),
				"SentTimestamp":           strconv.FormatInt(m.sent.UnixMilli(), 10),
			},
		})
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return text
}

// report compares every thing with its expected state.
func report(t *testing.T, sim *simcloud.Cloud, net *bad, q *queue, l *ledger, things []*thing, kills,
	invocations int64) {
	counts := map[string]int{}
	var lost, wrong []string
	dead := strings.Join(slices.Collect(maps.Values(q.dead)), "\n")
	for _, x := range things {
		outcome := l.outcomes["e-"+x.id]
		var have map[string]string
		var there bool
		if x.snapshot {
			s, ok := sim.Snapshot(x.id)
			have, there = s.Metadata, ok
		} else {
			s, ok := sim.Server(x.id)
			have, there = s.Metadata, ok
		}
		switch {
		case there && maps.Equal(have, x.want):
			counts["tagged"]++
		case !there && outcome == apply.Gone:
			counts["acknowledged as gone"]++
		case strings.Contains(dead, "e-"+x.id):
			counts["in the dead-letter queue"]++
			wrong = append(wrong, fmt.Sprintf("%s is a dead letter although nothing is wrong with it", x.id))
		case there && (outcome == apply.Tagged || outcome == apply.Unchanged):
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", x.id, have, x.want))
		default:
			lost = append(lost, fmt.Sprintf("%s: outcome %q, metadata %v", x.id, outcome, have))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Printf("  %-26s %6d\n", name, counts[name])
	}
	slices.Sort(l.ages)
	if n := len(l.ages); n > 0 {
		fmt.Printf("event to tagged: median %s, p95 %s, longest %s\n", l.ages[n/2].Round(time.Second),
			l.ages[n*95/100].Round(time.Second), l.ages[n-1].Round(time.Second))
	}
	fmt.Printf("%d deliveries in %d invocations, %d processes killed, %d of %d API calls disturbed\n", q.received,
		invocations, kills, net.wrong.Load(), net.calls.Load())
	for _, s := range append(lost, wrong...)[:min(20, len(lost)+len(wrong))] {
		t.Error(s)
	}
	fmt.Printf("%d events: %d lost, %d wrong, %.2f calls per event\n", len(things), len(lost), len(wrong),
		float64(net.calls.Load())/float64(len(things)))
}
