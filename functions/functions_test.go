// Package functions_test runs the functions' binaries with a fake of AWS Lambda's runtime API and the embedded cloud on
// a socket.
package functions_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/internal/lambdatest"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const (
	serverID  = "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"
	otherID   = "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a11"
	rulesText = `rules:
- {name: env, on: server.created, set: {env: dev}}
- {name: owner, on: snapshot.created, add: {owner: "${actor.name}"}}
- {name: stopped, on: server.stopped, set: {stopped-at: "${time}"}}
`
)

// binaries are built once.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tagger-functions")
	if err != nil {
		panic(err)
	}
	binaries = dir
	build := exec.Command("go", "build", "-tags", "lambda.norpc,nethttpomithttp2", "-o", dir, "./...")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the functions:", err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// function is one running function.
type function struct {
	t       *testing.T
	runtime *lambdatest.RuntimeAPI
	aws     *lambdatest.AWS
	sim     *simcloud.Cloud

	mu  sync.Mutex
	log []map[string]any
}

// start starts a function. Variables in more that begin with OS_ are added to its secret, others to its environment. It
// does not inherit the test's environment.
func start(t *testing.T, name string, o simcloud.Options, more ...string) *function {
	t.Helper()
	f := &function{t: t, runtime: lambdatest.NewRuntimeAPI(), aws: lambdatest.NewAWS(), sim: simcloud.New(o)}
	server := httptest.NewServer(f.sim)
	t.Cleanup(server.Close)
	t.Cleanup(f.runtime.Close)
	t.Cleanup(f.aws.Close)
	if err := f.aws.SetCredentials(append(f.sim.Env(server.URL), more...)); err != nil {
		t.Fatal(err)
	}
	env := append(f.aws.Environ(f.runtime), "TAGGER_RULES="+rulesText)
	for _, line := range more {
		if !strings.HasPrefix(line, "OS_") {
			env = append(env, line)
		}
	}
	cmd := exec.CommandContext(t.Context(), executable(name))
	cmd.Env = env
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var entry map[string]any
			if json.Unmarshal(lines.Bytes(), &entry) == nil {
				f.mu.Lock()
				f.log = append(f.log, entry)
				f.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
	})
	return f
}

// goList lists the packages that the functions link.
func goList(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-tags", "lambda.norpc,nethttpomithttp2", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func executable(name string) string {
	path := filepath.Join(binaries, name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	return path
}

func (f *function) invoke(payload string) lambdatest.Response {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	a, err := f.runtime.Invoke(ctx, []byte(payload), 30*time.Second)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f *function) metadata(id string) map[string]string {
	s, _ := f.sim.Server(id)
	return s.Metadata
}

// created returns a plain event for a server.
func created(id string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "id": "e-%s", "source": "//test", "type": `+
		`"io.github.cloudtagger.server.created", "subject": %q, "time": %q}`,
		id, id, time.Now().UTC().Format(time.RFC3339))
}

func TestDirectInvoke(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{})
	f.sim.PutServer(simcloud.Server{ID: serverID})
	a := f.invoke(created(serverID))
	var got struct {
		Outcome string
		Results []struct {
			Outcome  string
			Action   string
			Written  map[string]string
			Calls    int
			Requests []struct{ Method, Path string }
		}
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Failed {
		t.Fatalf("answer %s, %v", a.Body, err)
	}
	if got.Outcome != "tagged" || len(got.Results) != 1 {
		t.Fatalf("answer %s", a.Body)
	}
	if r := got.Results[0]; r.Calls != 2 || r.Written["env"] != "dev" {
		t.Errorf("%d calls, written %v", r.Calls, r.Written)
	}
	if diff := cmp.Diff(map[string]string{"env": "dev"}, f.metadata(serverID)); diff != "" {
		t.Error(diff)
	}
	if calls := f.aws.Calls(); len(calls) != 1 || calls[0].Target != "secretsmanager.GetSecretValue" {
		t.Errorf("AWS was called for more than the secret: %v", calls)
	}
}

// This test waits for a second of real time, because it runs a real process.
func TestNotReadyThenReady(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{})
	f.sim.PutServer(simcloud.Server{ID: serverID, VMState: "building", BuildTime: time.Second})
	if a := f.invoke(created(serverID)); a.Failed || !strings.Contains(string(a.Body), `"outcome":"tagged"`) {
		t.Errorf("answer %s", a.Body)
	}
	refused := 0
	for _, r := range f.sim.Requests() {
		if r.Status == 409 {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("refused %d times, want once", refused)
	}
	if got := f.metadata(serverID)["env"]; got != "dev" {
		t.Errorf("env %q", got)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, payload, kind, message string
		env                          []string
		prepare                      func(*simcloud.Cloud)
	}{
		{"not JSON", `"truncated`, "RejectedError", "rejected", nil, nil},
		{"an id with a path", strings.ReplaceAll(created(serverID), serverID, "../../x"), "RejectedError", "subject", nil,
			nil},
		{"still building", created(serverID), "DeferredError", "vm_state building", []string{"TAGGER_WAIT=0s"},
			func(c *simcloud.Cloud) {
				c.PutServer(simcloud.Server{ID: serverID, VMState: "building", BuildTime: time.Hour})
			}},
		{"wrong password", created(serverID), "CredentialsError", "401", []string{"OS_PASSWORD=not-the-secret-one"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, "server-created", simcloud.Options{}, tt.env...)
			if tt.prepare != nil {
				tt.prepare(f.sim)
			}
			a := f.invoke(tt.payload)
			if !a.Failed || a.Kind != tt.kind || !strings.Contains(a.Message, tt.message) {
				t.Errorf("answer %s", a.Body)
			}
			if strings.Contains(string(a.Body), "not-the-secret-one") {
				t.Errorf("the response holds the password: %s", a.Body)
			}
		})
	}
}

