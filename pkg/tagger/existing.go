package tagger

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Existing is a resource as read, for [Tagger.PlanExisting].
type Existing struct {
	Kind lifecycle.Kind
	// View is the resource. Its Project must be set.
	View metadata.View
	// Region is the configured region, ProjectName the project's name; "" if unknown.
	Region, ProjectName string
	// Parent, if not nil, returns a parent that has been read already, and whether it has. Other parents are read.
	Parent func(kind metadata.Kind, id string) (metadata.View, bool)
}

// ExistingPlan is what the rules want for a resource that exists already.
type ExistingPlan struct {
	Plan
	// Wanted holds the keys that the resource should have, Set those that the rules write over any existing value.
	Wanted map[string]string
	Set    []string
	// EventOnly lists the keys whose values only an event has; see [rules.Set.ForExisting].
	EventOnly []string
	// NoRoom lists the keys that exceed the resource's quota.
	NoRoom []rules.Problem
	// Unmanageable is a key that shows that another program owns the resource's metadata, or "".
	Unmanageable string
}

// Resource returns the resource as rules, exemptions and other conditions see it.
func (p ExistingPlan) Resource() lifecycle.Resource { return p.change.Resource }

// PlanExisting plans an existing resource as if its creation had just been reported, with the user and the time of the
// creation. The plan is valid only if the error, which names what could not be read, is nil. The plan has a decision if
// there is nothing to write: [apply.Deferred] if a parent is too young to be inherited from.
//
// The Tagger's rules should be those of [rules.Set.ForExisting].
func (t *Tagger) PlanExisting(ctx context.Context, x Existing) (ExistingPlan, error) {
	c := creation(x.Kind, x.View)
	c.Resource.Region, c.Resource.ProjectName = x.Region, x.ProjectName
	p := t.plan(ctx, EventRef{}, event.New(), c)
	if p.Pending() && p.needs.Any() {
		var unread error
		api, err := t.connect(ctx, p, nil)
		if err != nil {
			return ExistingPlan{}, fmt.Errorf("read what the rules need: %w", err)
		}
		api.known = x.Parent
		readings, verdict := t.readings(ctx, p, api, Delivery{unread: func(err error) { unread = err }})
		if unread != nil {
			return ExistingPlan{}, fmt.Errorf("read what the rules need: %w", unread)
		}
		if p.with(readings); verdict != nil {
			p.Decision = &verdict.Decision
		}
	}
	out := ExistingPlan{Plan: *p.filled(), Wanted: map[string]string{}, EventOnly: p.plan.EventOnly}
	if p.plan.Err != nil || p.plan.Ignored != "" {
		return out, nil
	}
	kind := metadata.Kind(x.Kind)
	fit, problems := p.plan.Fit(x.View.Metadata, kind.MaxItems())
	out.NoRoom = problems
	maps.Copy(out.Wanted, fit.Add)
	maps.Copy(out.Wanted, fit.Set)
	out.Set = slices.Sorted(maps.Keys(fit.Set))
	if ours := p.job(connection{}).Ours; ours != nil {
		for _, key := range slices.Sorted(maps.Keys(x.View.Metadata)) {
			if !ours(key) {
				out.Unmanageable = key
				break
			}
		}
	}
	return out, nil
}

// creation returns the change that created a resource.
func creation(kind lifecycle.Kind, v metadata.View) lifecycle.Change {
	c := lifecycle.Change{
		Resource: lifecycle.Resource{
			Kind: kind, ID: v.ID, Name: v.Name, Project: v.Project, Flavor: v.Flavor, Image: v.Image, Zone: v.Zone,
			Created: v.Created, Metadata: v.Metadata,
		},
		Time: v.Created, Action: kind.Creation(),
	}
	if v.User != "" {
		c.Actor = lifecycle.Actor{ID: v.User, Kind: lifecycle.User}
	}
	if parent := metadata.Kind(kind).Parent(); parent != "" && len(v.Parents) == 1 {
		c.SetParent(lifecycle.Parent{Kind: lifecycle.Kind(parent), ID: v.Parents[0]})
	}
	return c
}

// Correction is a change to a resource's metadata that was decided earlier, for [Tagger.Correct].
type Correction struct {
	Kind              lifecycle.Kind
	ID, Name, Project string
	// Rules names the rules that require it.
	Rules []string
	// Keys holds the change for each key.
	Keys map[string]journal.Replacement
}

// Corrected is the result of a correction.
type Corrected struct {
	Result
	// Changed lists the keys with neither the old nor the new value: another writer has changed them since.
	Changed []string
	// Done lists the keys that already had the new value.
	Done []string
	// RequestIDs are the API's ids of the write requests.
	RequestIDs []string
}

