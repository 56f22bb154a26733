package apply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// Patterns and renames depend on the existing keys, which are read first.
func TestPatternsAndRenames(t *testing.T) {
	for _, tt := range []struct {
		name    string
		have    m
		plan    rules.Plan
		outcome apply.Outcome
		after   m
		sent    []string
		problem string
	}{
		{
			"a pattern removes what it matches", m{"tmp-a": "1", "tmp-b": "2", "keep": "3"},
			rules.Plan{RemoveGlobs: []string{"tmp-*"}},
			apply.Tagged, m{"keep": "3"},
			[]string{"GET servers/metadata 200", "DELETE servers/metadata/tmp-a 204", "DELETE servers/metadata/tmp-b 204",
				"GET servers/metadata 200"}, "",
		},
		{
			"a pattern matches nothing", m{"keep": "3"}, rules.Plan{RemoveGlobs: []string{"tmp-*"}},
			apply.Unchanged, m{"keep": "3"}, []string{"GET servers/metadata 200"}, "",
		},
		{
			"a rename moves the value", m{"dept": "42"}, rules.Plan{Rename: m{"dept": "department"}},
			apply.Tagged, m{"department": "42"},
			[]string{
				"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"department":"42"}}`,
				"DELETE servers/metadata/dept 204", "GET servers/metadata 200",
			}, "",
		},
		{
			"a rename of case deletes first", m{"Owner": "bob"},
			rules.Plan{Rename: m{"Owner": "owner"}, Add: m{"owner": "alice"}},
			apply.Tagged, m{"owner": "bob"},
			[]string{
				"GET servers/metadata 200", "DELETE servers/metadata/Owner 204",
				`POST servers/metadata 200 {"metadata":{"owner":"bob"}}`, "GET servers/metadata 200",
			}, "",
		},
		{
			"both keys have a value", m{"dept": "42", "department": "7"}, rules.Plan{Rename: m{"dept": "department"}},
			apply.Unchanged, m{"dept": "42", "department": "7"}, []string{"GET servers/metadata 200"},
			`not renamed: "department" exists too`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutServer(simcloud.Server{ID: id, Metadata: tt.have})
			j := job(tt.plan)
			var renamed []string
			j.Renaming = func(from, to, value string) { renamed = append(renamed, from+" "+to+" "+value) }
			got := s.applier.Apply(t.Context(), s.servers, j)
			s.want("server", got, tt.outcome, "")
			diff(t, "sent", tt.sent, s.sent())
			server, _ := s.sim.Server(id)
			diff(t, "metadata", tt.after, m(server.Metadata))
			if text := fmt.Sprint(got.Problems); !strings.Contains(text, tt.problem) ||
				(len(got.Problems) == 0) != (tt.problem == "") {
				t.Errorf("problems %s, want %q", text, tt.problem)
			}
			if renames := len(tt.plan.Rename) > 0 && tt.outcome == apply.Tagged; renames != (len(renamed) == 1) {
				t.Errorf("renamed %q", renamed)
			}
		})
	}
}

// Once the old key of a rename is gone, the value is written under the new key whatever fails on the way.
func TestRenameKeepsTheValue(t *testing.T) {
	s := newStand(t, simcloud.Options{}, options())
	s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"Owner": "bob"}})
	s.sim.Inject(simcloud.Fault{Method: "POST", Answer: simcloud.ServerError(), Times: 1})
	got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Rename: m{"Owner": "owner"}}))
	s.want("server", got, apply.Tagged, "")
	server, _ := s.sim.Server(id)
	diff(t, "metadata", m{"owner": "bob"}, m(server.Metadata))
}

// At the quota, the most important keys are written, and the rest are reported.
func TestQuotaWritesWhatFits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		reserve int
		have    int
		outcome apply.Outcome
		written m
		left    []string
	}{
		{"one too many", 0, 8, apply.Tagged, m{"owner": "alice", "cost": "CC-1"}, []string{"env"}},
		{"room for others is kept", 1, 8, apply.Tagged, m{"owner": "alice"}, []string{"cost", "env"}},
		{"no room at all", 0, 10, apply.Rejected, m{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{MaxMetadataItems: 10}, options())
			have := m{}
			for i := range tt.have {
				have[fmt.Sprintf("k%d", i)] = "x"
			}
			s.sim.PutServer(simcloud.Server{ID: id, Metadata: have})
			plan := rules.Plan{Set: m{"env": "dev", "owner": "alice", "cost": "CC-1"}, Order: []string{"owner", "cost", "env"},
				Reserve: tt.reserve}
			got := s.applier.Apply(t.Context(), s.servers, job(plan))
			if got.Outcome != tt.outcome {
				t.Errorf("%s", got)
			}
			diff(t, "written", tt.written, orEmpty(got.Written))
			if tt.outcome == apply.Tagged {
				diff(t, "left out", tt.left, keysOf(got.Problems))
			}
		})
	}
}
