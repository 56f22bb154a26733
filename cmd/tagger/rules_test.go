package main

import (
	"fmt"
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
	good := write(t, dir, "good.yaml",
		"rules:\n- {name: a, on: server.created, set: {k: v}}\n- {name: b, on: server.created, set: {k: w}}\n")
	forgotten := write(t, dir, "forgotten.yaml", "rules:\n- {name: a, on: server.created, add: {owner: actor.name}}\n")
	broken := write(t, dir, "broken.yaml", "rules: {}\n")
	bad := write(t, dir, "bad.yaml", "rules:\n- {on: server.craeted, set: {k: v}}\n- {on: server.created}\n")

	out, errOut, status := taggerCommand(t, "", "rules", "check", good)
	if status != exitDone || errOut != "" ||
		!strings.Contains(out, `good.yaml:2: rule "a": warning: it never has an effect`) ||
		!strings.Contains(out, "2 rules, they compile") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	out, errOut, status = taggerCommand(t, "", "rules", "check", bad, good)
	if status != exitUsage || !strings.Contains(errOut, "2 faults") || strings.Count(out, "bad.yaml:") != 2 ||
		!strings.Contains(out, "did you mean server.created?") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	const warning = `:2: rule "a": warning: key owner is the text "actor.name"; did you mean ${actor.name}?` + "\n"
	out, errOut, status = taggerCommand(t, "", "rules", "check", forgotten)
	if want := forgotten + warning + forgotten + ": 1 rule, it compiles\n"; status != exitDone || errOut != "" ||
		out != want {
		t.Errorf("status %d: %s%s, want %s", status, out, errOut, want)
	}
	out, errOut, status = taggerCommand(t, plainEvent("server.created"), "plan", "--rules", forgotten, "-")
	if status != exitDone || errOut != "tagger: "+forgotten+warning {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	if _, errOut, status := taggerCommand(t, "", "rules", "check", broken); status != exitUsage ||
		errOut != "tagger: rules check: 1 fault\n" {
		t.Errorf("status %d: %s", status, errOut)
	}
	binary := write(t, dir, "rules.tar.gz", "\x1f\x8b\x08\x01rules")
	if out, errOut, status := taggerCommand(t, "", "rules", "check", binary); status != exitUsage ||
		out != binary+": is a binary file; rules are YAML text\n" {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	if _, errOut, status := taggerCommand(t, "", "plan", "--rules", binary, "-"); status != exitUsage ||
		errOut != "tagger: "+binary+": is a binary file; rules are YAML text\n" {
		t.Errorf("status %d: %s", status, errOut)
	}
	want := "tagger: read the rules: there are none; set TAGGER_RULES to the rules or TAGGER_RULES_FILE to a file of " +
		"them, or name a FILE\n"
	if _, errOut, status := taggerCommand(t, "", "rules", "check"); status != exitUsage || errOut != want {
		t.Errorf("status %d: %s", status, errOut)
	}
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {k: v}}]")
	if out, _, status := taggerCommand(t, "", "rules", "check"); status != exitDone ||
		!strings.Contains(out, "TAGGER_RULES: 1 rule, it compiles") {
		t.Errorf("status %d: %s", status, out)
	}
	if _, errOut, status := taggerCommand(t, "", "rules", "check", "no.yaml"); status != exitUsage ||
		!strings.Contains(errOut, "no.yaml") {
		t.Errorf("status %d: %s", status, errOut)
	}
}

// rules check prints what rules read from the cloud and the rights that this needs.
func TestRulesCheckReads(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	for set, want := range map[string]string{
		"k: v":                          "",
		"k: '${resource.name}'":         "",
		"k: '${parent.metadata.owner}'": "reads from the cloud where the event does not say: parent\n",
		"k: '${actor.name}'": "reads from the cloud where the event does not say: actor.name; names and " +
			"projects need the right to read users and projects in Keystone\n",
	} {
		file := write(t, dir, "rules.yaml", "rules:\n- {on: snapshot.created, set: {"+set+"}}\n")
		if want != "" {
			want = file + ": " + want
		}
		want = file + ": 1 rule, it compiles\n" + want
		if out, errOut, status := taggerCommand(t, "", "rules", "check", file); status != exitDone || out != want {
			t.Errorf("%s: status %d: %s%s\nwant %s", set, status, out, errOut, want)
		}
	}
}

