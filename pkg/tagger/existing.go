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

// Existing is a resource that was read, for [Tagger.PlanExisting].
type Existing struct {
	Kind lifecycle.Kind
	// View is the resource. Its Project must be set.
	View metadata.View
	// Region is the configured one, ProjectName the project's name; "" where they are not known.
	Region, ProjectName string
	// Parent, if not nil, returns a parent that was read already, and whether it was. Others are read.
	Parent func(kind metadata.Kind, id string) (metadata.View, bool)
}

// ExistingPlan is what the rules want for a resource that exists already.
type ExistingPlan struct {
	Plan
	// Wanted are the keys that the resource should have, Set those of them that the rules write whatever is there.
	Wanted map[string]string
	Set    []string
	// EventOnly are the keys that only an event gives a value, see [rules.Set.ForExisting].
	EventOnly []string
	// NoRoom names the keys for which the resource has no room.
	NoRoom []rules.Problem
	// Unmanageable is a key that is none of the rules' on a resource whose metadata belongs to another program, "" for
	// none.
	Unmanageable string
}

// Resource is what rules, exemptions and other conditions see of the resource.
func (p ExistingPlan) Resource() lifecycle.Resource { return p.change.Resource }

// PlanExisting plans a resource that exists already, as the change that its creation was: by the user who created it,
// at the time when it was created. The error says what could not be read; the plan then says nothing. A decision of the
// plan says why there is nothing to write; it is [apply.Deferred] where a parent is too young to be inherited from.
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
		if p = p.with(readings); verdict != nil {
			p.Decision = &verdict.Decision
		}
	}
	out := ExistingPlan{Plan: p.filled(), Wanted: map[string]string{}, EventOnly: p.plan.EventOnly}
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

// creation is the change that made a resource.
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
	parent := metadata.Kind(kind).Parent()
	if parent != "" && len(v.Parents) == 1 {
		c.Parent = lifecycle.Parent{Kind: lifecycle.Kind(parent), ID: v.Parents[0]}
		if parent == metadata.Volume {
			c.Resource.Volume = v.Parents[0]
		}
	}
	return c
}

// Correction is a change of a resource's metadata that was decided earlier, for [Tagger.Correct].
type Correction struct {
	Kind              lifecycle.Kind
	ID, Name, Project string
	// Rules are the names of those that want it.
	Rules []string
	// Keys are the changes, by key.
	Keys map[string]journal.Replacement
}

// Corrected is what became of a correction.
type Corrected struct {
	Result
	// Changed are the keys whose values were neither the old nor the new ones: another writer has decided them since.
	Changed []string
	// Done are the keys that were as wanted already.
	Done []string
	// RequestIDs are the ids that the API gave the requests that write.
	RequestIDs []string
}

// Correct changes keys of a resource that are still as they were when the correction was decided, and leaves the others
// alone. Begin is called with the keys that are about to be written, and stops the correction with an error; it can be
// nil. Nothing is written in a state that does not allow it, or while the server has a task.
func (t *Tagger) Correct(
	ctx context.Context,
	c Correction,
	d Delivery,
	begin func(keys map[string]journal.Replacement) error,
) Corrected {
	done := t.correct(ctx, c, d, begin)
	t.report(ctx, d, "correction", done.Result)
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
	p := Plan{
		Action: change.Action, change: change, rules: t.options.Rules.Current(ctx), Rules: c.Rules,
		Resource: ResourceRef{Kind: c.Kind, ID: c.ID, Name: c.Name, Project: c.Project},
	}
	p.plan = rules.Plan{Family: kind.Family(t.options.API), Set: map[string]string{}, Add: map[string]string{}}
	out := Corrected{Result: Result{Plan: p}}
	decided := func(o apply.Outcome, reason string) Corrected {
		out.Decision = &apply.Decision{Outcome: o, Reason: reason}
		out.Result = out.Result.filled()
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
	case t.outOfBounds(api.proof.failed()) != nil:
		return decided(apply.Rejected, api.proof.failed().Error())
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
		return decided(apply.Unchanged, "every key was decided already")
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
	api.journaled.end(out.Result)
	out.Result = out.Result.sent().filled()
	for _, call := range out.calls {
		if call.Request.Method != http.MethodGet && call.RequestID != "" {
			out.RequestIDs = append(out.RequestIDs, call.RequestID)
		}
	}
	return out
}

// refusal says why metadata cannot be written on a resource as it is now, "" if it can.
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

// Refusal is the reason why metadata cannot be written on a resource as it was read, "" if it can.
func (t *Tagger) Refusal(kind lifecycle.Kind, v metadata.View) string {
	return t.refusal(metadata.Kind(kind), v)
}
