package functions_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// A schedule's event, whatever is in it, runs a pass; only reviewed rules write.
func TestReconcile(t *testing.T) {
	const text = `rules: [{on: server.created, add: {owner: alice}}]`
	set, err := rules.Compile([]byte(text), rules.Options{Name: "TAGGER_RULES"})
	if err != nil {
		t.Fatal(err)
	}
	schedule := string(read(t, "../events/schedule.json"))
	for name, tt := range map[string]struct {
		reviewed, payload, want string
		written                 bool
	}{
		"reviewed":     {set.Hash()[:12], schedule, `"outcome":"done"`, true},
		"not reviewed": {"", schedule, `"outcome":"dry"`, false},
		"by hand":      {set.Hash(), `{}`, `"outcome":"done"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, "reconcile", simcloud.Options{}, "TAGGER_RULES="+text, "TAGGER_RECONCILE_RULES="+tt.reviewed,
				"TAGGER_RECONCILE_MAX_PERCENT=100")
			f.sim.Fill(20, func(i int, s *simcloud.Server) {
				s.Created = time.Now().Add(-48 * time.Hour)
				if i > 0 {
					s.Metadata = map[string]string{"owner": "alice"}
				}
			})
			id := f.sim.Servers()[0].ID
			for _, s := range f.sim.Servers() {
				if s.Metadata["owner"] == "" {
					id = s.ID
				}
			}
			a := f.invoke(tt.payload)
			if a.Failed || !strings.Contains(string(a.Body), tt.want) {
				t.Fatalf("answer %s", a.Body)
			}
			if got := f.metadata(id)["owner"] == "alice"; got != tt.written {
				t.Errorf("written %v, want %v: %s", got, tt.written, a.Body)
			}
		})
	}
}

// Over HTTP a pass would last longer than a request: the function says what to run instead.
func TestReconcileOverHTTP(t *testing.T) {
	sim := simcloud.New(simcloud.Options{})
	cmd := exec.CommandContext(t.Context(), executable("reconcile"))
	cmd.Env = append(sim.Env("http://127.0.0.1:1"), "PORT=0", "TAGGER_RULES="+rulesText)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run tagger reconcile --scheduled") {
		t.Errorf("%v: %s", err, out)
	}
}
