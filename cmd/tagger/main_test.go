package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const exampleRules = "../../docs/examples/rules.yaml"

// taggerCommand runs the command as from a shell, without the Tagger and OpenStack variables of the test's environment.
func taggerCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = run(t.Context(), args, streams{strings.NewReader(stdin), &out, &errOut})
	return out.String(), errOut.String(), status
}

// clearEnv hides the environment's configuration from a test.
func clearEnv(t *testing.T) {
	t.Helper()
	names := append(config.CredentialNames(), "OS_CLOUD", "OS_CLIENT_CONFIG_FILE")
	for _, v := range config.Variables[config.Settings]() {
		names = append(names, v.Name)
	}
	for _, name := range names {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// golden compares got with a file in testdata, or rewrites the file with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", file, diff)
	}
}

// The plans of all events: the samples, those that vendors document, and those that real clouds sent.
func TestPlanGolden(t *testing.T) {
	clearEnv(t)
	for folder, pattern := range map[string]string{"events": "../../events/*.json",
		"docs": "../../pkg/lifecycle/testdata/docs/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				out, errOut, _ := taggerCommand(t, "", "plan", "--rules", exampleRules, "-o", "json", file)
				if errOut != "" {
					t.Errorf("stderr: %s", errOut)
				}
				golden(t, filepath.Join("plan", folder, filepath.Base(file)), out)
			})
		}
	}
}

func TestPlanText(t *testing.T) {
	clearEnv(t)
	out, _, status := taggerCommand(t, "", "plan", "--rules", exampleRules, "../../events/server-created.json",
		"../../events/sqs-batch.json")
	if status != exitUndone { // the batch has a bad record
		t.Errorf("status %d", status)
	}
	golden(t, "plan.txt", out)
}

