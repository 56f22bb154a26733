package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRulesCheck(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	good := write(t, dir, "good.yaml", "rules:\n- {name: a, on: server.created, set: {k: v}}\n- {name: b, on: server.created, set: {k: w}}\n")
	bad := write(t, dir, "bad.yaml", "rules:\n- {on: server.craeted, set: {k: v}}\n- {on: server.created}\n")

	out, errOut, status := taggerCommand(t, "", "rules", "check", good)
	if status != exitDone || errOut != "" || !strings.Contains(out, `good.yaml:2: rule "a": it never has an effect`) || !strings.Contains(out, "2 rules, they compile") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	out, errOut, status = taggerCommand(t, "", "rules", "check", bad, good)
	if status != exitUsage || !strings.Contains(errOut, "2 faults") || strings.Count(out, "bad.yaml:") != 2 || !strings.Contains(out, "did you mean server.created?") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {k: v}}]")
	if out, _, status := taggerCommand(t, "", "rules", "check"); status != exitDone || !strings.Contains(out, "TAGGER_RULES: 1 rules, they compile") {
		t.Errorf("status %d: %s", status, out)
	}
	if _, errOut, status := taggerCommand(t, "", "rules", "check", "no.yaml"); status != exitUsage || !strings.Contains(errOut, "no.yaml") {
		t.Errorf("status %d: %s", status, errOut)
	}
}

// The documented example is held to its own cases.
func TestRulesTestExample(t *testing.T) {
	clearEnv(t)
	out, errOut, status := taggerCommand(t, "", "rules", "test", "../../docs/examples/rules_test.yaml")
	if status != exitDone || !strings.Contains(out, "3 cases, 0 failed") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

func TestRulesTest(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", "rules:\n- {name: env, on: server.created, set: {env: dev, size: '${data.size}'}, remove: [old]}\n")
	write(t, dir, "event.json", plainEvent("server.created"))
	write(t, dir, "two.json", "["+plainEvent("server.created")+","+plainEvent("server.created")+"]")
	write(t, dir, "wrong-rules.yaml", "rules: []\n")
	one := func(expect string) string {
		return "rules: rules.yaml\ncases:\n- name: it\n  event: event.json\n  expect: " + expect + "\n"
	}
	for _, tt := range []struct {
		name, cases string
		status      int
		want        []string
	}{
		{"as expected", one("{rules: [env], set: {env: dev}, remove: [old]}"), exitDone, []string{"1 cases, 0 failed"}},
		{"rules need not be named", one("{set: {env: dev}, remove: [old]}"), exitDone, nil},
		{"another value", one("{set: {env: prod}, remove: [old]}"), exitUndone, []string{`set env: want "prod", got "dev"`, "1 failed", "(rule env: size: left out: data.size is absent)"}},
		{"a key too many", one("{remove: [old]}"), exitUndone, []string{`set env: want nothing, got "dev"`}},
		{"a key too few", one("{set: {env: dev, k: v}, remove: [old]}"), exitUndone, []string{`set k: want "v", got nothing`}},
		{"another section", one("{add: {env: dev}, remove: [old]}"), exitUndone, []string{`set env: want nothing, got "dev"`, `add env: want "dev", got nothing`}},
		{"not removed", one("{set: {env: dev}}"), exitUndone, []string{"remove: want nothing, got old"}},
		{"another rule", one("{rules: [x], set: {env: dev}, remove: [old]}"), exitUndone, []string{"rules: want x, got env"}},
		{"an outcome", one("{outcome: ignored, set: {env: dev}, remove: [old]}"), exitUndone, []string{"outcome: want ignored, got nothing"}},
		{"unknown member", one("{sets: {env: dev}}"), exitUsage, []string{"sets"}},
		{"no cases", "rules: rules.yaml\n", exitUsage, []string{"cases.yaml has none"}},
		{"no event", "rules: rules.yaml\ncases: [{name: it}]\n", exitUsage, []string{"it: it has no event"}},
		{"no such event", "rules: rules.yaml\ncases: [{event: no.json}]\n", exitUsage, []string{"case 1: read the event: "}},
		{"several changes", "rules: rules.yaml\ncases:\n- event: two.json\n", exitUsage, []string{"reports 2 changes"}},
		{"wrong rules", "rules: wrong-rules.yaml\ncases: [{event: event.json}]\n", exitUsage, []string{"wrong-rules.yaml:1: rules: is empty"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, dir, "cases.yaml", tt.cases)
			out, errOut, status := taggerCommand(t, "", "rules", "test", file)
			if status != tt.status || strings.Count(errOut, "\n") > 1 {
				t.Errorf("status %d: %s%s", status, out, errOut)
			}
			for _, want := range tt.want {
				if !strings.Contains(out+errOut, want) {
					t.Errorf("no %q in:\n%s%s", want, out, errOut)
				}
			}
		})
	}
	if _, errOut, status := taggerCommand(t, "", "rules", "test", filepath.Join(dir, "no.yaml")); status != exitUsage || !strings.Contains(errOut, "read the cases: ") {
		t.Errorf("status %d: %s", status, errOut)
	}
}
