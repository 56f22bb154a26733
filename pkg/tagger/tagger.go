// Package tagger turns a CloudEvent into metadata on a resource: it finds the changes that the event reports, plans
// them by the rules, applies the plans and reports the results.
package tagger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Cloud opens sessions; [cloud.Cloud] implements it.
type Cloud interface {
	Session(ctx context.Context, project string) (*cloud.Session, error)
}

// Rulebook returns the rules in force; [rules.Set] and [rules.Reloader] implement it.
type Rulebook interface {
	Current(ctx context.Context) *rules.Set
}

// Options are the parts of a Tagger.
type Options struct {
	// Registry reads events.
	Registry *lifecycle.Registry
	Rules    Rulebook
	Apply    apply.Options
	// Cloud is nil if nothing is ever applied.
	Cloud Cloud
	// Bus reports that events come from a bus that carries those of every project. An event of a project that is out of
	// bounds (see [cloud.Options].Projects) is then ignored instead of rejected.
	Bus bool
	// WriteLocked lets an administrator's token write to locked servers, which Nova allows.
	WriteLocked bool
	// API is the cloud's API. Huawei Cloud's has no microversions.
	API metadata.API
	// Actions are the actions that this function handles, nil for all.
	Actions []lifecycle.Action
	// Held, if not nil, reports whether writing is on hold; writes are then deferred. It is called before each write.
	Held func() bool
	// Log, if not nil, gets one line for each change.
	Log *slog.Logger
	// LogNames allows values and user names in the log.
	LogNames bool
	// Observe, if not nil, is called with each result.
	Observe func(*Result)
	// Journal, if not nil, records the writes.
	Journal Journal
}

// Tagger handles events. It is safe for concurrent use.
type Tagger struct {
	options Options
	applier *apply.Applier
	log     *slog.Logger
}

// New returns a Tagger.
func New(o Options) *Tagger {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Tagger{options: o, applier: apply.New(o.Apply), log: log}
}

// WithRules returns a Tagger with other rules. The two share their locks: one change at a time writes to a resource.
func (t *Tagger) WithRules(book Rulebook) *Tagger {
	other := *t
	other.options.Rules = book
	return &other
}

// Delivery is one event as a carrier delivered it.
type Delivery struct {
	Event event.Event
	// SentAt, ReceivedAt, Receives and Wait are those of [apply.Job].
	SentAt, ReceivedAt time.Time
	Receives           int
	Wait               time.Duration
	// Progress has callbacks for the steps of the work; each can be nil.
	Progress Progress

	// unread, if not nil, is called with the error of each failed read.
	unread func(error)
}

// Progress has callbacks for a caller that shows progress.
type Progress struct {
	// Planned is called with the plan before it is applied.
	Planned func(*Plan)
	// Called is called after each API call.
	Called func(metadata.Call)
	// Pausing is called before each pause.
	Pausing func(reason string, pause time.Duration)
}

// Plan returns what the rules require for each change that the event reports, without calling the cloud. For an event
// that reports no change, it returns one element with a decision.
func (t *Tagger) Plan(ctx context.Context, e event.Event) []*Plan {
	ref := EventRef{e.ID(), e.Source(), e.Type()}
	decided := func(o apply.Outcome, reason string) []*Plan {
		return []*Plan{(&Plan{Event: ref}).decided(o, reason)}
	}
	reading, err := t.options.Registry.Read(e)
	switch {
	case err != nil:
		return decided(apply.Rejected, err.Error())
	case len(reading.Changes) == 0 && reading.Known:
		return decided(apply.Ignored, reading.Why)
	case len(reading.Changes) == 0:
		return decided(apply.Unrecognised, reading.Why)
	}
	return t.plans(ctx, ref, e, reading.Changes)
}

// maxPlansSize limits the memory of one event's plans, in bytes; see [Plan.Size].
const maxPlansSize = 12 << 20

// maxSkipped is the number of changes of an event up to which its plans keep the reasons of skipped rules. With more
// changes, these would take more memory than all the rest.
const maxSkipped = 50