// The JSON fields that other programs rely on, in order.
func TestPlanContract(t *testing.T) {
	clearEnv(t)
	out, _, status := taggerCommand(t, readFile(t, "../../events/snapshot-created.json"), "plan", "--rules", exampleRules,
		"-o", "json", "-")
	if status != exitDone {
		t.Errorf("status %d", status)
	}
	var members []string
	dec := json.NewDecoder(strings.NewReader(out))
	for depth := 0; ; {
		token, err := dec.Token()
		if err != nil {
			break
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
		case string:
			if depth == 1 {
				members = append(members, token)
			}
		}
	}
	want := []string{"event", "action", "snapshot.created", "resource", "actor", "rules", "skipped", "plan", "problems",
		"requests", "paths", "api-pages"}
	if diff := cmp.Diff(want, members); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInvokeEmbedded(t *testing.T) {
	clearEnv(t)
	out, errOut, status := taggerCommand(t, "", "invoke", "--cloud", "embedded", "--rules", exampleRules,
		"../../events/server-created.json", "../../events/snapshot-created.json")
	if status != exitDone || errOut != "" {
		t.Errorf("status %d, stderr %s", status, errOut)
	}
	if !looking.MatchString(out) {
		t.Errorf("no wait is shown:\n%s", out)
	}
	golden(t, "invoke.txt", withoutJitter(out))
}

// Every sample creation is tagged in the embedded cloud, in any project.
func TestInvokeEmbeddedSamples(t *testing.T) {
	clearEnv(t)
	t.Setenv("TAGGER_RULES", `rules: [{on: [server.created, volume.created, snapshot.created, server.stopped], set: {seen: "${action}"}}]`)
	files, err := filepath.Glob("../../events/*-created.json")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../events/server-stopped.json")
	out, errOut, status := taggerCommand(t, "", append([]string{"invoke", "--cloud", "embedded", "-o", "json"},
		files...)...)
	if status != exitDone {
		t.Errorf("status %d, stderr %s", status, errOut)
	}
	// Several samples are about one resource at different times. A later event skips keys that are already decided.
	tagged, late := strings.Count(out, `"outcome":"tagged"`),
		strings.Count(out, `"reason":"a newer change decided all of its keys"`)
	if tagged+late != len(files) || tagged < 4 {
		t.Errorf("%d of %d tagged, %d late:\n%s", tagged, len(files), late, out)
	}
}

// onSimcloud serves an embedded cloud on a socket, and puts its OS_* variables into the environment.
func onSimcloud(t *testing.T, o simcloud.Options) *simcloud.Cloud {
	t.Helper()
	clearEnv(t)
	sim := simcloud.New(o)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	for _, line := range sim.Env(server.URL) {
		name, value, _ := strings.Cut(line, "=")
		t.Setenv(name, value)
	}
	return sim
}

const serverID = "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"

func plainEvent(kind string) string {
	return `{"specversion": "1.0", "id": "e-1", "source": "//test", "type": "io.github.cloudtagger.` + kind +
		`", "subject": "` + serverID + `",
		"time": "2026-11-20T09:15:04Z", "data": {"resource": {"name": "prod-<1>"}, "actor": {"name": "alice"}}}`
}

func TestInvokeEnv(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID, Metadata: map[string]string{"env": "dev", "stopped-at": "x"}})
	t.Setenv("TAGGER_RULES", `{"rules": [{"on": "server.created", "set": {"env": "${resource.name}"}, "remove": ["stopped-at"]}]}`)

	planned, errOut, status := taggerCommand(t, plainEvent("server.created"), "plan", "--cloud", "env", "-")
	if status != exitDone || !strings.Contains(planned, "dev  → prod-<1>") || !strings.Contains(planned, "→ (removed)") ||
		!strings.Contains(planned, "vm_state  active") {
		t.Errorf("status %d: %s%s", status, planned, errOut)
	}
	if !strings.Contains(errOut, "project demo (") || !strings.Contains(errOut, "user demo") {
		t.Errorf("it does not say where it is: %s", errOut)
	}
	preview, _, _ := taggerCommand(t, plainEvent("server.created"), "plan", "--cloud", "env", "-o", "json", "-")

	sim.ForgetRequests()
	out, _, status := taggerCommand(t, plainEvent("server.created"), "invoke", "--cloud", "env", "-o", "json", "-")
	if status != exitDone {
		t.Errorf("status %d: %s", status, out)
	}
	var before, after struct {
		Requests []json.RawMessage
		Outcome  string
		Written  map[string]string
		Removed  []string
		Calls    int
	}
	if err := json.Unmarshal([]byte(preview), &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &after); err != nil {
		t.Fatal(err)
	}
	// The requests of the run equal those of the plan, byte for byte.
	if diff := cmp.Diff(texts(before.Requests), texts(after.Requests)); diff != "" {
		t.Errorf("plan and run differ (-plan +run):\n%s", diff)
	}
	if after.Outcome != "tagged" || after.Calls != 4 || after.Written["env"] != "prod-<1>" || len(after.Removed) != 1 {
		t.Errorf("%s", out)
	}
	var posted string
	for _, r := range sim.Requests() {
		if r.Method == "POST" && r.Service == "compute" {
			posted = r.Body
		}
	}
	if posted == "" || !strings.Contains(preview, posted) {
		t.Errorf("the plan does not hold the body that was sent: %s", posted)
	}
	server, _ := sim.Server(serverID)
	if diff := cmp.Diff(map[string]string{"env": "prod-<1>"}, server.Metadata); diff != "" {
		t.Error(diff)
	}
}

func texts(all []json.RawMessage) []string {
	var s []string
	for _, m := range all {
		s = append(s, string(m))
	}
	return s
}

func TestInvokeEnvOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server simcloud.Server
		status int
		want   string
	}{
		{"deleted", simcloud.Server{}, exitDone, "gone"},
		{"locked", simcloud.Server{ID: serverID, Locked: true}, exitUndone, "deferred: locked"},
		{"in error", simcloud.Server{ID: serverID, VMState: "error"}, exitUndone, "deferred: vm_state error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sim := onSimcloud(t, simcloud.Options{})
			t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
			if tt.server.ID != "" {
				sim.PutServer(tt.server)
			}
			out, errOut, status := taggerCommand(t, plainEvent("server.created"), "invoke", "--cloud", "env", "-")
			if status != tt.status || !strings.Contains(out, "outcome   "+tt.want) {
				t.Errorf("status %d: %s%s", status, out, errOut)
			}
		})
	}
}

