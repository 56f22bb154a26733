package tagger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// bounded is a cloud with a few projects, and a Tagger limited by a user's credentials and TAGGER_PROJECTS.
type bounded struct {
	sim *simcloud.Cloud
	s   config.Settings
}

// newBounded has these users: root is an administrator in admin and a member of second; member is a member of demo and
// second. In projects, a name in angle brackets stands for its id.
func newBounded(t *testing.T, projects string) bounded {
	t.Helper()
	sim := simcloud.New(simcloud.Options{
		Users: []simcloud.User{
			{Name: "root", Password: "secret", Roles: map[string]string{"admin": "admin", "second": "member",
				"service": "member"}},
			{Name: "member", Password: "secret", Roles: map[string]string{"demo": "member", "second": "member",
				"service": "member"}},
		},
		ApplicationCredentials: []simcloud.ApplicationCredential{{ID: "ac", Name: "ac", Secret: "secret", User: "member",
			Project: "demo"}},
		Projects: []simcloud.Project{{Name: "admin"}, {Name: "demo"}, {Name: "second"}, {Name: "third"},
			{Name: "service"}},
	})
	b := bounded{sim, settings()}
	for _, name := range []string{"admin", "demo", "second", "third", "service"} {
		projects = strings.ReplaceAll(projects, "<"+name+">", b.id(name))
	}
	if err := b.s.Projects.Decode(projects); err != nil {
		t.Fatal(err)
	}
	return b
}

// id returns a project's id, or the name if there is no such project.
func (b bounded) id(name string) string {
	if p, ok := b.sim.Project(name); ok {
		return p.ID
	}
	return name
}

func (b bounded) cloud(user, own string) *cloud.Cloud {
	c := config.Credentials{
		AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: user, Password: config.NewSecret("secret"),
		UserDomainName: "Default", ProjectName: own,
	}
	if user == "ac" {
		c = config.Credentials{AuthURL: c.AuthURL, ApplicationCredentialID: "ac",
			ApplicationCredentialSecret: config.NewSecret("secret")}
	}
	return cloud.New(cloud.Options{Credentials: c, Transport: b.sim.Transport(), Projects: b.s.Projects})
}

// writes counts the requests that changed something.
func (b bounded) writes() int {
	n := 0
	for _, r := range b.sim.Requests() {
		if r.Method != "GET" && r.Service != "identity" {
			n++
		}
	}
	return n
}

