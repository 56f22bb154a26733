package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// What is wrong with a command line is said in one line with the way out.
func TestUsage(t *testing.T) {
	clearListen(t)
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: dev}}]")
	t.Setenv("TAGGER_AMQP_URL", "amqp://127.0.0.1:1/")
	dir := t.TempDir()
	for _, tt := range []struct{ args, want string }{
		{"plan --rule x -", "plan: unknown flag --rule; did you mean --rules?"},
		{"plan --zzzzzzzz -", "plan: unknown flag --zzzzzzzz; tagger help plan lists them"},
		{"plan - --rules", "--rules needs a file"},
		{"invoke --wait", "--wait needs a duration such as 5s or 10m"},
		{"invoke --wait soon -", `--wait "soon": want a duration such as 5s or 10m`},
		{"queues show --limit many", `--limit "many": want a whole number`},
		{"queues show --limit -1", "queues show: --limit -1: want 0 or more"},
		{"queues show --events", "queues show: --events needs -o json"},
		{"queues drop", "queues drop: say which: --id ID (see tagger queues show), or --all"},
		{"plan -o jsn -", `--output "jsn": want text or json; did you mean json?`},
		{"reconcile own", `reconcile takes no argument "own"; did you mean --scope own?`},
		{"check it", `check takes no argument "it"`},
		{"reconcile --apply a --revert b", "--apply and --revert exclude each other"},
		{"help nosuch", `unknown help topic "nosuch"`},
		{"help reconcil", `unknown help topic "reconcil"; did you mean reconcile?`},
		{"help environment TAGGER_RATES", `unknown variable "TAGGER_RATES"; did you mean TAGGER_RATE?`},
		{"help rules chekc", `unknown help topic "rules chekc"; did you mean check?`},
		{"simcloud --build-time -1s", "simcloud: --build-time -1s: want 0s or more"},
		{"simcloud --latency -1ms", "simcloud: --latency -1ms: want 0s or more"},
		{"invoke --cloud embedded --wait -1s -", "invoke: --wait -1s: want 0s or more"},
		{"queues tap --count -1", "queues tap: --count -1: want 0 or more"},
		{"coverag --scope own", `unknown command "coverag" for "tagger"; did you mean coverage?`},
		{"coverag -s own", `unknown command "coverag" for "tagger"; did you mean coverage?`},
		{"queues lst --limit 3", `unknown command "lst" for "tagger queues"; did you mean list?`},
		{"--scope own", "unknown flag --scope; tagger help lists them"},
		{"queues --scope own", "queues: unknown flag --scope; tagger help queues lists them"},
		{"plan " + dir, "read the event: " + dir + ": is a directory; name its files"},
	} {
		out, errOut, status := taggerCommand(t, "", strings.Fields(tt.args)...)
		if status != exitUsage || errOut != "tagger: "+tt.want+"\n" || out != "" {
			t.Errorf("%s: status %d: %s%s", tt.args, status, out, errOut)
		}
	}
	for args, want := range map[string]string{
		"help environment TAGGER_RATE": "TAGGER_RATE (5)\n", "help rules check": "tagger rules check", "help": "Usage:",
		"help environment": "TAGGER_WAIT", "help tagger": "Usage:", "help tagger reconcile": "tagger reconcile --scope",
	} {
		out, errOut, status := taggerCommand(t, "", strings.Fields(args)...)
		if status != exitDone || !strings.Contains(out, want) || errOut != "" {
			t.Errorf("%s: status %d: %s%s", args, status, out, errOut)
		}
	}
	if out, _, _ := taggerCommand(t, "", "help", "environment", "TAGGER_RATE"); strings.Contains(out, "TAGGER_WAIT") {
		t.Error(out)
	}
}