// plans plans the changes of one event within its limits. It stops when ctx ends: the caller has given up then.
func (t *Tagger) plans(ctx context.Context, ref EventRef, e event.Event, changes []lifecycle.Change) []*Plan {
	all := make([]*Plan, 0, len(changes))
	cost, size, counted := 0, 0, false
	for _, c := range changes {
		if ctx.Err() != nil {
			return all
		}
		p := t.plan(ctx, ref, e, c)
		if !counted && p.event.Context != nil { // the plans of an event share its data
			p.data, counted = decodedSize(e.Data()), true
		}
		if len(changes) > maxSkipped {
			p.Skipped, p.plan.Skipped = []rules.Skip{}, nil
		}
		all = append(all, p)
		cost, size = cost+p.plan.Cost, size+p.Size()
		why := ""
		switch {
		case cost > rules.EventBudget:
			why = "its rules need more time or memory than one event may use"
		case size > maxPlansSize:
			why = fmt.Sprintf("its plans take more than %d bytes of memory", maxPlansSize)
		default:
			continue
		}
		refused := &Plan{Event: ref, Action: c.Action, Actor: p.Actor}
		return []*Plan{refused.decided(apply.Rejected, fmt.Sprintf("the event reports %d changes, and %s", len(changes),
			why))}
	}
	return all
}

// decodedSize estimates the memory of decoded JSON, in bytes: an object of one member takes about 350.
func decodedSize(data []byte) int {
	return len(data) + 350*document.CountValues(data, lifecycle.DefaultLimits().Values)
}

// Size estimates the memory that the plan and its result take until its message is done, in bytes. That includes the
// event's decoded data if the plan is not final.
func (p *Plan) Size() int {
	const plan, perItem = 4 << 10, 64
	size := plan + p.data + perItem*(len(p.Skipped)+len(p.Problems)+len(p.Rules))
	for _, s := range p.Skipped {
		size += len(s.Why)
	}
	for _, problem := range p.Problems {
		size += len(problem.Why)
	}
	for _, keys := range []map[string]string{p.plan.Set, p.plan.Add, p.plan.Rename} {
		for key, value := range keys {
			size += perItem + len(key) + len(value)
		}
	}
	return size + perItem*len(p.plan.Remove)
}

// plan plans one change. A final plan keeps nothing of the event's data, which can take 50 times the memory of its text
// while the change waits.
func (t *Tagger) plan(ctx context.Context, ref EventRef, e event.Event, c lifecycle.Change) *Plan {
	p := t.planned(ctx, ref, e, c)
	if !p.Pending() || !p.needs.Any() {
		p.change.Data, p.event = nil, event.Event{}
	}
	return p
}

func (t *Tagger) planned(ctx context.Context, ref EventRef, e event.Event, c lifecycle.Change) *Plan {
	p := &Plan{
		Event: ref, Action: c.Action,
		Resource: ResourceRef{c.Resource.Kind, c.Resource.ID, c.Resource.Name, c.Resource.Project, c.Resource.Region},
		Actor:    ActorRef{c.Actor.Name, c.Actor.ID, c.Actor.Kind},
		change:   c,
	}
	switch {
	case !c.Action.Writable():
		return p.decided(apply.Ignored, "a deleted resource cannot be written")
	case t.options.Actions != nil && !slices.Contains(t.options.Actions, c.Action):
		return p.decided(apply.Ignored, fmt.Sprintf("this function is not for %s", c.Action))
	}
	p.event, p.rules = e, t.options.Rules.Current(ctx)
	p.needs = p.rules.Needs(c, e)
	if !p.needs.Any() {
		p.with(rules.Readings{})
		switch {
		case t.stale(p):
			p.change.Parent.Metadata, p.needs = nil, rules.Needs{Parent: true}
		case !p.rules.Offline() && len(t.replaceable(p, p.plan)) > 0:
			p.needs = rules.Needs{Metadata: true}
		default:
			return p
		}
	}
	// The plan is final only after reading from the cloud; until then it shows what the event alone determines.
	if p.with(notRead(p.needs)); p.plan.Err == nil {
		p.Needs, p.Decision = p.needs.Names(), nil
	}
	return p
}

