package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Summary is the result of planning.
type Summary struct {
	Header
	// States counts resources by state and kind, Why by the reason for the state.
	States map[State]map[lifecycle.Kind]int `json:"states"`
	Why    map[State]map[string]int         `json:"why"`
	// LeftOut counts the keys that a rule names but the plan leaves out, by key and reason.
	LeftOut map[string]int `json:"left_out"`
	// Errors are the first errors, NotRead the number of all errors.
	Errors  []string `json:"errors"`
	NotRead int      `json:"not_read"`
	// Calls counts the requests, Elapsed is the time spent reading.
	Calls   int           `json:"calls"`
	Elapsed time.Duration `json:"-"`
	// OlderCloud reports that the cloud's API does not list servers whose cell is down.
	OlderCloud bool `json:"older_cloud"`
	// ProjectCount is how many projects have resources in the scope.
	ProjectCount int `json:"project_count"`
}

func (s *Summary) failed(err error) {
	s.Complete = false
	s.NotRead++
	if len(s.Errors) < maxErrors {
		s.Errors = append(s.Errors, err.Error())
	}
}

// maxReasons limits the different reasons that a summary counts.
const maxReasons = 200

func count(in map[string]int, reason string) {
	if _, ok := in[reason]; !ok && len(in) >= maxReasons {
		reason = "other reasons"
	}
	in[reason]++
}

func (s *Summary) note(kind lifecycle.Kind, a Assessment) {
	if s.States[a.State] == nil {
		s.States[a.State], s.Why[a.State] = map[lifecycle.Kind]int{}, map[string]int{}
	}
	s.States[a.State][kind]++
	if a.Why != "" && a.State != Busy { // the reason for Busy contains a time
		count(s.Why[a.State], a.Why)
	}
	for _, p := range a.Problems {
		if p.Key != "" {
			count(s.LeftOut, p.Key+": "+withoutValues(p.Why))
		}
	}
}

// withoutValues removes the part of a reason that differs between resources.
func withoutValues(why string) string {
	before, _, _ := strings.Cut(why, ", \"")
	return before
}

// PastDateError reports that a plan would write dates in the past, which other programs may act on.
type PastDateError struct {
	// Examples are the first such values, Count is their number.
	Examples []string
	Count    int
}

func (e *PastDateError) Error() string {
	return fmt.Sprintf("plan: %d values are dates in the past, and a program that acts on expiry dates may delete or "+
		"stop these resources: %s: leave the key out, or allow it with --allow-past-dates",
		e.Count, strings.Join(e.Examples, ", "))
}

// maxExamples limits the examples that an error names.
const maxExamples = 3

// Plan reads the resources of the scope and writes a plan to a new file at path, with mode 0600. An incomplete plan
// lacks only the resources that its errors name; its entries are correct. The error is a [*PastDateError], a
// [*FileError] (before anything is read, if no file can be made), or the reason why there is no plan.
func Plan(ctx context.Context, o Options, path string) (Summary, error) {
	start := time.Now()
	s := Summary{
		Header: Header{
			Complete: true,
			Rules:    o.Rules,
			Scope:    o.Scope,
			Made:     start.UTC(),
			Listed:   map[lifecycle.Kind]int{},
		},
		States:  map[State]map[lifecycle.Kind]int{},
		Why:     map[State]map[string]int{},
		LeftOut: map[string]int{},
	}
	d, err := newDraft(path)
	if err != nil {
		return s, err
	}
	defer d.discard()
	own, err := o.Cloud.Login(ctx)
	if err != nil {
		return s, err
	}
	s.Cloud, s.User = own.CloudName(), own.User
	if _, err := o.Bounds.Session(ctx, own.Project); err != nil && own.Admin() {
		if _, outside := err.(*cloud.OutOfBoundsError); !outside { //nolint:errorlint // it is returned unwrapped
			return s, err
		}
	}
	listings, failed, err := o.Cloud.Listings(ctx)
	if err != nil {
		return s, err
	}
	for _, err := range failed {
		s.failed(err)
	}
	p := planner{
		Options:  o,
		draft:    d,
		summary:  &s,
		known:    map[string]State{},
		projects: map[string]ProjectCount{},
		index:    index{},
	}
	if err := p.readAll(ctx, listings); err != nil {
		return s, err
	}
	s.ProjectCount = len(p.projects)
	maps.DeleteFunc(p.projects, func(_ string, c ProjectCount) bool { return c.Planned == 0 })
	s.Projects = p.projects
	p.nameProjects(ctx, listings)
	s.Elapsed = time.Since(start)
	if p.past.Count > 0 && !o.AllowPastDates {
		return s, &p.past
	}
	return s, d.finish(&s.Header)
}

