package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const fleetRules = `rules:
- {name: owner, on: [server.created, snapshot.created], add: {owner: team-shop}}
- {name: lease, on: server.created, add: {expires: "${date(time + days(14))}"}}
- {name: prod, on: server.created, when: 'resource.name startsWith "prod-"', add: {tier: gold}}
`

// fleet is an embedded cloud with servers that were created two hours ago.
func fleet(t *testing.T, n int) (sim *simcloud.Cloud, plan string) {
	t.Helper()
	sim = onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", fleetRules)
	t.Setenv("TAGGER_RATE", "0")
	sim.Fill(n, func(_ int, s *simcloud.Server) { s.Created = s.Created.Add(-2 * time.Hour) })
	return sim, filepath.Join(t.TempDir(), "plan.jsonl")
}

// A dry run over a limit, a canary, the rest, and a revert.
func TestReconcile(t *testing.T) {
	sim, plan := fleet(t, 120)
	contains := func(out string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
	}
	tagged := func() (n int) {
		for _, s := range sim.Servers() {
			if s.Metadata["owner"] == "team-shop" {
				n++
			}
		}
		return n
	}
	out, errOut, status := taggerCommand(
		t,
		"",
		"reconcile",
		"--scope",
		"own",
		"--kind",
		"server",
		"--settled",
		"0s",
		"--out",
		plan,
	)
	if status != exitDone {
		t.Fatalf("status %d: %s%s", status, out, errOut)
	}
	contains(
		out,
		"read      120 servers in 1 call,",
		"0 errors",
		"events only: lease.expires",
		"120 resources, 120 keys",
		"owner team-shop ×120",
		"Nothing was written. To apply:  tagger reconcile --apply "+plan+" --confirm 120 --max-per-project 100%",
		"(--max-per-project)    over",
	)
	out, errOut, status = taggerCommand(t, "", "reconcile", "--apply", plan)
	if status != exitCapped || tagged() != 0 {
		t.Fatalf("status %d: %s%s", status, out, errOut)
	}
	contains(
		out,
		"STOPPED before the first write. Nothing was written.",
		"120 planned",
		"limit 100",
		"--confirm 120 --max-per-project 100%",
		"Canary:    tagger reconcile --apply "+plan+" --canary 12",
	)
	flags := []string{"reconcile", "--apply", plan, "--max-per-project", "100%", "--canary-wait", "0s"}
	out, errOut, status = taggerCommand(
		t,
		"",
		append(flags, "--canary", "5", "--max-percent", "100", "--confirm", "5")...)
	if status != exitDone || tagged() != 5 {
		t.Fatalf("status %d, %d tagged: %s%s", status, tagged(), out, errOut)
	}
	contains(out, "5 of 5 tried: 5 written", "115 resources left")
	if out, errOut, status = taggerCommand(t, "", append(flags, "--confirm", "115")...); status != exitUsage {
		t.Fatalf("a second run without --resume: status %d: %s%s", status, out, errOut)
	}
	if out, errOut, status = taggerCommand(
		t,
		"",
		append(flags, "--resume", "--confirm", "120")...); status != exitCapped ||
		tagged() != 5 {
		t.Fatalf("a wrong count: status %d: %s%s", status, out, errOut)
	}
	out, errOut, status = taggerCommand(t, "", append(flags, "--resume", "--confirm", "115")...)
	if status != exitDone || tagged() != 120 {
		t.Fatalf("status %d, %d tagged: %s%s", status, tagged(), out, errOut)
	}
	journals, err := filepath.Glob(filepath.Join(filepath.Dir(plan), "run-*.jsonl"))
	if err != nil || len(journals) != 1 {
		t.Fatal(journals, err)
	}
	text, err := os.ReadFile(journals[0])
	if err != nil {
		t.Fatal(err)
	}
	contains(
		string(text),
		`"format":"tagger-journal/1"`,
		`"operator":"demo`,
		`"from":null,"to":"team-shop"`,
		`"requests":["req-`,
	)
	if out, errOut, status = taggerCommand(
		t,
		"",
		"reconcile",
		"--revert",
		journals[0],
	); status != exitDone ||
		tagged() != 0 {
		t.Fatalf("status %d, %d tagged: %s%s", status, tagged(), out, errOut)
	}
}

