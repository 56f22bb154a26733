package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const twoKeys = `rules:
- {name: owner, on: server.created, set: {owner: "${actor.name}", cost-center: CC-17}}
- {name: started, on: server.started, remove: [owner]}
`

// bus is an embedded cloud with a listener on its bus. Each write of metadata causes Nova's notifications, in both
// formats, with the map that the writer had in memory.
type bus struct {
	*testing.T
	sim      *simcloud.Cloud
	project  string
	listener *Listener
	log      bytes.Buffer
	rand     *rand.Rand

	// ago is how old the notifications are when they arrive.
	ago atomic.Int64 // in nanoseconds

	mu      sync.Mutex
	last    int
	delayed []amqp.Publishing
	work    sync.WaitGroup
}

func newBus(t *testing.T, text string, repair bool, o simcloud.Options) *bus {
	t.Helper()
	o.JournalSize = 10_000
	o.TokenLifetime = 100 * time.Hour
	b := &bus{T: t, sim: simcloud.New(o), rand: rand.New(rand.NewPCG(7, 7))}
	demo, _ := b.sim.Project("demo")
	b.project = demo.ID
	settings := config.Settings{API: "openstack", Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
	set, err := tagger.Compile(settings, rules.Source{Name: "R", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	tg, err := tagger.Compose(t.Context(), settings, set, tagger.Parts{Cloud: b.cloud("ours-id", "tagger"), Log: log,
		Bus: true})
	if err != nil {
		t.Fatal(err)
	}
	b.listener, err = New(Options{
		Config: config.Listen{URL: config.NewSecret("amqp://a:b@127.0.0.1:1/"), Exchanges: config.List{"nova"},
			RoutingKeys: config.List{"k"}, Queue: "tagger"},
		Processor: delivery.New(delivery.Options{Tagger: tg, Concurrency: 10, GiveUpAfter: 24 * time.Hour,
			Tolerance: Tolerance, Log: log}),
		Servers: tg, Repair: repair, Concurrency: 10, GiveUpAfter: 24 * time.Hour, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.listener.breaker.reset()
	return b
}

// cloud returns a client for a user whose writes cause notifications on the bus.
func (b *bus) cloud(id, name string) *cloud.Cloud {
	return cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: notifying{b, b.sim.Transport(), id, name},
	})
}

// notifying is a transport that publishes a notification for each write.
type notifying struct {
	bus      *bus
	to       http.RoundTripper
	id, name string
}

func (n notifying) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.to.RoundTrip(r)
	_, rest, ok := strings.Cut(r.URL.Path, "/servers/")
	isWrite := ok && r.Method != http.MethodGet && strings.Contains(rest, "/metadata")
	if err != nil || !isWrite || resp.StatusCode >= 300 {
		return resp, err
	}
	server, _, _ := strings.Cut(rest, "/")
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct{ Metadata map[string]string }
	if json.Unmarshal(body, &answer) != nil {
		s, _ := n.bus.sim.Server(server)
		answer.Metadata = s.Metadata
	}
	request := resp.Header.Get("X-Openstack-Request-Id")
	for _, file := range []string{"compute.instance.update.metadata", "instance.update.metadata"} {
		n.bus.tell(file, server, request, n.id, n.name, answer.Metadata)
	}
	return resp, nil
}

// tell puts a captured notification on the bus, changed to be about this server.
func (b *bus) tell(file, server, request, user, userName string, keys map[string]string) {
	b.Helper()
	b.tellAs("", file, server, request, user, userName, keys)
}

// tellAs is tell with another event type; "" keeps the captured one.
func (b *bus) tellAs(eventType, file, server, request, user, userName string, keys map[string]string) {
	b.Helper()
	text, err := os.ReadFile("../contract/testdata/notifications/" + file + ".json")
	if err != nil {
		b.Fatal(err)
	}
	var envelope map[string]string
	var n map[string]any
	if json.Unmarshal(text, &envelope) != nil || json.Unmarshal([]byte(envelope["oslo.message"]), &n) != nil {
		b.Fatalf("%s is not a notification", file)
	}
	payload := n["payload"].(map[string]any)
	if inner, ok := payload["nova_object.data"].(map[string]any); ok {
		payload = inner
		payload["uuid"], payload["request_id"], payload["action_initiator_user"] = server, request, user
	} else {
		payload["instance_id"] = server
	}
	if eventType != "" {
		n["event_type"] = eventType
	}
	payload["tenant_id"], payload["metadata"] = b.project, keys
	n["_context_request_id"], n["_context_user_id"], n["_context_user"], n["_context_user_name"] = request, user, user,
		userName
	at := time.Now().Add(-time.Duration(b.ago.Load())).UTC()
	n["_context_project_id"], n["timestamp"] = b.project, at.Format("2006-01-02 15:04:05.000000")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	n["message_id"] = fmt.Sprintf("m-%d", b.last)
	inner, err := json.Marshal(n)
	if err != nil {
		b.Fatal(err)
	}
	quoted, err := json.Marshal(string(inner))
	if err != nil {
		b.Fatal(err)
	}
	b.hand(amqp.Delivery{Body: fmt.Appendf(nil, `{"oslo.version": "2.0", "oslo.message": %s}`, quoted)})
}

// hand passes a message to the listener. The caller holds the lock, because messages are accepted one by one.
func (b *bus) hand(d amqp.Delivery) {
	d.Acknowledger = &broker{}
	taken := b.listener.accept(b.Context(), b, d)
	b.work.Go(taken.finish)
}

// send keeps messages for delay queues until the test redelivers them.
func (b *bus) send(_ context.Context, queue string, p amqp.Publishing) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(queue, ".rejected") {
		b.Errorf("rejected: %s", p.Headers[headerReason])
	}
	b.delayed = append(b.delayed, p)
	return nil
}

// expire redelivers the messages in the delay queues.
func (b *bus) expire() {
	b.mu.Lock()
	for _, p := range b.delayed {
		b.hand(amqp.Delivery{Body: p.Body, Headers: p.Headers, ContentType: p.ContentType})
	}
	b.delayed = nil
	b.mu.Unlock()
	b.settle()
}

// quiet redelivers the messages in the delay queues, each time after the shortest delay, until there are none.
func (b *bus) quiet() {
	b.Helper()
	b.settle()
	for range 10 {
		if len(b.delayed) == 0 {
			return
		}
		backoff.Sleep(b.Context(), steps()[0])
		b.expire()
	}
	b.Errorf("%d messages are still in the delay queues", len(b.delayed))
}

// settle waits until no message is under way.
func (b *bus) settle() { b.work.Wait() }

func (b *bus) server(i int) string {
	return fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012d", i)
}

// create creates a server and publishes its notification.
func (b *bus) create(i int) string {
	id := b.server(i)
	b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.project, Metadata: map[string]string{"env": "prod"}})
	b.tell("compute.instance.create.end.from-image", id, fmt.Sprintf("req-create-%d", i), "alice-id", "alice", nil)
	return id
}

