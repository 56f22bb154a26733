package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// The runbook's step to consume without writing: empty rules take effect while the server runs, and events are ignored.
func TestEmptyRulesStopWriting(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID})
	file := write(t, t.TempDir(), "rules.yaml", "rules: [{on: server.created, set: {env: dev}}]")
	t.Setenv("TAGGER_RULES_FILE", file)
	t.Setenv("TAGGER_RULES_REFRESH", "1s")
	t.Setenv("TAGGER_LOG_LEVEL", "error")
	url := serving(t)
	outcome := func() (outcome, reason string) {
		body := strings.NewReader(plainEvent("server.created"))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.Header.Get("Tagger-Outcome"), resp.Header.Get("Tagger-Reason")
	}
	if got, why := outcome(); got != "tagged" {
		t.Fatalf("%s: %s", got, why)
	}
	if err := os.WriteFile(file, []byte("rules: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, why := outcome()
	for got == "tagged" { // until the rules are read again
		got, why = outcome()
	}
	if got != "ignored" || why != "no rule matches" {
		t.Errorf("%s: %s", got, why)
	}
}

func TestEmptyRules(t *testing.T) {
	clearEnv(t)
	file := write(t, t.TempDir(), "rules.yaml", "rules: []\n")
	out, errOut, status := taggerCommand(t, "", "rules", "check", file)
	want := file + ":1: warning: rules: is empty, so Tagger writes nothing and ignores every event\n" +
		file + ": 0 rules, they compile\n"
	if status != exitDone || out != want || errOut != "" {
		t.Errorf("status %d: %s%s, want %s", status, out, errOut, want)
	}
	out, errOut, status = taggerCommand(t, plainEvent("server.created"), "plan", "--rules", file, "-")
	if status != exitDone || !strings.Contains(out, "ignored: no rule matches") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// The rules of the docs work for existing resources, and rules check finds an ignore: that does not.
func TestIgnoreForExistingResources(t *testing.T) {
	_, plan := fleet(t, 3)
	out, errOut, status := taggerCommand(t, "", "reconcile", "--rules", "../../docs/examples/company.yaml", "--scope", "own",
		"--out", plan)
	if status != exitDone || !strings.Contains(out, "3 servers") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	file := write(t, filepath.Dir(plan), "event.yaml",
		"ignore: data.dry_run == true\nrules: [{on: server.created, set: {env: dev}}]\n")
	out, _, status = taggerCommand(t, "", "rules", "check", file)
	if status != exitDone || !strings.Contains(out, file+":1: warning: ignore: depends on data, which only an event has") {
		t.Errorf("status %d: %s", status, out)
	}
}