// The documented examples pass their own cases.
func TestRulesTestExample(t *testing.T) {
	clearEnv(t)
	for file, cases := range map[string]string{"rules_test.yaml": "3 cases, 0 failed",
		"company_test.yaml": "8 cases, 0 failed", "transfer_test.yaml": "3 cases, 0 failed"} {
		out, errOut, status := taggerCommand(t, "", "rules", "test", "../../docs/examples/"+file)
		if status != exitDone || !strings.Contains(out, cases) {
			t.Errorf("%s: status %d: %s%s", file, status, out, errOut)
		}
	}
}

func TestRulesTest(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml",
		"rules:\n- {name: env, on: server.created, set: {env: dev, size: '${data.size}'}, remove: [old]}\n- {name: other, "+
			"on: snapshot.created, remove: old}\n")
	write(t, dir, "event.json", plainEvent("server.created"))
	write(t, dir, "two.json", "["+plainEvent("server.created")+","+plainEvent("server.created")+"]")
	write(t, dir, "wrong-rules.yaml", "rules:\n")
	one := func(expect string) string {
		return "rules: rules.yaml\ncases:\n- name: it\n  event: event.json\n  expect: " + expect + "\n"
	}
	for _, tt := range []struct {
		name, cases string
		status      int
		want        []string
	}{
		{"as expected", one("{rules: [env], set: {env: dev}, remove: [old]}"), exitDone, []string{"1 case, 0 failed"}},
		{"rules need not be named", one("{set: {env: dev}, remove: [old]}"), exitDone, nil},
		{"another value", one("{set: {env: prod}, remove: [old]}"), exitUndone,
			[]string{`set env: want "prod", got "dev"`, "1 failed", "(rule env, key size: left out: data.size is absent)"}},
		{"a key too many", one("{remove: [old]}"), exitUndone, []string{`set env: want nothing, got "dev"`}},
		{"a key too few", one("{set: {env: dev, k: v}, remove: [old]}"), exitUndone,
			[]string{`set k: want "v", got nothing`}},
		{"another section", one("{add: {env: dev}, remove: [old]}"), exitUndone,
			[]string{`set env: want nothing, got "dev"`, `add env: want "dev", got nothing`}},
		{"not removed", one("{set: {env: dev}}"), exitUndone, []string{"remove: want nothing, got old"}},
		{"another rule", one("{rules: [env, other], set: {env: dev}, remove: [old]}"), exitUndone,
			[]string{"rules: want env, other, got env"}},
		{"an outcome", one("{outcome: ignored, set: {env: dev}, remove: [old]}"), exitUndone,
			[]string{"outcome: want ignored, got nothing"}},
		{"no cases", "rules: rules.yaml\n", exitUsage, []string{"cases.yaml has none"}},
		{"no event", "rules: rules.yaml\ncases: [{name: it}]\n", exitUsage, []string{"it: it has no event"}},
		{"no such event", "rules: rules.yaml\ncases: [{event: no.json}]\n", exitUsage, []string{"case 1: read the event: "}},
		{"several changes", "rules: rules.yaml\ncases:\n- event: two.json\n", exitUsage, []string{"reports 2 changes"}},
		{"wrong rules", "rules: wrong-rules.yaml\ncases: [{event: event.json}]\n", exitUsage,
			[]string{"wrong-rules.yaml:1: rules: want a list, found nothing"}},
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
	if _, errOut, status := taggerCommand(t, "", "rules", "test", filepath.Join(dir, "no.yaml")); status != exitUsage ||
		!strings.Contains(errOut, "read the cases: ") {
		t.Errorf("status %d: %s", status, errOut)
	}
}