// An empty value is an error that names its flag, whatever the flag's type. Completion completes empty words.
func TestEmptyValues(t *testing.T) {
	clearListen(t)
	for _, tt := range []struct{ args, want string }{
		{"coverage --scope", "coverage: --scope is empty, as from an unset variable: give it a value or leave it out"},
		{"coverage --html", "coverage: --html is empty, as from an unset variable: give it a file or leave it out"},
		{"coverage --key", "coverage: --key is empty, as"},
		{"coverage --prices", "coverage: --prices is empty, as"},
		{"coverage --journal", "coverage: --journal is empty, as"},
		{"reconcile --scope own --overwrite", "reconcile: --overwrite is empty, as"},
		{"reconcile --scope own --kind", "reconcile: --kind is empty, as"},
		{"reconcile --apply", "reconcile: --apply is empty, as"},
		{"reconcile --revert a --written-by", "reconcile: --written-by is empty, as"},
		{"queues drop --id", "queues drop: --id is empty, as"},
		{"plan - --cloud", "plan: --cloud is empty, as"},
		{"invoke - --cloud", "invoke: --cloud is empty, as"},
		{"serve --listen", "serve: --listen is empty, as from an unset variable: give it a value or leave it out"},
		{"listen --sink", "listen: --sink is empty, as"},
		{"explain", "explain: an argument is empty, as from an unset variable"},
		{"plan", "plan: an argument is empty, as"},
		{"rules check", "rules check: an argument is empty, as"},
	} {
		out, errOut, status := taggerCommand(t, "", append(strings.Fields(tt.args), "")...)
		if status != exitUsage || !strings.HasPrefix(errOut, "tagger: "+tt.want) || out != "" {
			t.Errorf("%s: status %d: %s%s", tt.args, status, out, errOut)
		}
	}
	if out, errOut, status := taggerCommand(t, "", "__complete", ""); status != exitDone ||
		!strings.Contains(out, "\ncoverage\t") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// fullDisk accepts no byte.
type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// A command whose output is lost fails.
func TestOutputIsLost(t *testing.T) {
	sim, plan := fleet(t, 2)
	id := sim.Servers()[0].ID
	cases := write(t, t.TempDir(), "cases.yaml", "cases: [{event: "+write(t, t.TempDir(), "event.json",
		plainEvent("server.created"))+", expect: {}}]\n")
	for _, args := range []string{
		"plan -", "plan -o json -", "invoke --cloud embedded -", "check", "check -o json", "rules check",
		"rules check -o json",
		"rules test " + cases, "rules test -o json " + cases, "reconcile --scope own --out " + plan,
		"reconcile --show " + plan, "explain " + id, "explain -o json " + id, "help environment",
		"help", "plan --help", "version", "version -o json",
	} {
		var errOut bytes.Buffer
		status := run(t.Context(), strings.Fields(args), streams{strings.NewReader(plainEvent("server.created")), fullDisk{},
			&errOut})
		if status != exitUndone || !strings.HasSuffix(errOut.String(), "tagger: write the output: "+errFull.Error()+"\n") {
			t.Errorf("%s: status %d: %s", args, status, errOut.String())
		}
	}
}

// An interrupt ends a command that reads a terminal or a pipe.
func TestInterruptWhileReading(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: dev}}]")
	for _, args := range []string{"plan -", "invoke --cloud embedded -", "explain " + serverID + " --log -"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var out, errOut bytes.Buffer
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, strings.Fields(args), streams{r, &out, &errOut}) }()
		if _, err := w.WriteString("{"); err != nil {
			t.Fatal(err)
		}
		stop := time.AfterFunc(10*time.Millisecond, cancel) // whether it reads by then or not
		if status := <-ended; status == exitDone || !strings.HasPrefix(errOut.String(), "tagger: interrupted: ") {
			t.Errorf("%s: status %d: %s%s", args, status, out.String(), errOut.String())
		}
		stop.Stop()
		cancel()
		if err := errors.Join(w.Close(), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// An interrupt is reported in the same words by every command, with its cause, and not as a fault of the cloud.
func TestInterrupts(t *testing.T) {
	sim, plan := fleet(t, 3)
	t.Setenv("TAGGER_RULES", `{"required": [{"key": "owner", "kinds": ["server"]}], "rules": [{"on": "server.created", `+
		`"add": {"owner": "a"}}]}`)
	id := sim.Servers()[0].ID
	for _, tt := range []struct {
		args, at string // at is in the path of the request that is interrupted
		status   int
		want     string
	}{
		{"check", "/auth/tokens", exitUndone, "check the rest: interrupt signal received"},
		{"check -o json", "/metadata", exitUndone, "check the rest: interrupt signal received"},
		{"coverage", "/auth/tokens", exitUndone, "wait for the login: "},
		{"coverage", "/servers/detail", exitUnread, "read the resources: interrupt signal received"},
		{"coverage -o json", "/servers/detail", exitUnread, "read the resources: interrupt signal received"},
		{"reconcile --scope own --out " + plan, "/servers/detail", exitUnread,
			"read the resources: interrupt signal received"},
		{"explain " + id, "/servers/" + id, exitUnread, "read " + id + ": interrupt signal received"},
		{"explain " + id, "/users/", exitUnread, "read " + id + ": interrupt signal received"},
		{"explain nosuch", "/servers/detail", exitUnread, "read nosuch: interrupt signal received"},
		{"plan --cloud env -", "/auth/tokens", exitUndone, "wait for the login: "},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, tt.at) {
				cancel(errors.New("interrupt signal received"))
				<-ended // a response would be in time for the command
			}
			sim.ServeHTTP(w, r)
		}))
		for _, line := range sim.Env(server.URL) {
			name, value, _ := strings.Cut(line, "=")
			t.Setenv(name, value)
		}
		var out, errOut bytes.Buffer
		status := run(ctx, strings.Fields(tt.args), streams{strings.NewReader("{}"), &out, &errOut})
		close(ended)
		server.Close()
		cancel(nil)
		if status != tt.status || !strings.HasPrefix(errOut.String(), "tagger: interrupted: "+tt.want) {
			t.Errorf("%s, at %s: status %d: %s%s", tt.args, tt.at, status, out.String(), errOut.String())
		}
		if strings.Contains(out.String(), "failed") || strings.Contains(out.String(), "interrupt") ||
			strings.Contains(out.String(), "unknown") || strings.Contains(out.String(), `"ok":false`) {
			t.Errorf("%s, at %s: %s", tt.args, tt.at, out.String())
		}
	}
}

