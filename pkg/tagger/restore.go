package tagger

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Write is what a change wrote to a server, as read back. It has only what is needed to notice that another writer
// undid it and to write it again.
type Write struct {
	Event    EventRef
	Action   lifecycle.Action
	Resource ResourceRef
	// Keys holds the keys and values written, without protected ones; Others is the rest of the server's metadata.
	Keys, Others map[string]string
	// At is when they were read back, Requests the service's ids of the write requests.
	At       time.Time
	Requests []string
	// Cause is the id of the request that caused the change, "" if unknown. Time is that of the change.
	Cause string
	Time  time.Time

	rules  []string
	family metadata.Family
}

// Confirmed returns what the result wrote to a server. ok is false for kinds without notices of undone writes, and if
// nothing was read back.
func (r *Result) Confirmed() (w Write, ok bool) {
	tagged := r.Decision != nil && r.Outcome == apply.Tagged && len(r.Written) > 0
	if !tagged || !r.Resource.Kind.HasNotices() || r.metadata == nil {
		return Write{}, false
	}
	w = Write{
		Event: r.Event, Action: r.Action, Resource: r.Resource, Keys: map[string]string{}, Others: map[string]string{},
		Requests: r.WriteRequests(), Cause: r.change.Request, Time: r.change.Time, rules: r.Rules, family: r.plan.Family,
	}
	for _, call := range r.calls {
		w.At = call.Start.Add(call.Duration)
	}
	protects := func(string) bool { return false }
	if r.Plan.rules != nil {
		protects = r.Plan.rules.Policy().Protects
	}
	for key, value := range r.metadata {
		if _, ours := r.Written[key]; ours && !protects(key) {
			w.Keys[key] = value
		} else {
			w.Others[key] = value
		}
	}
	return w, len(w.Keys) > 0
}

// WriteRequests returns the service's ids of the successful requests that wrote or deleted.
func (r *Result) WriteRequests() []string {
	var ids []string
	for _, call := range r.calls {
		if call.Request.Method != http.MethodGet && call.Err == nil && call.RequestID != "" {
			ids = append(ids, call.RequestID)
		}
	}
	return ids
}

// Removes reports whether the result's plan is in effect and removes or renames the key, even if the key was absent.
func (r *Result) Removes(key string) bool {
	if r.Decision == nil || r.Outcome != apply.Tagged && r.Outcome != apply.Unchanged {
		return false
	}
	if slices.ContainsFunc(r.Problems, func(p rules.Problem) bool { return p.Key == key }) {
		return false // left out, because a newer change decided it
	}
	_, renamed := r.plan.Rename[key]
	return renamed || len(r.plan.Removals(map[string]string{key: ""})) > 0
}

// Notice returns what an event reports about a server other than a change; see [lifecycle.Registry.Notice].
func (t *Tagger) Notice(e event.Event) (lifecycle.Notice, bool) { return t.options.Registry.Notice(e) }

// YieldsTo reports whether the rules in force list the actor in yield_to:.
func (t *Tagger) YieldsTo(ctx context.Context, a lifecycle.Actor) bool {
	return t.options.Rules.Current(ctx).Policy().YieldsTo(a)
}

// Restore checks whether keys of an earlier write are still on its server, and writes the absent ones, once. An
// existing key stays, whatever its value. refuse is called with the absent keys before the write; a reason other than
// "" stops it. d is the delivery that triggered the check, without its event. The result is unchanged if all keys are
// there, and ignored if refuse returned a reason.
func (t *Tagger) Restore(ctx context.Context, d Delivery, w Write, keys []string,
	refuse func(absent []string) (why string)) *Result {
	r := t.restore(ctx, d, w, keys, refuse).filled()
	t.report(ctx, d, "event", r)
	return r
}