// The age of an event without a time counts from the start of the command, so a 404 is no proof that its resource is
// gone.
func TestEventWithoutTime(t *testing.T) {
	for _, rules := range []string{
		`rules: [{on: server.created, set: {env: dev}}]`,
		`rules: [{on: server.created, set: {env: "${resource.metadata.env ?? 'dev'}"}}]`, // reads before it plans
	} {
		for _, tt := range []struct {
			args, time, grace, outcome string
			status                     int
		}{
			{"plan --cloud env", "", "10m", "deferred: not found yet; gone only when the event is 10m0s old", exitUndone},
			{"invoke --cloud env --wait 0s", "", "10m", "deferred: not found yet", exitUndone},
			{"plan --cloud env", "", "0s", "gone", exitDone},
			{"invoke --cloud env --wait 0s", "", "0s", "gone", exitDone},
			{"plan --cloud env", `"time": "2025-11-20T09:15:04Z",`, "10m", "gone", exitDone},
			{"invoke --cloud env --wait 0s", `"time": "2025-11-20T09:15:04Z",`, "10m", "gone", exitDone},
		} {
			onSimcloud(t, simcloud.Options{})
			t.Setenv("TAGGER_RULES", rules)
			t.Setenv("TAGGER_GRACE", tt.grace)
			e := strings.Replace(plainEvent("server.created"), `"time": "2026-11-20T09:15:04Z",`, tt.time, 1)
			out, errOut, status := taggerCommand(t, e, append(strings.Fields(tt.args), "-")...)
			if status != tt.status || !strings.Contains(out, "  "+tt.outcome) {
				t.Errorf("%s, grace %s: status %d: %s%s", tt.args, tt.grace, status, out, errOut)
			}
		}
	}
}

// A list of the JSON form without elements is empty, not null.
func TestListsAreNotNull(t *testing.T) {
	for _, tt := range []struct{ name, there string }{{"nothing would change", "dev"}, {"a key would change", "test"}} {
		for _, args := range []string{
			"plan -o json -", "plan --cloud env -o json -", "invoke --cloud env -o json -",
			"plan --cloud env -o json none.json",
		} {
			t.Run(tt.name+" "+args, func(t *testing.T) {
				sim := onSimcloud(t, simcloud.Options{})
				sim.PutServer(simcloud.Server{ID: serverID, Metadata: map[string]string{"env": tt.there}})
				t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
				none := write(t, t.TempDir(), "none.json", "{}")
				args = strings.ReplaceAll(args, "none.json", none)
				out, errOut, _ := taggerCommand(t, plainEvent("server.created"), strings.Fields(args)...)
				var members map[string]json.RawMessage
				if err := json.Unmarshal([]byte(out), &members); err != nil {
					t.Fatalf("%v: %s%s", err, out, errOut)
				}
				for _, name := range []string{"rules", "skipped", "problems", "requests"} {
					if list := string(members[name]); !strings.HasPrefix(list, "[") {
						t.Errorf("%s is %q: %s", name, list, out)
					}
				}
			})
		}
	}
}

