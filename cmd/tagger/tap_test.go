package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// tap --save makes a folder only when it saves something, and each case has a name of its own.
func TestTapSaves(t *testing.T) {
	clearEnv(t)
	dir := filepath.Join(t.TempDir(), "saved")
	f, err := newFixtures(dir, exampleRules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("there is a folder before there is an event")
	}
	settings, set, err := configure(t.Context(), exampleRules, streams{err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	planner, err := tagger.Compose(t.Context(), settings, set, tagger.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"e-1", "e-2"} {
		text := strings.Replace(plainEvent("server.created"), "e-1", id, 1)
		e := ingress.Decode([]byte(text)).Records[0].Events[0]
		if err := f.save(e, planner.Plan(t.Context(), e)); err != nil {
			t.Fatal(err)
		}
	}
	out, errOut, status := taggerCommand(t, "", "rules", "test", filepath.Join(dir, "cases.yaml"))
	if status != exitDone || !strings.Contains(out, ": server.created: prod-<1>\n") ||
		!strings.Contains(out, ": server.created: prod-<1> (2)\n") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}