func TestReconcileStatuses(t *testing.T) {
	sim, plan := fleet(t, 250)
	for _, args := range [][]string{
		{"reconcile"}, {"reconcile", "--scope", "rolse"}, {"reconcile", "--scope", "own", "--kind", "disk"},
		{"reconcile", "--scope", "own", "--created-between", "yesterday"}, {"reconcile", "--apply", plan},
		{"reconcile", "--apply", plan, "--max-per-project", "many"}, {"reconcile", "--show", plan},
	} {
		if out, errOut, status := taggerCommand(t, "", args...); status != exitUsage || errOut == "" {
			t.Errorf("%v: status %d: %s%s", args, status, out, errOut)
		}
	}
	sim.Inject(simcloud.Fault{Path: "/servers/detail", Skip: 1, Answer: &simcloud.Answer{Status: 400, Body: "{}"}})
	out, errOut, status := taggerCommand(
		t,
		"",
		"reconcile",
		"--scope",
		"own",
		"--kind",
		"server",
		"--settled",
		"0s",
		"--out",
		plan,
		"-o",
		"json",
	)
	var got struct {
		Outcome  string
		Complete bool
		Errors   []string
	}
	if err := json.Unmarshal(
		[]byte(out),
		&got,
	); err != nil || status != exitUnread || got.Outcome != "planned" || got.Complete ||
		len(got.Errors) != 1 {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// The first line of explain says why a resource is as it is.
func TestExplain(t *testing.T) {
	sim, _ := fleet(t, 0)
	created := time.Now().Add(-2 * time.Hour).UTC().Truncate(time.Second)
	demo, _ := sim.Project("demo")
	other, _ := sim.Project("other")
	put := func(s simcloud.Server) string {
		s.Created = created
		return sim.PutServer(s)
	}
	bare := put(simcloud.Server{Name: "bare"})
	put(simcloud.Server{Name: "done", Metadata: map[string]string{"owner": "team-shop", "mine": "1"}})
	put(simcloud.Server{Name: "locked", Locked: true})
	put(simcloud.Server{Name: "building", VMState: "building"})
	put(simcloud.Server{Name: "broken", VMState: "error"})
	put(simcloud.Server{Name: "other-value", Metadata: map[string]string{"owner": "bob"}})
	going := put(simcloud.Server{Name: "going", VMState: "deleted"})
	put(simcloud.Server{Name: "twins"})
	put(simcloud.Server{Name: "twins"})
	foreign := put(simcloud.Server{Name: "foreign", ProjectID: other.ID})
	sim.PutServer(simcloud.Server{Name: "young"})
	sim.PutVolume(simcloud.Volume{Name: "disk", Created: created})
	line := func(at time.Time, resource, outcome, reason string) string {
		return fmt.Sprintf(
			`{"time":%q,"level":"INFO","msg":"event %s","resource_id":%q,"action":"server.created","outcome":%q,"reason":%q}`+
				"\n",
			at.Format(time.RFC3339),
			outcome,
			resource,
			outcome,
			reason,
		)
	}
	around := line(created.Add(-time.Hour), "x", "tagged", "") + line(created.Add(time.Hour), "x", "tagged", "")
	for _, tt := range []struct {
		wanted, log string
		status      int
		wants       []string
	}{
		{"done", "", exitDone, []string{
			"done has every key that can be computed now; expires can be computed only from an event.\n",
			"  STATUS   WHY\n", "team-shop  ok\n", "-          1          unknown  not ours\n",
			"state     active, no task\n", "next      nothing to do", "skip    prod: when is false",
		}},
		{"bare", "", exitUndone, []string{
			"bare lacks owner: what became of its creation event is unknown (--log was not given).\n",
			`send      POST /servers/` + bare + `/metadata {"metadata":{"owner":"team-shop"}}`, "--scope " + demo.ID +
				" --kind server --name 'bare'",
			"creator   ", "  STATUS   WHY\n", "-      missing\n",
			"unknown: the cloud does not tell them to these credentials", "filter resource_id = \"" + bare,
		}},
		{bare, around, exitUndone, []string{
			"bare lacks owner: there is no trace of its creation event in the logs, which say nothing from ",
			"2 lines, 0 about it",
		}},
		{"bare", line(created.Add(time.Hour), "x", "tagged", ""), exitUndone,
			[]string{"is unknown: the logs cover only ", "do not cover its creation", ", 1 line, 0 about it"}},
		{"bare", around + line(created.Add(time.Second), bare, "deferred", "404 Not Found"), exitUndone, []string{
			"bare lacks owner: its last event (server.created) was deferred: 404 Not Found.\n", "3 lines, 1 about it",
		}},
		{"bare", "nonsense\n", exitUndone, []string{"the logs have no usable line"}},
		{"locked", "", exitUndone, []string{"locked lacks owner: the server is locked", "may not write a locked server",
			"next      openstack server unlock "}},
		{"building", "", exitUndone, []string{"building lacks owner: task spawning.\n", "next      wait"}},
		{"broken", "", exitUndone,
			[]string{"broken lacks owner: vm_state error.\n", "next      bring it out of state error"}},
		{"young", "", exitUndone, []string{"its event may still be on its way"}},
		{"other-value", "", exitUndone, []string{"other-value differs from the rules: owner ", `has another value, "bob"`,
			"  STATUS   WHY\n", "team-shop  bob    differs  has another value, ",
			"under add:, which never replaces a value", " 1 item used; 128 are Nova's default quota\n"}},
		{"disk", "", exitDone, []string{"disk gets no metadata: no rule matches.\n"}},
		{going, "", exitUndone, []string{"going is deleted: nothing can be written on it any more.\n",
			"next      nothing to do"}},
		{"twins", "", exitUsage, []string{"twins is the name of 2 resources"}},
		{foreign, "", exitUndone, []string{": not found. Either it does not exist, or these credentials cannot see it."}},
		{"nothing", "", exitUndone, []string{": not found. Either it does not exist, or these credentials cannot see it."}},
	} {
		t.Run(tt.wanted, func(t *testing.T) {
			args := []string{"explain", tt.wanted}
			if tt.log != "" {
				args = append(args, "--log", "-")
			}
			out, errOut, status := taggerCommand(t, tt.log, args...)
			if status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, errOut)
			}
			for _, want := range tt.wants {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
	sim.Inject(simcloud.Fault{Path: "/servers", Answer: simcloud.ServerError()})
	if out, _, status := taggerCommand(
		t,
		"",
		"explain",
		bare,
	); status != exitUnread ||
		!strings.Contains(out, "is unknown: not everything could be read") {
		t.Errorf("status %d:\n%s", status, out)
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
		{"coverage --scope own,all,all", exitDone, "1/1 projects, complete read"},
		{"coverage", exitDone, "1/1 projects, complete read"},
		{"coverage --key ownr", exitUsage,
			"coverage: --key ownr: required: does not list it; it lists owner; did you mean owner?"},
		{"coverage --html /nonexist/p", exitUsage, "coverage: --html /nonexist/p: there is no directory /nonexist"},
		{"coverage --html " + t.TempDir(), exitUsage, "is not a regular file"},
		{"reconcile --scope domain:Nope", exitUsage, "--scope domain:Nope: the credentials have no role"},
		{"reconcile --scope own --out /nonexist/p", exitUsage, "--out /nonexist/p: there is no directory /nonexist"},
		{"reconcile --scope own --out=", exitUsage, "reconcile: --out is empty, as from an unset variable"},
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