func (b *bus) metadata(id string) map[string]string {
	s, _ := b.sim.Server(id)
	return s.Metadata
}

// sent returns the requests about a server.
func (b *bus) sent(id string) []string {
	var all []string
	for _, r := range b.sim.Requests() {
		if _, rest, ok := strings.Cut(r.Path, "/servers/"+id); ok {
			all = append(all, strings.TrimSpace(r.Method+" "+rest))
		}
	}
	return all
}

func (b *bus) metrics() string {
	var text strings.Builder
	if err := b.listener.undone.writePrometheus(&text); err != nil {
		b.Fatal(err)
	}
	return text.String()
}

// resource returns a user's client of a server, and a function that sends a request with other metadata.
func (b *bus) resource(c *cloud.Cloud, id string) (*metadata.Resource, func(method string, keys map[string]string)) {
	session, err := c.Session(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	service, err := session.Service("compute")
	if err != nil {
		b.Fatal(err)
	}
	r, err := metadata.New(service, metadata.Server, id,
		metadata.Options{Family: metadata.Server.Family(metadata.OpenStack)})
	if err != nil {
		b.Fatal(err)
	}
	return r, func(method string, keys map[string]string) {
		_, err := service.Request(b.Context(), method, service.ServiceURL("servers", id, "metadata"), requestOf(keys))
		if err != nil {
			b.Error(err)
		}
	}
}

// A script that writes once to each server makes Nova lose keys that Tagger wrote. With repair, none is lost in the
// end, and servers that only Tagger writes to need no more calls.
func TestUndoneWritesAreRepaired(t *testing.T) {
	const all, beside = 85, 60 // the script writes to these
	for _, repair := range []bool{false, true} {
		t.Run(fmt.Sprintf("repair %t", repair), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t, twoKeys, repair, simcloud.Options{LostUpdates: true, Latency: 200 * time.Millisecond})
				script := b.cloud("script-id", "script")
				var writers sync.WaitGroup
				for i := range all {
					id := b.create(i)
					if i < beside {
						after := time.Duration(b.rand.Int64N(int64(800 * time.Millisecond)))
						writers.Go(func() {
							backoff.Sleep(t.Context(), after)
							r, _ := b.resource(script, id)
							if _, err := r.Write(t.Context(), map[string]string{"patched": "yes"}); err != nil {
								t.Error(err)
							}
						})
					}
					backoff.Sleep(t.Context(), 150*time.Millisecond)
				}
				writers.Wait()
				b.quiet()
				lost, calls := 0, 0
				for i := range all {
					id := b.server(i)
					calls += len(b.sent(id))
					have := b.metadata(id)
					if have["owner"] != "alice" || have["cost-center"] != "CC-17" {
						lost++
					}
					if want := []string{"POST /metadata", "GET /metadata"}; i >= beside && !slices.Equal(want, b.sent(id)) {
						t.Errorf("server %d, which only Tagger wrote to: %q", i, b.sent(id))
					}
				}
				t.Logf("repair %t: %d of %d servers lost keys; %d calls, %d of them the script's", repair, lost, all, calls, beside)
				t.Log(b.metrics())
				if repair != (lost == 0) {
					t.Errorf("%d servers lost keys", lost)
				}
			})
		})
	}
}

