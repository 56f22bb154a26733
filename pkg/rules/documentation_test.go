package rules_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// All rules in the documentation compile, and their plans can be written.
func TestDocumentedRules(t *testing.T) {
	beside := fstest.MapFS{"project.csv": {Data: []byte("project,cost_center,owner\np-1,CC-17,team-shop\n")},
		"projects.csv": {Data: []byte("project,cost_center,owner\np-1,CC-17,team-shop\n")}}
	for file, least := range map[string]int{
		"../../README.md": 1, "../../docs/rules.md": 8, "../../docs/rules-reference.md": 5, "../../docs/inheritance.md": 2,
		"../../docs/reconcile.md": 1, "../../docs/coverage.md": 1,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
		if len(blocks) < least {
			t.Errorf("%s: %d blocks of YAML", file, len(blocks))
		}
		for _, block := range blocks {
			body := block[1]
			if !strings.Contains(body, "rules:") {
				body += "rules:\n- on: server.created\n  set: {a: b}\n"
			}
			set, err := rules.Compile([]byte(body), rules.Options{Name: file, Files: beside, Now: today})
			if err != nil {
				t.Errorf("%v in\n%s", err, body)
				continue
			}
			volume := lifecycle.Parent{Kind: lifecycle.Volume, ID: "v-1"}
			transferred := change()
			transferred.Action, transferred.Resource.Kind = lifecycle.VolumeTransferred, lifecycle.Volume
			matching := 0
			for _, c := range []lifecycle.Change{change(), snapshotOf(volume), transferred} {
				matching += len(set.Plan(c, sample(t), rules.Readings{}).Rules)
			}
			if matching == 0 {
				t.Errorf("%s: no rule matches in\n%s", file, body)
			}
		}
	}
}