// A login that fails says what to check: the address, the variables, the cloud of clouds.yaml.
func TestLoginThatFails(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	address := os.Getenv("OS_AUTH_URL")
	t.Setenv("OS_PASSWORD", "wrong")
	out, _, _ := taggerCommand(t, "", "check")
	if !strings.Contains(out, ": check OS_USERNAME, OS_PASSWORD and OS_PROJECT_ID)") {
		t.Error(out)
	}
	t.Setenv("OS_AUTH_URL", "http://127.0.0.1:1/v3")
	out, _, _ = taggerCommand(t, "", "check")
	if !strings.Contains(out, "connection refused (nothing answers there: check OS_AUTH_URL)") {
		t.Error(out)
	}
	clearEnv(t)
	file := write(t, t.TempDir(), "clouds.yaml", "clouds: {try: {auth: {auth_url: '"+address+"', username: u}}}\n")
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	t.Setenv("OS_CLOUD", "try")
	out, _, _ = taggerCommand(t, "", "check")
	if !strings.Contains(out, "credentials  failed  read cloud try in "+file+": password is missing: username needs it") {
		t.Error(out)
	}
}

// Help has its commands and flags in groups, within the width, and every flag that a group names is there.
func TestHelpGroups(t *testing.T) {
	clearEnv(t)
	out, _, _ := taggerCommand(t, "", "--help")
	for _, want := range []string{"\nRules:\n  invoke ", "\nRun:\n  listen ", "\nFleet:\n  coverage ",
		"\nCheck and try:\n  check "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	out, _, _ = taggerCommand(t, "", "reconcile", "--help")
	_, rest, found := strings.Cut(out, "\nAlways:\n")
	if !found || strings.Count(rest, "\n") != 3 { // --help, --output and --rules
		t.Errorf("a flag has no group:\n%s", out)
	}
	if strings.Index(out, "To make a plan (--out):") > strings.Index(out, "To apply a plan (--apply):") {
		t.Errorf("the groups are not in their order:\n%s", out)
	}
	for _, args := range []string{"", "plan", "invoke", "rules", "rules check", "rules test", "serve", "listen", "queues",
		"queues tap", "queues move", "explain", "reconcile", "coverage", "check", "simcloud", "environment"} {
		out, errOut, status := taggerCommand(t, "", append([]string{"help"}, strings.Fields(args)...)...)
		if status != exitDone {
			t.Errorf("help %s: status %d: %s", args, status, errOut)
		}
		for line := range strings.Lines(out) {
			if len([]rune(line)) > helpWidth+1 {
				t.Errorf("help %s: %s", args, line)
			}
		}
	}
}

// explain suggests --overwrite only for keys that it replaces, and the suggested command does that.
func TestExplainSuggestsOverwrite(t *testing.T) {
	sim, plan := fleet(t, 1)
	t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: prod}, add: {owner: team}}]")
	server := sim.Servers()[0]
	sim.SetServerMetadata(server.ID, map[string]string{"env": "dev", "owner": "bob"})
	out, _, _ := taggerCommand(t, "", "explain", server.ID)
	_, next, found := strings.Cut(out, "if the rules are right: tagger ")
	if !found || !strings.HasSuffix(next, " --overwrite env\n") {
		t.Fatal(out)
	}
	args := strings.Fields(strings.ReplaceAll(strings.Replace(next, "plan.jsonl", plan, 1), "'", ""))
	out, errOut, status := taggerCommand(t, "", append(args, "--settled", "0s")...)
	if status != exitDone || !strings.Contains(out, "1 resource, 1 key") {
		t.Errorf("status %d: %s%s", status, out, errOut)
	}
}

// amqps at a broker that does not speak TLS is said in words, as for Keystone.
func TestBrokerWithoutTLS(t *testing.T) {
	clearListen(t)
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	go func() {
		for {
			conn, err := broker.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("AMQP\x00\x00\x09\x01")) // as RabbitMQ answers what is not AMQP
			_ = conn.Close()
		}
	}()
	t.Setenv("TAGGER_AMQP_URL", "amqps://u:hunter2@"+broker.Addr().String()+"/")
	_, errOut, status := taggerCommand(t, "", "queues", "list")
	if want := "it does not speak TLS: its address begins with amqp://"; status != exitUndone ||
		!strings.Contains(errOut, want) || strings.Contains(errOut, "hunter2") {
		t.Errorf("status %d: %s", status, errOut)
	}
}
