package listen

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// repaired compares the metadata of a server after the updates that act causes, and all that waits, with want.
func repaired(t *testing.T, rules string, want map[string]string,
	act func(b *bus, id string, put func(map[string]string))) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, rules, true, simcloud.Options{})
		id := b.create(1)
		b.settle()
		_, replace := b.resource(b.cloud("heat-id", "heat-svc"), id)
		act(b, id, func(m map[string]string) { replace(http.MethodPut, m) })
		b.quiet()
		if diff := cmp.Diff(want, b.metadata(id)); diff != "" {
			t.Errorf("metadata (-want +got):\n%s\n%s\n%q", diff, b.log.String(), b.sent(id))
		}
	})
}

// A false alarm (map from memory, keys there), then a deliberate deletion within the wait.
func TestDeliberateRemovalAfterAFalseAlarm(t *testing.T) {
	for name, rules := range map[string]string{
		"nothing else": twoKeys, "yield_to": "yield_to: [\"policy-*\"]\n" + twoKeys,
	} {
		t.Run(name, func(t *testing.T) {
			repaired(t, rules, map[string]string{"env": "prod", "cost-center": "CC-17"},
				func(b *bus, id string, _ func(map[string]string)) {
					b.tell("instance.update.metadata", id, "req-other", "heat-id", "heat-svc",
						map[string]string{"env": "prod", "x": "1"})
					b.settle()
					backoff.Sleep(b.Context(), 2*time.Second)
					r, _ := b.resource(b.cloud("policy-id", "policy-engine"), id)
					if err := r.Remove(b.Context(), "owner"); err != nil {
						b.Error(err)
					}
				})
		})
	}
}

// The repair fails for more than ten minutes; another program's update arrives then.
func TestRepairAfterALongOutage(t *testing.T) {
	repaired(t, twoKeys, map[string]string{"env": "test", "owner": "alice", "cost-center": "CC-17"},
		func(b *bus, id string, put func(map[string]string)) {
			put(map[string]string{"env": "test"})
			b.settle()
			b.sim.Inject(simcloud.Fault{Service: "compute", Method: "POST", Path: "/metadata", Times: 11,
				Answer: simcloud.ServerError()})
			for range 11 { // each redelivery about a minute later, as on hold
				backoff.Sleep(b.Context(), time.Minute)
				b.expire()
			}
			b.tell("instance.update.metadata", id, "req-other", "nova-id", "nova", map[string]string{"env": "test"})
			b.settle()
		})
}

type racing struct {
	Servers
	after func()
}

func (r *racing) Restore(ctx context.Context, d tagger.Delivery, w tagger.Write, keys []string,
	refuse func(absent []string) string) *tagger.Result {
	result := r.Servers.Restore(ctx, d, w, keys, refuse)
	if r.after != nil {
		after := r.after
		r.after = nil
		after()
	}
	return result
}

// Another writer undoes the repair right after its read-back, and the update is handled before the repair is recorded.
func TestRepairIsUndoneAtOnce(t *testing.T) {
	repaired(t, twoKeys, map[string]string{"env": "second", "owner": "alice", "cost-center": "CC-17"},
		func(b *bus, id string, put func(map[string]string)) {
			put(map[string]string{"env": "first"})
			b.settle()
			b.listener.undone.servers = &racing{b.listener.undone.servers, func() {
				time.Sleep(time.Millisecond)
				put(map[string]string{"env": "second"})
				time.Sleep(time.Second) // the update is handled meanwhile
			}}
		})
}

// A change of the server is under way for longer than a message may take.
func TestUpdateBehindALongChange(t *testing.T) {
	repaired(t, twoKeys, map[string]string{"env": "test", "owner": "alice", "cost-center": "CC-17"},
		func(b *bus, id string, put func(map[string]string)) {
			put(map[string]string{"env": "test"})
			b.settle()
			end := b.listener.undone.begin([]tagger.ResourceRef{{Kind: "server", ID: id}})
			backoff.Sleep(b.Context(), 15*time.Second)
			b.expire()
			end()
		})
}