// TestBounds: an event that is out of bounds is ignored on a bus, which carries every project's events, and rejected
// elsewhere. Nothing is written in either case, for servers and snapshots.
func TestBounds(t *testing.T) {
	const foreign = apply.Outcome("foreign") // ignored or rejected
	for _, tt := range []struct {
		name, user, own string
		projects        string // TAGGER_PROJECTS
		event           string // the project that the event names
		resource        string // the project of the resource, where it is another; "none" for no resource
		outcome         apply.Outcome
		reason          string
	}{
		{name: "a member's own", user: "member", own: "demo", event: "demo", outcome: apply.Tagged},
		{name: "a member's own, said so", user: "member", own: "demo", projects: "own", event: "demo", outcome: apply.Tagged},
		{name: "no project", user: "member", own: "demo", resource: "demo", outcome: apply.Tagged},
		{name: "no project, and another's server", user: "member", own: "demo", resource: "third", outcome: apply.Gone},
		{name: "not listed", user: "member", own: "demo", event: "second", outcome: foreign,
			reason: "neither that of the credentials"},
		{name: "listed", user: "member", own: "demo", projects: "<second>", event: "second", outcome: apply.Tagged},
		{name: "listed, and own", user: "member", own: "demo", projects: "<second>", event: "demo", outcome: apply.Tagged},
		{name: "listed, and another's server", user: "member", own: "demo", projects: "<second>", event: "second",
			resource: "third", outcome: apply.Gone},
		{name: "by role", user: "member", own: "demo", projects: "roles", event: "second", outcome: apply.Tagged},
		{name: "by role, own", user: "member", own: "demo", projects: "roles", event: "demo", outcome: apply.Tagged},
		{name: "without a role", user: "member", own: "demo", projects: "roles", event: "third", outcome: foreign,
			reason: "no role in it"},
		{name: "no such project", user: "member", own: "demo", projects: "roles", event: "nowhere", outcome: foreign,
			reason: "no role in it"},
		{name: "service by role", user: "member", own: "demo", projects: "roles", event: "service", outcome: foreign,
			reason: "only if TAGGER_PROJECTS has its id"},
		{name: "service by id", user: "member", own: "demo", projects: "roles,<service>", event: "service",
			outcome: apply.Tagged},
		{name: "service as own", user: "member", own: "service", event: "service", outcome: apply.Tagged},
		{name: "service as own, not said so", user: "member", own: "service", projects: "roles", event: "service",
			outcome: foreign, reason: "or own"},
		{name: "by domain", user: "member", own: "demo", projects: "domain:default", event: "second", outcome: apply.Tagged},
		{name: "by domain without a role", user: "member", own: "demo", projects: "domain:Default", event: "third",
			outcome: foreign, reason: "no role in it"},
		{name: "by another domain", user: "member", own: "demo", projects: "domain:Other", event: "second", outcome: foreign,
			reason: "in domain Default"},
		{name: "whatever a member reaches", user: "member", own: "demo", projects: "*", event: "second",
			outcome: apply.Rejected, reason: "the credentials act in another project"},
		{name: "whatever a member reaches, a false one", user: "member", own: "demo", projects: "*", event: "second",
			resource: "demo", outcome: foreign, reason: "not to the event's project"},
		{name: "an application credential by role", user: "ac", projects: "roles", event: "second", outcome: foreign,
			reason: "cannot leave its project"},
		{name: "an application credential's own", user: "ac", projects: "roles", event: "demo", outcome: apply.Tagged},

		{name: "an administrator's own", user: "root", own: "admin", projects: "own", event: "admin", outcome: apply.Tagged},
		{name: "any for an administrator", user: "root", own: "admin", projects: "*", event: "third", outcome: apply.Tagged},
		{name: "any, a false one", user: "root", own: "admin", projects: "*", event: "second", resource: "third",
			outcome: foreign, reason: "not to the event's project"},
		{name: "any, no project", user: "root", own: "admin", projects: "*", resource: "third", outcome: foreign,
			reason: "not to the event's project"},
		{name: "any, no project, own server", user: "root", own: "admin", projects: "*", resource: "admin",
			outcome: apply.Tagged},
		{name: "any, no such project", user: "root", own: "admin", projects: "*", event: "nowhere", resource: "third",
			outcome: foreign, reason: "has no project"},
		{name: "any but service", user: "root", own: "admin", projects: "*", event: "service", outcome: foreign,
			reason: "only if TAGGER_PROJECTS has its id"},
		{name: "any and service", user: "root", own: "admin", projects: "*,<service>", event: "service",
			outcome: apply.Tagged},
		{name: "listed for an administrator without a role there", user: "root", own: "admin", projects: "<demo>",
			event: "demo", outcome: apply.Tagged},
		{name: "listed, a false one", user: "root", own: "admin", projects: "<demo>", event: "demo", resource: "third",
			outcome: foreign, reason: "not to the event's project"},
		{name: "not listed for an administrator", user: "root", own: "admin", projects: "<demo>", event: "second",
			outcome: foreign, reason: "nor in TAGGER_PROJECTS"},
		{name: "own only, a false one", user: "root", own: "admin", projects: "own", event: "admin", resource: "demo",
			outcome: foreign, reason: "not to the event's project"},
		{name: "an administrator by role", user: "root", own: "admin", projects: "roles", event: "second",
			outcome: apply.Tagged},
		{name: "an administrator by role, a false one", user: "root", own: "admin", projects: "roles", event: "second",
			resource: "third", outcome: apply.Gone},
		{name: "an administrator without a role", user: "root", own: "admin", projects: "roles", event: "third",
			outcome: foreign, reason: "no role in it"},
		{name: "an administrator by domain", user: "root", own: "admin", projects: "domain:Default", event: "third",
			outcome: apply.Tagged},
		{name: "an administrator by another domain", user: "root", own: "admin", projects: "domain:Other", event: "third",
			outcome: foreign, reason: "does not name"},
		{name: "an administrator by role or domain", user: "root", own: "admin", projects: "roles,domain:Default",
			event: "third", outcome: apply.Tagged},
		{name: "deleted before an administrator came", user: "root", own: "admin", projects: "*", event: "demo",
			resource: "none", outcome: apply.Gone},
	} {
		for _, action := range []string{"server.created", "snapshot.created", "volume.created"} {
			for _, bus := range []bool{true, false} {
				name := tt.name + "/" + action
				if bus {
					name += "/bus"
				}
				t.Run(name, func(t *testing.T) {
					b := newBounded(t, tt.projects)
					resource := tt.resource
					if resource == "" {
						resource = tt.event
					}
					if resource != "none" {
						b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.id(resource)})
						b.sim.PutSnapshot(simcloud.Snapshot{ID: id, ProjectID: b.id(resource)})
						b.sim.PutVolume(simcloud.Volume{ID: id, ProjectID: b.id(resource)})
					}
					tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud(tt.user, tt.own), Bus: bus})
					event := ""
					if tt.event != "" {
						event = b.id(tt.event)
					}
					e := plain(t, action, event)
					e.SetTime(time.Now().Add(-time.Hour))
					want := tt.outcome
					if want == foreign {
						if want = apply.Rejected; bus {
							want = apply.Ignored
						}
					}
					previews := tg.Preview(t.Context(), tagger.Delivery{Event: e})
					done := tg.Handle(t.Context(), tagger.Delivery{Event: e, SentAt: time.Now(), Receives: 1})
					if len(done) != 1 || done[0].Fault.Err != nil {
						t.Fatalf("%+v", done)
					}
					if done[0].Outcome != want || !strings.Contains(done[0].Reason, tt.reason) {
						t.Errorf("%s: %s", done[0].Outcome, done[0].Reason)
					}
					if n := b.writes(); (n > 0) != (want == apply.Tagged) {
						t.Errorf("%d writes", n)
					}
					if p := previews[0]; want == apply.Tagged && (p.Decision != nil || p.Diff == nil) ||
						want != apply.Tagged && (p.Decision == nil || p.Outcome != want) {
						t.Errorf("preview %+v", p.Decision)
					}
				})
			}
		}
	}
}

