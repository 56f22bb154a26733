package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// commandAfter returns the arguments of the command that follows a label in an output.
func commandAfter(t *testing.T, out, label string) []string {
	t.Helper()
	_, rest, found := strings.Cut(out, label)
	if !found {
		t.Fatalf("no %q in:\n%s", label, out)
	}
	line, _, _ := strings.Cut(rest, "\n")
	command, found := strings.CutPrefix(strings.TrimSpace(line), "tagger ")
	if !found {
		t.Fatalf("no command in %q", line)
	}
	return strings.Fields(command)
}

func journalOf(t *testing.T, plan string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(plan), "run-*.jsonl"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

// Each command that an output suggests does what it is suggested for.
func TestReconcileSuggestsWorkingCommands(t *testing.T) {
	sim, plan := fleet(t, 120)
	rules := os.Getenv("TAGGER_RULES")
	t.Setenv("TAGGER_RULES", "")
	file := write(t, t.TempDir(), "the rules.yaml", rules)
	named := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.Rename(file, named); err != nil {
		t.Fatal(err)
	}
	must := func(args ...string) string {
		t.Helper()
		out, errOut, status := taggerCommand(t, "", args...)
		if status != exitDone {
			t.Fatalf("%q: status %d: %s%s", args, status, out, errOut)
		}
		return out
	}
	out := must("reconcile", "--scope", "own", "--rules", named, "--max-failures", "7", "--settled", "0s", "--out", plan)
	apply := commandAfter(t, out, "To apply:")
	for _, want := range []string{"--rules " + named, "--max-failures 7", "--confirm 120", "--max-per-project 100%"} {
		if !strings.Contains(strings.Join(apply, " "), want) {
			t.Errorf("no %s in %q", want, apply)
		}
	}
	out, _, status := taggerCommand(t, "", "reconcile", "--apply", plan, "--rules", named)
	if status != exitCapped {
		t.Fatalf("status %d: %s", status, out)
	}
	all := commandAfter(t, out, "All:")
	canary := append(commandAfter(t, out, "Canary:"), "--canary-wait", "0s")
	out = must(canary...)
	out = must(commandAfter(t, out, "To go on:")...)
	if strings.Contains(out, " left. To go on") {
		t.Error(out)
	}
	for _, s := range sim.Servers() {
		if s.Metadata["owner"] != "team-shop" {
			t.Fatal("not every server is tagged")
		}
	}
	if strings.Join(all, " ") != strings.Join(apply, " ") && !strings.Contains(strings.Join(all, " "), "--confirm 120") {
		t.Errorf("%q, and %q", all, apply)
	}

	// What is done is no failure.
	again := []string{"reconcile", "--apply", plan, "--rules", named, "--resume", "--confirm", "5"}
	if out = must(again...); !strings.Contains(out, "Nothing is left to do") {
		t.Error(out)
	}
	// A revert needs the journal only.
	journal := journalOf(t, plan)
	if out = must("reconcile", "--revert", journal); !strings.Contains(out, "120 of 120 tried: 120 restored") {
		t.Error(out)
	}
	t.Setenv("TAGGER_RULES", "rules: [")
	if out = must("reconcile", "--revert", journal); !strings.Contains(out, "it was reverted at 20") {
		t.Error(out)
	}
	_, errOut, status := taggerCommand(t, "", "reconcile", "--revert", journal, "--written-by", "deadbeef")
	if status != exitUsage ||
		!strings.Contains(errOut, "revert the journal: it has no record of --written-by deadbeef; it has ") {
		t.Errorf("status %d: %s", status, errOut)
	}
}

// The example at the beginning of docs/reconcile.md works as written, with a fleet of its size.
func TestReconcileExample(t *testing.T) {
	page := readFile(t, "../../docs/reconcile.md")
	section, _, _ := strings.Cut(page, "## What is planned")
	var lines []string
	for line := range strings.Lines(section) { // the run of two resources is another example
		if strings.HasPrefix(line, "    tagger reconcile") && !strings.Contains(line, "--confirm 2\n") {
			lines = append(lines, line)
		}
	}
	sim, _ := fleet(t, 243)
	t.Chdir(t.TempDir())
	if len(lines) != 5 {
		t.Fatalf("%d commands", len(lines))
	}
	for i, line := range lines {
		command, _, _ := strings.Cut(line, "#")
		args := strings.Fields(strings.TrimPrefix(strings.TrimSpace(command), "tagger "))
		switch i {
		case 2:
			args = append(args, "--canary-wait", "0s")
		case 4:
			args[len(args)-1] = journalOf(t, "plan.jsonl")
		}
		out, errOut, status := taggerCommand(t, "", args...)
		if status != exitDone {
			t.Fatalf("%s: status %d: %s%s", line, status, out, errOut)
		}
		if i == 3 && sim.Servers()[242].Metadata["owner"] != "team-shop" {
			t.Error("the last server is not tagged")
		}
	}
}

// A run that is interrupted names the command that goes on.
func TestReconcileIsInterrupted(t *testing.T) {
	sim, plan := fleet(t, 60)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writes atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/metadata") && r.Method == http.MethodPost && writes.Add(1) == 20 {
			cancel()
		}
		sim.ServeHTTP(w, r)
	}))
	defer server.Close()
	for _, line := range sim.Env(server.URL) {
		name, value, _ := strings.Cut(line, "=")
		t.Setenv(name, value)
	}
	if _, errOut, status := taggerCommand(t, "", "reconcile", "--scope", "own", "--settled", "0s", "--out",
		plan); status != exitDone {
		t.Fatal(errOut)
	}
	var out, errOut bytes.Buffer
	status := run(ctx, []string{"reconcile", "--apply", plan, "--confirm", "60", "--max-per-project", "100%"},
		streams{strings.NewReader(""), &out, &errOut})
	if status != exitUndone ||
		!regexp.MustCompile(`interrupted: \d+ of 60 written \(context canceled\); go on with: tagger reconcile --apply \S+ `+
			`--resume --confirm \d+ --max-per-project \d+%\n$`).MatchString(errOut.String()) {
		t.Fatalf("status %d: %s%s", status, out.String(), errOut.String())
	}
	args := commandAfter(t, errOut.String(), "go on with:")
	if out, errOut, status := taggerCommand(t, "", args...); status != exitDone {
		t.Errorf("%q: status %d: %s%s", args, status, out, errOut)
	}
}