// Errors in a case file are in terms of YAML instead of Go types.
func TestRulesTestRefuses(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", "rules:\n- {name: environment, on: server.created, set: {env: dev}}\n")
	write(t, dir, "event.json", plainEvent("server.created"))
	one := func(expect string) string {
		return "rules: rules.yaml\ncases:\n- name: it\n  event: event.json\n  expect: " + expect + "\n"
	}
	const outcomes = " is not a plan's; want ignored, unrecognised or rejected, or none where there is something to write"
	for _, tt := range []struct{ name, cases, want string }{
		{"unknown field of a case", "cases:\n- event: event.json\n  expects: {}\n",
			"read the cases: CASES:3: unknown field expects; did you mean expect?"},
		{"unknown field of the file", "rule: x\n", "read the cases: CASES:1: unknown field rule; did you mean rules?"},
		{"unknown field of a plan", one("{metadata: {env: dev}}"),
			"read the cases: CASES:5: unknown field metadata; known: rules, set, add, remove, rename, outcome"},
		{"a list for a mapping", one("{set: [env]}"), "read the cases: CASES:5: want a mapping, found a list"},
		{"a text for a list", one("{remove: env}"), "read the cases: CASES:5: want a list, found one value"},
		{"a mapping for a text", "cases:\n- name: {a: b}\n", "read the cases: CASES:2: want one value, found a mapping"},
		{"not YAML", "cases: [\n", "read the cases: CASES:2: not YAML: did not find expected node content"},
		{"unknown outcome", one("{outcome: tgged}"), `CASES: it: expect: outcome: "tgged"` + outcomes},
		{"an outcome of a run", one("{outcome: tagged}"), `CASES: it: expect: outcome: "tagged"` + outcomes},
		{"no such rule", one("{rules: [nope]}"), `CASES: it: expect: rules: no rule is named "nope"; known: environment`},
		{"misspelt rule", one("{rules: [enviroment]}"),
			`CASES: it: expect: rules: no rule is named "enviroment"; did you mean environment?`},
		{"a file of rules", "rules:\n- {on: server.created, set: {env: dev}}\n",
			"read the cases: CASES is a file of rules; want one of cases, whose rules: names it"},
		{"a second document", one("{set: {env: dev}}") + "---\n" + one("{}"),
			"read the cases: CASES:6: a second document (---); all cases belong under one cases: of one document"},
		{"no rules", "cases: [{event: event.json}]\n",
			"read the rules: there are none; set TAGGER_RULES to the rules or TAGGER_RULES_FILE to a file of them, or name a " +
				"file in rules: of CASES"},
	} {
		file := write(t, dir, "cases.yaml", tt.cases)
		want := "tagger: " + strings.ReplaceAll(tt.want, "CASES", file) + "\n"
		if _, got, status := taggerCommand(t, "", "rules", "test", file); status != exitUsage || got != want {
			t.Errorf("%s: status %d\ngot  %swant %s", tt.name, status, got, want)
		}
	}
}

// Several cases can share one event.
func TestRulesTestAlias(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", "rules:\n- {on: server.created, set: {env: dev}}\n")
	write(t, dir, "event.json", plainEvent("server.created"))
	for _, event := range []string{plainEvent("server.created"), "event.json"} {
		file := write(t, dir, "cases.yaml", "rules: rules.yaml\ncases:\n- event: &e "+event+
			"\n  expect: &x {set: {env: dev}}\n- event: *e\n  expect: *x\n")
		if out, errOut, status := taggerCommand(t, "", "rules", "test", file); status != exitDone ||
			!strings.Contains(out, "2 cases, 0 failed") {
			t.Errorf("status %d: %s%s", status, out, errOut)
		}
	}
}

