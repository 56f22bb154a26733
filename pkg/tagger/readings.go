package tagger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// maxParents limits the servers whose metadata is read for one volume that is attached to them.
const maxParents = 16

// Directory looks up users and projects; [cloud.Cloud] implements it. A [*cloud.UnknownError] means that Keystone does
// not reveal this user or project; any other error may be temporary.
type Directory interface {
	User(ctx context.Context, id string) (cloud.User, error)
	Project(ctx context.Context, id string) (cloud.Project, error)
}

// notRead returns the readings of a plan that makes no call.
func notRead(n rules.Needs) rules.Readings {
	unknown := map[string]string{}
	for _, name := range n.Names() {
		unknown[name] = "only the cloud has it"
	}
	return rules.Readings{Unknown: unknown}
}

// readings reads from the cloud what the rules need for a change: at most one GET for the resource and one for each
// parent. A verdict means that a read failed temporarily, or that a parent is not ready to be inherited from. A reading
// that does not exist, or is in another project, is absent, and the plan reports it as a problem.
func (t *Tagger) readings(ctx context.Context, p *Plan, api connection, d Delivery) (rules.Readings, *apply.Verdict) {
	r := rules.Readings{Unknown: map[string]string{}}
	parent := p.change.Parent
	var own *metadata.View
	var parents []string
	if p.needs.Metadata || p.needs.Parent && parent.ID == "" {
		v, err := api.resource.Get(ctx)
		if err != nil {
			return r, t.unreadable(p, api, d, err)
		}
		r.Metadata, parents, own = v.Metadata, v.Parents, &v
	}
	// Names come first: whether to wait for a parent can depend on them.
	if verdict := t.readNames(ctx, p, api, d, &r); verdict != nil {
		return r, verdict
	}
	if p.needs.Parent {
		if parent.ID != "" {
			parents = []string{parent.ID}
		}
		if verdict := t.readParents(ctx, p, api, d, parents, &r); verdict != nil {
			return r, verdict
		}
	}
	return r, t.readGiven(ctx, p, api, d, own, &r)
}

// replaceable returns the inherited keys of a plan that the rules for the resource's creation add too. The parent's
// value replaces theirs if the resource was new when the change happened.
func (t *Tagger) replaceable(p *Plan, plan rules.Plan) []string {
	creation := p.change.Resource.Kind.Creation()
	created := p.change.Resource.Created
	if p.change.Action == creation || p.change.Time.IsZero() ||
		!created.IsZero() && p.change.Time.Sub(created) >= t.options.Apply.Grace {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(plan.Inherited), func(key string) bool { return !p.rules.Adds(creation, key) })
}

// readGiven finds out which values the rules gave the resource at its creation, by planning that again. own is the
// resource, nil if it has not been read.
func (t *Tagger) readGiven(ctx context.Context, p *Plan, api connection, d Delivery, own *metadata.View,
	r *rules.Readings) *apply.Verdict {
	keys := t.replaceable(p, p.rules.Plan(p.change, p.event, *r))
	if len(keys) == 0 {
		return nil
	}
	if own == nil {
		v, err := api.resource.Get(ctx)
		if err != nil {
			return t.unreadable(p, api, d, err)
		}
		own = &v
	}
	if own.Created.IsZero() || p.change.Time.Sub(own.Created) >= t.options.Apply.Grace {
		return nil
	}
	book, _, err := p.rules.ForExisting()
	if err != nil { // whether the creation was ignored depends on its event
		return nil
	}
	past := *p
	past.change, past.event = creation(p.change.Resource.Kind, *own), event.New()
	past.change.Resource.Region, past.change.Resource.ProjectName = p.change.Resource.Region, p.change.Resource.ProjectName
	past.change.Parent = lifecycle.Parent{} // plan what the rules give without a parent
	past.needs = book.Needs(past.change, past.event)
	then := rules.Readings{Unknown: map[string]string{}}
	if verdict := t.readNames(ctx, &past, api, d, &then); verdict != nil {
		return verdict
	}
	given := book.Plan(past.change, past.event, then)
	r.Given = map[string]string{}
	for _, key := range keys {
		if !slices.Contains(given.LookedUp, key) {
			r.Given[key] = given.Add[key]
		}
	}
	return nil
}

