package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// Every command refuses administrator credentials without TAGGER_PROJECTS before it writes anything.
func TestAdministratorNeedsBounds(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	t.Setenv("OS_USERNAME", "admin")
	t.Setenv("OS_PROJECT_ID", "")
	t.Setenv("OS_PROJECT_NAME", "admin")
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
	t.Setenv("TAGGER_AMQP_URL", "amqp://127.0.0.1:1/")
	demo, _ := sim.Project("demo")
	sim.PutServer(simcloud.Server{ID: serverID, ProjectID: demo.ID})
	for _, args := range [][]string{{"invoke", "--cloud", "env", "-"}, {"plan", "--cloud", "env", "-"},
		{"serve", "--listen", "127.0.0.1:0"}, {"listen"}} {
		_, errOut, status := taggerCommand(t, plainEvent("server.created"), args...)
		if status != exitUsage || !strings.Contains(errOut, "TAGGER_PROJECTS is not set") ||
			!strings.Contains(errOut, "set it to roles") {
			t.Errorf("%v: status %d: %s", args, status, errOut)
		}
	}
	t.Setenv("TAGGER_AMQP_URL", "")
	out, _, status := taggerCommand(t, "", "check")
	if status != exitUndone || !strings.Contains(out, "projects     failed  ") ||
		!strings.Contains(out, "roles reader member admin") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if got := sim.Metadata("server", serverID); len(got) != 0 {
		t.Errorf("metadata %v", got)
	}

	t.Setenv("TAGGER_PROJECTS", demo.ID)
	out, _, status = taggerCommand(t, "", "check")
	if status != exitDone || !strings.Contains(out, "projects     ok      "+demo.ID+"; the token reaches every project") {
		t.Errorf("status %d:\n%s", status, out)
	}
	event := strings.Replace(plainEvent("server.created"), `{"resource": {`, `{"resource": {"project": "`+demo.ID+`", `, 1)
	if out, errOut, status := taggerCommand(t, event, "invoke", "--cloud", "env", "-"); status != exitDone {
		t.Errorf("status %d:\n%s%s", status, out, errOut)
	}
	if got := sim.Metadata("server", serverID); got["env"] != "dev" {
		t.Errorf("metadata %v", got)
	}
	// An event without a project counts as one of the credentials' project, but this server is in another.
	out, errOut, status := taggerCommand(t, plainEvent("server.created"), "invoke", "--cloud", "env", "-")
	if status != exitUndone || !strings.Contains(out, "belongs to project "+demo.ID) {
		t.Errorf("status %d:\n%s%s", status, out, errOut)
	}
}

// Neither check nor an error on stderr passes on terminal escapes from a cloud.
func TestAnswersDoNotDriveTheTerminal(t *testing.T) {
	const attack = `\u001b]0;owned\u0007\u001b[2J\u202e`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error": {"code": 403, "message": "no ` + attack + `", "title": "x"}}`))
	}))
	defer server.Close()
	clearEnv(t)
	t.Setenv("OS_AUTH_URL", server.URL+"/v3")
	t.Setenv("OS_USERNAME", "u")
	t.Setenv("OS_PASSWORD", "p")
	t.Setenv("OS_USER_DOMAIN_NAME", "Default")
	t.Setenv("OS_PROJECT_NAME", "demo")
	t.Setenv("TAGGER_RULES", `rules: [{on: server.created, set: {env: dev}}]`)
	for _, args := range [][]string{{"check"}, {"invoke", "--cloud", "env", "-"}} {
		out, errOut, status := taggerCommand(t, plainEvent("server.created"), args...)
		shown := strings.ReplaceAll(out+errOut, "\n", "")
		if status != exitUndone || !strings.Contains(shown, `no \u001b]0;owned`) ||
			strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%v: status %d: %q", args, status, shown)
		}
	}
}

