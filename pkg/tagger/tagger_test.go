package tagger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const (
	id        = "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"
	rulesText = `rules:
- {name: env, on: [server.created, snapshot.created, volume.created], set: {env: dev}}
- {name: owner, on: [server.created, snapshot.created], add: {owner: "${first(actor.name, actor.id)}", by: "${resource.name}"}}
- {name: started, on: server.started, remove: [stopped-at]}
`
)

func settings() config.Settings {
	return config.Settings{API: "openstack", Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
}

func compose(t *testing.T, s config.Settings, p tagger.Parts) *tagger.Tagger {
	t.Helper()
	set, err := tagger.Compile(s, rules.Source{Name: "R", Text: []byte(rulesText)})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), s, set, p)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

// login connects to an embedded cloud.
func login(sim *simcloud.Cloud, password string, projects ...string) *cloud.Cloud {
	return cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret(password),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: sim.Transport(), Projects: projects,
	})
}

// plain is an event of the plain dialect; project may be "".
func plain(t *testing.T, action, project string) event.Event {
	t.Helper()
	batch := ingress.Decode([]byte(
		fmt.Sprintf(`{"specversion": "1.0", "id": "e-1", "source": "//test", "type": "io.github.cloudtagger.%s", "subject": %q,
		"time": "2026-11-20T09:15:04Z", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"data": {"resource": {"name": "<web> & 1", "project": %q}, "actor": {"name": "alice", "kind": "user"}}}`, action, id,
			project)))
	if batch.Records[0].Err != nil {
		t.Fatal(batch.Records[0].Err)
	}
	return batch.Records[0].Events[0]
}

func TestOutcomesWithoutACall(t *testing.T) {
	tg := compose(t, settings(),
		tagger.Parts{Cloud: noCloud{}, Actions: []lifecycle.Action{lifecycle.ServerCreated, lifecycle.ServerResized}})
	unknown := event.New()
	unknown.SetID("1")
	unknown.SetSource("/s")
	unknown.SetType("com.example.sold")
	for _, tt := range []struct {
		name    string
		event   event.Event
		outcome apply.Outcome
		reason  string
	}{
		{"another function's action", plain(t, "snapshot.created", ""), apply.Ignored,
			"this function is not for snapshot.created"},
		{"no rule", plain(t, "server.resized", ""), apply.Ignored, "no rule matches"},
		{"deleted", plain(t, "server.deleted", ""), apply.Ignored, "a deleted resource cannot be written"},
		{"of another world", unknown, apply.Unrecognised, "map it to an action with TAGGER_EVENT_TYPES"},
	} {
		got := tg.Handle(t.Context(), tagger.Delivery{Event: tt.event})
		if len(got) != 1 || got[0].Fault.Err != nil {
			t.Fatalf("%s: %+v", tt.name, got)
		}
		if got[0].Outcome != tt.outcome || !strings.Contains(got[0].Reason, tt.reason) {
			t.Errorf("%s: %s", tt.name, got[0].Decision)
		}
	}
}

// noCloud is a cloud that must not be called.
type noCloud struct{}

func (noCloud) Session(context.Context, string) (*cloud.Session, error) {
	panic("the cloud is asked for nothing")
}

func TestNoSession(t *testing.T) {
	t.Run("refused credentials are not the event's outcome", func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{})
		got := compose(t, settings(), tagger.Parts{Cloud: login(sim, "wrong-password")}).Handle(t.Context(),
			tagger.Delivery{Event: plain(t, "server.created", "")})
		if got[0].Fault.Err == nil || strings.Contains(fmt.Sprintf("%+v", got[0]), "wrong-password") {
			t.Errorf("%+v", got[0])
		}
	})
	t.Run("Keystone is down", func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{})
		sim.Inject(simcloud.Fault{Service: "identity", Answer: simcloud.Unavailable(0)})
		tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")})
		got := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", ""), SentAt: time.Now(), Receives: 1})
		if got[0].Outcome != apply.Deferred || got[0].Fault.Err != nil || got[0].Delay < 12*time.Second {
			t.Errorf("%+v", got[0])
		}
		got = tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", ""),
			SentAt: time.Now().Add(-25 * time.Hour), Receives: 31})
		if got[0].Outcome != apply.Rejected {
			t.Errorf("%+v", got[0])
		}
	})
}

