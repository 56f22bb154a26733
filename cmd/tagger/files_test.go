package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// A file that a command writes is none of those that it reads: each stays as it is.
func TestOutputsSpareInputs(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	dir := t.TempDir()
	files := map[string]string{
		"RULES":  "{required: [{key: owner, kinds: [server]}], rules: [{on: server.created, add: {owner: a}}]}",
		"PRICES": "{currency: EUR, source: a list, monthly: {server: {vcpu: 10}}}",
		"LOG":    `{"time":"2026-11-20T09:15:04Z","msg":"rules in force"}` + "\n",
		"JOURNAL": `{"format":"tagger-journal/1","run":"r","cloud":"c","rules":"h","operator":"o",` +
			`"at":"2026-11-20T09:15:04Z"}` + "\n",
		"PAGE": "<h1>last week's</h1>",
	}
	var names []string
	for name, text := range files {
		names = append(names, name, write(t, dir, strings.ToLower(name), text))
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "rules"), link); err != nil {
		t.Fatal(err)
	}
	paths := strings.NewReplacer(append(names, "LINK", link, "DIR", dir, "NEW", filepath.Join(dir, "new"))...)
	for _, tt := range []struct{ args, want string }{
		{"coverage --rules RULES --html RULES", "coverage: --html RULES: is a file of --rules; name another one"},
		{"coverage --rules LINK --html RULES", "coverage: --html RULES: is a file of --rules"},
		{"coverage --rules RULES --html LINK", "coverage: --html LINK: is a file of --rules"},
		{"coverage --rules RULES --prices PRICES --html PRICES", "coverage: --html PRICES: is a file of --prices"},
		{"coverage --rules RULES --prices PRICES --prometheus DIR/./prices", "is a file of --prices"},
		{"coverage --rules RULES --history RULES", "coverage: --history RULES: is a file of --rules"},
		{"coverage --rules RULES --journal JOURNAL --html JOURNAL", "coverage: --html JOURNAL: is a file of --journal"},
		{"coverage --rules RULES --journal DIR --html JOURNAL", "coverage: --html JOURNAL: is a file of --journal"},
		{"coverage --rules RULES --log DIR --prometheus LOG", "coverage: --prometheus LOG: is a file of --log"},
		{"coverage --rules RULES --history NEW --html NEW", "coverage: --html NEW: is a file of --history"},
		{"coverage --rules RULES --prometheus NEW --html NEW", "coverage: --html NEW: is a file of --prometheus"},
		{"reconcile --scope own --rules RULES --out RULES", "reconcile: --out RULES: is a file of --rules"},
	} {
		args := strings.Fields(paths.Replace(tt.args))
		out, errOut, status := taggerCommand(t, "", args...)
		if status != exitUsage || out != "" || !strings.Contains(errOut, paths.Replace(tt.want)) {
			t.Errorf("%s: status %d: %s%s", tt.args, status, out, errOut)
		}
	}
	t.Setenv("TAGGER_RULES_FILE", filepath.Join(dir, "rules"))
	t.Setenv("TAGGER_AUDIT_FILE", filepath.Join(dir, "journal"))
	for args, want := range map[string]string{
		"coverage --html RULES":             ": is a file of TAGGER_RULES_FILE; name another one",
		"coverage --html JOURNAL":           ": is a file of TAGGER_AUDIT_FILE",
		"reconcile --scope own --out RULES": ": is a file of TAGGER_RULES_FILE",
	} {
		if _, errOut, status := taggerCommand(t, "", strings.Fields(paths.Replace(args))...); status != exitUsage ||
			!strings.Contains(errOut, want) {
			t.Errorf("%s: status %d: %s", args, status, errOut)
		}
	}
	for name, text := range files {
		if got := readFile(t, filepath.Join(dir, strings.ToLower(name))); got != text {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The page of the week before is no input, even in a directory that is read.
	args := strings.Fields(paths.Replace("coverage --journal DIR --html PAGE"))
	if out, errOut, status := taggerCommand(t, "", args...); status != exitDone {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// A file that cannot be written is named as the user named it. A plan's is found before the cloud is read.
func TestUnwritableFiles(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", "{required: [{key: owner, kinds: [server]}], rules: [{on: server.created, add: {owner: a}}]}")
	inFile := filepath.Join(write(t, t.TempDir(), "file", ""), "out")
	for args, want := range map[string]string{
		"reconcile --scope own --out " + inFile: "write the plan " + inFile + ": not a directory (its directory cannot be " +
			"written; name another file with --out)",
		"coverage --html " + inFile:       "write the page: " + inFile + ": not a directory",
		"coverage --prometheus " + inFile: "write the metrics: " + inFile + ": not a directory",
	} {
		sim.ForgetRequests()
		_, errOut, status := taggerCommand(t, "", strings.Fields(args)...)
		if status != exitUndone || errOut != "tagger: "+want+"\n" {
			t.Errorf("%s: status %d: %s", args, status, errOut)
		}
		for _, r := range sim.Requests() {
			if strings.HasPrefix(args, "reconcile") && strings.Contains(r.Path, "/servers/detail") {
				t.Errorf("%s: the cloud was read: %s", args, r.Path)
			}
		}
	}
}