// check warns about a password that would cross a network without TLS.
func TestWithoutTLS(t *testing.T) {
	clearEnv(t)
	t.Setenv("OS_AUTH_URL", "http://keystone.invalid:5000/v3")
	t.Setenv("OS_USERNAME", "u")
	t.Setenv("OS_PASSWORD", "p")
	t.Setenv("OS_USER_DOMAIN_NAME", "Default")
	t.Setenv("OS_PROJECT_NAME", "demo")
	out, _, _ := taggerCommand(t, "", "check")
	if !strings.Contains(out,
		"credentials  warn    OS_AUTH_URL begins with http://: passwords and tokens go to keystone.invalid unencrypted") {
		t.Errorf("out:\n%s", out)
	}
}

// OS_INSECURE has no effect. The warning comes before the login, which fails because of that.
func TestInsecure(t *testing.T) {
	const text = "OS_INSECURE is not supported: set OS_CACERT to trust a private CA"
	for value, warned := range map[string]bool{
		"true": true, "1": true, "yes": true, "false": false, "0": false, "": false,
	} {
		for _, args := range []string{"check", "plan --cloud env -", "invoke --cloud env -"} {
			onSimcloud(t, simcloud.Options{})
			t.Setenv("TAGGER_RULES", "rules: [{on: server.created, set: {env: dev}}]")
			t.Setenv("OS_PASSWORD", "wrong")
			t.Setenv("OS_INSECURE", value)
			out, errOut, _ := taggerCommand(t, plainEvent("server.created"), strings.Fields(args)...)
			if strings.Contains(out+errOut, text) != warned {
				t.Errorf("%s, %q: %s%s", args, value, out, errOut)
			}
		}
	}
}

// check warns about rules that read names which Keystone hides, and only about those.
func TestCheckWarnsAboutNames(t *testing.T) {
	const named = `rules: [{on: snapshot.created, when: 'not (actor.name startsWith "ci-")', set: {env: dev}}]`
	const unnamed = `rules: [{on: snapshot.created, set: {env: dev}}]`
	for _, tt := range []struct {
		user, rules string
		warned      bool
	}{{"demo", named, true}, {"demo", unnamed, false}, {"admin", named, false}} {
		onSimcloud(t, simcloud.Options{})
		t.Setenv("OS_USERNAME", tt.user)
		t.Setenv("TAGGER_PROJECTS", "own")
		t.Setenv("TAGGER_RULES", tt.rules)
		out, errOut, status := taggerCommand(t, "", "check")
		if warned := strings.Contains(out, "Keystone does not let these credentials read users"); status != exitDone ||
			warned != tt.warned {
			t.Errorf("%+v: status %d:\n%s%s", tt, status, out, errOut)
		}
	}
}

