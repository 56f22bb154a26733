package tagger_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// stopped is a trace of n servers that were stopped.
func stopped(t *testing.T, n int) event.Event {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(`{"id": "8c1f0a6e-5b0d-4a3e-9f52-%012d"}`, i)
	}
	batch := ingress.Decode(fmt.Appendf(nil, `{"trace_id": "t-1", "trace_name": "stopServer", "service_type": "ECS",
		"trace_type": "ApiCall", "trace_rating": "normal", "code": 200, "time": 1763630104000, "user": {"name": "alice"},
		"request": {"os-stop": {"servers": [%s]}}}`, strings.Join(ids, ",")))
	if batch.Records[0].Err != nil {
		t.Fatal(batch.Records[0].Err)
	}
	return batch.Records[0].Events[0]
}

func composeRules(t *testing.T, text string) *tagger.Tagger {
	t.Helper()
	set, err := tagger.Compile(settings(), rules.Source{Name: "R", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings(), set, tagger.Parts{Cloud: noCloud{}})
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

// The changes of one event together have a budget of time and memory.
func TestPlansOfAnEventAreBounded(t *testing.T) {
	const costly = `rules:
- {name: quadratic, on: server.stopped, set: {n: "${len(filter(data.request['os-stop'].servers, .id != 'x'))}"}}
`
	var wide strings.Builder
	wide.WriteString("rules:\n")
	for i := range 60 {
		fmt.Fprintf(&wide, "- {name: r%d, on: server.stopped, set: {k%[1]d: %q}}\n", i, strings.Repeat("v", 200))
	}
	var many strings.Builder
	many.WriteString("rules:\n- {name: all, on: server.stopped, set: {a: b}}\n")
	for i := range 150 {
		fmt.Fprintf(&many, "- {name: r%d, on: server.stopped, when: resource.name == %q, set: {k: v}}\n", i,
			strings.Repeat("n", 90))
	}
	for _, tt := range []struct {
		name, rules string
		servers     int
		reason      string // "" if all are planned
	}{
		{"a rule that walks the trace", costly, 1000, ""},
		{"too much time", costly, 2000,
			"the event reports 2000 changes, and its rules need more time or memory than one event may use"},
		{"many keys", wide.String(), 500, ""},
		{"many rules that do not match, and Huawei Cloud's largest bulk operation", many.String(), 1000, ""},
		{"too much memory", wide.String(), 2000,
			"the event reports 2000 changes, and its plans take more than 12582912 bytes of memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plans := composeRules(t, tt.rules).Plan(t.Context(), stopped(t, tt.servers))
			switch {
			case tt.reason == "" && (len(plans) != tt.servers || !plans[0].Pending()):
				t.Errorf("%d plans, %v", len(plans), plans[0].Decision)
			case tt.reason != "" && (len(plans) != 1 || plans[0].Pending() || plans[0].Outcome != apply.Rejected ||
				plans[0].Reason != tt.reason):
				t.Errorf("%d plans, %v", len(plans), plans[0].Decision)
			}
		})
	}
}

// The data that a plan keeps until the cloud has been read counts, whichever change of the event keeps it.
func TestKeptDataCounts(t *testing.T) {
	tg := composeRules(t, `rules:
- {name: n, on: server.stopped, when: resource.id endsWith "1", set: {a: "${resource.metadata.x ?? data.trace_id}"}}`)
	batch := ingress.Decode(fmt.Appendf(nil, `{"trace_id": "t-1", "trace_name": "stopServer", "service_type": "ECS",
		"trace_type": "ApiCall", "trace_rating": "normal", "code": 200, "time": 1763630104000, "user": {"name": "alice"},
		"request": {"os-stop": {"servers": [{"id": "8c1f0a6e-5b0d-4a3e-9f52-000000000000"},
		{"id": "8c1f0a6e-5b0d-4a3e-9f52-000000000001"}]}, "list": [%s0]}}`, strings.Repeat(`{"":0},`, 20_000)))
	plans := tg.Plan(t.Context(), batch.Records[0].Events[0])
	if len(plans) != 1 || plans[0].Pending() || !strings.Contains(plans[0].Reason, "bytes of memory") {
		t.Errorf("%d plans, %v", len(plans), plans[0].Decision)
		for _, p := range plans {
			t.Logf("%d bytes, needs %q", p.Size(), p.Needs)
		}
	}
}

// Planning ends with its context, however many changes are left.
func TestPlanningEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if plans := composeRules(t, "rules: [{name: n, on: server.stopped, set: {a: b}}]").Plan(ctx, stopped(t, 1000)); len(plans) > 0 {
		t.Errorf("%d plans", len(plans))
	}
}

// Plans that wait keep nothing of their events' decoded data, which takes 50 times the memory of its text.
func TestPlansKeepNoData(t *testing.T) {
	tg := composeRules(t, `rules: [{name: n, on: server.created, set: {a: "${len(data.list)}"}}]`)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var kept [][]*tagger.Plan
	for i := range 20 {
		batch := ingress.Decode(fmt.Appendf(nil, `{"specversion": "1.0", "id": "e-%d", "source": "//test", "subject": %q,
			"type": "io.github.cloudtagger.server.created", "data": {"list": [%s0]}}`, i, id, strings.Repeat(`{"":0},`, 24_000)))
		plans := tg.Plan(t.Context(), batch.Records[0].Events[0])
		if len(plans) != 1 || !plans[0].Pending() || plans[0].Size() > 16<<10 {
			t.Fatalf("%d plans of %d bytes: %v", len(plans), plans[0].Size(), plans[0].Decision)
		}
		kept = append(kept, plans)
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("20 plans keep %d bytes", grown)
	}
	runtime.KeepAlive(kept)
}