// Deliberate removals are respected.
func TestDeliberateRemovals(t *testing.T) {
	kept := map[string]string{"env": "prod"}
	for _, tt := range []struct {
		name, rules string
		act         func(b *bus, id string, replace func(method string, keys map[string]string))
		want        map[string]string
		calls       []string // after the first two
		log         string
		metrics     []string
	}{
		{
			name: "all of our keys, soon", want: kept,
			act: func(b *bus, id string, replace func(string, map[string]string)) {
				backoff.Sleep(b.Context(), 5*time.Second)
				replace(http.MethodPut, kept)
			},
			calls:   []string{"PUT /metadata", "GET /metadata"},
			log:     `keys="[cost-center owner]" user_id=heat-id user_name=heat-svc`,
			metrics: []string{`tagger_removed_total{key="owner"} 1`, "tagger_undone_checks_total 1"},
		},
		{
			name: "one key, soon", want: map[string]string{"env": "prod", "cost-center": "CC-17"},
			act: func(b *bus, id string, _ func(string, map[string]string)) {
				r, _ := b.resource(b.cloud("heat-id", "heat-svc"), id)
				if err := r.Remove(b.Context(), "owner"); err != nil {
					b.Error(err)
				}
			},
			calls: []string{"DELETE /metadata/owner", "GET /metadata/owner"}, log: "removed on purpose: nothing else changed",
			metrics: []string{`tagger_removed_total{key="owner"} 1`},
		},
		{
			name: "late", want: map[string]string{"env": "test"},
			act: func(b *bus, id string, replace func(string, map[string]string)) {
				backoff.Sleep(b.Context(), 31*time.Second)
				replace(http.MethodPut, map[string]string{"env": "test"})
			},
			calls: []string{"PUT /metadata"}, log: "user_id=heat-id user_name=heat-svc",
			metrics: []string{`tagger_removed_total{key="cost-center"} 1`, `tagger_removed_total{key="owner"} 1`,
				"tagger_undone_checks_total 0"},
		},
		{
			name: "another map each time", want: map[string]string{"env": "2"},
			act: func(b *bus, id string, replace func(string, map[string]string)) {
				for i := range 3 {
					replace(http.MethodPut, map[string]string{"env": strconv.Itoa(i)})
					b.quiet()
				}
			},
			calls: []string{
				"PUT /metadata", "GET /metadata", "GET /metadata", "POST /metadata", "GET /metadata",
				"PUT /metadata", "GET /metadata", "GET /metadata", "POST /metadata", "GET /metadata",
				"PUT /metadata", "GET /metadata",
			},
			log: `conflict: key cost-center removed 3 times by user heat-id (heat-svc)`,
			metrics: []string{`tagger_restored_total{key="owner"} 2`, `tagger_removed_total{key="owner"} 1`,
				"tagger_conflicts_total 1"},
		},
		{
			name: "yield_to", rules: "yield_to: [\"heat-*\"]\n", want: map[string]string{"env": "test"},
			act: func(b *bus, id string, replace func(string, map[string]string)) {
				replace(http.MethodPut, map[string]string{"env": "test"})
			},
			calls: []string{"PUT /metadata", "GET /metadata"}, log: "yield_to lists who removed them",
		},
		{
			name: "protected keys", rules: "protected_keys: [owner]\n",
			want: map[string]string{"env": "test", "cost-center": "CC-17"},
			act: func(b *bus, id string, replace func(string, map[string]string)) {
				replace(http.MethodPut, map[string]string{"env": "test"})
			},
			calls: []string{"PUT /metadata", "GET /metadata/cost-center", "GET /metadata/cost-center", "POST /metadata",
				"GET /metadata"},
		},
		{
			name: "Tagger itself", want: map[string]string{"env": "prod", "cost-center": "CC-17"},
			act: func(b *bus, id string, _ func(string, map[string]string)) {
				b.tell("compute.instance.update.metadata", id, "req-nothing", "heat-id", "heat-svc",
					map[string]string{"env": "prod", "owner": "alice", "cost-center": "CC-17"})
				b.started(id)
			},
			calls: []string{"GET", "DELETE /metadata/owner", "GET /metadata"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t, tt.rules+twoKeys, true, simcloud.Options{})
				id := b.create(1)
				b.settle()
				heat := b.cloud("heat-id", "heat-svc")
				_, replace := b.resource(heat, id)
				tt.act(b, id, replace)
				b.quiet()
				if diff := cmp.Diff(tt.want, b.metadata(id)); diff != "" {
					t.Errorf("metadata (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(append([]string{"POST /metadata", "GET /metadata"}, tt.calls...), b.sent(id)); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				if !strings.Contains(b.log.String(), tt.log) {
					t.Errorf("the log lacks %q:\n%s", tt.log, b.log.String())
				}
				for _, want := range tt.metrics {
					if !strings.Contains(b.metrics(), want+"\n") {
						t.Errorf("the metrics lack %q:\n%s", want, b.metrics())
					}
				}
			})
		})
	}
}

