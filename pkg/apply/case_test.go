package apply_test

import (
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// Nova writes owner and Owner as two keys, but deleting one deletes both. A user's key must not be deleted with ours,
// and a key of ours that differs only in case must be reported.
func TestKeysThatDifferInCase(t *testing.T) {
	for _, tt := range []struct {
		name    string
		have    m
		plan    rules.Plan
		outcome apply.Outcome
		after   m
		problem string
	}{
		{
			"a removal that would take another along is left out", m{"Owner": "bob", "owner": "al"},
			rules.Plan{Remove: []string{"owner"}},
			apply.Unchanged, m{"Owner": "bob", "owner": "al"}, `owner not removed: the cloud would delete "Owner" too`,
		},
		{
			"a trailing space counts as a difference in case", m{"owner ": "bob", "owner": "al"},
			rules.Plan{Remove: []string{"owner"}},
			apply.Unchanged, m{"owner ": "bob", "owner": "al"}, `owner not removed: the cloud would delete "owner " too`,
		},
		{
			"a removal of what is not there takes nothing along", m{"Owner": "bob"}, rules.Plan{Remove: []string{"owner"}},
			apply.Unchanged, m{"Owner": "bob"}, "",
		},
		{
			"the other keys are removed", m{"Owner": "bob", "owner": "al", "old": "1"},
			rules.Plan{Remove: []string{"old", "owner"}},
			apply.Tagged, m{"Owner": "bob", "owner": "al"}, `owner not removed`,
		},
		{
			"a key that is there in other letters is not added", m{"Owner": "bob"},
			rules.Plan{Add: m{"owner": "al", "env": "dev"}},
			apply.Tagged, m{"Owner": "bob", "env": "dev"}, `owner not added: "Owner" is there`,
		},
		{
			"a key that is set is written, with a word", m{"Owner": "bob"}, rules.Plan{Set: m{"owner": "al"}},
			apply.Tagged, m{"Owner": "bob", "owner": "al"}, `owner written beside "Owner"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutServer(simcloud.Server{ID: id, Metadata: tt.have})
			got := s.applier.Apply(t.Context(), s.servers, job(tt.plan))
			s.want("server", got, tt.outcome, "")
			server, _ := s.sim.Server(id)
			diff(t, "metadata", tt.after, m(server.Metadata))
			var said []string
			for _, p := range got.Problems {
				said = append(said, p.Key+" "+p.Why)
			}
			if text := strings.Join(said, "; "); !strings.Contains(text, tt.problem) || (text == "") != (tt.problem == "") {
				t.Errorf("problems %q, want %q", text, tt.problem)
			}
		})
	}
}
