package tagger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// From a bus come the events of all projects: an administrator serves them all, or those that are listed, with the one token; a member those that it can.
// Events of others are nobody's fault. Servers and snapshots alike.
func TestBus(t *testing.T) {
	users := []simcloud.User{
		{Name: "root", Password: "secret", Roles: map[string]string{"admin": "admin"}},
		{Name: "member", Password: "secret", Roles: map[string]string{"demo": "member", "second": "member"}},
	}
	for _, tt := range []struct {
		name, user, own string
		listed          string // names, of which ids are made
		project         string
		missing         bool
		outcome         apply.Outcome
		reason          string
	}{
		{name: "an administrator's own", user: "root", own: "admin", project: "admin", outcome: apply.Tagged},
		{name: "any for an administrator", user: "root", own: "admin", project: "demo", outcome: apply.Tagged},
		{name: "any for an administrator, said so", user: "root", own: "admin", listed: "*", project: "demo", outcome: apply.Tagged},
		{name: "listed for an administrator without a role there", user: "root", own: "admin", listed: "demo", project: "demo", outcome: apply.Tagged},
		{name: "not listed for an administrator", user: "root", own: "admin", listed: "demo", project: "second", outcome: apply.Ignored, reason: "nor in TAGGER_PROJECTS"},
		{name: "deleted before an administrator came", user: "root", own: "admin", project: "demo", missing: true, outcome: apply.Gone},
		{name: "a member's own", user: "member", own: "demo", project: "demo", outcome: apply.Tagged},
		{name: "another for a member", user: "member", own: "demo", project: "second", outcome: apply.Ignored, reason: "neither that of the credentials"},
		{name: "listed for a member", user: "member", own: "demo", listed: "second", project: "second", outcome: apply.Tagged},
	} {
		for _, action := range []string{"server.created", "snapshot.created"} {
			t.Run(tt.name+"/"+action, func(t *testing.T) {
				sim := simcloud.New(simcloud.Options{Users: users, Projects: []simcloud.Project{{Name: "admin"}, {Name: "demo"}, {Name: "second"}}})
				project, _ := sim.Project(tt.project)
				if !tt.missing {
					sim.PutServer(simcloud.Server{ID: id, ProjectID: project.ID})
					sim.PutSnapshot(simcloud.Snapshot{ID: id, ProjectID: project.ID})
				}
				s := settings()
				if tt.listed == config.AnyProject {
					s.Projects = config.List{config.AnyProject}
				} else if listed, ok := sim.Project(tt.listed); ok {
					s.Projects = config.List{listed.ID}
				}
				c := cloud.New(cloud.Options{
					Credentials: config.Credentials{
						AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: tt.user, Password: config.NewSecret("secret"), UserDomainName: "Default", ProjectName: tt.own,
					},
					Transport: sim.Transport(), Projects: s.OtherProjects(),
				})
				tg := compose(t, s, tagger.Parts{Cloud: c, Bus: true})
				e := plain(t, action, project.ID)
				e.SetTime(time.Now().Add(-time.Hour))
				done := tg.Handle(t.Context(), tagger.Delivery{Event: e, SentAt: time.Now(), Receives: 1})
				if len(done) != 1 || done[0].Outcome != tt.outcome || !strings.Contains(done[0].Reason, tt.reason) {
					t.Errorf("%s: %s", done[0].Outcome, done[0].Reason)
				}
			})
		}
	}
}