// A failed repair is retried when the update is redelivered from its delay queue.
func TestFailedRepairIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, twoKeys, true, simcloud.Options{})
		id := b.create(1)
		b.settle()
		_, replace := b.resource(b.cloud("heat-id", "heat-svc"), id)
		b.sim.SetServerState(id, "active", "")
		b.sim.Inject(simcloud.Fault{Service: "compute", Method: "POST", Path: "/metadata", Times: 3,
			Answer: simcloud.ServerError()})
		replace(http.MethodPut, map[string]string{"env": "test"})
		b.settle()
		for range 4 {
			if len(b.delayed) != 1 || len(b.metadata(id)) != 1 {
				t.Fatalf("%d messages in the delay queues, %v", len(b.delayed), b.metadata(id))
			}
			backoff.Sleep(t.Context(), 15*time.Second)
			b.expire()
		}
		want := map[string]string{"env": "test", "owner": "alice", "cost-center": "CC-17"}
		if diff := cmp.Diff(want, b.metadata(id)); diff != "" {
			t.Errorf("metadata (-want +got):\n%s\n%s", diff, b.log.String())
		}
	})
}

// Updates of one server that follow each other quickly are one removal. One repair follows, once the other writer is
// quiet.
func TestBursts(t *testing.T) {
	type act = func(b *bus, id string, replace func(env string))
	// again writes a new map n times, each time after a pause.
	again := func(n int, pause time.Duration) act {
		return func(b *bus, _ string, replace func(string)) {
			for i := range n {
				backoff.Sleep(b.Context(), pause)
				replace(strconv.Itoa(i))
			}
		}
	}
	restored := func(env string) map[string]string {
		return map[string]string{"env": env, "owner": "alice", "cost-center": "CC-17"}
	}
	repair := []string{"GET /metadata", "POST /metadata", "GET /metadata"}
	puts := func(n int) []string { return slices.Repeat([]string{"PUT /metadata"}, n) }
	// burst has n writes of another writer. Tagger reads the server after the first.
	burst := func(n int) []string { return slices.Concat(puts(1), []string{"GET /metadata"}, puts(n-1)) }
	for _, tt := range []struct {
		name, rules string // the rules are in addition to the usual ones
		act         act
		want        map[string]string
		calls       []string // after the first two
		log         string
		metrics     []string
	}{
		{
			name: "three undoes within two seconds", act: again(3, 600*time.Millisecond),
			want: restored("2"), calls: slices.Concat(burst(3), repair), log: "user_id=heat-id user_name=heat-svc",
			metrics: []string{`tagger_restored_total{key="owner"} 1`, "tagger_undone_checks_total 2",
				"tagger_conflicts_total 0"},
		},
		{
			name: "three bursts are a conflict",
			act: func(b *bus, id string, replace func(string)) {
				for range 3 {
					again(3, time.Second)(b, id, replace)
					b.quiet()
				}
			},
			want:    map[string]string{"env": "2"},
			calls:   slices.Concat(burst(3), repair, burst(3), repair, burst(3)),
			log:     "conflict: key cost-center removed 3 times by user heat-id (heat-svc)",
			metrics: []string{`tagger_restored_total{key="owner"} 2`, "tagger_conflicts_total 1"},
		},
		{
			name: "removals some minutes apart are a conflict",
			act: func(b *bus, id string, replace func(string)) {
				for i := range 3 {
					backoff.Sleep(b.Context(), 3*time.Minute)
					replace(strconv.Itoa(i))
					b.settle()
					b.tell("compute.instance.create.end.from-image", id, fmt.Sprint("req-again-", i), "alice-id", "alice", nil)
					b.quiet()
				}
			},
			want: restored("2"), log: "conflict: key cost-center removed 3 times by user heat-id (heat-svc)",
			calls: slices.Concat(puts(1), []string{"POST /metadata", "GET /metadata"}, puts(1),
				[]string{"POST /metadata", "GET /metadata"}, puts(1), []string{"POST /metadata", "GET /metadata"}),
			metrics: []string{`tagger_removed_total{key="owner"} 3`, "tagger_conflicts_total 1"},
		},
		{
			name: "a writer that never stops",
			act: func(b *bus, id string, replace func(string)) {
				for i := range 4 * 16 {
					backoff.Sleep(b.Context(), time.Second)
					replace(strconv.Itoa(i))
					b.settle()
					if i%15 == 0 {
						b.expire()
					}
				}
			},
			want: restored("63"), calls: slices.Concat(burst(61), repair, burst(3), repair),
			metrics: []string{`tagger_restored_total{key="owner"} 2`, "tagger_conflicts_total 0"},
		},
		{
			name: "the second undo is late",
			act: func(b *bus, id string, replace func(string)) {
				again(1, 25*time.Second)(b, id, replace)
				again(1, 10*time.Second)(b, id, replace)
			},
			want: restored("0"), calls: slices.Concat(burst(2), repair),
			metrics: []string{`tagger_restored_total{key="owner"} 1`},
		},
		{
			name: "a key is deleted on purpose meanwhile",
			act: func(b *bus, id string, _ func(string)) {
				r, replace := b.resource(b.cloud("heat-id", "heat-svc"), id)
				replace(http.MethodPut, map[string]string{"env": "test", "cost-center": "CC-17"})
				backoff.Sleep(b.Context(), time.Second)
				if err := r.Remove(b.Context(), "cost-center"); err != nil {
					b.Error(err)
				}
			},
			want: map[string]string{"env": "test", "owner": "alice"},
			calls: []string{"PUT /metadata", "GET /metadata/owner", "DELETE /metadata/cost-center",
				"GET /metadata/cost-center", "GET /metadata/owner", "POST /metadata", "GET /metadata"},
			log:     "removed on purpose: nothing else changed",
			metrics: []string{`tagger_restored_total{key="owner"} 1`, `tagger_removed_total{key="cost-center"} 1`},
		},
		{
			name: "Tagger removes a key meanwhile",
			act: func(b *bus, id string, replace func(string)) {
				replace("test")
				b.settle()
				b.started(id)
			},
			want: map[string]string{"env": "test", "cost-center": "CC-17"},
			calls: []string{"PUT /metadata", "GET /metadata", "GET", "GET /metadata/cost-center", "POST /metadata",
				"GET /metadata"},
			metrics: []string{`tagger_restored_total{key="cost-center"} 1`},
		},
		{
			name: "Tagger writes another key meanwhile", rules: "- {name: host, on: server.started, set: {host: h-1}}\n",
			act: func(b *bus, id string, replace func(string)) {
				replace("test")
				b.settle()
				b.started(id)
			},
			want: map[string]string{"env": "test", "cost-center": "CC-17", "host": "h-1"},
		},
		{
			name: "Tagger writes a key again meanwhile, and a user deletes it", want: map[string]string{"env": "test"},
			act: func(b *bus, id string, _ func(string)) {
				_, replace := b.resource(b.cloud("heat-id", "heat-svc"), id)
				replace(http.MethodPut, map[string]string{"env": "test", "cost-center": "CC-17"})
				b.settle()
				b.tell("compute.instance.create.end.from-image", id, "req-again", "alice-id", "alice", nil)
				b.settle()
				replace(http.MethodPut, map[string]string{"env": "test"})
			},
			log: "removed on purpose: nothing else changed",
		},
		{
			name: "the keys are there", want: restored("prod"), calls: []string{"GET /metadata"},
			act: func(b *bus, id string, _ func(string)) {
				b.tell("instance.update.metadata", id, "req-other", "heat-id", "heat-svc", map[string]string{"env": "test"})
			},
			metrics: []string{"tagger_undone_checks_total 1"},
		},
		{
			name: "the message returns without having been deferred", want: restored("0"),
			act: func(b *bus, id string, replace func(string)) {
				again(1, 0)(b, id, replace)
				b.settle()
				b.delayed[0].Headers = nil
			},
			calls: slices.Concat(burst(1), repair), metrics: []string{`tagger_restored_total{key="owner"} 1`},
		},
		{
			name: "the message is lost, and the writer is not quiet", want: restored("0"),
			act: func(b *bus, id string, replace func(string)) {
				again(1, 0)(b, id, replace)
				b.settle()
				b.delayed = nil
				again(1, maxQuietWait)(b, id, replace)
				b.settle()
				if len(b.delayed) > 0 {
					b.Errorf("%d messages in the delay queues", len(b.delayed))
				}
			},
			calls: slices.Concat(burst(2), repair), metrics: []string{`tagger_restored_total{key="owner"} 1`},
		},
		{
			name: "the message is lost, and the keys are removed much later", want: map[string]string{"env": "0"},
			act: func(b *bus, id string, replace func(string)) {
				again(1, 0)(b, id, replace)
				b.settle()
				b.delayed = nil
				again(1, burstFor)(b, id, replace)
			},
			calls: burst(2), log: "left as they are", metrics: []string{`tagger_removed_total{key="owner"} 1`},
		},
		{
			name: "the listener stops", want: restored("1"),
			act: func(b *bus, id string, replace func(string)) {
				again(2, time.Second)(b, id, replace)
				b.settle()
				begun := time.Now()
				b.listener.finishRepairs(b.Context())
				if took := time.Since(begun); took > 0 {
					b.Errorf("it took %s", took)
				}
				b.delayed = nil // the next listener does not remember the write
			},
			calls: slices.Concat(burst(2), repair), metrics: []string{`tagger_restored_total{key="owner"} 1`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t, twoKeys+tt.rules, true, simcloud.Options{})
				id := b.create(1)
				b.settle()
				_, replace := b.resource(b.cloud("heat-id", "heat-svc"), id)
				tt.act(b, id, func(env string) { replace(http.MethodPut, map[string]string{"env": env}) })
				b.settle()
				if held := len(b.listener.deferrals.held); held > 0 { // an unlocked server does not end the wait
					t.Errorf("%d messages wait for their server", held)
				}
				b.quiet()
				if diff := cmp.Diff(tt.want, b.metadata(id)); diff != "" {
					t.Errorf("metadata (-want +got):\n%s", diff)
				}
				calls := append([]string{"POST /metadata", "GET /metadata"}, tt.calls...)
				if diff := cmp.Diff(calls, b.sent(id)); tt.calls != nil && diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				if !strings.Contains(b.log.String(), tt.log) {
					t.Errorf("the log lacks %q", tt.log)
				}
				for _, want := range tt.metrics {
					if !strings.Contains(b.metrics(), want+"\n") {
						t.Errorf("the metrics lack %q:\n%s", want, b.metrics())
					}
				}
				if t.Failed() {
					t.Log(b.log.String())
				}
			})
		})
	}
}

