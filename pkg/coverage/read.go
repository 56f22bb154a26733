package coverage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

const (
	// pageSize is how many resources one request lists.
	pageSize = 500
	// maxErrors limits how many errors a report lists.
	maxErrors = 10
)

// Options configure a run.
type Options struct {
	Rules *rules.Set
	API   metadata.API
	// Kinds are the kinds to read; by default every kind with a required key.
	Kinds []lifecycle.Kind
	// Cloud opens sessions for the projects in the scope.
	Cloud  *cloud.Cloud
	Scope  config.Projects
	Region string
	// Key is the allocation key; by default the first required key.
	Key string
	// Owners also counts by the value of the key owner.
	Owners bool
	// WriteLocked counts locked servers as writable.
	WriteLocked bool
	// Each, if not nil, is called with every finding. An error from it ends the run.
	Each func(Finding) error
	// Prices, if not nil, are used to compute costs.
	Prices *Prices
	// Trail, if not nil, holds Tagger's own records. Lost keys are counted from them.
	Trail *Trail
	// Note, if not "", is a limitation of the report's figures.
	Note string
	// Now is the time at which exemptions are evaluated.
	Now time.Time
}

// kinds returns the kinds that are listed, servers first.
func (o Options) kinds() []lifecycle.Kind {
	var all []lifecycle.Kind
	for _, kind := range lifecycle.Kinds() {
		required := slices.ContainsFunc(o.Rules.Policy().Required, func(r rules.Required) bool {
			return slices.Contains(r.Kinds, kind)
		})
		wanted := len(o.Kinds) == 0 || slices.Contains(o.Kinds, kind)
		if required && wanted && !metadata.Kind(kind).ListsOthers() {
			all = append(all, kind)
		}
	}
	return all
}

// ErrNothingRequired reports rules without required keys.
var ErrNothingRequired = errors.New("the rules require no key: add a section required: (docs/rules-reference.md)")

// reader holds the state of one run.
type reader struct {
	Options
	policy     rules.Policy
	classifier classifier
	counter    *counter
	lost       *lostCounter
	report     *Report
	own        *cloud.Session
	projects   map[string]cloud.Project
	fullyRead  map[string]bool // projects, and whether all their lists were read
	scope      map[string]bool // whether a project is in the scope
	flavors    map[string]int
	oldNova    bool
	unfinished bool // a list of all projects was not read to its end
	required   map[lifecycle.Kind][]rules.Required
}

// newReader logs in and reads the names of the projects.
func newReader(ctx context.Context, o Options) (*reader, error) {
	policy := o.Rules.Policy()
	if len(policy.Required) == 0 {
		return nil, ErrNothingRequired
	}
	if o.Key == "" {
		o.Key = policy.Required[0].Key
	}
	if !slices.ContainsFunc(policy.Required, func(r rules.Required) bool { return r.Key == o.Key }) {
		return nil, fmt.Errorf("required: does not list the key %q", o.Key)
	}
	own, err := o.Cloud.Login(ctx)
	if err != nil {
		return nil, err
	}
	rd := &reader{
		Options: o, policy: policy, counter: newCounter(policy, o.Key, o.kinds(), o.Owners), lost: newLostCounter(o.Trail),
		own: own,
		classifier: classifier{
			set: o.Rules, policy: policy, region: o.Region, writeLocked: o.WriteLocked, now: o.Now, unknown: map[string]int{},
		},
		report: &Report{
			At: o.Now.UTC(), Complete: true, Cloud: own.Cloud, Scope: o.Scope, Rules: o.Rules.Hash(),
			Errors: []string{}, Notes: []string{}, Prices: o.Prices, Unpriced: map[lifecycle.Kind]int{},
		},
		fullyRead: map[string]bool{}, scope: map[string]bool{}, required: map[lifecycle.Kind][]rules.Required{},
	}
	for _, r := range policy.Required {
		for _, kind := range o.kinds() {
			if slices.Contains(r.Kinds, kind) {
				rd.required[kind] = append(rd.required[kind], r)
			}
		}
	}
	if o.Note != "" {
		rd.note(o.Note)
	}
	if rd.projects, err = o.Cloud.Projects(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		rd.note("the projects' names are unknown (" + err.Error() + "): rules that need them have no effect")
	}
	return rd, nil
}

