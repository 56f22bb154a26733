package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

var sampleBlock = regexp.MustCompile("(?s)(<!-- sample: ([^\n]*) -->\n```(?:text|json)\n)(.*?)(```)")

// What a run prints that differs from the next: times, request ids, the project's id, the embedded cloud's address.
var varying = []struct {
	pattern     *regexp.Regexp
	replacement string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?`), "2026-11-20T09:15:04Z"},
	{regexp.MustCompile(`req-[0-9a-f-]{36}`), "req-2f6c1c1e-5b0c-4d7e-9c55-0f1d9a3c7b42"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "keystone.example.com:5000"},
	{regexp.MustCompile(` calls, [0-9.msµ]+;`), " calls, 0s;"},
	{regexp.MustCompile(`run-[0-9a-f]{12}`), "run-4c1e09a2b7d3"},
	{regexp.MustCompile(`plan [0-9a-f]{12}`), "plan 71d2c5a9e0f4"},
	{regexp.MustCompile(`, id [0-9a-f]{12}`), ", id 71d2c5a9e0f4"},
	{regexp.MustCompile(`"user_id": "[0-9a-f]{32}`), `"user_id": "3d9a1b7f6c4e4d0fa2b81c5e7f90ab12`},
	{regexp.MustCompile(`creator   [0-9a-f]{32}`), "creator   3d9a1b7f6c4e4d0fa2b81c5e7f90ab12"},
	{regexp.MustCompile(`valid until \d+ \w{3} \d\d:\d\d UTC`), "valid until 21 November"},
	{regexp.MustCompile(`\d+ \w{3} \d\d:\d\d UTC`), "20 Nov 09:15 UTC"},
	{regexp.MustCompile(`valid until 21 November`), "valid until 21 Nov 09:15 UTC"},
}

// The samples in the docs of commands that read a cloud are what the commands print for a small fleet.
func TestDocumentedSamples(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{Flavors: []simcloud.Flavor{{ID: "1", Name: "m1.small", VCPUs: 2}}})
	rules, err := filepath.Abs("../../docs/examples/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TAGGER_RULES_FILE", rules)
	t.Setenv("TAGGER_RATE", "0")
	created := time.Now().Add(-2 * time.Hour).UTC().Truncate(time.Second)
	put := func(n int, s simcloud.Server) {
		s.ID, s.Created = fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a%02d", n), created
		sim.PutServer(s)
	}
	owner := map[string]string{"owner": "team-shop"}
	for n := range 9 {
		put(10+n, simcloud.Server{Name: fmt.Sprintf("web-%d", n+1), Metadata: owner})
	}
	put(20, simcloud.Server{Name: "web-10"})
	put(21, simcloud.Server{Name: "web-11", Locked: true})
	put(22, simcloud.Server{Name: "db-1", Metadata: map[string]string{"owner": "bob"}})
	sim.PutVolume(simcloud.Volume{
		ID: "5d6a1f0e-93b7-4c55-8a0f-2f9b1c7d3e64", Name: "data-1", Size: 20, Created: created,
	})
	project, _ := sim.Project("demo")

	commands := map[string]string{
		"reconcile":       "reconcile --scope own --out plan.jsonl",
		"reconcile show":  "reconcile --show plan.jsonl",
		"reconcile apply": "reconcile --apply plan.jsonl --confirm 2",
		"explain":         "explain web-11",
		"explain as json": "explain web-11 -o json",
		"coverage":        "coverage --scope own",
	}
	printed := map[string]string{}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, name := range []string{"explain", "explain as json", "coverage", "reconcile", "reconcile show", "reconcile apply"} {
		out, errOut, status := taggerCommand(t, "", strings.Fields(commands[name])...)
		if want := map[string]int{"explain": exitUndone, "explain as json": exitUndone}[name]; status != want {
			t.Errorf("%s: status %d: %s%s", name, status, out, errOut)
		}
		if strings.HasSuffix(name, "as json") {
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(out), "", "  "); err != nil {
				t.Fatal(err)
			}
			out = indented.String()
		}
		for _, v := range varying {
			out = v.pattern.ReplaceAllString(out, v.replacement)
		}
		printed[name] = strings.ReplaceAll(out, project.ID, "a3d4c8f0b1e24f6d9c7e5a2b8f1d0c93")
		t.Logf("%s\n%s%s", name, printed[name], errOut)
	}
	seen := map[string]bool{}
	for _, page := range []string{"docs/reconcile.md", "docs/explain.md", "docs/coverage.md"} {
		text := readFile(t, filepath.Join(root, page))
		got := sampleBlock.ReplaceAllStringFunc(text, func(block string) string {
			m := sampleBlock.FindStringSubmatch(block)
			seen[m[2]] = true
			return m[1] + printed[m[2]] + m[4]
		})
		if got == text {
			continue
		}
		if !*update {
			t.Errorf("%s (-is +should be), -update rewrites it:\n%s", page, cmp.Diff(text, got))
		} else if err := os.WriteFile(filepath.Join(root, page), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name := range commands {
		if !seen[name] {
			t.Errorf("no page has the sample %q", name)
		}
	}
}