// stale reports whether, in a recent event, the parent lacks an inherited key that the rules will give it: it may have
// the key by now.
func (t *Tagger) stale(p *Plan) bool {
	parent := p.change.Parent
	return parent.ID != "" && parent.Metadata != nil && t.pendingKey(p, parent, p.plan.Lacking) != "" &&
		!p.change.Time.IsZero() && time.Since(p.change.Time) < t.options.Apply.Grace
}

// with completes the plan with what the rules produce from readings.
func (p *Plan) with(r rules.Readings) {
	plan := p.rules.Plan(p.change, p.event, r)
	p.plan, p.Rules, p.Skipped, p.Problems, p.Decision = plan, plan.Rules, plan.Skipped, plan.Problems, nil
	p.Keys = PlanRef{plan.Set, plan.Add, slices.Concat(plan.Remove, plan.RemoveGlobs), plan.Rename}
	switch {
	case plan.Err != nil:
		p.decided(apply.Rejected, plan.Err.Error())
	case plan.Ignored != "":
		p.decided(apply.Ignored, plan.Ignored)
	case len(plan.Rules) == 0:
		p.decided(apply.Ignored, "no rule matches")
	case plan.Empty() && len(plan.Problems) == 0:
		p.decided(apply.Ignored, "the matching rules change nothing")
	case plan.Empty():
		p.decided(apply.Rejected, "no key of the plan can be written; "+plan.Problems[0].String())
	default:
		p.filled()
	}
}

// decided gives the plan a decision, made without a call, and returns it.
func (p *Plan) decided(o apply.Outcome, reason string) *Plan {
	p.Decision = &apply.Decision{Outcome: o, Reason: reason}
	return p.filled()
}

// Requests returns the plan with the requests that applying it sends to a resource without metadata, with the paths of
// the API reference. They are for display only.
func (t *Tagger) Requests(p *Plan) *Plan {
	if !p.Pending() {
		return p
	}
	with := *p
	path := metadata.Kind(p.Resource.Kind).PagePath(cmp.Or(p.Resource.Project, "{project_id}"))
	if err := t.predict(&with, nil, path); err != nil {
		return with.decided(apply.Rejected, err.Error())
	}
	return &with
}

// predict gives the plan the requests for a resource with the metadata current, under an endpoint's path.
func (t *Tagger) predict(p *Plan, current map[string]string, path string) error {
	requests, err := apply.Requests(p.job(connection{}), current, t.options.Apply)
	if err != nil {
		return err
	}
	if p.plan.Reserve > 0 {
		_, left := p.plan.Fit(current, metadata.Kind(p.Resource.Kind).MaxItems())
		p.Problems = slices.Concat(p.Problems, left)
	}
	p.Requests = nil
	for _, r := range requests {
		p.Requests = append(p.Requests, requestRef(path, r))
	}
	p.filled()
	return nil
}

// Preview is Plan for the resource in its present state, which it reads: it adds the requests and the difference that
// they would make. Nothing is written. If the resource cannot be read, that is the decision of its element.
func (t *Tagger) Preview(ctx context.Context, d Delivery) []Preview {
	var all []Preview
	for _, p := range t.Plan(ctx, d.Event) {
		if p.Pending() {
			all = append(all, t.preview(ctx, p, d))
		} else {
			all = append(all, Preview{Plan: *p})
		}
	}
	return all
}

