package apply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// Nova and Cinder write owner and Owner of a server or a volume as two keys, but deleting one deletes both. A user's
// key must not be deleted with ours, and a key of ours that differs only in case must be reported.
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
			"a key that exists in another case is not added", m{"Owner": "bob"},
			rules.Plan{Add: m{"owner": "al", "env": "dev"}},
			apply.Tagged, m{"Owner": "bob", "env": "dev"}, `owner not added: "Owner" exists`,
		},
		{
			"a key that is set is written, with a word", m{"Owner": "bob"}, rules.Plan{Set: m{"owner": "al"}},
			apply.Tagged, m{"Owner": "bob", "owner": "al"}, `owner written beside "Owner"`,
		},
		{
			"nor by a pattern", m{"Owner": "bob", "owner": "al"}, rules.Plan{RemoveGlobs: []string{"O*"}},
			apply.Unchanged, m{"Owner": "bob", "owner": "al"}, `Owner not removed: the cloud would delete "owner" too`,
		},
		{
			"a key whose value stays is not deleted along", m{"Owner": "bob", "owner": "al"},
			rules.Plan{Add: m{"Owner": "x"}, RemoveGlobs: []string{"own*"}},
			apply.Unchanged, m{"Owner": "bob", "owner": "al"}, `owner not removed: the cloud would delete "Owner" too`,
		},
		{
			"a pattern that matches both deletes both", m{"Owner": "bob", "owner": "al", "k": "v"},
			rules.Plan{RemoveGlobs: []string{"?wner"}}, apply.Tagged, m{"k": "v"}, "",
		},
		{
			"a removal and a pattern that name both", m{"Owner": "bob", "owner": "al"},
			rules.Plan{Remove: []string{"owner"}, RemoveGlobs: []string{"O*"}}, apply.Tagged, m{}, "",
		},
		{
			"three of them, and the plan means two", m{"Owner": "bob", "owner": "al", "OWNER": "cy"},
			rules.Plan{RemoveGlobs: []string{"?wner"}},
			apply.Unchanged, m{"Owner": "bob", "owner": "al", "OWNER": "cy"},
			`Owner not removed: the cloud would delete "OWNER" too`,
		},
		{
			"a rename that would delete another is left out", m{"Owner": "bob", "owner": "al"},
			rules.Plan{Rename: m{"owner": "team"}},
			apply.Unchanged, m{"Owner": "bob", "owner": "al"}, `owner not renamed: the cloud would delete "Owner" too`,
		},
		{
			"so is one that changes the case", m{"Owner": "bob", "OWNER": "al"}, rules.Plan{Rename: m{"Owner": "owner"}},
			apply.Unchanged, m{"Owner": "bob", "OWNER": "al"}, `Owner not renamed: the cloud would delete "OWNER" too`,
		},
		{
			"an empty value is replaced", m{"Owner": "bob", "owner": ""}, rules.Plan{Rename: m{"Owner": "owner"}},
			apply.Tagged, m{"owner": "bob"}, "",
		},
		{
			"a rename to a key that exists in another case", m{"Owner": "bob", "dept": "42"},
			rules.Plan{Rename: m{"dept": "owner"}}, apply.Unchanged, m{"Owner": "bob", "dept": "42"},
			`dept not renamed: "Owner" exists and differs from "owner" in case only`,
		},
		{
			"two renames to one key", m{"Owner": "bob", "OWNER": "al"},
			rules.Plan{Rename: m{"Owner": "owner", "OWNER": "owner"}},
			apply.Unchanged, m{"Owner": "bob", "OWNER": "al"}, `another key is renamed to "owner"`,
		},
		{
			"a rename that only drops a space", m{"owner ": "bob"}, rules.Plan{Rename: m{"owner ": "owner"}},
			apply.Tagged, m{"owner": "bob"}, "",
		},
	} {
		for _, kind := range []string{"server", "volume"} {
			t.Run(kind+": "+tt.name, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				resource := s.servers
				if kind == "volume" {
					resource = s.volumes
					s.sim.PutVolume(simcloud.Volume{ID: id, Metadata: tt.have})
				} else {
					s.sim.PutServer(simcloud.Server{ID: id, Metadata: tt.have})
				}
				preview, _ := s.applier.Preview(t.Context(), resource, job(tt.plan))
				got := s.applier.Apply(t.Context(), resource, job(tt.plan))
				s.want(kind, got, tt.outcome, "")
				diff(t, "problems of the preview and the run", fmt.Sprint(preview.Problems), fmt.Sprint(got.Problems))
				if writes := len(preview.Write)+len(preview.Remove) > 0; writes != (tt.outcome == apply.Tagged) {
					t.Errorf("preview: %s", preview)
				}
				server, _ := s.sim.Server(id)
				volume, _ := s.sim.Volume(id)
				if kind == "volume" {
					server.Metadata = volume.Metadata
				}
				diff(t, "metadata", tt.after, m(server.Metadata))
				var said []string
				for _, p := range got.Problems {
					said = append(said, p.Key+" "+p.Why)
				}
				if got.Outcome == apply.Unchanged && (tt.problem == "") != (got.Reason == "everything is already as planned") {
					t.Errorf("reason %q", got.Reason)
				}
				if text := strings.Join(said, "; "); !strings.Contains(text, tt.problem) || (text == "") != (tt.problem == "") {
					t.Errorf("problems %q, want %q", text, tt.problem)
				}
			})
		}
	}
}
