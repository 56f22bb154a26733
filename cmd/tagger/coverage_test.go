package main

import (
	"encoding/csv"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/listen"
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
	sim.FillVolumes(2, func(_ int, v *simcloud.Volume) {
		v.Size, v.Metadata = 10, map[string]string{"cost-center": "CC-17"}
	})
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(rules, []byte(coverageRules), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TAGGER_RULES_FILE", rules)

	file := func(name string) string { return filepath.Join(dir, name) }
	all := []string{"coverage", "--min-coverage", "75", "--history", file("h"), "--prometheus", file("m.prom"), "--html",
		file("p.html"), "--by", "project"}
	out, errOut, status := taggerCommand(t, "", all...)
	if status != exitDone || errOut != "" {
		t.Errorf("status %d: %s", status, errOut)
	}
	project := regexp.MustCompile(`rules [0-9a-f]{8}`).ReplaceAllString(out[strings.Index(out, "1/1"):], "rules HASH")
	golden(t, "coverage.txt", project)
	for name, want := range map[string]string{
		"h":      `"ok":{"count":3,"size":9}`,
		"m.prom": `tagger_coverage_resources{key="owner",kind="server",status="missing"} 1` + "\n",
		"p.html": "<h1>75.0\u00a0% of compute is allocated; 25.0\u00a0%, 3 of 12 vCPU, is not.</h1>",
	} {
		if text := readFile(t, file(name)); !strings.Contains(text, want) {
			t.Errorf("%s lacks %s:\n%.2000s", name, want, text)
		}
	}

	// The second run is compared with the first one.
	out, _, status = taggerCommand(t, "", "coverage", "--min-coverage", "75.1", "--history", file("h"))
	if status != exitBelow || !strings.Contains(out, "FAIL  owner/server 75.0 % < 75.1 %\n") ||
		!strings.Contains(out, "SINCE ") {
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
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != exitUnread || report.Complete ||
		len(report.Errors) != 1 || errOut == "" {
		t.Errorf("status %d, %v, %s:\n%s", status, err, errOut, out)
	}
}

func TestCoverageUsage(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", `{"rules": [{"on": "server.created", "add": {"a": "b"}}]}`)
	for _, tt := range []struct{ args, want string }{
		{"", "the rules require no key: add a section required:"},
		{"-o xml", `--output "xml": want text, json or csv`},
		{"--by projects", `--by "projects": want project, key, kind or owner`},
		{"--names all", "--names"},
		{"--min-coverage 101", "between 0 and 100"},
		{"--prometheus-projects", "needs --prometheus FILE"},
		{"--names none", "coverage: --names needs --html FILE or -o csv"},
		{"--min-coverage NaN", "between 0 and 100"},
		{"--scope ,roels", "--scope"},
	} {
		_, errOut, status := taggerCommand(t, "", append([]string{"coverage"}, strings.Fields(tt.args)...)...)
		if status != exitUsage || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: status %d: %s", tt.args, status, errOut)
		}
	}
}

// A key that a reconcile wrote and that is absent now counts as lost. The log shows who removed it.
func TestCoverageLostKeys(t *testing.T) {
	sim, plan := fleet(t, 6)
	t.Setenv("TAGGER_RULES", strings.Replace(fleetRules, "rules:", "required: [{key: owner, kinds: [server]}]\nrules:", 1))
	for _, args := range []string{"--scope own --kind server --settled 0s --out " + plan,
		"--apply " + plan + " --confirm 6 --max-per-project 100"} {
		if out, errOut, status := taggerCommand(t, "", append([]string{"reconcile"}, strings.Fields(args)...)...); status != exitDone {
			t.Fatalf("status %d: %s%s", status, out, errOut)
		}
	}
	var log strings.Builder
	lines := slog.New(slog.NewJSONHandler(&log, nil))
	for i, s := range sim.Servers()[:3] {
		s.Metadata = map[string]string{}
		sim.PutServer(s)
		if i < 2 {
			lines.Info(listen.LogRemoved, "resource_id", s.ID, "keys", []string{"owner"}, "user_id", "3f5a0c119e", "user_name",
				"heat-svc")
		}
	}
	dir := filepath.Dir(plan)
	out, errOut, status := taggerCommand(t, log.String(), "coverage", "--journal", dir, "--log", "-")
	if status != exitDone || !regexp.MustCompile(
		`\nlost keys    3 this week \(the log begins .* UTC\): 2 by user heat-svc \(3f5a0c11…\), 1 by unknown users\n`).MatchString(out) {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	page := filepath.Join(dir, "page.html")
	out, errOut, status = taggerCommand(t, "", "coverage", "--journal", dir, "-o", "json", "--html", page)
	var report coverage.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != exitDone {
		t.Fatalf("status %d, %v: %s", status, err, errOut)
	}
	if l := report.Lost; l == nil || l.Count != 3 || l.Resources != 3 || l.Compared != 6 || len(l.Keys) != 3 ||
		l.Keys[0].Written.IsZero() {
		t.Errorf("%+v", l)
	}
	if text := readFile(t, page); !strings.Contains(text, "3 keys that Tagger wrote are gone, from 3 resources.") {
		t.Error("the page does not say it")
	}

	journals, err := filepath.Glob(filepath.Join(dir, "run-*.jsonl"))
	if err != nil || len(journals) != 1 {
		t.Fatal(journals, err)
	}
	t.Setenv("TAGGER_AUDIT_FILE", journals[0])
	prices := filepath.Join(dir, "prices.yaml")
	if err := os.WriteFile(prices, []byte("{currency: EUR, source: a list, monthly: {server: {vcpu: 10}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, status = taggerCommand(t, "", "coverage", "--prices", prices)
	if status != exitDone || !strings.Contains(out, "\nlost keys    3 this week, by unknown users\n") ||
		!strings.Contains(out, " a month is not allocated (prices: a list)\n") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	t.Setenv("TAGGER_AUDIT_FILE", filepath.Join(dir, "not-yet"))

	for want, args := range map[string][]string{
		"not YAML: line 2":                              {"--prices", journals[0]},
		"it is not a journal of tagger reconcile":       {"--journal", plan},
		"no such file":                                  {"--journal", filepath.Join(dir, "none")},
		"it has no line of Tagger's JSON log":           {"--log", page},
		"read the log: open " + filepath.Join(dir, "x"): {"--log", filepath.Join(dir, "x")},
	} {
		_, errOut, status := taggerCommand(t, "", append([]string{"coverage"}, args...)...)
		if status != exitUsage || !strings.Contains(strings.ReplaceAll(errOut, "stat ", "open "), want) {
			t.Errorf("%q: status %d: %s", args, status, errOut)
		}
	}
}

// explain shows keys that are required but written by no rule, and the keys that a resource is exempt from.
func TestExplainRequiredKeys(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	text := `
required: [{key: owner, kinds: [server]}, {key: cost-center, kinds: [server, volume]}]
exemptions: [{name: octavia, match: {name: "amphora-*"}, keys: [owner], reason: its own, by: m.weber, until: ` +
		time.Now().AddDate(0, 1, 0).Format(time.DateOnly) + `}]
rules: [{on: server.created, add: {owner: ann}}]`
	t.Setenv("TAGGER_RULES", text)
	sim.PutServer(simcloud.Server{Name: "amphora-1", Created: time.Now().Add(-2 * time.Hour),
		Metadata: map[string]string{"cost-center": "CC-17"}})
	sim.PutVolume(simcloud.Volume{Name: "disk", Size: 5})
	for name, wants := range map[string][]string{
		"amphora-1": {"amphora-1 has every key that the rules want and that it is not exempt from.\n", "exempt: octavia"},
		"disk":      {"disk gets no metadata: no rule matches.\n", "required, and missing: no rule writes it here\n"},
	} {
		out, errOut, status := taggerCommand(t, "", "explain", name)
		if status != exitDone {
			t.Errorf("%s: status %d: %s", name, status, errOut)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in:\n%s", name, want, out)
			}
		}
	}
	// Unallocated resources are reported for the first kind that exists.
	sim = onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", text)
	sim.PutVolume(simcloud.Volume{Name: "disk", Size: 5})
	if out, _, _ := taggerCommand(t, "", "coverage", "--key", "cost-center"); !strings.Contains(out, "unallocated  100.0 % of GiB: demo 100.0\n") {
		t.Errorf("of a volume alone:\n%s", out)
	}
}