// readParents reads the resources that a change's resource belongs to.
func (t *Tagger) readParents(ctx context.Context, p *Plan, api connection, d Delivery, ids []string,
	r *rules.Readings) *apply.Verdict {
	kind := metadata.Kind(p.Resource.Kind).Parent()
	if len(ids) > maxParents {
		r.Unknown["parent"] = fmt.Sprintf("it belongs to %d resources; at most %d are read", len(ids), maxParents)
		return nil
	}
	for _, id := range ids {
		v, err := api.view(ctx, kind, id)
		switch {
		case metadata.IsClass(err, metadata.Gone):
			r.Unknown["parent"] = fmt.Sprintf("%s %s does not exist", kind, id)
			continue
		case err != nil:
			return t.unreadable(p, api, d, err)
		case api.checked.isForeign(v):
			r.Unknown["parent"] = fmt.Sprintf("%s %s is of another project", kind, id)
			continue
		}
		read := lifecycle.Parent{Kind: lifecycle.Kind(kind), ID: id, Name: v.Name, Metadata: v.Metadata}
		if r.Parent == nil {
			r.Parent = &read
		} else {
			r.OtherParents = append(r.OtherParents, read)
		}
		if why := t.pendingParent(p, *r, read, v.Created); why != "" {
			verdict := t.options.Apply.NotYet(why, d.Receives)
			return &verdict
		}
	}
	return nil
}

// view returns a resource of the same project, and does not read it twice.
func (c connection) view(ctx context.Context, kind metadata.Kind, id string) (metadata.View, error) {
	if c.known != nil {
		if v, ok := c.known(kind, id); ok {
			return v, nil
		}
	}
	resource, err := c.open(kind, id)
	if err != nil {
		return metadata.View{}, err
	}
	return resource.Get(ctx)
}

// pendingParent returns why a parent's metadata is not final yet, or "": the parent is younger than the grace period,
// and lacks an inherited key that the rules will give it.
func (t *Tagger) pendingParent(p *Plan, r rules.Readings, parent lifecycle.Parent, created time.Time) string {
	if created.IsZero() || time.Since(created) >= t.options.Apply.Grace {
		return ""
	}
	r.Parent, r.OtherParents = &parent, nil
	key := t.pendingKey(p, parent, p.rules.Plan(p.change, p.event, r).Lacking)
	if key == "" {
		return ""
	}
	return fmt.Sprintf("its %s %s is new and lacks %s, which a rule can still give it", parent.Kind, parent.ID, key)
}

// pendingKey returns the first of the keys that a rule can give the parent, or "".
func (t *Tagger) pendingKey(p *Plan, parent lifecycle.Parent, keys []string) string {
	if p.rules.Leaves(parent) {
		return ""
	}
	for _, key := range keys {
		for _, action := range lifecycle.Actions() {
			if action.Writable() && action.Kinds()[0] == parent.Kind && p.rules.Gives(action, key) {
				return key
			}
		}
	}
	return ""
}

// readNames looks up the names that the rules need.
func (t *Tagger) readNames(ctx context.Context, p *Plan, api connection, d Delivery, r *rules.Readings) *apply.Verdict {
	directory, ok := t.options.Cloud.(Directory)
	if !ok {
		return nil
	}
	if p.needs.ActorName {
		user, err := directory.User(ctx, p.change.Actor.ID)
		if decision := t.failedLookup(p, api, d, "actor.name", err, r); decision != nil {
			return decision
		}
		r.ActorName = user.Name
	}
	if p.needs.Project {
		project, err := directory.Project(ctx, p.change.Resource.Project)
		if decision := t.failedLookup(p, api, d, "project", err, r); decision != nil {
			return decision
		}
		if err == nil {
			r.Project = &rules.Project{Name: project.Name, Description: project.Description, Tags: project.Tags,
				Extra: project.Extra}
		}
	}
	return nil
}

// failedLookup returns the verdict on a look-up that failed temporarily. If Keystone does not reveal the name, the
// reading is unknown and the verdict nil.
func (t *Tagger) failedLookup(p *Plan, api connection, d Delivery, name string, err error,
	r *rules.Readings) *apply.Verdict {
	if err == nil {
		return nil
	}
	if unknown, ok := errors.AsType[*cloud.UnknownError](err); ok {
		r.Unknown[name] = unknown.Error()
		return nil
	}
	return t.unreadable(p, api, d, err)
}

// unreadable returns the verdict on a failed read. A missing resource gets the same verdict as at a write.
func (t *Tagger) unreadable(p *Plan, api connection, d Delivery, err error) *apply.Verdict {
	if d.unread != nil {
		d.unread(err)
	}
	if outOfBounds := t.outOfBounds(err); outOfBounds != nil {
		return &apply.Verdict{Decision: *outOfBounds}
	}
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok {
		v := t.noSession(d, err)
		return &v
	}
	s := t.options.Apply.Situation(p.change.Time, d.SentAt, d.ReceivedAt)
	s.Kind, s.Visible, s.Receives = metadata.Kind(p.Resource.Kind), p.job(api).Visible, d.Receives
	s.Class, s.RetryAfter, s.Message, s.Unanswered = e.Class, e.RetryAfter, err.Error(), e.Status == 0
	if e.Unsent {
		s.CarrierAge = -1 // a change that was never tried is not given up
	}
	if scope := fault.ScopeOf(err); scope != "" {
		s.Fault = apply.Fault{Err: err, Scope: scope}
	}
	v := t.options.Apply.Decide(s)
	return &v
}