func (t *Tagger) preview(ctx context.Context, p *Plan, delivery Delivery) Preview {
	api, err := t.connect(ctx, p, nil)
	if decision := t.outOfBounds(err); decision != nil {
		return Preview{Plan: *p.decided(decision.Outcome, decision.Reason)}
	}
	if err != nil {
		return Preview{Plan: *p.decided(apply.Deferred, err.Error())}
	}
	if verdict := t.complete(ctx, p, api, delivery); verdict != nil {
		return Preview{Plan: *p.decided(verdict.Outcome, verdict.Reason)}
	}
	if !p.Pending() {
		return Preview{Plan: *p}
	}
	d, failed := t.applier.Preview(ctx, api.resource, p.delivered(api, delivery))
	if decision := t.outOfBounds(api.checked.failed()); decision != nil {
		failed.Decision = *decision
	}
	if failed.Outcome != "" {
		return Preview{Plan: *p.decided(failed.Outcome, failed.Reason)}
	}
	if err := t.predict(p, d.Current, api.path); err != nil {
		return Preview{Plan: *p.decided(apply.Rejected, err.Error())}
	}
	p.Problems = slices.Concat(p.Problems, d.Problems)
	return Preview{Plan: *p.filled(), Diff: &d}
}

// Handle plans and applies. It returns one result for each change that the event reports, and at least one.
func (t *Tagger) Handle(ctx context.Context, d Delivery) []*Result {
	var all []*Result
	for _, p := range t.Plan(ctx, d.Event) {
		all = append(all, t.Apply(ctx, p, d))
	}
	return all
}

// Apply applies a plan that [Tagger.Plan] returned for the delivery's event, and logs and counts the result.
func (t *Tagger) Apply(ctx context.Context, p *Plan, d Delivery) *Result {
	if d.Progress.Planned != nil && !(p.Pending() && p.needs.Any()) { // otherwise once the plan is complete
		d.Progress.Planned(p)
	}
	r := &Result{Plan: *p}
	if p.Pending() {
		t.apply(ctx, r, d)
	}
	if !p.change.Time.IsZero() {
		r.Age = time.Since(p.change.Time)
	}
	r.filled()
	t.report(ctx, d, "event", r)
	return r
}

// Failed returns the result of an event whose handling failed inside Tagger. It is deferred, and given up in the end as
// if the cloud had failed.
func (t *Tagger) Failed(ctx context.Context, d Delivery, reason string) *Result {
	s := t.situation(d)
	s.Message = reason
	r := (&Result{Plan: Plan{
		Event:    EventRef{d.Event.ID(), d.Event.Source(), d.Event.Type()},
		Decision: decision(t.options.Apply.Decide(s)),
	}}).filled()
	t.report(ctx, d, "event", r)
	return r
}

// Unreadable returns the result of a record that is not an event.
func (t *Tagger) Unreadable(ctx context.Context, err error) *Result {
	r := (&Result{Plan: Plan{Decision: &apply.Decision{Outcome: apply.Rejected, Reason: err.Error()}}}).filled()
	t.report(ctx, Delivery{}, "event", r)
	return r
}

// GivenUp returns the result of a change that the fault in its last result has blocked for too long.
func (t *Tagger) GivenUp(ctx context.Context, d Delivery, last *Result) *Result {
	reason := fmt.Sprintf("given up after %s: %s", t.options.Apply.GiveUpAfter, last.Fault.Err)
	r := (&Result{Plan: Plan{
		Event: last.Event, Action: last.Action, Resource: last.Resource, Actor: last.Actor,
		Decision: &apply.Decision{Outcome: apply.Rejected, Reason: reason, Internal: true},
	}}).filled()
	t.report(ctx, d, "event", r)
	return r
}

// usualCalls is the number of calls for most changes: a read, a write, a read-back.
const usualCalls = 3