// A problem labels its rule and its key, which may have the same name.
func TestProblemsAsText(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_RULES", "rules: [{name: owner, on: server.created, when: data.x, set: {owner: v}}, {name: size, "+
		"on: server.created, set: {size: '${data.size}', k: v}}]")
	out, errOut, status := taggerCommand(t, plainEvent("server.created"), "plan", "-")
	want := "  problems  rule owner: when is absent: data.x\n            rule size, key size: left out: data.size is " +
		"absent\n"
	if status != exitDone || !strings.Contains(out, want) {
		t.Errorf("status %d: %s%swant %s", status, out, errOut, want)
	}
}

// An event on which a rule takes too long is rejected, with the name of the rule.
func TestGreedyRule(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_RULES", "rules: [{name: first, on: server.created, set: {k: v}}, {name: greedy, on: "+
		"server.created, set: {k: '${repeat(resource.kind, 100000000)}'}}]")
	out, errOut, status := taggerCommand(t, plainEvent("server.created"), "plan", "-")
	if status != exitUndone || errOut != "" ||
		!strings.Contains(out, "rejected: rule greedy, key k: needs more time or memory for this event than a plan may use") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// An event in a case has the values that the same words have in JSON. Words that are not JSON values are strings.
func TestRulesTestTypes(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml",
		"rules:\n- {name: r, on: server.created, set: {value: '${data.v}', is: '${type(data.v)}', project: "+
			"'${resource.project}'}}\n")
	for _, tt := range []struct{ written, value, kind string }{
		{"2026-12-31", "2026-12-31", "string"},
		{"2026-12-31T09:15:04Z", "2026-12-31T09:15:04Z", "string"},
		{"014", "014", "string"},
		{"0o14", "0o14", "string"},
		{"0b1", "0b1", "string"},
		{"0x1F", "0x1F", "string"},
		{"3.10", "3.10", "string"},
		{"3.5", "3.5", "float"},
		{".5", ".5", "string"},
		{"1234e5", "1234e5", "string"},
		{"12:30", "12:30", "string"},
		{"1_000", "1_000", "string"},
		{"+7", "+7", "string"},
		{"7", "7", "int"},
		{"-7", "-7", "int"},
		{"9223372036854775807", "9223372036854775807", "int"},
		{"9223372036854775808", "9223372036854775808", "string"},
		{"1700000000000", "1700000000000", "int"},
		{"yes", "yes", "string"},
		{"on", "on", "string"},
		{"n", "n", "string"},
		{"true", "true", "bool"},
		{"False", "false", "bool"},
		{`"true"`, "true", "string"},
		{`'7'`, "7", "string"},
		{".inf", ".inf", "string"},
		{"!!str 7", "7", "string"},
		{"[1, x]", "", "array"},
		{"{a: 1}", "", "map"},
		{"null", "", "nil"},
		{"~", "", "nil"},
	} {
		text := fmt.Sprintf(`rules: rules.yaml
cases:
- event: {specversion: "1.0", id: 1, source: //t, type: io.github.cloudtagger.server.created, subject: 8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10,
    data: {resource: {project: 00112233445566778899001122334455}, v: %s}}
  expect: {set: {is: %s, project: 00112233445566778899001122334455%s}}
`, tt.written, tt.kind, map[bool]string{true: fmt.Sprintf(", value: %q", tt.value)}[tt.value != ""])
		text = strings.Replace(text, "id: 1,", `id: "1",`, 1)
		out, errOut, status := taggerCommand(t, "", "rules", "test", write(t, dir, "cases.yaml", text))
		if status != exitDone || errOut != "" {
			t.Errorf("%s: status %d: %s%s", tt.written, status, out, errOut)
		}
	}
}

// Aliases and merge keys work in events, and cannot make one too large.
func TestRulesTestEventAliases(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", "rules:\n- {on: server.created, set: {v: '${data.v}', w: '${data.w}'}}\n")
	head := `{specversion: "1.0", id: "1", source: //t, type: io.github.cloudtagger.server.created, subject: 8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10, `
	for _, tt := range []struct{ event, want string }{
		{head + "data: {<<: {v: merged, w: &w also}, v: own}}", ""},
		{head + "data: {v: own, <<: [{w: also}, {w: later, v: merged}]}}", ""},
		{head + "data: {v: own, w: *also}}", ""},
		{head + "data: {v: own, v: twice}}", `line 5: v is given twice`},
		{head + "data: {v: !!int 7}}", "line 5: the tag !!int: an event is JSON, which has none"},
		{head + "data: {<<: text}}", "line 5: <<: want a mapping to merge"},
		{head + "data: {[a]: b}}", "line 5: a key must be one value"},
		{head + "data: {a: &a [x,x,x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a], c: &c " +
			"[*b,*b,*b,*b,*b,*b,*b,*b,*b,*b], d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c], " +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d], f: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]}}", "its aliases make it too large"},
	} {
		file := write(t, dir, "cases.yaml",
			"rules: rules.yaml\ncases:\n- name: &also also\n  expect: {set: {v: own, w: also}}\n  event: "+tt.event+"\n")
		out, errOut, status := taggerCommand(t, "", "rules", "test", file)
		if tt.want == "" && status != exitDone ||
			tt.want != "" && (status != exitUsage || !strings.Contains(errOut, tt.want)) {
			t.Errorf("%s: status %d: %s%s", tt.event, status, out, errOut)
		}
	}
}

