package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
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

// check finds entries of TAGGER_PROJECTS that allow no project: a name in place of an id, a domain that does not exist,
// a project in which the credentials have no role.
func TestCheckProjects(t *testing.T) {
	const other, foreign = "11111111111111111111111111111111", "22222222222222222222222222222222"
	sim := onSimcloud(t, simcloud.Options{
		Users: []simcloud.User{
			{Name: "root", Password: "secret", Roles: map[string]string{"admin": "admin"}},
			{Name: "member", Password: "secret", Roles: map[string]string{"demo": "member", "other": "member"}},
		},
		Projects: []simcloud.Project{{Name: "demo"}, {Name: "admin"}, {Name: "other", ID: other},
			{Name: "foreign", ID: foreign}},
	})
	demo, _ := sim.Project("demo")
	t.Setenv("OS_PASSWORD", "secret")
	t.Setenv("OS_PROJECT_ID", "")
	for _, tt := range []struct{ user, own, projects, want string }{
		{"member", "demo", "demo",
			`failed  TAGGER_PROJECTS: no project has the id "demo"; a project of that name has the id ` +
				demo.ID},
		{"member", "demo", "other",
			`failed  TAGGER_PROJECTS: no project has the id "other"; a project of that name has the ` +
				"id " + other},
		{"member", "demo", foreign, `failed  TAGGER_PROJECTS: the credentials have no role in a project with the id "` +
			foreign + `"`},
		{"member", "demo", "domain:Nope", `failed  TAGGER_PROJECTS: the credentials have no role in a project of a domain ` +
			`"Nope"`},
		{"member", "demo", other, "ok      " + other},
		{"member", "demo", "domain:Default", "ok      domain:Default"},
		{"root", "admin", "demo",
			`failed  TAGGER_PROJECTS: no project has the id "demo"; a project of that name has the id ` +
				demo.ID},
		{"root", "admin", "33333333333333333333333333333333", "failed  TAGGER_PROJECTS: no project has the id"},
		{"root", "admin", "domain:Nope", `failed  TAGGER_PROJECTS: there is no domain "Nope"`},
		{"root", "admin", "domain:default", "ok      domain:default"},
		{"root", "admin", foreign + ",own", "ok      " + foreign + ", own"},
	} {
		t.Run(tt.user+" "+tt.projects, func(t *testing.T) {
			t.Setenv("OS_USERNAME", tt.user)
			t.Setenv("OS_PROJECT_NAME", tt.own)
			t.Setenv("TAGGER_PROJECTS", tt.projects)
			out, errOut, status := taggerCommand(t, "", "check")
			if !strings.Contains(out, "projects     "+tt.want) || (status == exitDone) != strings.HasPrefix(tt.want, "ok") {
				t.Errorf("status %d: %s%s", status, out, errOut)
			}
		})
	}
}

// A scope that matches nothing is an error, and one that the credentials cannot see is not called complete silently.
func TestScopes(t *testing.T) {
	sim, _ := fleet(t, 2)
	t.Setenv("TAGGER_RULES", `{"required": [{"key": "owner", "kinds": ["server"]}], "rules": [{"on": "server.created", "add": {"owner": "a"}}]}`)
	if sim == nil {
		t.Fatal("no cloud")
	}
	for _, tt := range []struct {
		args   string
		status int
		want   string
	}{
		{"coverage --scope domain:Nope", exitUsage, `--scope domain:Nope: the credentials have no role in a project of a ` +
			`domain "Nope"`},
		{"coverage --scope demo", exitUsage, `--scope demo: no project has the id "demo"; a project of that name has the id`},
		{"coverage --scope all", exitDone,
			"these credentials see only their project demo; --scope roles reads every project"},
		{"coverage", exitDone, "1/1 projects, complete read"},
		{"coverage --key ownr", exitUsage,
			"coverage: --key ownr: required: does not list it; it lists owner; did you mean owner?"},
		{"coverage --html /nonexist/p", exitUsage, "coverage: --html /nonexist/p: there is no directory /nonexist"},
		{"reconcile --scope domain:Nope", exitUsage, "--scope domain:Nope: the credentials have no role"},
		{"reconcile --scope own --out /nonexist/p", exitUsage, "--out /nonexist/p: there is no directory /nonexist"},
		{"reconcile --scope own --out=", exitUsage, "--out needs a file"},
		{"reconcile --scope all --out " + filepath.Join(t.TempDir(), "p"), exitDone,
			"these credentials see only their project"},
	} {
		out, errOut, status := taggerCommand(t, "", strings.Fields(tt.args)...)
		if status != tt.status || !strings.Contains(out+errOut, tt.want) {
			t.Errorf("%s: status %d: %s%s", tt.args, status, out, errOut)
		}
	}
	t.Setenv("OS_USERNAME", "admin")
	t.Setenv("OS_PROJECT_ID", "")
	t.Setenv("OS_PROJECT_NAME", "admin")
	t.Setenv("TAGGER_PROJECTS", "own")
	out, errOut, status := taggerCommand(t, "", "coverage", "--scope", "domain:Nope")
	if status != exitUsage || !strings.Contains(errOut, `coverage: --scope domain:Nope: there is no domain "Nope"`) {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
	t.Setenv("OS_PASSWORD", "wrong")
	for _, args := range []string{"coverage", "reconcile --scope own", "explain x", "plan --cloud env -", "check"} {
		out, errOut, status := taggerCommand(t, plainEvent("server.created"), strings.Fields(args)...)
		if status != exitUndone || !strings.Contains(out+errOut, "401") {
			t.Errorf("%s: status %d: %s%s", args, status, out, errOut)
		}
	}
}

func TestNoEvents(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: dev}}]")
	for _, args := range []string{"plan -", "plan -o json -", "invoke --cloud embedded -"} {
		out, errOut, status := taggerCommand(t, "[]", strings.Fields(args)...)
		if status != exitDone || out+errOut != "no events\n" || strings.Contains(args, "json") != (out == "") {
			t.Errorf("%s: status %d: %q, %q", args, status, out, errOut)
		}
	}
}

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