func (t *Tagger) restore(ctx context.Context, d Delivery, w Write, keys []string,
	refuse func(absent []string) string) *Result {
	// The change has no action: the keys are written in any state of the server, because no state would have removed
	// them.
	change := lifecycle.Change{Time: w.Time, Resource: lifecycle.Resource{
		Kind: w.Resource.Kind, ID: w.Resource.ID, Project: w.Resource.Project,
	}}
	r := &Result{Plan: Plan{Event: w.Event, Action: w.Action, Resource: w.Resource, Rules: w.rules, change: change,
		rules: t.options.Rules.Current(ctx)}}
	if r.rules.Len() == 0 { // installed to stop writing (docs/runbook.md)
		r.Decision = &apply.Decision{Outcome: apply.Ignored, Reason: "the rules are empty"}
		return r.sent()
	}
	if t.held() {
		r.Decision = heldDecision()
		return r.sent()
	}
	api, err := t.connect(ctx, &r.Plan, func(call metadata.Call) { r.calls = append(r.calls, call) })
	if err == nil {
		var absent []string
		absent, r.metadata, err = api.absent(ctx, keys)
		switch {
		case err != nil:
		case len(absent) == 0:
			r.Decision = &apply.Decision{Outcome: apply.Unchanged, Reason: "another writer wrote; all keys are present"}
			return r.sent()
		default:
			if why := refuse(absent); why != "" {
				r.Decision = &apply.Decision{Outcome: apply.Ignored, Reason: why}
				return r.sent()
			}
			t.rewrite(ctx, r, w, absent, api, d)
			return r.sent()
		}
	}
	if r.Decision = t.outOfBounds(err); r.Decision == nil {
		r.Decision = &t.unreadable(&r.Plan, api, d, err).Decision
	}
	return r.sent()
}

// absent returns, sorted, the keys that are missing, and all metadata if it was read. For a single key, only that key
// is read.
func (c connection) absent(ctx context.Context, keys []string) (absent []string, all map[string]string, err error) {
	if len(keys) == 1 {
		_, err := c.checked.Metadatum(ctx, keys[0])
		if metadata.IsClass(err, metadata.KeyNotFound) {
			return keys, nil, nil
		}
		return nil, nil, err
	}
	all, err = c.resource.Metadata(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range slices.Sorted(slices.Values(keys)) {
		if _, there := all[key]; !there {
			absent = append(absent, key)
		}
	}
	return absent, all, nil
}

// rewrite writes keys of w again, in one attempt. If another writer undoes them meanwhile, the next notification shows
// it.
func (t *Tagger) rewrite(ctx context.Context, r *Result, w Write, absent []string, api connection, d Delivery) {
	r.plan = rules.Plan{Family: w.family, Set: map[string]string{}}
	for _, key := range absent {
		r.plan.Set[key] = w.Keys[key]
	}
	r.Keys = PlanRef{Set: r.plan.Set}
	done := t.applyUnlessHeld(ctx, api.resource, r.delivered(api, d))
	r.Decision, r.Attempts, r.Written, r.metadata = &done.Decision, done.Attempts, done.Written, done.Metadata
	r.Problems = append(r.Problems, done.Problems...)
	if decision := t.outOfBounds(api.checked.failed()); decision != nil {
		r.Decision = decision
	}
	if r.Outcome == apply.Tagged {
		r.Reason = "written again: another writer had undone it"
	}
	api.journaled.end(r)
}

// Metadatum reads the value of one key. A missing key is an error of class [metadata.KeyNotFound].
func (p *checkedResource) Metadatum(ctx context.Context, key string) (string, error) {
	v, err := p.checkProject(ctx)
	if err != nil {
		return "", err
	}
	if v == nil {
		return p.one.Metadatum(ctx, key)
	}
	value, there := v.Metadata[key]
	if !there {
		request := metadata.Request{Method: http.MethodGet, Path: p.Path()}
		return "", &metadata.Error{Request: request, Class: metadata.KeyNotFound, Message: "no such key"}
	}
	return value, nil
}