// record returns an SQS record.
func record(name, body string, receives int) string {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"messageId": %q, "receiptHandle": "receipt-%s", "body": %s, "eventSource": "aws:sqs",
		"eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:tagger", "awsRegion": "eu-central-1",
		"attributes": {"ApproximateReceiveCount": "%d", "SentTimestamp": "%d"}}`, name, name, text, receives,
		time.Now().Add(-time.Minute).UnixMilli())
}

func batch(records ...string) string { return `{"Records": [` + strings.Join(records, ",") + `]}` }

// failures returns the records that a partial batch response reports as failed.
func failures(t *testing.T, a lambdatest.Response) []string {
	t.Helper()
	var response struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(a.Body, &response); err != nil || a.Failed {
		t.Fatalf("answer %s, %v", a.Body, err)
	}
	names := []string{}
	for _, f := range response.BatchItemFailures {
		names = append(names, f.ItemIdentifier)
	}
	return names
}

func TestBatch(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{}, "TAGGER_WAIT=0s",
		"TAGGER_DEAD_LETTER_QUEUE_URL=https://sqs.eu-central-1.amazonaws.com/123456789012/dead")
	f.sim.PutServer(simcloud.Server{ID: serverID})
	f.sim.PutServer(simcloud.Server{ID: otherID, VMState: "building", BuildTime: time.Hour})
	a := f.invoke(batch(record("good", created(serverID), 1), record("deferred", created(otherID), 3),
		record("rejected", `{"specversion": "1.0"}`, 1)))
	if diff := cmp.Diff([]string{"deferred"}, failures(t, a)); diff != "" {
		t.Errorf("returned (-want +got):\n%s", diff)
	}
	if got := f.metadata(serverID)["env"]; got != "dev" {
		t.Errorf("env %q", got)
	}
	var visibility, dead int
	for _, call := range f.aws.Calls() {
		switch call.Target {
		case "AmazonSQS.ChangeMessageVisibility":
			visibility++
			seconds, _ := call.Body["VisibilityTimeout"].(float64)
			// the third receive: 60 s and a fifth
			if call.Body["ReceiptHandle"] != "receipt-deferred" || seconds < 48 || seconds > 72 {
				t.Errorf("visibility %v", call.Body)
			}
			if call.Body["QueueUrl"] != "https://sqs.eu-central-1.amazonaws.com/123456789012/tagger" {
				t.Errorf("queue %v", call.Body["QueueUrl"])
			}
		case "AmazonSQS.SendMessage":
			dead++
			text := fmt.Sprint(call.Body["MessageAttributes"])
			if call.Body["MessageBody"] != `{"specversion": "1.0"}` || !strings.Contains(text, "rejected") ||
				!strings.Contains(text, "arn:aws:sqs:eu-central-1:123456789012:tagger") {
				t.Errorf("dead letter %v", call.Body)
			}
		}
	}
	if visibility != 1 || dead != 1 {
		t.Errorf("%d visibilities, %d dead letters", visibility, dead)
	}
}

// Without TAGGER_DEAD_LETTER_QUEUE_URL, a rejected record stays in its queue until the redrive policy moves it.
func TestRejectedWithoutADeadLetterQueue(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{})
	a := f.invoke(batch(record("rejected", `{"specversion": "1.0"}`, 1)))
	if diff := cmp.Diff([]string{"rejected"}, failures(t, a)); diff != "" {
		t.Errorf("returned (-want +got):\n%s", diff)
	}
}

// Refused credentials fail the whole batch, so that Lambda slows down and counts errors.
func TestBatchWithRefusedCredentials(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{}, "OS_PASSWORD=wrong")
	f.sim.PutServer(simcloud.Server{ID: serverID})
	a := f.invoke(batch(record("one", created(serverID), 1), record("two", created(otherID), 1)))
	if !a.Failed || a.Kind != "CredentialsError" {
		t.Errorf("answer %s", a.Body)
	}
}

func TestTheSecretIsReadOnce(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{})
	f.sim.PutServer(simcloud.Server{ID: serverID})
	for range 2 {
		if a := f.invoke(created(serverID)); a.Failed {
			t.Fatalf("answer %s", a.Body)
		}
	}
	if calls := f.aws.Calls(); len(calls) != 1 || calls[0].Target != "secretsmanager.GetSecretValue" {
		t.Errorf("AWS calls %v, want the secret once", calls)
	}
	logins := 0
	for _, r := range f.sim.Requests() {
		if r.Service == "identity" && r.Method == "POST" {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("%d logins, want the token used again", logins)
	}
}

// If a batch has two resizes of a server, the flavor of the later one stays, whatever the order in the batch.
func TestOrderInABatch(t *testing.T) {
	resized := func(minute, flavor string) string {
		return `{"specversion": "1.0", "id": "` + flavor +
			`", "source": "//t", "type": "io.github.cloudtagger.server.resized", "subject": "` + serverID +
			`", "time": "2026-11-25T12:` + minute + `:00Z", "data": {"resource": {"flavor": "` + flavor + `"}}}`
	}
	f := start(t, "server-changed", simcloud.Options{},
		`TAGGER_RULES={"rules": [{"name": "size", "on": "server.resized", "set": {"flavor": "${resource.flavor}"}}]}`)
	for i := range 10 {
		f.sim.PutServer(simcloud.Server{ID: serverID})
		records := []string{record("small", resized("05", "small"), 1), record("large", resized("10", "large"), 1)}
		if i%2 == 1 {
			slices.Reverse(records)
		}
		if left := failures(t, f.invoke(batch(records...))); len(left) > 0 {
			t.Errorf("handed back: %v", left)
		}
		if got := f.metadata(serverID)["flavor"]; got != "large" {
			t.Errorf("round %d: flavor %q", i, got)
		}
	}
}