// Absolute paths stay unchanged.
func TestRulesTestAbsolutePaths(t *testing.T) {
	clearEnv(t)
	dir, elsewhere := t.TempDir(), t.TempDir()
	rulesFile := write(t, elsewhere, "rules.yaml", "rules:\n- {on: server.created, set: {env: dev}}\n")
	event := write(t, elsewhere, "event.json", plainEvent("server.created"))
	file := write(t, dir, "cases.yaml", "rules: "+rulesFile+"\ncases:\n- event: "+event+"\n  expect: {set: {env: dev}}\n")
	if out, errOut, status := taggerCommand(t, "", "rules", "test", file); status != exitDone {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// A case can set what Tagger would read from the cloud.
func TestRulesTestReadings(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", `conditions: {sandbox: '"sandbox" in (project.tags ?? [])'}
ignore: sandbox
rules:
- name: inherit
  on: snapshot.created
  inherit: [owner, "billing-*"]
- name: names
  on: snapshot.created
  add: {by: '${actor.name}', env: '${resource.metadata.env ?? "none"}'}
  remove: ["tmp-*", old]
  rename: {Owner: owner}
`)
	write(t, dir, "event.json",
		`{"specversion":"1.0","id":"1","source":"//t","type":"io.github.cloudtagger.snapshot.created","subject":"4f6de2c1-93b7-4c55-8a0f-2f9b1c7d3e64",
		"data":{"resource":{"project":"p-1","volume":"8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"},"actor":{"id":"u-1"}}}`)
	for _, tt := range []struct {
		readings, expect string
		status           int
		want             string
	}{
		{"{parent: {metadata: {owner: team, billing-a: 1, other: x}}, actor_name: alice, metadata: {env: dev}}",
			`{add: {owner: team, billing-a: "1", by: alice, env: dev}, remove: [old, "tmp-*"], rename: {Owner: owner}}`,
			exitDone, ""},
		{"{project: {tags: [sandbox]}}", "{outcome: ignored}", exitDone, ""},
		{"{}", `{add: {env: none}, remove: [old, "tmp-*"]}`, exitUndone, `rename Owner: want nothing, got "owner"`},
		{"{}", `{add: {env: none}}`, exitUndone,
			"(rule inherit, key owner: not inherited: parent is absent: parent is unknown here: the case has no readings: " +
				"parent)"},
		{"{parents: {}}", `{}`, exitUsage, "unknown field parents; did you mean parent?"},
		{"{parent: {metdata: {}}}", `{}`, exitUsage, "unknown field metdata; did you mean metadata?"},
	} {
		file := write(t, dir, "cases.yaml", "rules: rules.yaml\ncases:\n- event: event.json\n  readings: "+tt.readings+
			"\n  expect: "+tt.expect+"\n")
		out, errOut, status := taggerCommand(t, "", "rules", "test", file)
		if status != tt.status || !strings.Contains(out+errOut, tt.want) {
			t.Errorf("%s: status %d: %s%s", tt.readings, status, out, errOut)
		}
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
	out, errOut, status := taggerCommand(t, "", "reconcile", "--rules", "../../docs/examples/company.yaml", "--scope",
		"own",
		"--out", plan)
	if status != exitDone || !strings.Contains(out, "read      3 servers,") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	file := write(t, filepath.Dir(plan), "event.yaml",
		"ignore: data.dry_run == true\nrules: [{on: server.created, set: {env: dev}}]\n")
	out, _, status = taggerCommand(t, "", "rules", "check", file)
	if status != exitDone || !strings.Contains(out, file+":1: warning: ignore: depends on data, which only an event has") {
		t.Errorf("status %d: %s", status, out)
	}
}
