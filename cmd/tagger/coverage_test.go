package main

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const coverageRules = `
required:
- key: owner
  kinds: [server]
- key: cost-center
  kinds: [volume]
rules: [{on: server.created, add: {a: b}}]
`

func TestCoverage(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{Flavors: []simcloud.Flavor{{ID: "1", Name: "one", VCPUs: 3}}})
	sim.Fill(4, func(i int, s *simcloud.Server) {
		if s.Metadata = map[string]string{"owner": "ann"}; i == 0 {
			s.Metadata = nil
		}
	})
	sim.FillVolumes(2, func(_ int, v *simcloud.Volume) { v.Size, v.Metadata = 10, map[string]string{"cost-center": "CC-17"} })
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(rules, []byte(coverageRules), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TAGGER_RULES_FILE", rules)

	file := func(name string) string { return filepath.Join(dir, name) }
	all := []string{"coverage", "--min-coverage", "75", "--history", file("h"), "--prometheus", file("m.prom"), "--html", file("p.html"), "--by", "project"}
	out, errOut, status := taggerCommand(t, "", all...)
	if status != exitDone || errOut != "" {
		t.Errorf("status %d: %s", status, errOut)
	}
	project := regexp.MustCompile(`rules [0-9a-f]{8}`).ReplaceAllString(out[strings.Index(out, "1/1"):], "rules HASH")
	golden(t, "coverage.txt", project)
	for name, want := range map[string]string{
		"h":      `"ok":{"count":3,"size":9}`,
		"m.prom": `tagger_coverage_resources{key="owner",kind="server",status="missing"} 1` + "\n",
		"p.html": "<h1>75.0 % of compute is allocated; 25.0 %, 3 of 12 vCPU, is not.</h1>",
	} {
		if text := readFile(t, file(name)); !strings.Contains(text, want) {
			t.Errorf("%s lacks %s:\n%.2000s", name, want, text)
		}
	}

	// The second run is compared with the first one.
	out, _, status = taggerCommand(t, "", "coverage", "--min-coverage", "75.1", "--history", file("h"))
	if status != exitBelow || !strings.Contains(out, "FAIL  owner/server 75.0 % < 75.1 %\n") || !strings.Contains(out, "SINCE ") {
		t.Errorf("status %d:\n%s", status, out)
	}

	out, _, status = taggerCommand(t, "", "coverage", "-o", "csv")
	table, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != exitDone || err != nil || len(table) != 7 {
		t.Errorf("status %d, %v, %d rows:\n%s", status, err, len(table), out)
	}

	sim.Inject(simcloud.Fault{Path: "volumes/detail", Answer: &simcloud.Answer{Status: http.StatusInternalServerError}})
	out, _, status = taggerCommand(t, "", "coverage", "--min-coverage", "90")
	if status != exitUnread || !strings.HasPrefix(out, "INCOMPLETE  ") {
		t.Errorf("status %d:\n%s", status, out)
	}
	out, errOut, status = taggerCommand(t, "", "coverage", "-o", "json")
	var report struct {
		Complete bool
		Errors   []string
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != exitUnread || report.Complete || len(report.Errors) != 1 || errOut == "" {
		t.Errorf("status %d, %v, %s:\n%s", status, err, errOut, out)
	}
}

func TestCoverageUsage(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", `{"rules": [{"on": "server.created", "add": {"a": "b"}}]}`)
	for _, tt := range []struct{ args, want string }{
		{"", "the rules require no key: add a section required:"},
		{"-o xml", `--output "xml": want text, json, csv`},
		{"--by projects", `--by "projects": want project, key, kind, owner`},
		{"--names all", "--names"},
		{"--min-coverage 101", "between 0 and 100"},
		{"--prometheus-projects", "needs --prometheus FILE"},
		{"--scope ,roels", "--scope"},
	} {
		_, errOut, status := taggerCommand(t, "", append([]string{"coverage"}, strings.Fields(tt.args)...)...)
		if status != exitUsage || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: status %d: %s", tt.args, status, errOut)
		}
	}
}
