package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An event without an actor has an actor of kind unknown, as docs/rules.md describes.
func TestUnknownActor(t *testing.T) {
	clearEnv(t)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	err := os.WriteFile(rules, []byte(`
rules:
- on: server.created
  when: actor.kind == "unknown"
  set: {unknown: "yes", kind: "${actor.kind}", name: '${actor.name ?? "absent"}'}
- on: server.created
  when: actor.kind != "user"
  set: {person: "no"}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	out, errOut, status := taggerCommand(t, "", "plan", "--rules", rules, "-o", "json",
		"../../pkg/lifecycle/testdata/made/plain-no-actor.json")
	if want := `"set":{"kind":"unknown","name":"absent","person":"no","unknown":"yes"}`; status != exitDone ||
		!strings.Contains(out, want) {
		t.Errorf("%s%s\nwant %s", out, errOut, want)
	}
	out, _, _ = taggerCommand(t, "", "plan", "--rules", rules, "../../pkg/lifecycle/testdata/made/plain-no-actor.json")
	if !strings.Contains(out, "project unknown, by unknown\n") {
		t.Errorf("%s", out)
	}
}
