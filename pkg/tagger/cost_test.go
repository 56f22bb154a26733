package tagger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// The cost of an event in figures that do not depend on the machine. A change that exceeds a bound explains it in
// docs/performance.md and raises the bound.

// planner plans a payload from its bytes, or a plain event that is already decoded.
func planner(t *testing.T, tg *tagger.Tagger, payload []byte) func() *tagger.Plan {
	decoded := plain(t, "server.created", "")
	return func() *tagger.Plan {
		e := decoded
		if payload != nil {
			e = ingress.Decode(payload).Records[0].Events[0]
		}
		return tg.Plan(t.Context(), e)[0]
	}
}

// An event costs a write and a read-back. A read comes before the write if something depends on it: whether a server
// has been started, stopped or resized again since, which values must not be overwritten (add), which keys to remove,
// and a volume's other keys.
func TestCallsOfAnEvent(t *testing.T) {
	const set, add, remove = `set: {env: dev}`, `add: {owner: alice}`, `set: {env: dev}, remove: [old, older]`
	type test struct {
		kind, action, keys string
		calls              int
	}
	run := func(tt test, payload string) {
		t.Run(tt.kind+"/"+tt.action+"/"+tt.keys, func(t *testing.T) {
			callsOfAnEvent(t, tt.kind, tt.action, tt.keys, payload, tt.calls)
		})
	}
	for _, tt := range []test{
		{"server", "server.created", set, 2},
		{"server", "server.created", add, 3},
		{"server", "server.created", remove, 5},
		{"server", "server.started", set, 3},
		{"server", "server.stopped", set, 3},
		{"server", "server.resized", set, 2}, // a plain event names no flavor to compare
		{"server", "server.rebuilt", set, 2},
		{"baremetal", "server.created", set, 2},
		{"volume", "volume.created", set, 3},
		{"volume", "volume.created", add, 3},
		{"volume", "volume.attached", set, 3},
		{"snapshot", "snapshot.created", set, 2},
		{"snapshot", "snapshot.created", add, 3},
	} {
		run(tt, fmt.Sprintf(`{"specversion": "1.0", "id": "e", "source": "//t", "type": "io.github.cloudtagger.%s", "subject": %q,
			"time": "2026-11-20T09:15:04Z", "data": {"resource": {"kind": %q, "project": "PROJECT"}}}`, tt.action, id, tt.kind))
	}
	run(test{"server", "server.resized", `set: {env: nova}`, 3},
		fmt.Sprintf(`{"message_id": "m", "publisher_id": "compute.n", "timestamp": "2026-11-20 09:15:04",
		"event_type": "compute.instance.resize.confirm.end", "payload": {"instance_id": %q, "tenant_id": "PROJECT", "instance_flavor_id": "42"}}`, id))
}

func callsOfAnEvent(t *testing.T, kind, action, keys, payload string, want int) {
	t.Helper()
	sim := simcloud.New(simcloud.Options{})
	demo, _ := sim.Project("demo")
	sim.Put(simcloud.Resource{Kind: kind, ID: id, ProjectID: demo.ID, State: lifecycle.Action(action).State()})
	if strings.Contains(keys, "remove") {
		sim.SetMetadata(kind, id, map[string]string{"old": "1", "older": "2"})
	}
	set, err := tagger.Compile(settings(),
		rules.Source{Name: "R", Text: fmt.Appendf(nil, "rules:\n- {name: r, on: %s, %s}\n", action, keys)})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings(), set, tagger.Parts{Cloud: login(sim, "secret")})
	if err != nil {
		t.Fatal(err)
	}
	batch := ingress.Decode([]byte(strings.ReplaceAll(payload, "PROJECT", demo.ID)))
	done := tg.Handle(t.Context(), tagger.Delivery{Event: batch.Records[0].Events[0]})
	if len(done) != 1 || done[0].Outcome != apply.Tagged {
		t.Fatalf("%+v", done)
	}
	var calls []string
	for _, r := range sim.Requests() {
		if r.Service != "identity" {
			calls = append(calls, r.Method+" "+r.Path)
		}
	}
	if len(calls) != want || done[0].Calls != want {
		t.Errorf("%d calls, %d counted, want %d: %q", len(calls), done[0].Calls, want, calls)
	}
}