// An administrator's credentials without bounds are a configuration fault at every entry point.
func TestAdministratorWithoutBounds(t *testing.T) {
	for _, project := range []string{"", "admin", "demo"} {
		b := newBounded(t, "")
		b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.id("demo")})
		tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud("root", "admin")})
		if project != "" {
			project = b.id(project)
		}
		got := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", project), SentAt: time.Now(),
			Receives: 1})[0]
		if got.Outcome != apply.Deferred || got.Fault.Scope != fault.Everything {
			t.Fatalf("%+v", got.Decision)
		}
		if !strings.Contains(got.Fault.Err.Error(), "TAGGER_PROJECTS is not set") || b.writes() != 0 {
			t.Errorf("%d writes, %v", b.writes(), got.Fault.Err)
		}
	}
}

// With an administrator's token, a job that only writes costs one more GET; a job that reads first costs no more.
func TestProofIsOneCall(t *testing.T) {
	for _, tt := range []struct {
		action, user, own, bounds string
		calls                     string
	}{
		{"server.created", "member", "demo", "own", "GET metadata, POST metadata, GET metadata"},
		// its role may be as an administrator's
		{"server.created", "member", "demo", "*", "GET server, POST metadata, GET metadata"},
		{"server.created", "root", "admin", "*", "GET server, POST metadata, GET metadata"},
		{"server.started", "member", "demo", "own", "GET server, DELETE metadata, GET metadata"},
		{"server.started", "root", "admin", "*", "GET server, DELETE metadata, GET metadata"},
	} {
		b := newBounded(t, tt.bounds)
		b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.id("demo"), Metadata: map[string]string{"stopped-at": "x"}})
		tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud(tt.user, tt.own)})
		if got := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, tt.action, b.id("demo"))})[0]; got.Outcome != apply.Tagged {
			t.Fatalf("%s: %s", got.Outcome, got.Reason)
		}
		var calls []string
		for _, r := range b.sim.Requests() {
			if r.Service == "compute" {
				what := "server"
				if strings.Contains(r.Path, "/metadata") {
					what = "metadata"
				}
				calls = append(calls, r.Method+" "+what)
			}
		}
		if got := strings.Join(calls, ", "); got != tt.calls {
			t.Errorf("%s as %s: %s", tt.action, tt.user, got)
		}
	}
}

