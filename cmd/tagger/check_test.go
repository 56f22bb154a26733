package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/listen"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// check reports what the start of serve, listen or a scheduled reconcile would refuse, and settings that are probably
// mistakes. It lists the settings that are not the defaults.
func TestCheckSettings(t *testing.T) {
	dir := t.TempDir()
	held := write(t, dir, "hold", "")
	for _, tt := range []struct{ name, value, want string }{
		{"TAGGER_EVENT_TYPES", "foo=server.creatd", "settings     failed  "},
		{"TAGGER_AUDIT_FILE", "/nonexist/x", "settings     failed  TAGGER_AUDIT_FILE: /nonexist/x: there is no directory"},
		{"TAGGER_AUDIT_FILE", dir, "settings     failed  TAGGER_AUDIT_FILE: open " + dir + ": is a directory"},
		{"TAGGER_RECONCILE_MAX", "0", "settings     failed  TAGGER_RECONCILE_MAX=0"},
		{"TAGGER_RECONCILE_RULES", "xyz", `settings     failed  TAGGER_RECONCILE_RULES="xyz"`},
		{"TAGGER_WEBHOOK_ORIGINS", "http://x", "settings     failed  TAGGER_WEBHOOK_ORIGINS"},
		{"TAGGER_RATE", "many", `settings     failed  TAGGER_RATE="many" is not a number`},
		{"TAGGER_PROJECTS", "all", "settings     failed  TAGGER_PROJECTS=\"all\" is not valid: " +
			`"all" is not a project id; did you mean * (every project)?`},
		{"TAGGER_SECRET_ARN", "x", "settings     warn    TAGGER_SECRET_ARN is not read here"},
		{"TAGGER_IGNORE_ACTORS", "*", "settings     warn    TAGGER_IGNORE_ACTORS matches every user"},
		{"TAGGER_HOLD_FILE", "/nonexist/hold", "settings     warn    TAGGER_HOLD_FILE names a file in /nonexist"},
		{"TAGGER_HOLD_FILE", held, "settings     warn    writing is on hold"},
		{"TAGGER_DRY_RUN", "true", "settings     warn    TAGGER_DRY_RUN is set: nothing is written"},
		{"TAGGER_RATE", "7", "settings     ok      API openstack; set: TAGGER_RATE=7\n"},
		{"TAGGER_HTTP_SECRET", "hunter2", "settings     ok      API openstack; set: TAGGER_HTTP_SECRET\n"},
		{"TAGGER_AUDIT_FILE", filepath.Join(dir, "new"), "settings     ok      API openstack; set: TAGGER_AUDIT_FILE="},
		{"TAGGER_GRACE", "", "settings     ok      the defaults, API openstack\n"},
	} {
		t.Run(tt.name+" "+tt.value, func(t *testing.T) {
			onSimcloud(t, simcloud.Options{})
			for _, v := range config.Variables[config.Reconcile]() {
				t.Setenv(v.Name, "")
			}
			t.Setenv("TAGGER_AMQP_URL", "")
			t.Setenv(tt.name, tt.value)
			out, errOut, status := taggerCommand(t, "", "check")
			if !strings.Contains(out, tt.want) || (status == exitDone) == strings.Contains(tt.want, "failed") ||
				strings.Contains(out, "hunter2") || strings.Contains(out, "warning      warn") {
				t.Errorf("status %d: %s%s", status, out, errOut)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("check made the audit file")
	}
}

// A listener that has just started may have got no notification yet.
func TestCheckListener(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	for _, tt := range []struct {
		name, metrics string
		status        int
		want          string
	}{
		{"just started", fmt.Sprintf("tagger_listen_connected 1\nprocess_start_time_seconds %d\n", time.Now().Unix()-60),
			exitDone, "listener     warn    no notification has come since the listener started 1m"},
		{"for long", "tagger_listen_connected 1\nprocess_start_time_seconds 1000\n", exitUndone,
			"listener     failed  no notification has come since the listener started: "},
		{"another program", "up 1\n", exitUndone, "the answer is not that of tagger listen"},
		{"a notification", "tagger_listen_last_notification_timestamp_seconds{routing_key=\"notifications.info\"} 1000\n",
			exitDone, "listener     ok      the last came by notifications.info"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(tt.metrics))
		}))
		out, _, status := taggerCommand(t, "", "check", "--listener", server.URL)
		server.Close()
		if status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%s: status %d: %s", tt.name, status, out)
		}
	}
	out, _, status := taggerCommand(t, "", "check", "--listener", "foo")
	if status != exitUndone ||
		!strings.Contains(out, "failed  --listener wants an address such as http://127.0.0.1:8080") {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestDescribeQueues(t *testing.T) {
	main := listen.QueueState{Name: "tagger", Consumers: 1}
	delay := listen.QueueState{Name: "tagger.delay.1m", Messages: 3}
	text, err := describeQueues("tagger", []listen.QueueState{main, delay})
	if want := "2 queues, 3 messages, 1 listener"; text != want || err != nil {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
	if _, err := describeQueues("tagger", []listen.QueueState{delay}); err == nil ||
		!strings.Contains(err.Error(), "the main queue tagger is missing, but tagger.delay.1m exists") {
		t.Error(err)
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