// Read lists the resources and returns their coverage. An incomplete report lists its errors; its figures are correct
// for the part that was read. The error comes from the login, the context, [Options].Each or invalid options.
func Read(ctx context.Context, o Options) (Report, error) {
	rd, err := newReader(ctx, o)
	if err != nil {
		return Report{}, err
	}
	lists, err := rd.lists(ctx)
	if err != nil {
		return Report{}, err
	}
	for _, kind := range o.kinds() {
		for _, l := range lists {
			var unfinished error
			err := rd.read(ctx, l, kind, func(v metadata.View) error {
				unfinished = rd.consider(ctx, kind, v)
				return unfinished
			})
			switch {
			case ctx.Err() != nil:
				return Report{}, fmt.Errorf("read the resources: %w", context.Cause(ctx))
			case unfinished != nil:
				return Report{}, unfinished
			case err != nil:
				rd.failed(fmt.Errorf("list the %ss%s: %w", kind, where(l), err))
				rd.incomplete(l)
			}
		}
	}
	if len(rd.fullyRead) == 0 && rd.report.Complete { // more likely a wrong scope than an empty cloud
		rd.failed(errors.New("the scope " + strings.Join(rd.Scope, ",") + " has no project with a resource"))
	}
	return rd.finish(), nil
}

// Pass counts resources that its caller lists, such as a scheduled reconcile, so that the fleet is read only once.
type Pass struct{ reader *reader }