// Nova lets an administrator write to a locked server. Tagger honours a lock unless WriteLocked is set.
func TestLocks(t *testing.T) {
	for _, tt := range []struct {
		user, own, event string
		writeLocked      bool
		outcome          apply.Outcome
	}{
		{"member", "demo", "demo", true, apply.Deferred}, // Nova's own refusal
		{"root", "admin", "demo", false, apply.Deferred},
		{"root", "admin", "demo", true, apply.Tagged},
	} {
		b := newBounded(t, "*")
		b.s.WriteLocked = tt.writeLocked
		b.sim.PutServer(simcloud.Server{ID: id, ProjectID: b.id("demo"), Locked: true})
		tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud(tt.user, tt.own)})
		d := tagger.Delivery{Event: plain(t, "server.created", b.id(tt.event)), SentAt: time.Now(), Receives: 1}
		got := tg.Handle(t.Context(), d)[0]
		if got.Outcome != tt.outcome || got.Outcome == apply.Deferred && (got.Delay < 12*time.Minute ||
			!strings.Contains(got.Reason, "locked")) {
			t.Errorf("%+v: %s: %s, again in %s", tt, got.Outcome, got.Reason, got.Delay)
		}
		if (tt.outcome == apply.Tagged) != (len(b.sim.Metadata("server", id)) > 0) {
			t.Errorf("%+v: metadata %v", tt, b.sim.Metadata("server", id))
		}
		b.sim.SetServerLocked(id, false)
		if got := tg.Handle(t.Context(), d)[0]; got.Outcome != apply.Tagged && got.Outcome != apply.Unchanged {
			t.Errorf("%+v, unlocked: %s: %s", tt, got.Outcome, got.Reason)
		}
	}
}

// With an administrator's token, too, a snapshot inherits from its volume, but not from a volume of another project,
// whatever the event says.
func TestInheritWithinTheProject(t *testing.T) {
	const volumeID = "5f6de2c1-93b7-4f7f-8a35-0d2a3c4b5e61"
	for _, tt := range []struct {
		user, own, volume string // volume is the volume's project
		want              string
	}{
		{"root", "admin", "demo", "alice"},
		{"root", "admin", "third", ""},
		{"member", "demo", "demo", "alice"},
		{"member", "demo", "third", ""},
	} {
		b := newBounded(t, "*")
		b.sim.PutVolume(simcloud.Volume{
			ID: volumeID, ProjectID: b.id(tt.volume), Metadata: map[string]string{"owner": "alice"},
			Created: time.Now().Add(-time.Hour),
		})
		b.sim.PutSnapshot(simcloud.Snapshot{ID: id, ProjectID: b.id("demo"), VolumeID: volumeID})
		set, err := tagger.Compile(b.s,
			rules.Source{Name: "R", Text: []byte("rules:\n- {on: snapshot.created, set: {env: dev}, inherit: [owner]}\n")})
		if err != nil {
			t.Fatal(err)
		}
		tg, err := tagger.Compose(t.Context(), b.s, set, tagger.Parts{Cloud: b.cloud(tt.user, tt.own)})
		if err != nil {
			t.Fatal(err)
		}
		got := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "snapshot.created", b.id("demo"))})[0]
		if got.Outcome != apply.Tagged || b.sim.Metadata("snapshot", id)["owner"] != tt.want ||
			b.sim.Metadata("snapshot", id)["env"] != "dev" {
			t.Errorf("%+v: %s: %s: %v, %v", tt, got.Outcome, got.Reason, b.sim.Metadata("snapshot", id), got.Problems)
		}
	}
}
