package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// userAgent names the command to the cloud.
const userAgent = "tagger-command"

// options returns the options of the configured cloud.
func options(settings config.Settings, c config.Credentials) cloud.Options {
	return app.CloudOptions(settings, c, userAgent)
}

// connect logs in to the configured cloud. It first prints where, and as which user.
func connect(ctx context.Context, settings config.Settings, s streams) (tagger.Parts, error) {
	c, err := cloudsyaml.Complete(ctx)
	if err != nil {
		return tagger.Parts{}, err
	}
	if _, err := c.Resolve(); err != nil {
		return tagger.Parts{}, err
	}
	for _, w := range append(settings.Warnings(), c.Warnings()...) { // first: they can be why the login fails
		fmt.Fprintln(s.err, "warning:", visible.Line(w.String(), maxComplaint))
	}
	made := cloud.New(options(settings, c))
	session, err := made.Bounded(ctx)
	if errors.Is(err, cloud.ErrNoBounds) {
		return tagger.Parts{}, err
	}
	if err != nil {
		return tagger.Parts{}, undone{err}
	}
	project := session.ProjectName
	if project == "" {
		project = session.Project
	} else if session.Project != "" {
		project += " (" + session.Project + ")"
	}
	fmt.Fprintln(s.err, visible.Line(fmt.Sprintf("cloud %s, project %s, user %s", session.Cloud, project, session.User),
		maxComplaint))
	audit, err := openAudit(settings, s)
	return tagger.Parts{Cloud: made, Region: c.RegionName, Journal: audit}, err
}

// openAudit opens the audit file of the settings. It returns nil if there is none.
func openAudit(settings config.Settings, s streams) (tagger.Journal, error) {
	return app.OpenAudit(settings, func(err error) {
		fmt.Fprintln(s.err, "warning: a write is not in the audit file:", visible.Line(err.Error(), maxComplaint))
	})
}

// embeddedCloud is a cloud in this process that has the resources of the given events.
type embeddedCloud struct {
	cloud *simcloud.Cloud
	tag   *cloud.Cloud
}

// buildTime is how long a server builds: long enough to show that Tagger waits, and short enough to watch.
const buildTime = 3 * time.Second

// embed starts a cloud with the resource of every change, and a user with rights in all their projects.
func embed(ctx context.Context, planner *tagger.Tagger, events []delivered) *embeddedCloud {
	o := simcloud.Options{Users: simcloud.DefaultUsers()[:1], SnapshotTime: buildTime, VolumeTime: buildTime}
	roles := o.Users[0].Roles
	o.Projects = []simcloud.Project{{Name: "demo"}}
	var all []*tagger.Plan
	var others []string
	for _, d := range events {
		if d.err != nil {
			continue
		}
		for _, p := range planner.Plan(ctx, d.event) {
			if p.Resource.ID == "" {
				continue
			}
			all = append(all, p)
			if project := p.Resource.Project; project != "" && roles[project] == "" {
				o.Projects = append(o.Projects, simcloud.Project{ID: project, Name: project})
				roles[project] = "member"
				others = append(others, project)
			}
		}
	}
	c := simcloud.New(o)
	for _, p := range all {
		r := simcloud.Resource{
			Kind: string(p.Resource.Kind), ID: p.Resource.ID, Name: p.Resource.Name, ProjectID: p.Resource.Project,
			State: p.Action.State(),
		}
		if p.Action.Creates() {
			r.BuildTime = buildTime
		}
		c.Put(r)
	}
	user := o.Users[0]
	return &embeddedCloud{cloud: c, tag: cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: user.Name,
			Password:       config.NewSecret(string(user.Password)),
			UserDomainName: "Default", ProjectName: "demo", RegionName: "RegionOne",
		},
		Projects: others, Transport: c.Transport(), UserAgent: userAgent,
	})}
}

func (e *embeddedCloud) parts() tagger.Parts {
	return tagger.Parts{Cloud: e.tag, Region: "RegionOne"}
}

// metadata returns the resource's current metadata.
func (e *embeddedCloud) metadata(r tagger.ResourceRef) map[string]string {
	return e.cloud.Metadata(string(r.Kind), r.ID)
}

// processCredentials reads the credentials of a process that runs. With TAGGER_SECRET_ARN, the secret has what is
// missing in clouds.yaml.
func processCredentials(ctx context.Context) (config.Credentials, error) {
	if os.Getenv("TAGGER_SECRET_ARN") != "" {
		return cloudsyaml.Read(ctx)
	}
	return cloudsyaml.Complete(ctx)
}