func TestInvokeDryRun(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID, Metadata: map[string]string{"env": "dev"}})
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: test}}]`)
	t.Setenv("TAGGER_DRY_RUN", "true")
	out, _, status := taggerCommand(t, plainEvent("server.created"), "invoke", "--cloud", "env", "-")
	if status != exitDone || !strings.Contains(out, "planned: dry run: would write env: dev → test") {
		t.Errorf("status %d: %s", status, out)
	}
	if server, _ := sim.Server(serverID); server.Metadata["env"] != "dev" {
		t.Errorf("metadata %v", server.Metadata)
	}
}

func TestInvokeIsInterrupted(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID, VMState: "building", BuildTime: time.Hour})
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sim.Tune(func(o *simcloud.Options) {
		o.OnRequest = func(r simcloud.Request) {
			if r.Status == 409 {
				cancel()
			}
		}
	})
	var out, errOut bytes.Buffer
	events := "[" + plainEvent("server.created") + "," + plainEvent("server.created") + "]"
	status := run(ctx, []string{"invoke", "--cloud", "env", "-"}, streams{strings.NewReader(events), &out, &errOut})
	if status != exitUndone ||
		!strings.Contains(errOut.String(),
			"tagger: interrupted: nothing was written while it waited, and 1 of 2 events were not tried: context canceled") {
		t.Errorf("status %d: %s%s", status, out.String(), errOut.String())
	}
}

// Bad input gives one clear line and its exit status, and sends nothing to a cloud.
func TestBadInput(t *testing.T) {
	const good = `rules: [{on: server.created, set: {env: dev}}]`
	climbing := strings.Replace(plainEvent("server.created"), serverID, "../../x", 1)
	for _, tt := range []struct {
		name   string
		rules  string
		stdin  string
		args   []string
		status int
		want   string // on standard error, or as the reason of an outcome
	}{
		{"no event", good, "", []string{"plan"}, exitUsage, "plan: no event; name a file"},
		{"no such file", good, "", []string{"plan", "no.json"}, exitUsage, "read the event: open no.json: no such file"},
		{"no cloud", good, "", []string{"invoke", "-"}, exitUsage, "say which cloud to write to"},
		{"unknown cloud", good, "", []string{"invoke", "--cloud", "aws", "-"}, exitUsage,
			`--cloud "aws": want embedded or env`},
		{"a plan in the embedded cloud", good, "", []string{"plan", "--cloud", "embedded", "-"}, exitUsage,
			"a plan reads from env, or from no cloud at all: leave --cloud out, or use tagger invoke --cloud embedded"},
		{"a plan in another cloud", good, "", []string{"plan", "--cloud", "aws", "-"}, exitUsage,
			`--cloud "aws": a plan reads from env, or from no cloud at all`},
		{"only required keys", "required: [{key: a, kinds: [server]}]", plainEvent("server.created"), []string{"plan", "-"},
			exitUsage, "no rules: section; write rules: [] if there are none"},
		{"cases as rules", "{rules: rules.yaml, cases: [{name: a}]}", plainEvent("server.created"), []string{"plan", "-"},
			exitUsage, "is a file of cases; use tagger rules test"},
		{"unknown output", good, "", []string{"plan", "-o", "yaml", "-"}, exitUsage, "want text or json"},
		{"unknown command", good, "", []string{"plna", "-"}, exitUsage, `unknown command "plna"`},
		{"unknown flag", good, "", []string{"plan", "--rule", "x", "-"}, exitUsage, "unknown flag --rule"},
		{"no rules", "", plainEvent("server.created"), []string{"plan", "-"}, exitUsage, "there are none; set TAGGER_RULES"},
		{"no such rules", good, "", []string{"plan", "--rules", "no.yaml", "-"}, exitUsage,
			"read the rules: open no.yaml: no such file"},
		{"rules without a value", "rules:", plainEvent("server.created"), []string{"plan", "-"}, exitUsage,
			"TAGGER_RULES:1: rules: want a list, found nothing"},
		{"endless rules", good, "", []string{"plan", "--rules", "/dev/zero", "-"}, exitUsage,
			"read the rules: /dev/zero: it is larger than 6 MiB"},
		{"endless cases", good, "", []string{"rules", "test", "/dev/zero"}, exitUsage, "it is larger than 6 MiB"},
		{"unknown rule field", `rules: [{on: server.created, wehn: "true", set: {a: b}}]`, plainEvent("server.created"),
			[]string{"plan", "-"}, exitUsage, `unknown field "wehn"; did you mean when?`},
		{"when: !x", "rules:\n- on: server.created\n  when: !x\n  set: {a: b}\n", plainEvent("server.created"),
			[]string{"plan", "-"}, exitUsage, `TAGGER_RULES:3: YAML reads "!x" as a tag`},
		{"a key with a slash", `rules: [{on: server.created, set: {a/b: c}}]`, plainEvent("server.created"),
			[]string{"plan", "-"}, exitUsage, `Nova key "a/b"`},
		{"a key that climbs", `rules: [{on: server.created, remove: [".."]}]`, plainEvent("server.created"),
			[]string{"invoke", "--cloud", "embedded", "-"}, exitUsage, `".." is a step in a path`},
		{"a long value", `rules: [{on: server.created, set: {a: ` + strings.Repeat("v", 300) + `}}]`,
			plainEvent("server.created"), []string{"plan", "-"}, exitUsage, "at most 255 characters, has 300"},
		{"no credentials", good, plainEvent("server.created"), []string{"invoke", "--cloud", "env", "-"}, exitUsage,
			"OS_AUTH_URL"},
		{"truncated JSON", good, plainEvent("server.created")[:80], []string{"plan", "-"}, exitUndone,
			"rejected: read payload: is not JSON"},
		{"nothing", good, "", []string{"plan", "-"}, exitUndone, "rejected: read payload"},
		{"missing subject", good, strings.Replace(plainEvent("server.created"), `"subject"`, `"sbject"`, 1),
			[]string{"plan", "-"}, exitUndone, "subject: is missing"},
		{"an id that climbs", good, climbing, []string{"plan", "-"}, exitUndone,
			`" is not a UUID; want 8-4-4-4-12 hexadecimal digits`},
		{"an id that climbs, for real", good, climbing, []string{"invoke", "--cloud", "embedded", "-"}, exitUndone,
			`" is not a UUID; want 8-4-4-4-12 hexadecimal digits`},
		{"an event of another world", good, `{"specversion": "1.0", "id": "1", "source": "/s", "type": "com.example.sold"}`,
			[]string{"plan", "-"}, exitDone,
			"unrecognised: type com.example.sold is not recognised: map it to an action with TAGGER_EVENT_TYPES"},
		{"nothing usable", `rules: [{on: server.created, set: {a: "${data.no.such}"}}]`, plainEvent("server.created"),
			[]string{"plan", "-"}, exitUndone,
			"no key of the plan can be written; rule rule-1, key a: left out: data.no.such is absent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearEnv(t)
			t.Setenv("TAGGER_RULES", tt.rules)
			out, errOut, status := taggerCommand(t, tt.stdin, tt.args...)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			text := errOut
			if tt.status != exitUsage {
				text = out
			}
			if !strings.Contains(text, tt.want) {
				t.Errorf("%q is not in:\n%s", tt.want, text)
			}
			if strings.Count(errOut, "\n") > 1 || strings.Contains(out+errOut, "goroutine") {
				t.Errorf("more than a line:\n%s", errOut)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
	out, errOut, status := taggerCommand(t, "", "check")
	if status != exitDone || strings.Count(out, " ok ") != 7 {
		t.Errorf("status %d:\n%s%s", status, out, errOut)
	}

	t.Setenv("OS_PASSWORD", "not-the-secret-one")
	t.Setenv("TAGGER_RULES", "")
	out, _, status = taggerCommand(t, "", "check", "-o", "json")
	var failed []string
	for line := range strings.Lines(out) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if !f.OK {
			failed = append(failed, f.Check)
		}
	}
	if diff := cmp.Diff([]string{"login"}, failed); diff != "" || status != exitUndone {
		t.Errorf("status %d, failed (-want +got):\n%s", status, diff)
	}
	if strings.Contains(out, "not-the-secret-one") {
		t.Errorf("the password is in the output: %s", out)
	}
}

