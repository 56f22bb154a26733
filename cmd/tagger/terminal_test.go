package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
)

// Of many events, only those that need a change or attention are shown, with a line that counts each outcome.
func TestOnlyChanges(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: dev}}]")
	events := "[" + plainEvent("server.created") + "," + plainEvent("snapshot.created") + "," +
		plainEvent("server.created") + "]"
	for _, args := range [][]string{{"plan"}, {"invoke", "--cloud", "embedded"}} {
		out, errOut, status := taggerCommand(t, events, append(args, "-")...)
		if status != exitDone || strings.Count(out, "  change ") != 3 ||
			!strings.Contains(out, "\n3 results: 1 ignored, 2 t") {
			t.Errorf("%v: status %d:\n%s%s", args, status, out, errOut)
		}
		out, errOut, status = taggerCommand(t, events, append(args, "--only-changes", "-")...)
		if status != exitDone || strings.Count(out, "  change ") != 2 || strings.Contains(out, "snapshot.created") ||
			strings.Count(out, "standard input") != 1 || !strings.Contains(out, "\n3 results: 1 ignored, 2 t") {
			t.Errorf("%v: status %d:\n%s%s", args, status, out, errOut)
		}
		out, _, _ = taggerCommand(t, events, append(args, "--only-changes", "-o", "json", "-")...)
		if strings.Count(out, "\n") != 2 {
			t.Errorf("%v:\n%s", args, out)
		}
	}
}

func TestRulesForPrograms(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: dev}}]")
	file := filepath.Join(t.TempDir(), "cases.yaml")
	const cases = `cases:
- {name: right, event: {specversion: "1.0", id: e, source: /s, type: other}, expect: {outcome: unrecognised}}
- {name: a < b, event: {specversion: "1.0", id: e, source: /s, type: other}, expect: {set: {a: b}}}
`
	if err := os.WriteFile(file, []byte(cases), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, status := taggerCommand(t, "", "rules", "test", "-o", "junit", file)
	var suites struct {
		Suites []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Cases    []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(out), &suites); err != nil || status != exitUndone || len(suites.Suites) != 1 {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errOut)
	}
	s := suites.Suites[0]
	if s.Tests != 2 || s.Failures != 1 || s.Cases[0].Failure != nil || s.Cases[1].Name != "a < b" ||
		s.Cases[1].Failure == nil {
		t.Errorf("%+v", s)
	}
	out, _, _ = taggerCommand(t, "", "rules", "test", "-o", "json", file)
	if strings.Count(out, "\n") != 2 || !strings.Contains(out, `"name":"a < b","ok":false,"differences":[`) {
		t.Error(out)
	}
	out, _, status = taggerCommand(t, "", "rules", "check", "-o", "json")
	if status != exitDone || !strings.Contains(out, `{"file":"TAGGER_RULES","level":"ok","text":"1 rule, it compiles"}`) {
		t.Errorf("status %d: %s", status, out)
	}
	t.Setenv("TAGGER_RULES", "rules:\n- {on: server.exploded, set: {env: dev}}")
	out, _, status = taggerCommand(t, "", "rules", "check", "-o", "json")
	if status != exitUsage || !strings.Contains(out, `"level":"fault","line":2`) {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestVersionAndHelp(t *testing.T) {
	out, _, status := taggerCommand(t, "", "version", "-o", "json")
	var v struct{ Version, Go string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != exitDone || v.Version == "" ||
		!strings.HasPrefix(v.Go, "go") {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
	out, _, status = taggerCommand(t, "", "help", "environment")
	for _, v := range append(config.Variables[config.Settings](), config.Variables[config.Listen]()...) {
		if !strings.Contains(out, "\n  "+v.Name) {
			t.Errorf("%s is not in it", v.Name)
		}
	}
	if status != exitDone {
		t.Errorf("status %d", status)
	}
	if out, _, _ = taggerCommand(t, "", "--help"); !strings.Contains(out, "completion") {
		t.Error(out)
	}
}