// Each function handles its own actions and acknowledges others.
func TestActions(t *testing.T) {
	event := func(kind string) string {
		return strings.Replace(created(serverID), "server.created", kind, 1)
	}
	for function, handles := range map[string]string{
		"server-created": "server.created", "snapshot-created": "snapshot.created", "server-changed": "server.stopped",
	} {
		t.Run(function, func(t *testing.T) {
			f := start(t, function, simcloud.Options{})
			f.sim.PutServer(simcloud.Server{ID: serverID, VMState: "stopped"})
			f.sim.PutSnapshot(simcloud.Snapshot{ID: serverID})
			for _, kind := range []string{"server.created", "snapshot.created", "server.stopped"} {
				a := f.invoke(strings.TrimSuffix(event(kind), "}") + `, "data": {"actor": {"name": "alice"}}}`)
				want := `"outcome":"ignored"`
				if kind == handles {
					want = `"outcome":"tagged"`
				}
				if a.Failed || !strings.Contains(string(a.Body), want) {
					t.Errorf("%s: answer %s", kind, a.Body)
				}
			}
		})
	}
}

// The log has one line for each event, with the fields that operators need first.
func TestLog(t *testing.T) {
	f := start(t, "server-created", simcloud.Options{}, "TAGGER_RULE=x")
	f.sim.PutServer(simcloud.Server{ID: serverID})
	f.invoke(created(serverID))
	f.invoke(created(serverID)) // by now the first one's line is written
	f.mu.Lock()
	defer f.mu.Unlock()
	var warned, tagged bool
	for _, entry := range f.log {
		switch entry["msg"] {
		case "unknown variable TAGGER_RULE; did you mean TAGGER_RULES?":
			warned = true
		case "rule matches no action of this function", "started":
		case nil:
			if entry["_aws"] == nil || entry["tagged"] != 1.0 { // the metrics of an invocation
				t.Errorf("unexpected line %v", entry)
			}
		case "rules in force":
		case "event tagged":
			tagged = true
			for key, want := range map[string]any{
				"event_id": "e-" + serverID, "action": "server.created", "resource_id": serverID, "outcome": "tagged", "calls": 2.0,
				"function": "server-created",
			} {
				if entry[key] != want {
					t.Errorf("%s: %v, want %v", key, entry[key], want)
				}
			}
		default:
			t.Errorf("unexpected line %v", entry)
		}
		if strings.Contains(fmt.Sprint(entry), "secret") {
			t.Errorf("a secret in the log: %v", entry)
		}
	}
	if !warned || !tagged {
		t.Errorf("warned %v, tagged %v: %v", warned, tagged, f.log)
	}
}

// A configuration error is reported once, on one line, and the process ends.
func TestBadConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{"no rules", []string{}, "there are none; set TAGGER_RULES"},
		{"bad rules", []string{"TAGGER_RULES=rules: {}"}, "TAGGER_RULES:1: rules: want a list, found an empty mapping"},
		{"no credentials", []string{"TAGGER_RULES=" + rulesText}, "set TAGGER_SECRET_ARN to its ARN"},
		{"credentials in the environment", []string{"TAGGER_RULES=" + rulesText, "OS_PASSWORD=hunter2"},
			"OS_PASSWORD would be readable"},
		{"bad setting", []string{"TAGGER_VERIFY=maybe"}, `TAGGER_VERIFY="maybe" is not true or false`},
	} {
		cmd := exec.CommandContext(t.Context(), executable("server-created"))
		cmd.Env = append(tt.env, "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		err := cmd.Run()
		out := stderr.String()
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
		if strings.Contains(out, "hunter2") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: a secret, or not one line: %s", tt.name, out)
		}
	}
}
