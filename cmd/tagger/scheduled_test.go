package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// A scheduled pass has the exit statuses of the table in the docs.
func TestReconcileScheduled(t *testing.T) {
	sim, plan := fleet(t, 60)
	tagged := func() (n int) {
		for _, s := range sim.Servers() {
			if s.Metadata["owner"] == "team-shop" {
				n++
			}
		}
		return n
	}
	pass := func(want, wrote int, args ...string) string {
		t.Helper()
		before := tagged()
		out, errOut, status := taggerCommand(t, "", append([]string{"reconcile", "--scheduled"}, args...)...)
		if status != want || tagged()-before != wrote {
			t.Fatalf("%q: status %d, want %d; %d written, want %d: %s%s", args, status, want, tagged()-before, wrote, out,
				errOut)
		}
		return errOut
	}
	pass(exitDone, 0) // not reviewed
	// The hash is that of the plans.
	if _, errOut, status := taggerCommand(t, "", "reconcile", "--scope", "own", "--out", plan); status != exitDone {
		t.Fatal(errOut)
	}
	text, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	_, hash, _ := strings.Cut(string(text), `"rules":"`)
	t.Setenv("TAGGER_RECONCILE_RULES", hash[:12])
	pass(exitCapped, 0)
	for name, value := range map[string]string{
		"TAGGER_RECONCILE_MAX": "100", "TAGGER_RECONCILE_MAX_PERCENT": "100",
	} {
		t.Setenv(name, value)
	}
	pass(exitCapped, 0) // one value on all resources is a wrong rule, whatever the other limits are
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, add: {owner: team-shop}, when: 'resource.name endsWith "0"'}]`)
	pass(exitDone, 0) // other rules

	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte("rules: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TAGGER_RULES", "")
	pass(exitUsage, 0, "--rules", file)
	if errOut := pass(exitUsage, 0, "--max", "5"); !strings.Contains(errOut, "--max has no effect") {
		t.Error(errOut)
	}
	sim.Inject(simcloud.Fault{Method: "POST", Path: "/auth/tokens", Answer: &simcloud.Answer{Status: 401, Body: "{}"}})
	t.Setenv("TAGGER_RULES", fleetRules)
	pass(exitUnread, 0)
}

func TestListenReconcile(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_AMQP_URL", "amqp://127.0.0.1:1/")
	for want, args := range map[string][]string{
		"--reconcile 1m: want at least 5m": {"listen", "--reconcile", "1m"},
		"with a sink nothing is tagged":    {"listen", "--reconcile", "1h", "--sink", "http://127.0.0.1:1/"},
	} {
		if _, errOut, status := taggerCommand(t, "", args...); status != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("%q: status %d: %s", args, status, errOut)
		}
	}
}