// apply applies the plan of a result, which has no decision yet, and completes the result.
func (t *Tagger) apply(ctx context.Context, r *Result, d Delivery) {
	p := &r.Plan
	p.Requests = nil
	if t.held() {
		p.Decision = heldDecision()
		return
	}
	// What a plan needs from the cloud is read first, but those calls are reported after the plan.
	var queued []metadata.Call
	planned := !p.needs.Any()
	reportCall := func(call metadata.Call) {
		if !planned {
			queued = append(queued, call)
		} else if d.Progress.Called != nil {
			d.Progress.Called(call)
		}
	}
	waiter := apply.NewWaiter(d.Wait, d.Progress.Pausing)
	r.calls = make([]metadata.Call, 0, usualCalls)
	var api connection
	for {
		var verdict *apply.Verdict
		var err error
		api, err = t.connect(ctx, p, func(call metadata.Call) {
			r.calls = append(r.calls, call)
			reportCall(call)
		})
		switch outOfBounds := t.outOfBounds(err); {
		case outOfBounds != nil:
			verdict = &apply.Verdict{Decision: *outOfBounds}
		case err != nil:
			v := t.noSession(d, err)
			verdict = &v
		default:
			verdict = t.complete(ctx, p, api, d)
		}
		if verdict == nil {
			break
		}
		if !waiter.Again(ctx, *verdict) {
			r.Decision = &verdict.Decision
			break
		}
	}
	if !planned {
		if planned = true; d.Progress.Planned != nil {
			d.Progress.Planned(p)
		}
		for _, call := range queued {
			reportCall(call)
		}
	}
	if !r.Pending() {
		r.Waited = waiter.Waited().Round(100 * time.Millisecond).String()
		r.sent()
		return
	}
	job := r.delivered(api, d)
	job.Renaming = func(from, to, value string) {
		t.log.Warn("renaming a key; its value is in this record until the new key is written",
			"event_id", r.Event.ID, "resource_id", r.Resource.ID, "from", from, "to", to, "value", value)
	}
	job.Wait, job.Pausing = waiter.Left(), d.Progress.Pausing
	done := t.applyUnlessHeld(ctx, api.resource, job)
	r.Decision, r.Attempts = &done.Decision, done.Attempts
	r.Problems = append(r.Problems, done.Problems...)
	if decision := t.outOfBounds(api.checked.failed()); decision != nil {
		r.Decision = decision
	}
	r.metadata = done.Metadata
	r.Written, r.Removed, r.Waited = done.Written, done.Removed,
		(waiter.Waited() + done.Waited).Round(100*time.Millisecond).String()
	api.journaled.end(r)
	r.sent()
}

// sent gives the result the requests that were sent, and returns it.
func (r *Result) sent() *Result {
	r.Calls = len(r.calls)
	r.Requests = slices.Grow(r.Requests, len(r.calls))
	for _, call := range r.calls {
		r.Requests = append(r.Requests, requestRef(pathOf(call.Endpoint), call.Request))
	}
	return r
}

// complete completes the plan with the readings from the cloud. A verdict means that they cannot be read now. The plan
// gets a decision if there is nothing to do after all.
func (t *Tagger) complete(ctx context.Context, p *Plan, api connection, d Delivery) *apply.Verdict {
	if p.needs.Any() {
		readings, verdict := t.readings(ctx, p, api, d)
		if verdict != nil {
			return verdict
		}
		p.with(readings)
		if p.Needs = nil; !p.Pending() {
			return nil
		}
	}
	if metadata.Kind(p.Resource.Kind).OwnedWhole() && p.rules.Policy().VolumesWrite == rules.NoVolumes {
		p.decided(apply.Ignored, "the rules have volumes: {write: never}")
	}
	return nil
}

// outOfBounds returns the decision on an event whose project, or whose resource's project, is out of bounds. It is nil
// for other errors and for nil.
func (t *Tagger) outOfBounds(err error) *apply.Decision {
	_, outOfBounds := errors.AsType[*cloud.OutOfBoundsError](err)
	_, otherProject := errors.AsType[*otherProjectError](err)
	switch {
	case !outOfBounds && !otherProject:
		return nil
	case t.options.Bus:
		return &apply.Decision{Outcome: apply.Ignored, Reason: err.Error()}
	}
	return &apply.Decision{Outcome: apply.Rejected, Reason: err.Error()}
}

// job returns the plan's job, without the delivery's fields.
func (p *Plan) job(api connection) apply.Job {
	job := apply.Job{
		Change: &p.change, Plan: &p.plan,
		Visible: p.Resource.Project == "" || p.Resource.Project == api.project || api.admin,
	}
	if metadata.Kind(p.Resource.Kind).OwnedWhole() && p.rules.Policy().VolumesWrite != rules.AllVolumes {
		job.Ours = p.ours
	}
	return job
}

