//go:build !race

package tagger_test

import (
	"os"
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Allocations are counted without the race detector, which adds some of its own.

// A plan makes no call, and most events of a bus need no more than a plan.
func TestPlanAllocations(t *testing.T) {
	tg := compose(t, settings(), tagger.Parts{Cloud: noCloud{}})
	nova, err := os.ReadFile("../../events/nova-server-created.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		make func() *tagger.Plan
		most float64
	}{
		{"a plain event", planner(t, tg, nil), 116},
		{"a Nova notification, decoded", planner(t, tg, nova), 284},
	} {
		if p := tt.make(); !p.Pending() || p.Action != lifecycle.ServerCreated {
			t.Fatalf("%s: %+v", tt.name, p)
		}
		n := testing.AllocsPerRun(100, func() { tt.make() })
		t.Logf("%s: %.0f allocations", tt.name, n)
		if n > tt.most {
			t.Errorf("%s: %.0f allocations, more than %.0f", tt.name, n, tt.most)
		}
	}
}

// From an event to its result, with the write and the reads before and after it. Allocations of the embedded cloud are
// counted too.
func TestEventAllocations(t *testing.T) {
	const most = 634
	sim := simcloud.New(simcloud.Options{JournalSize: -1})
	tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")})
	e := plain(t, "server.created", "")
	handle := func() {
		sim.PutServer(simcloud.Server{ID: id}) // without what the last run wrote
		if done := tg.Handle(t.Context(), tagger.Delivery{Event: e}); done[0].Outcome != apply.Tagged {
			t.Fatalf("%+v", done)
		}
	}
	handle() // which logs in
	n := testing.AllocsPerRun(100, handle)
	t.Logf("%.0f allocations", n)
	if n > most {
		t.Errorf("%.0f allocations, more than %d", n, most)
	}
}
