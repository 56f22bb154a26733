package apply_test

import (
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// Cinder's database treats owner and Owner as one key: a value written under one is read under the other.
func TestSnapshotKeysFoldCase(t *testing.T) {
	owner := m{"owner": "alice"}
	for _, tt := range []struct {
		name    string
		have    m
		plan    rules.Plan
		outcome apply.Outcome
		want    m
		sent    []string
	}{
		{
			"add leaves what is there", owner, rules.Plan{Add: m{"Owner": "bob"}}, apply.Unchanged, m{"owner": "alice"},
			[]string{"GET snapshots/metadata 200"},
		},
		{
			"set overwrites it, once", owner, rules.Plan{Set: m{"Owner": "bob"}}, apply.Tagged, m{"owner": "bob"},
			[]string{`PUT snapshots/metadata/Owner 200 {"meta":{"Owner":"bob"}}`, "GET snapshots/metadata 200"},
		},
		{
			"remove does not find it", owner, rules.Plan{Remove: []string{"Owner"}}, apply.Unchanged, m{"owner": "alice"},
			[]string{"GET snapshots/metadata 200"},
		},
		{
			"a rename changes the case, beside an add", m{"Owner": "bob"},
			rules.Plan{Rename: m{"Owner": "owner"}, Add: m{"owner": "alice"}}, apply.Tagged, m{"owner": "bob"},
			[]string{"GET snapshots/metadata 200", "DELETE snapshots/metadata/Owner 200",
				`PUT snapshots/metadata/owner 200 {"meta":{"owner":"bob"}}`, "GET snapshots/metadata 200"},
		},
		{
			"a rename does not overwrite it", m{"Owner": "bob", "dept": "42"}, rules.Plan{Rename: m{"dept": "owner"}},
			apply.Unchanged, m{"Owner": "bob", "dept": "42"}, []string{"GET snapshots/metadata 200"},
		},
		{
			"a snapshot that was created with both keeps both", m{"Owner": "bob", "owner": "alice"},
			rules.Plan{Remove: []string{"owner"}}, apply.Unchanged, m{"Owner": "bob", "owner": "alice"},
			[]string{"GET snapshots/metadata 200"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutSnapshot(simcloud.Snapshot{ID: id, Metadata: tt.have})
			s.want("snapshot", s.applier.Apply(t.Context(), s.snapshots, job(tt.plan)), tt.outcome, "")
			diff(t, "sent", tt.sent, s.sent())
			snapshot, _ := s.sim.Snapshot(id)
			diff(t, "metadata", tt.want, m(snapshot.Metadata))
		})
	}
}