// delivered returns the plan's job with the times and the count of a delivery, without its wait.
func (p *Plan) delivered(api connection, d Delivery) apply.Job {
	job := p.job(api)
	job.SentAt, job.ReceivedAt, job.Receives = d.SentAt, d.ReceivedAt, d.Receives
	return job
}

// ours reports whether a rule for the resource's kind, or the plan, writes, removes or renames the key.
func (p *Plan) ours(key string) bool {
	if _, renamed := p.plan.Rename[key]; renamed || len(p.plan.Removals(map[string]string{key: ""})) > 0 {
		return true
	}
	return p.rules.Owns(p.change.Resource.Kind, key)
}

// noSession returns the verdict if no session could be opened.
func (t *Tagger) noSession(d Delivery, err error) apply.Verdict {
	s := t.situation(d)
	s.Message, s.RetryAfter, s.Unanswered = err.Error(), metadata.RetryAfter(err), true
	if _, unsent := errors.AsType[*breaker.OpenError](err); unsent {
		s.CarrierAge = -1 // a change that was never tried is not given up
	}
	if scope := fault.ScopeOf(err); scope != "" {
		s.Class, s.Fault = metadata.Unauthenticated, apply.Fault{Err: err, Scope: scope}
	}
	return t.options.Apply.Decide(s)
}

// situation returns the situation of a delivery for which the API could not be called.
func (t *Tagger) situation(d Delivery) apply.Situation {
	s := t.options.Apply.Situation(time.Time{}, d.SentAt, d.ReceivedAt)
	s.Class, s.Receives, s.Visible = metadata.Unavailable, d.Receives, true
	return s
}

// connection gives access to a change's resource.
type connection struct {
	// open returns the operations on another resource of the same project.
	open     func(kind metadata.Kind, id string) (*metadata.Resource, error)
	resource apply.Resource
	// known, if not nil, returns resources that have been read already.
	known   func(kind metadata.Kind, id string) (metadata.View, bool)
	project string // of the token
	admin   bool   // the token is an administrator's, which sees every project's resources
	path    string // of the endpoint, before a request's own
	// checked and journaled are the same resource; journaled is nil without a journal.
	checked   *checkedResource
	journaled *journaled
}

func (t *Tagger) connect(ctx context.Context, p *Plan, observe func(metadata.Call)) (connection, error) {
	session, err := t.options.Cloud.Session(ctx, p.Resource.Project)
	if err != nil {
		return connection{}, err
	}
	// A token of another project than the event's reaches the resource only if it sees more than its own project.
	wide := session.Wide() || p.Resource.Project != "" && p.Resource.Project != session.Project
	var path string
	open := func(kind metadata.Kind, id string) (*metadata.Resource, error) {
		service, err := session.Service(string(kind.Service()))
		if err != nil {
			return nil, err
		}
		path = pathOf(service.Endpoint)
		return metadata.New(service, kind, id, metadata.Options{
			Family: kind.Family(t.options.API), Observe: observe, Breaker: session.Breaker(), Project: session.Project,
			FullView: wide && t.options.API != metadata.HuaweiCloud,
		})
	}
	resource, err := open(metadata.Kind(p.Resource.Kind), p.Resource.ID)
	if err != nil {
		return connection{}, err
	}
	recorded, record := t.journaled(p, session, resource)
	checked := &checkedResource{
		// An event without a project is assumed to be in the credentials' own.
		Resource: recorded, one: resource, project: cmp.Or(p.Resource.Project, session.Project), wide: wide,
		writeLocked: t.options.WriteLocked,
	}
	return connection{open: open, resource: checked, project: session.Project, admin: session.Admin(), path: path,
		checked: checked, journaled: record}, nil
}

func decision(v apply.Verdict) *apply.Decision { return &v.Decision }