func TestPreview(t *testing.T) {
	sim := simcloud.New(simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: id, Metadata: map[string]string{"env": "production", "owner": "bob"}})
	sim.ForgetRequests()
	tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")})
	got := tg.Preview(t.Context(), tagger.Delivery{Event: plain(t, "server.created", "")})
	if len(got) != 1 || got[0].Diff == nil {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(map[string]string{"env": "dev", "by": "<web> & 1"}, got[0].Diff.Write); diff != "" {
		t.Error(diff)
	}
	sim.PutServer(simcloud.Server{ID: id, Metadata: map[string]string{"Owner": "bob"}})
	got = tg.Preview(t.Context(), tagger.Delivery{Event: plain(t, "server.created", "")})
	if diff := cmp.Diff(map[string]string{"env": "dev", "by": "<web> & 1"}, got[0].Diff.Write); diff != "" ||
		!strings.Contains(fmt.Sprint(got[0].Problems), `key owner: not added: "Owner" exists`) {
		t.Errorf("%s%v", diff, got[0].Problems)
	}
	for _, r := range sim.Requests() {
		if r.Method != "GET" && r.Service != "identity" {
			t.Errorf("a preview sent %s %s", r.Method, r.Path)
		}
	}
	got = tg.Preview(t.Context(), tagger.Delivery{Event: plain(t, "snapshot.created", "")})
	if got[0].Outcome != apply.Gone || got[0].Diff != nil {
		t.Errorf("%+v", got[0])
	}
}

// A correction, such as a revert, does not delete a key that differs in case only, and says so.
func TestCorrectionKeepsOtherKeys(t *testing.T) {
	sim := simcloud.New(simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: id, Metadata: map[string]string{"Owner": "bob", "owner": "al"}})
	tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")})
	al := "al"
	got := tg.Correct(t.Context(), tagger.Correction{Kind: lifecycle.Server, ID: id,
		Keys: map[string]journal.Replacement{"owner": {From: &al}}}, tagger.Delivery{}, nil)
	server, _ := sim.Server(id)
	if diff := cmp.Diff(map[string]string{"Owner": "bob", "owner": "al"}, server.Metadata); diff != "" {
		t.Error(diff)
	}
	const why = `not removed: the cloud would delete "Owner" too`
	if got.Outcome != apply.Unchanged || !strings.Contains(got.Reason, why) || len(got.Problems) != 1 {
		t.Errorf("%s: %s; problems %v", got.Outcome, got.Reason, got.Problems)
	}
}

// Values and user names are in the log only if LogNames is set.
func TestLogNames(t *testing.T) {
	for _, names := range []bool{false, true} {
		sim := simcloud.New(simcloud.Options{})
		sim.PutServer(simcloud.Server{ID: id})
		var log bytes.Buffer
		s := settings()
		s.LogNames = names
		tg := compose(t, s, tagger.Parts{Cloud: login(sim, "secret"), Log: slog.New(slog.NewJSONHandler(&log, nil))})
		got := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", "")})[0]
		owner := got.Written["owner"]
		if owner == "" || !strings.Contains(log.String(), `"written":["by","env","owner"]`) ||
			!strings.Contains(log.String(), `"resource_name":"`) {
			t.Errorf("owner %q: %s", owner, log.String())
		}
		if strings.Contains(log.String(), owner) != names {
			t.Errorf("names %t: %s", names, log.String())
		}
	}
}