func TestCheckNamesAnEndpointThatNothingAnswersAt(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_COMPUTE_ENDPOINT", "http://127.0.0.1:1/v2.1")
	out, errOut, status := taggerCommand(t, "", "check")
	const want = "connect to http://127.0.0.1:1/v2.1/: connection refused (nothing answers there: check TAGGER_COMPUTE_ENDPOINT"
	if status != exitUndone || !strings.Contains(out, want) || strings.Contains(out, unusedID) {
		t.Errorf("status %d:\n%s%s", status, out, errOut)
	}
}

// check works without rules. If there are rules, it checks them too.
func TestCheckRules(t *testing.T) {
	good, bad := filepath.Join(t.TempDir(), "good.yaml"), filepath.Join(t.TempDir(), "bad.yaml")
	empty, binary := filepath.Join(t.TempDir(), "empty.yaml"), filepath.Join(t.TempDir(), "rules.tar.gz")
	for file, text := range map[string]string{good: "rules: [{on: server.created, set: {env: dev}}]", bad: "rules: {}",
		empty: "rules: []", binary: "\x1f\x8b\x08\x01rules"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, parameter string
		args            []string
		status          int
		want            string
	}{
		{"none", "", nil, exitDone, "rules        warn    there are none, so nothing would be written: set TAGGER_RULES_FILE " +
			"to a file of rules, or name one with --rules"},
		{"an empty list", "", []string{"--rules", empty}, exitDone, "rules        warn    " + empty +
			" has no rule, so nothing would be written"},
		{"a file", "", []string{"--rules", good}, exitDone, "rules        ok      they compile"},
		{"a binary file", "", []string{"--rules", binary}, exitUndone, "rules        failed  " + binary +
			": is a binary file; rules are YAML text"},
		{"a bad file", "", []string{"--rules", bad}, exitUndone, "bad.yaml"},
		{"a parameter", "/tagger/rules", nil, exitDone,
			"rules        warn    in the parameter /tagger/rules, which is not read here"},
		{"a parameter, and the file that is to be in it", "/tagger/rules", []string{"--rules", good}, exitDone,
			"they compile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onSimcloud(t, simcloud.Options{})
			t.Setenv("TAGGER_RULES", "")
			t.Setenv("TAGGER_RULES_PARAMETER", tt.parameter)
			out, errOut, status := taggerCommand(t, "", append([]string{"check"}, tt.args...)...)
			if status != tt.status || !strings.Contains(out, tt.want) {
				t.Errorf("status %d:\n%s%s", status, out, errOut)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"plan", "--help"}, {"invoke", "--help"}, {"simcloud", "--help"},
		{"check", "--help"}} {
		out, errOut, status := taggerCommand(t, "", args...)
		if status != exitDone || !strings.Contains(out, "Usage:") || errOut != "" {
			t.Errorf("%v: status %d: %s%s", args, status, out, errOut)
		}
	}
}

// The embedded cloud as a server: its first lines are the client's settings, and it stops on request.
func TestSimcloud(t *testing.T) {
	clearEnv(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := &firstLines{found: make(chan string, 1), until: "OS_PROJECT_DOMAIN_NAME"}
	ended := make(chan int, 1)
	var errOut bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"simcloud", "--listen", "127.0.0.1:0", "--build-time", "0s"}, streams{nil, lines, &errOut})
	}()
	for line := range strings.Lines(<-lines.found) {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		t.Setenv(name, value)
	}
	out, checkErr, status := taggerCommand(t, "", "check")
	if !strings.Contains(out, "login        ok") || !strings.Contains(out, "volume       ok") {
		t.Errorf("status %d: %s%s", status, out, checkErr)
	}
	cancel()
	if status := <-ended; status != exitDone {
		t.Errorf("simcloud ended with status %d: %s", status, errOut.String())
	}
	if _, errOut, status := taggerCommand(t, "", "simcloud", "--listen", "no-such-address"); status != exitUsage ||
		!strings.Contains(errOut, "HOST:PORT") {
		t.Errorf("status %d: %s", status, errOut)
	}
}