// Correct changes the keys whose values are still those of the correction's decision, and leaves the others alone.
// begin, if not nil, is called with the keys before they are written; its error stops the correction. Nothing is
// written in a state that does not allow it, or while the server has a task.
func (t *Tagger) Correct(
	ctx context.Context,
	c Correction,
	d Delivery,
	begin func(keys map[string]journal.Replacement) error,
) Corrected {
	done := t.correct(ctx, c, d, begin)
	t.report(ctx, d, "correction", &done.Result)
	return done
}

func (t *Tagger) correct(
	ctx context.Context,
	c Correction,
	d Delivery,
	begin func(keys map[string]journal.Replacement) error,
) Corrected {
	kind := metadata.Kind(c.Kind)
	change := creation(c.Kind, metadata.View{ID: c.ID, Name: c.Name, Project: c.Project})
	p := &Plan{
		Action: change.Action, change: change, rules: t.options.Rules.Current(ctx), Rules: c.Rules,
		Resource: ResourceRef{Kind: c.Kind, ID: c.ID, Name: c.Name, Project: c.Project},
	}
	p.plan = rules.Plan{Family: kind.Family(t.options.API), Set: map[string]string{}, Add: map[string]string{}}
	out := Corrected{Result: Result{Plan: *p}}
	decided := func(o apply.Outcome, reason string) Corrected {
		out.Decision = &apply.Decision{Outcome: o, Reason: reason}
		out.filled()
		return out
	}
	api, err := t.connect(ctx, p, func(call metadata.Call) { out.calls = append(out.calls, call) })
	if decision := t.outOfBounds(err); decision != nil {
		return decided(apply.Rejected, decision.Reason)
	}
	if err != nil {
		return decided(apply.Deferred, err.Error())
	}
	v, err := api.resource.Get(ctx)
	switch {
	case t.outOfBounds(api.checked.failed()) != nil:
		return decided(apply.Rejected, api.checked.failed().Error())
	case metadata.IsClass(err, metadata.Gone):
		return decided(apply.Gone, err.Error())
	case err != nil:
		return decided(apply.Deferred, err.Error())
	}
	if why := t.refusal(kind, v); why != "" {
		return decided(apply.Deferred, why)
	}
	if t.held() {
		return decided(apply.Deferred, heldDecision().Reason)
	}
	begun := map[string]journal.Replacement{}
	for key, r := range c.Keys {
		have, there := v.Metadata[key]
		switch {
		case r.Done(have, there):
			out.Done = append(out.Done, key)
		case !r.Holds(have, there):
			out.Changed = append(out.Changed, key)
		case r.To == nil:
			begun[key] = r
			p.plan.Remove = append(p.plan.Remove, key)
		default:
			begun[key] = r
			p.plan.Set[key] = *r.To
			p.plan.Order = append(p.plan.Order, key)
		}
	}
	slices.Sort(out.Done)
	slices.Sort(out.Changed)
	slices.Sort(p.plan.Order)
	slices.Sort(p.plan.Remove)
	if len(begun) == 0 {
		return decided(apply.Unchanged, "every key was already decided")
	}
	if begin != nil {
		if err := begin(begun); err != nil {
			return decided(apply.Deferred, err.Error())
		}
	}
	job := p.job(api)
	job.Wait = d.Wait
	done := t.applier.Apply(ctx, api.resource, job)
	out.Decision, out.Attempts, out.Written, out.Removed = &done.Decision, done.Attempts, done.Written, done.Removed
	out.Problems = done.Problems
	api.journaled.end(&out.Result)
	out.sent().filled()
	for _, call := range out.calls {
		if call.Request.Method != http.MethodGet && call.RequestID != "" {
			out.RequestIDs = append(out.RequestIDs, call.RequestID)
		}
	}
	return out
}

// refusal returns why the resource's metadata cannot be written now, or "".
func (t *Tagger) refusal(kind metadata.Kind, v metadata.View) string {
	switch {
	case kind.Readiness(v.State) != metadata.Ready:
		return kind.StateName() + " " + v.State
	case v.Task != "":
		return "task " + v.Task
	case v.Locked && !t.options.WriteLocked:
		return "locked"
	}
	return ""
}

// Refusal returns why the metadata of a resource, as read, cannot be written, or "".
func (t *Tagger) Refusal(kind lifecycle.Kind, v metadata.View) string {
	return t.refusal(metadata.Kind(kind), v)
}
