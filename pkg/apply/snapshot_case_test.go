package apply_test

import (
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// Cinder's database treats owner and Owner as one key: a value written under one is read under the other.
func TestSnapshotKeysFoldCase(t *testing.T) {
	for _, tt := range []struct {
		name    string
		plan    rules.Plan
		outcome apply.Outcome
		want    m
		sent    []string
	}{
		{
			"add leaves what is there", rules.Plan{Add: m{"Owner": "bob"}}, apply.Unchanged, m{"owner": "alice"},
			[]string{"GET snapshots/metadata 200"},
		},
		{
			"set overwrites it, once", rules.Plan{Set: m{"Owner": "bob"}}, apply.Tagged, m{"owner": "bob"},
			[]string{`PUT snapshots/metadata/Owner 200 {"meta":{"Owner":"bob"}}`, "GET snapshots/metadata 200"},
		},
		{
			"remove does not find it", rules.Plan{Remove: []string{"Owner"}}, apply.Unchanged, m{"owner": "alice"},
			[]string{"GET snapshots/metadata 200"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutSnapshot(simcloud.Snapshot{ID: id, Metadata: m{"owner": "alice"}})
			s.want("snapshot", s.applier.Apply(t.Context(), s.snapshots, job(tt.plan)), tt.outcome, "")
			diff(t, "sent", tt.sent, s.sent())
			snapshot, _ := s.sim.Snapshot(id)
			diff(t, "metadata", tt.want, m(snapshot.Metadata))
		})
	}
}