// An unusable listen address is reported before anything is logged, with its source and how to fix it.
func TestListenAddress(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
	t.Setenv("TAGGER_AMQP_URL", "amqp://127.0.0.1:1/")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, command := range []string{"serve", "listen"} {
		for _, tt := range []struct {
			address, port string
			status        int
			want          []string
		}{
			{"8080", "", exitUsage, []string{"--listen 8080: ", "missing port", "HOST:PORT, such as 127.0.0.1:8080 or :8080"}},
			{"localhost:http-but-odd", "", exitUsage, []string{"--listen", "HOST:PORT"}},
			{"", "none", exitUsage, []string{"PORT=none: "}},
			{taken.Addr().String(), "", exitUndone,
				[]string{"--listen " + taken.Addr().String() + ": the address is in use; choose another"}},
		} {
			t.Setenv("PORT", tt.port)
			args := []string{command}
			if tt.address != "" {
				args = append(args, "--listen", tt.address)
			}
			out, errOut, status := taggerCommand(t, "", args...)
			if status != tt.status || strings.Contains(out+errOut, `"started"`) {
				t.Errorf("%v: status %d: %s%s", args, status, out, errOut)
			}
			for _, want := range tt.want {
				if !strings.Contains(errOut, want) {
					t.Errorf("%v: %q is not in %s", args, want, errOut)
				}
			}
		}
	}
}

// firstLines is a writer that sends its text to found, once, when the text contains a word.
type firstLines struct {
	text  bytes.Buffer
	until string
	found chan string
}

func (f *firstLines) Write(p []byte) (int, error) {
	f.text.Write(p)
	if f.until != "" && strings.Contains(f.text.String(), f.until) && strings.HasSuffix(f.text.String(), "\n") {
		f.until = ""
		f.found <- f.text.String()
	}
	return len(p), nil
}