// planner holds the state of planning.
type planner struct {
	Options
	draft    *draft
	summary  *Summary
	known    map[string]State // by project
	projects map[string]ProjectCount
	index    index
	past     PastDateError
	read     int
}

// readAll reads every listing of every kind. It records a listing that fails and reads the others.
func (p *planner) readAll(ctx context.Context, listings []cloud.Listing) error {
	called := func(metadata.Call) { p.summary.Calls++ }
	older := func() { p.summary.OlderCloud = true }
	for _, kind := range p.Kinds {
		indexed := p.parents(kind)
		for _, l := range listings {
			var broken error // one that the cloud did not cause
			err := p.Options.read(ctx, l, metadata.Kind(kind), called, older, func(v metadata.View) error {
				if indexed {
					p.index.add(metadata.Kind(kind), v)
				}
				broken = p.consider(ctx, kind, v)
				return broken
			})
			if ctx.Err() != nil {
				return fmt.Errorf("read the resources: %w", context.Cause(ctx))
			}
			if broken != nil {
				return broken
			}
			if err != nil {
				p.summary.failed(fmt.Errorf("list %ss: %w", kind, err))
			}
		}
	}
	return nil
}

// selects reports whether the options select the resource's name and time of creation.
func (o Options) selects(v metadata.View) bool {
	return (o.Name == "" || rules.MatchesGlob(o.Name, v.Name)) &&
		(o.CreatedFrom.IsZero() || !v.Created.Before(o.CreatedFrom)) &&
		(o.CreatedTo.IsZero() || !v.Created.After(o.CreatedTo))
}

// consider plans one resource. An error from it ends the plan.
func (p *planner) consider(ctx context.Context, kind lifecycle.Kind, v metadata.View) error {
	if metadata.Kind(kind).Readiness(v.State) == metadata.Deleted {
		return nil // an administrator still sees recently deleted servers
	}
	wanted := p.selects(v)
	if !wanted && p.Options.Listed == nil {
		return nil
	}
	where, err := p.within(ctx, v.Project, p.known)
	if err != nil {
		p.summary.failed(fmt.Errorf("project %s: %w", v.Project, err))
		p.summary.note(kind, Assessment{State: Unread})
		return nil
	}
	if where == outOfScope {
		return nil
	}
	if p.Options.Listed != nil {
		if err := p.Options.Listed(kind, v); err != nil {
			return err
		}
	}
	if !wanted {
		return nil
	}
	p.summary.Listed[kind]++
	if p.read++; p.Progress != nil {
		p.Progress(p.read)
	}
	if where == OutOfBounds {
		p.summary.note(kind, Assessment{State: OutOfBounds, Why: "TAGGER_PROJECTS does not name its project"})
		return nil
	}
	project := p.projects[v.Project]
	project.Listed++
	defer func() { p.projects[v.Project] = project }()
	a, err := Assess(ctx, p.Options, kind, v, p.index.find)
	if err != nil {
		p.summary.failed(fmt.Errorf("%s %s: %w", kind, v.ID, err))
	}
	p.summary.note(kind, a)
	if a.State != Add {
		return nil
	}
	project.Planned++
	p.summary.Resources++
	p.summary.Changes += len(a.Keys)
	for _, key := range slices.Sorted(maps.Keys(a.Keys)) {
		if value := *a.Keys[key].To; pastDate(value, time.Now()) {
			if p.past.Count++; len(p.past.Examples) < maxExamples {
				p.past.Examples = append(p.past.Examples, fmt.Sprintf("%s=%s on %s %s", key, value, kind, v.ID))
			}
		}
	}
	return p.draft.add(Entry{Kind: kind, ID: v.ID, Name: v.Name, Project: v.Project, Rules: a.Plan.Rules, Keys: a.Keys})
}

// maxNamed limits the projects whose names are looked up.
const maxNamed = 50

// nameProjects sets the names of the plan's projects, if they are known or can be read.
func (p *planner) nameProjects(ctx context.Context, listings []cloud.Listing) {
	for _, l := range listings {
		if c, ok := p.projects[l.Session.Project]; ok {
			c.Name = l.Session.ProjectName
			p.projects[l.Session.Project] = c
		}
	}
	named := 0
	for _, id := range slices.Sorted(maps.Keys(p.projects)) {
		c := p.projects[id]
		if c.Name != "" {
			continue
		}
		if named++; named > maxNamed {
			return
		}
		project, err := p.Cloud.Project(ctx, id)
		if err != nil {
			return // members may not read names, which are optional
		}
		c.Name = project.Name
		p.projects[id] = c
	}
}