// Every command and every entry point has the same bounds: one table, run through each of them.
func TestBoundsAgree(t *testing.T) {
	const other, service = "11111111111111111111111111111111", "22222222222222222222222222222222"
	const in, out = true, false
	for _, tt := range []struct {
		user, own, projects string
		refused             bool            // before anything is read
		want                map[string]bool // by the name of the event's project
	}{
		{user: "root", own: "admin", refused: true},
		{user: "root", own: "admin", projects: "own", want: map[string]bool{"admin": in, "other": out, "service": out}},
		{user: "root", own: "admin", projects: other, want: map[string]bool{"admin": in, "other": in, "service": out}},
		{user: "root", own: "admin", projects: service, want: map[string]bool{"other": out, "service": in}},
		{user: "root", own: "admin", projects: "*", want: map[string]bool{"admin": in, "other": in, "service": out}},
		{user: "root", own: "admin", projects: "domain:Default",
			want: map[string]bool{"admin": in, "other": in, "service": out}},
		{user: "root", own: "service", projects: "*", want: map[string]bool{"other": in, "service": out}},
		{user: "root", own: "service", projects: "own", want: map[string]bool{"other": out, "service": in}},
		{user: "member", own: "demo", want: map[string]bool{"demo": in, "other": out}},
		{user: "member", own: "demo", projects: "roles", want: map[string]bool{"demo": in, "other": in, "admin": out,
			"service": out}},
		{user: "member", own: "demo", projects: other, want: map[string]bool{"demo": in, "other": in, "admin": out}},
	} {
		t.Run(strings.Join([]string{tt.user, "of", tt.own, tt.projects}, " "), func(t *testing.T) {
			sim := onSimcloud(t, simcloud.Options{
				Users: []simcloud.User{
					{Name: "root", Password: "secret", Roles: map[string]string{"admin": "admin", "service": "admin"}},
					{Name: "member", Password: "secret", Roles: map[string]string{"demo": "member", "other": "member",
						"service": "member"}},
				},
				Projects: []simcloud.Project{{Name: "demo"}, {Name: "admin"}, {Name: "other", ID: other},
					{Name: "service", ID: service}},
			})
			for name, value := range map[string]string{
				"OS_USERNAME": tt.user, "OS_PASSWORD": "secret", "OS_PROJECT_ID": "", "OS_PROJECT_NAME": tt.own,
				"TAGGER_PROJECTS": tt.projects,
				"TAGGER_RULES":    `rules: [{on: server.created, set: {env: dev}}]`, "TAGGER_AMQP_URL": "amqp://127.0.0.1:1/",
				"TAGGER_LOG_LEVEL": "error", "TAGGER_GRACE": "1ms",
			} {
				t.Setenv(name, value)
			}
			event := func(project string) string {
				return strings.Replace(plainEvent("server.created"), `{"resource": {`, `{"resource": {"project": "`+project+`", `,
					1)
			}
			if tt.refused {
				for _, args := range [][]string{
					{"plan", "--cloud", "env", "-"}, {"invoke", "--cloud", "env", "-"}, {"serve", "--listen", "127.0.0.1:0"},
					{"listen"},
					{"explain", serverID}, {"reconcile", "--scope", "all"}, {"check"},
				} {
					stdout, stderr, status := taggerCommand(t, event(other), args...)
					if status == exitDone || !strings.Contains(stdout+stderr, "TAGGER_PROJECTS is not set") {
						t.Errorf("%v: status %d: %s%s", args, status, stdout, stderr)
					}
				}
				return
			}
			t.Setenv("TAGGER_AMQP_URL", "")
			if stdout, _, status := taggerCommand(t, "", "check"); status != exitDone ||
				!strings.Contains(stdout, "projects     ok") {
				t.Errorf("check: status %d: %s", status, stdout)
			}
			for name, want := range tt.want {
				project, _ := sim.Project(name)
				put := func() { sim.PutServer(simcloud.Server{ID: serverID, ProjectID: project.ID}) }
				put()
				says := map[string]bool{}

				stdout, _, _ := taggerCommand(t, event(project.ID), "plan", "--cloud", "env", "-o", "json", "-")
				says["plan"] = strings.Contains(stdout, `"changes":{"env"`)
				if !says["plan"] && !strings.Contains(stdout, "out of bounds") {
					t.Errorf("plan, %s: %s", name, stdout)
				}
				written := func(command string) {
					says[command] = sim.Metadata("server", serverID)["env"] == "dev"
					put()
				}
				_, stderr, status := taggerCommand(t, event(project.ID), "invoke", "--cloud", "env", "-")
				if (status == exitDone) != want {
					t.Errorf("invoke, %s: status %d: %s", name, status, stderr)
				}
				written("invoke")
				for _, door := range []app.Function{{Name: "tagger"}, {Name: "listen", Bus: true}} {
					door.Credentials = config.CredentialsFromEnv
					composed, err := app.Compose(t.Context(), door)
					if err != nil {
						t.Fatal(err)
					}
					record := ingress.Decode([]byte(event(project.ID))).Records[0]
					composed.Processor(1, 0).Process(t.Context(),
						[]delivery.Message{{Events: record.Events, SentAt: time.Now(), ReceivedAt: time.Now()}})
					written(door.Name)
				}
				stdout, stderr, _ = taggerCommand(t, "", "reconcile", "--scope", project.ID, "--kind", "server", "--out",
					filepath.Join(t.TempDir(), "plan"))
				says["reconcile"] = strings.Contains(stdout, "read      1 server ") && !strings.Contains(stdout, "out of bounds")
				explained, _, _ := taggerCommand(t, "", "explain", serverID)
				says["explain"] = strings.Contains(explained, "send      POST")
				for command, got := range says {
					if got != want {
						t.Errorf("%s: %s is in bounds: %v, want %v\n%s%s", command, name, got, want, stdout+explained, stderr)
					}
				}
			}
		})
	}
}