// The undoing update waits for a change under way whose read-back lacks the key.
func TestUndoneDuringAChange(t *testing.T) {
	repaired(t, twoKeys+"- {name: host, on: server.stopped, set: {host: h-1}}\n",
		map[string]string{"env": "test", "owner": "alice", "cost-center": "CC-17", "host": "h-1"},
		func(b *bus, id string, put func(map[string]string)) {
			end := b.listener.undone.begin([]tagger.ResourceRef{{Kind: "server", ID: id}})
			put(map[string]string{"env": "test"})
			time.Sleep(time.Second)
			w := tagger.Write{Resource: tagger.ResourceRef{Kind: "server", ID: id, Project: b.project},
				Keys: map[string]string{"host": "h-1"}, Others: map[string]string{"env": "test"}, At: time.Now()}
			r, _ := b.resource(b.cloud("ours-id", "tagger"), id)
			if _, err := r.Write(b.Context(), w.Keys); err != nil {
				b.Error(err)
			}
			b.listener.undone.mu.Lock()
			old := b.listener.undone.watched[id].Value.(*watched).write
			old.Keys, old.Others, old.At = w.Keys, w.Others, w.At
			b.listener.undone.watch(old)
			b.listener.undone.mu.Unlock()
			end()
			b.settle()
		})
}

// A late, older change leaves out the removal of a key that a newer change decided.
func TestOlderRemovalKeepsTheKey(t *testing.T) {
	repaired(t, `rules:
- {name: owner, on: server.created, set: {owner: "${actor.name}", cost-center: CC-17}}
- {name: started, on: server.started, set: {host: h-1}, remove: [owner]}
`, map[string]string{"env": "test", "owner": "alice", "cost-center": "CC-17", "host": "h-1"},
		func(b *bus, id string, put func(map[string]string)) {
			b.ago.Store(int64(5 * time.Second))
			b.started(id)
			b.ago.Store(0)
			b.settle()
			before := map[string]string{"env": "prod", "owner": "alice", "cost-center": "CC-17", "host": "h-1"}
			if diff := cmp.Diff(before, b.metadata(id)); diff != "" {
				b.Fatalf("before: %s\n%s", diff, b.log.String())
			}
			put(map[string]string{"env": "test"})
			b.settle()
		})
}

// A late, older change wrote another key: a repair uses its time for the newer change's keys too.
func TestRepairAfterAnOlderWrite(t *testing.T) {
	repaired(t, `rules:
- {name: owner, on: server.created, set: {owner: "${actor.name}", cost-center: CC-17}}
- {name: started, on: server.started, set: {host: h-1}}
`, map[string]string{"env": "test", "owner": "alice", "cost-center": "CC-17", "host": "h-1"},
		func(b *bus, id string, put func(map[string]string)) {
			b.ago.Store(int64(5 * time.Second))
			b.started(id)
			b.ago.Store(0)
			b.settle()
			put(map[string]string{"env": "test"})
			b.settle()
		})
}

// The connection is lost, and another listener gets the message and removes a key by its rules. This one then consumes
// again, within ten minutes.
func TestRepairsEndWithTheConnection(t *testing.T) {
	repaired(t, twoKeys, map[string]string{"env": "test", "cost-center": "CC-17"},
		func(b *bus, id string, put func(map[string]string)) {
			put(map[string]string{"env": "test"})
			b.settle()
			b.listener.finishRepairs(b.Context())
			b.delayed = nil // the other listener acknowledged it, and applied server.started: remove: [owner]
			b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.project,
				Metadata: map[string]string{"env": "test", "cost-center": "CC-17"}})
			backoff.Sleep(b.Context(), 2*time.Minute)
			b.tell("instance.update.metadata", id, "req-later", "nova-id", "nova",
				map[string]string{"env": "test", "cost-center": "CC-17"})
			b.settle()
		})
}