// Names come from outside. They cannot send escapes to the terminal, forge lines, or put control characters into a
// cloud.
func TestHostileNames(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID})
	t.Setenv("TAGGER_RULES", `rules: [{name: r, on: server.created, set: {owner: "${actor.name}", k: "${resource.name}"}}]`)
	hostile := strings.Replace(plainEvent("server.created"), `"alice"`,
		`"a\u001b[2J\u001b]0;x\u0007\n  outcome   tagged\u202e\tb"`, 1)
	for _, args := range [][]string{{"plan", "-"}, {"plan", "--cloud", "env", "-"}, {"invoke", "--cloud", "env", "-"},
		{"plan", "--cloud", "env", "-"}} {
		out, _, _ := taggerCommand(t, hostile, args...)
		if strings.ContainsAny(out, "\x1b\a\u202e\t") {
			t.Errorf("%v: %q", args, out)
		}
		if n := strings.Count(out, "\n  outcome "); n > 1 {
			t.Errorf("%v: a forged line:\n%s", args, out)
		}
	}
	server, _ := sim.Server(serverID)
	if got := server.Metadata["owner"]; got != "a_[2J_]0;x__  outcome   tagged\u202e_b" {
		t.Errorf("owner %q", got)
	}
}

// No token of a raw notification reaches output, logs, expressions or a server.
func TestTokensGoNowhere(t *testing.T) {
	const token = "gAAAAABqverysecrettokenofauserxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID})
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {a: "${data._context_auth_token ?? 'none'}", b: "${data.payload.adminPass ?? 'none'}"}}]`)
	notification := `{"_context_auth_token": "` + token +
		`", "event_type": "compute.instance.create.end", "publisher_id": "compute.h", "message_id": "m-1",
		"timestamp": "2026-11-20 09:15:04.000000", "payload": {"instance_id": "` + serverID + `", "tenant_id": "` +
		strings.Repeat("a", 32) + `", "adminPass": "` + token + `"}}`
	for _, broken := range []string{notification, strings.Replace(notification, serverID, "x", 1),
		notification[:len(notification)-1], strings.Replace(notification, "instance.create", "instance.unknown", 1)} {
		for _, args := range [][]string{{"plan", "-"}, {"plan", "-o", "json", "-"}, {"invoke", "--cloud", "env", "-"},
			{"invoke", "--cloud", "embedded", "-o", "json", "-"}} {
			out, errOut, _ := taggerCommand(t, broken, args...)
			if strings.Contains(out+errOut, token[:20]) {
				t.Errorf("%v: the token is in the output", args)
			}
		}
	}
	out, _, _ := taggerCommand(t, notification, "plan", "-o", "json", "-")
	if !strings.Contains(out, `"set":{"a":"none","b":"none"}`) {
		t.Errorf("%s", out)
	}
}

func TestStyle(t *testing.T) {
	if got := style(true).paint(green, "ok"); got != "\x1b[32mok\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := style(false).paint(green, "ok"); got != "ok" {
		t.Errorf("%q", got)
	}
	if styleFor(&bytes.Buffer{}) {
		t.Error("a buffer is not a terminal")
	}
}

// A plan shows renamed keys and keys without room. A run shows keys without room too.
func TestPlanShowsRenamesAndRoom(t *testing.T) {
	clearEnv(t)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	text := "reserve_items: 127\npriority: [b]\nrules: [{name: r, on: server.created, rename: {Owner: owner}, add: {a: " +
		"x, b: y}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	const event = "../../events/server-created.json"
	planned, _, status := taggerCommand(t, "", "plan", "--rules", file, event)
	for _, want := range []string{"rename  Owner  → owner\n",
		"unknown   more requests if the resource has keys to rename",
		"  problems  key a: left out: the resource has 0 of 128 items, and reserve_items keeps 127 free"} {
		if status != exitDone || !strings.Contains(planned, want) {
			t.Errorf("status %d, want %q in\n%s", status, want, planned)
		}
	}
	done, _, status := taggerCommand(t, "", "invoke", "--cloud", "embedded", "--rules", file, event)
	if status != exitDone || strings.Count(done, "problems  key a: left out") != 1 ||
		!strings.Contains(done, "after     b  y\n") {
		t.Errorf("status %d:\n%s", status, done)
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