func TestReconcileFlags(t *testing.T) {
	_, plan := fleet(t, 2)
	for _, tt := range []struct{ args, want string }{
		{"--overwrite onwer", "--overwrite onwer: no rule writes this key"},
		{"--overwrite owner", "--overwrite owner: has no effect: no rule has the key under set:"},
		{"--protected onwer", "--protected onwer: protected_keys: does not have it"},
		{"--max-percent 200", "--max-percent 200: want a share between 0 and 100"},
		{"--max -1", "--max -1: want 0 or more"},
		{"--concurrency 100000000", "--concurrency=100000000; want at least 1 and at most 1000"},
		{"--rate -1", "--rate=-1; want 0.1 to 1000 writes a second"},
		{"--created-between 2026-11-18T02:48Z,2026-11-18T02:10Z", "the first time is after the second"},
		{"--out /dev/null", "--out /dev/null: is not a regular file"},
		{"--settled -5m", "--settled -5m0s: want 0s or more"},
		{"--created-between x", `--created-between "x": want two times separated by a comma`},
	} {
		args := append([]string{"reconcile", "--scope", "own", "--out", plan}, strings.Fields(tt.args)...)
		if _, errOut, status := taggerCommand(t, "", args...); status != exitUsage || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: status %d: %s", tt.args, status, errOut)
		}
	}
}

// A flag that has no effect in a mode of reconcile is an error, which says where it has one.
func TestReconcileModes(t *testing.T) {
	_, plan := fleet(t, 2)
	for _, tt := range []struct{ args, want string }{
		{"--apply FILE --kind server", "reconcile --apply: --kind has no effect here: it is for making a plan"},
		{"--apply FILE --scope own", "reconcile --apply: --scope has no effect here: it is for making a plan"},
		{"--apply FILE --settled 0s", "reconcile --apply: --settled has no effect here: it is for making a plan"},
		{"--apply FILE --out other.jsonl", "reconcile --apply: --out has no effect here: it is for making a plan"},
		{"--apply FILE --project p", "reconcile --apply: --project has no effect here: it is for --show"},
		{"--apply FILE --written-by r", "reconcile --apply: --written-by has no effect here: it is for --revert"},
		{"--apply FILE --confirm -1", "--confirm -1: want 0 or more"},
		{"--apply FILE --canary 1 --canary-wait -1s", "--canary-wait -1s: want 0s or more"},
		{"--revert FILE --out other.jsonl", "reconcile --revert: --out has no effect here: it is for making a plan"},
		{"--revert FILE --max 5", "reconcile --revert: --max has no effect here: it is for making a plan and --apply"},
		{"--revert FILE --rules r.yaml", "reconcile --revert: --rules has no effect here: it is for making a plan and --apply"},
		{"--revert FILE --confirm 5", "reconcile --revert: --confirm has no effect here: it is for --apply"},
		{"--show FILE --scope own", "reconcile --show: --scope has no effect here: it is for making a plan"},
		{"--show FILE --resume", "reconcile --show: --resume has no effect here: it is for --apply and --revert"},
		{"--scope own --canary 5", "reconcile: --canary has no effect here: it is for --apply"},
		{"--scope own --confirm 5", "reconcile: --confirm has no effect here: it is for --apply"},
		{"--scope own --project p", "reconcile: --project has no effect here: it is for --show"},
		{"--scope own --resume", "reconcile: --resume has no effect here: it is for --apply and --revert"},
		{"--scheduled --scope own", "reconcile --scheduled: --scope has no effect on it"},
	} {
		args := strings.Fields("reconcile " + strings.ReplaceAll(tt.args, "FILE", plan))
		if out, errOut, status := taggerCommand(t, "", args...); status != exitUsage || out != "" ||
			!strings.HasPrefix(errOut, "tagger: "+tt.want) {
			t.Errorf("%s: status %d: %s%s", tt.args, status, out, errOut)
		}
	}
}

// A bracket in --name stands for itself.
func TestReconcileName(t *testing.T) {
	sim, _ := fleet(t, 0)
	for _, name := range []string{"web[1]", "web1", "db"} {
		sim.PutServer(simcloud.Server{Name: name, Created: time.Now().Add(-2 * time.Hour)})
	}
	for pattern, want := range map[string]string{"web*": "2 resources, 2 keys", "web[1]": "1 resource, 1 key",
		"web?": "1 resource, 1 key"} {
		out, errOut, status := taggerCommand(t, "", "reconcile", "--scope", "own", "--name", pattern, "--settled", "0s",
			"--out", filepath.Join(t.TempDir(), "plan.jsonl"))
		if status != exitDone || !strings.Contains(out, want) {
			t.Errorf("%s: status %d: %s%s", pattern, status, out, errOut)
		}
	}
}