// The remembered writes and the keys with a metric of their own have limits.
func TestUndoneLimits(t *testing.T) {
	u := newUndone(servers{}, slog.New(slog.DiscardHandler))
	long := strings.Repeat("x", 64<<10)
	for i := range maxWatched + 10 {
		u.watch(tagger.Write{Resource: tagger.ResourceRef{Kind: "server", ID: strconv.Itoa(i)},
			Keys: map[string]string{"k": "v"}})
	}
	if u.order.Len() != maxWatched || len(u.watched) != maxWatched {
		t.Errorf("%d servers are remembered", u.order.Len())
	}
	if u.knows("9") || !u.knows("10") {
		t.Error("the wrong servers are forgotten")
	}
	for i := range 1000 {
		u.watch(tagger.Write{Resource: tagger.ResourceRef{Kind: "server", ID: fmt.Sprint("long-", i)},
			Keys: map[string]string{"k": long}})
	}
	sum := 0
	for e := u.order.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*watched).bytes
	}
	if u.bytes > maxWatchedBytes || u.bytes != sum || !u.knows("long-999") {
		t.Errorf("%d bytes are remembered, %d by the count", sum, u.bytes)
	}
	for i := range 10 * maxRemovedKeys {
		count(u.removed, fmt.Sprint("key-", i))
	}
	if len(u.removed) != maxRemovedKeys+1 || u.removed[otherKeys] != 9*maxRemovedKeys {
		t.Errorf("%d keys, %d of them others", len(u.removed), u.removed[otherKeys])
	}
}

type servers struct{ Servers }