// A log line answers an operator's first questions, and holds no secret.
func TestLog(t *testing.T) {
	sim := simcloud.New(simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: id})
	var log bytes.Buffer
	tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret"), Log: slog.New(slog.NewJSONHandler(&log, nil))})
	tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", ""), Receives: 2})
	tg.Unreadable(t.Context(), errors.New("read payload: is not JSON"))
	var lines []map[string]any
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	for key, want := range map[string]any{
		"level": "INFO", "msg": "event tagged", "event_id": "e-1", "action": "server.created", "kind": "server",
		"resource_id": id, "outcome": "tagged",
		"calls": 3.0, "attempts": 1.0, "receives": 2.0,
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		if lines[0][key] != want {
			t.Errorf("%s: %v, want %v", key, lines[0][key], want)
		}
	}
	if lines[1]["level"] != "ERROR" || lines[1]["reason"] != "read payload: is not JSON" {
		t.Errorf("%v", lines[1])
	}
}

// An event that keeps failing inside Tagger is given up too, so that it becomes a dead letter before the queue's
// retention ends.
func TestFailedIsGivenUp(t *testing.T) {
	tg := compose(t, settings(), tagger.Parts{Cloud: noCloud{}})
	for _, tt := range []struct {
		age  time.Duration
		want apply.Outcome
	}{{time.Hour, apply.Deferred}, {25 * time.Hour, apply.Rejected}} {
		got := tg.Failed(t.Context(), tagger.Delivery{Event: plain(t, "server.created", ""), SentAt: time.Now().Add(-tt.age),
			Receives: 9}, "panic; see the log")
		if got.Outcome != tt.want || !strings.Contains(got.Reason, "panic; see the log") || got.Event.ID != "e-1" {
			t.Errorf("%s old: %s %s", tt.age, got.Outcome, got.Reason)
		}
	}
}

// A backlog of a day is tried once, even if the API is throttling at that moment.
func TestNothingIsGivenUpUntried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{})
		sim.PutServer(simcloud.Server{ID: id})
		tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")})
		sim.Inject(simcloud.Fault{Service: "compute", Answer: simcloud.Throttled(time.Minute), Times: 1})
		d := tagger.Delivery{Event: plain(t, "server.created", ""), SentAt: time.Now(), Receives: 1}
		tg.Handle(t.Context(), d)
		d.SentAt = d.SentAt.Add(-25 * time.Hour)
		if got := tg.Handle(t.Context(), d)[0]; got.Outcome != apply.Deferred || got.Calls != 0 ||
			got.Delay < 59*time.Second {
			t.Errorf("in the pause: %s %s, %d calls", got.Outcome, got.Reason, got.Calls)
		}
		<-time.NewTimer(time.Minute).C
		if got := tg.Handle(t.Context(), d)[0]; got.Outcome != apply.Tagged {
			t.Errorf("after it: %s %s", got.Outcome, got.Reason)
		}
	})
}

func TestJSON(t *testing.T) {
	tg := compose(t, settings(), tagger.Parts{Cloud: noCloud{}})
	text, err := json.Marshal(tg.Unreadable(t.Context(), errors.New("x")))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"event":{"id":"","source":"","type":""},"action":"","resource":{"kind":"","id":"","name":"",` +
		`"project":"","region":""},` +
		`"actor":{"name":"","id":"","kind":""},"rules":[],"skipped":[],"plan":{"set":{},"add":{},"remove":[]},` +
		`"problems":[],"requests":[],` +
		`"outcome":"rejected","reason":"x","written":{},"removed":[],"calls":0,"waited":"0s"}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestComposeRefuses(t *testing.T) {
	s := settings()
	s.EventTypes = config.EventTypes{"x": "server.exploded"}
	if _, err := tagger.Compose(t.Context(), s, &rules.Set{}, tagger.Parts{}); err == nil ||
		!strings.Contains(err.Error(), "TAGGER_EVENT_TYPES") {
		t.Errorf("error %v", err)
	}
	if _, err := tagger.Compile(settings(), rules.Source{Name: "R"}); err == nil ||
		!strings.Contains(err.Error(), "R: is empty") {
		t.Errorf("error %v", err)
	}
}