// NewPass returns a pass for one run. It logs in with o.Cloud and reads the names of projects. The caller lists the
// resources of o.Kinds.
func NewPass(ctx context.Context, o Options) (*Pass, error) {
	rd, err := newReader(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Pass{rd}, nil
}

// Listed counts one resource in the scope. Its error comes from [Options].Each.
func (p *Pass) Listed(ctx context.Context, kind lifecycle.Kind, v metadata.View) error {
	if metadata.Kind(kind).Readiness(v.State) == metadata.Deleted {
		return nil
	}
	p.reader.measure(ctx, p.reader.own, metadata.Kind(kind), &v)
	return p.reader.count(kind, v)
}

// Report ends the pass and returns its report. complete reports whether everything was listed; unread has the errors if
// not.
func (p *Pass) Report(complete bool, unread []string) Report {
	for _, text := range unread {
		p.reader.failed(errors.New(text))
	}
	if !complete {
		p.reader.report.Complete, p.reader.unfinished = false, true
	}
	return p.reader.finish()
}

func (rd *reader) note(text string) { rd.report.Notes = append(rd.report.Notes, text) }

func (rd *reader) failed(err error) {
	rd.report.Complete = false
	rd.report.NotRead++
	if len(rd.report.Errors) < maxErrors {
		rd.report.Errors = append(rd.report.Errors, err.Error())
	}
}

// incomplete records that a list was not read to its end.
func (rd *reader) incomplete(l cloud.Listing) {
	if id := l.ProjectID(); id != "" {
		rd.fullyRead[id] = false
		return
	}
	rd.unfinished = true // the unread rest could be in any project
}

// where returns a list's name for errors.
func where(l cloud.Listing) string {
	if id := l.ProjectID(); id != "" {
		return " of project " + id
	}
	return " of all projects"
}

// lists returns the lists that cover the scope. Projects that cannot be opened are recorded as errors.
func (rd *reader) lists(ctx context.Context) ([]cloud.Listing, error) {
	all, failed, err := rd.Cloud.Listings(ctx)
	for _, f := range failed {
		rd.fullyRead[f.Project] = false
		rd.failed(f)
	}
	for _, l := range all {
		if id := l.ProjectID(); id != "" {
			rd.fullyRead[id] = true
		}
	}
	return all, err
}

// read calls each with every resource of a list. It returns the error that ended the list.
func (rd *reader) read(ctx context.Context, l cloud.Listing, kind lifecycle.Kind,
	each func(metadata.View) error) error {
	k := metadata.Kind(kind)
	service, err := l.Session.Service(string(k.Service()))
	if err != nil {
		return err
	}
	o := metadata.ListOptions{
		Options:     rd.api(l.Session, k),
		AllProjects: l.All, Project: l.Project, PageSize: pageSize,
		DownCells: true, Older: func() { rd.oldNova = true }, NoMicroversion: rd.API == metadata.HuaweiCloud,
	}
	for v, err := range metadata.List(ctx, service, k, o) {
		if err != nil {
			return err
		}
		if v.Project, err = o.Owner(k, v); err != nil {
			return err
		}
		rd.measure(ctx, l.Session, k, &v)
		if err := each(v); err != nil {
			return err
		}
	}
	return nil
}

// measure looks up the size of a resource in its flavor, if it has one and the list has no size.
func (rd *reader) measure(ctx context.Context, session *cloud.Session, kind metadata.Kind, v *metadata.View) {
	if v.Size != 0 || v.Flavor == "" {
		return
	}
	if rd.flavors == nil {
		var err error
		if rd.flavors, err = rd.readFlavors(ctx, session, kind); err != nil {
			rd.note("the sizes of flavors are unknown: " + err.Error())
			rd.flavors = map[string]int{} // they are not read again
		}
	}
	v.Size = rd.flavors[v.Flavor]
}

func (rd *reader) readFlavors(ctx context.Context, session *cloud.Session, kind metadata.Kind) (map[string]int, error) {
	service, err := session.Service(string(kind.Service()))
	if err != nil {
		return nil, err
	}
	return metadata.FlavorSizes(ctx, service, kind, rd.api(session, kind))
}

// api returns the options of calls about a kind.
func (rd *reader) api(session *cloud.Session, kind metadata.Kind) metadata.Options {
	return metadata.Options{Family: kind.Family(rd.API), Breaker: session.Breaker(), Project: session.Project}
}

// consider counts one resource. An error from it ends the run.
func (rd *reader) consider(ctx context.Context, kind lifecycle.Kind, v metadata.View) error {
	in, err := rd.inScope(ctx, v.Project)
	if err != nil {
		rd.failed(fmt.Errorf("project %s: %w", v.Project, err))
		return nil
	}
	if !in || metadata.Kind(kind).Readiness(v.State) == metadata.Deleted {
		return nil
	}
	return rd.count(kind, v)
}

// count counts one resource in the scope.
func (rd *reader) count(kind lifecycle.Kind, v metadata.View) error {
	if len(rd.required[kind]) == 0 {
		return nil // the caller listed it for its own purposes
	}
	if _, there := rd.fullyRead[v.Project]; !there {
		rd.fullyRead[v.Project] = true
	}
	if v.State == metadata.Unread {
		rd.failed(fmt.Errorf("%s %s: its cell is down, so its metadata is unknown", kind, v.ID))
		rd.fullyRead[v.Project] = false
		return nil
	}
	project, known := rd.projects[v.Project]
	cost, currency := 0.0, ""
	if rd.Prices != nil {
		var priced bool
		if cost, priced = rd.Prices.of(kind, v); !priced {
			rd.report.Unpriced[kind]++
		}
		currency = rd.Prices.Currency
	}
	rd.counter.resource(kind, v, project.Name, cost)
	rd.lost.compare(kind, v)
	resource := rd.classifier.resource(kind, v, project.Name)
	readings := rules.Readings{Metadata: v.Metadata}
	if known {
		readings.Project = &rules.Project{
			Name: project.Name, Description: project.Description, Tags: project.Tags, Extra: project.Extra,
		}
	}
	for _, r := range rd.required[kind] {
		f := rd.classifier.find(r, v, resource, readings)
		f.Cost, f.Currency = cost, currency
		rd.counter.finding(f)
		if rd.Each != nil {
			if err := rd.Each(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// inScope reports whether a project is in the scope. Only a list of all projects contains others.
func (rd *reader) inScope(ctx context.Context, project string) (bool, error) {
	if !rd.own.Admin() {
		return true, nil
	}
	if in, known := rd.scope[project]; known {
		return in, nil
	}
	in := true
	p, known := rd.projects[project]
	if known && !rd.Scope.Roles() {
		var err error
		if in, err = rd.Cloud.Covers(ctx, p); err != nil {
			return false, err
		}
	} else if _, err := rd.Cloud.Session(ctx, project); err != nil {
		if _, in = errors.AsType[*cloud.OutOfBoundsError](err); !in {
			return false, err
		}
		in = false
	}
	rd.scope[project] = in
	return in, nil
}

func (rd *reader) finish() Report {
	r, policy := rd.report, rd.policy
	rd.counter.report(r)
	r.Lost = rd.lost.result()
	r.SelfAccepted = policy.SelfExemption == rules.AcceptSelfExemption
	for _, read := range rd.fullyRead {
		r.ProjectsTotal++
		if read && !rd.unfinished {
			r.ProjectsRead++
		}
	}
	for _, x := range policy.Exemptions {
		end := x.Until.AddDate(0, 0, 1)
		r.Exemptions = append(r.Exemptions, ExemptionUse{
			Name: x.Name, Keys: x.Keys, Reason: x.Reason, By: x.By, Ticket: x.Ticket, AllocateTo: x.AllocateTo,
			Until: x.Until, Ended: rd.Now.After(end), EndsSoon: !rd.Now.After(end) && rd.Now.Add(soon).After(end),
			Covered: rd.counter.covered[x.Name],
		})
	}
	if rd.oldNova {
		rd.note("this cloud's Nova is older than microversion 2.69: " +
			"servers of a cell that is down are silently left out")
	}
	for _, key := range slices.Sorted(maps.Keys(rd.classifier.unknown)) {
		rd.note(fmt.Sprintf("%s: the expected value is unknown for %s; any allowed value counts as ok",
			key, Numbered(rd.classifier.unknown[key], "resource", "resources")))
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Unsized)) {
		rd.note(fmt.Sprintf("the size of %s is unknown and counts as 0",
			Numbered(r.Unsized[kind], string(kind), string(kind)+"s")))
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Unpriced)) {
		rd.note(fmt.Sprintf("there is no price for %ss: %s counted at no cost", kind, Thousands(r.Unpriced[kind])))
	}
	return *r
}
