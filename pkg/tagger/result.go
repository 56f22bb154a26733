package tagger

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Plan is what the rules require for one change. Its JSON form is the contract of the commands' -o json.
type Plan struct {
	Event    EventRef         `json:"event"`
	Action   lifecycle.Action `json:"action"`
	Resource ResourceRef      `json:"resource"`
	Actor    ActorRef         `json:"actor"`
	// Rules names the rules that matched.
	Rules    []string        `json:"rules"`
	Skipped  []rules.Skip    `json:"skipped"`
	Keys     PlanRef         `json:"plan"`
	Problems []rules.Problem `json:"problems"`
	// Requests are the requests that [Tagger.Requests] or a preview predicted, with the paths of the API reference, or
	// that a run sent.
	Requests []RequestRef `json:"requests"`

	// Decision is nil while there is something to apply; a [Result] always has one.
	*apply.Decision

	// Needs names what the rules have to read from the cloud; until then the keys are not final.
	Needs []string `json:"needs,omitempty"`

	change lifecycle.Change
	plan   rules.Plan
	event  event.Event
	rules  *rules.Set // in force when the plan was made
	needs  rules.Needs
	data   int // the size of the event's decoded data, if this plan counts it
}

// Pending reports whether there is something to apply.
func (p *Plan) Pending() bool { return p.Decision == nil }

// Preview is a plan for a resource in its present state.
type Preview struct {
	Plan
	// Diff is what would change, nil if the resource was not read.
	Diff *apply.Diff `json:"-"`
}

// Result is the result of one change. Its Decision is never nil.
type Result struct {
	Plan

	Written map[string]string `json:"written"`
	Removed []string          `json:"removed"`
	// Calls counts the API calls.
	Calls int `json:"calls"`
	// Waited is the sum of the pauses, as a duration.
	Waited string `json:"waited"`

	// Age is the time since the event, 0 if unknown.
	Age      time.Duration `json:"-"`
	Attempts int           `json:"-"`

	calls []metadata.Call
	// metadata is all of the resource's metadata as read back, nil if it was not.
	metadata map[string]string
}

// EventRef names an event.
type EventRef struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type"`
}

// ResourceRef names a resource.
type ResourceRef struct {
	Kind    lifecycle.Kind `json:"kind"`
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Project string         `json:"project"`
	Region  string         `json:"region"`
}

// ActorRef names an actor.
type ActorRef struct {
	Name string              `json:"name"`
	ID   string              `json:"id"`
	Kind lifecycle.ActorKind `json:"kind"`
}

// PlanRef holds a plan's keys.
type PlanRef struct {
	Set    map[string]string `json:"set"`
	Add    map[string]string `json:"add"`
	Remove []string          `json:"remove"` // keys, and patterns of keys
	Rename map[string]string `json:"rename,omitempty"`
}

// RequestRef is a request. Body is its JSON body, or null.
type RequestRef struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body"`
}

// EmptyBatch returns the result of a record without events, which the JSON batch format allows: nothing to do.
func EmptyBatch() *Result {
	return (&Result{Plan: Plan{
		Decision: &apply.Decision{Outcome: apply.Ignored, Reason: "the batch is empty"},
	}}).filled()
}

// filled replaces nil lists and maps by empty ones, for JSON, and returns the plan.
func (p *Plan) filled() *Plan {
	p.Rules, p.Skipped, p.Problems, p.Requests = notNil(p.Rules), notNil(p.Skipped), notNil(p.Problems), notNil(p.Requests)
	p.Keys.Remove = notNil(p.Keys.Remove)
	if p.Keys.Set == nil {
		p.Keys.Set = map[string]string{}
	}
	if p.Keys.Add == nil {
		p.Keys.Add = map[string]string{}
	}
	return p
}

func (r *Result) filled() *Result {
	r.Plan.filled()
	r.Removed = notNil(r.Removed)
	if r.Written == nil {
		r.Written = map[string]string{}
	}
	if r.Waited == "" {
		r.Waited = "0s"
	}
	return r
}

// Brief returns the result without the details of its plan and its requests, which take more memory than all the rest.
func (r *Result) Brief() *Result {
	brief := *r
	brief.Skipped, brief.Keys, brief.Requests, brief.calls, brief.plan = nil, PlanRef{}, nil, nil, rules.Plan{}
	brief.event, brief.change.Data = event.Event{}, nil
	return brief.filled()
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// RejectedPlan returns the plan of an event that is rejected before its changes are planned.
func RejectedPlan(e event.Event, reason string) *Plan {
	return (&Plan{Event: EventRef{e.ID(), e.Source(), e.Type()}}).decided(apply.Rejected, reason)
}

// pathOf returns the path of an endpoint, with a slash at its end.
func pathOf(endpoint string) string {
	_, rest, _ := strings.Cut(endpoint, "://")
	at := strings.IndexByte(rest, '/')
	switch {
	case at < 0:
		return "/"
	case strings.HasSuffix(rest, "/"):
		return rest[at:]
	}
	return rest[at:] + "/"
}

func requestRef(prefix string, r metadata.Request) RequestRef {
	return RequestRef{r.Method, prefix + r.Path, r.Body}
}

// report logs one line for the result of an event or a correction, and passes the result to Observe.
func (t *Tagger) report(ctx context.Context, d Delivery, of string, r *Result) {
	if t.options.Observe != nil {
		t.options.Observe(r)
	}
	level := slog.LevelInfo
	switch r.Outcome {
	case apply.Rejected, apply.Blocked:
		level = slog.LevelError
	case apply.Unrecognised:
		level = slog.LevelWarn
	case apply.Ignored:
		if t.options.Bus && r.Action == "" {
			level = slog.LevelDebug // most events of a bus report no change: creating a server sends some twenty notifications
		}
	}
	if r.Fault.Err != nil {
		level = slog.LevelError
	}
	if !t.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("event_id", r.Event.ID), slog.String("source", r.Event.Source), slog.String("type", r.Event.Type),
		slog.String("action", string(r.Action)), slog.String("kind", string(r.Resource.Kind)),
		slog.String("resource_id", r.Resource.ID),
		slog.String("resource_name", r.Resource.Name),
		slog.String("project", r.Resource.Project), slog.String("outcome", string(r.Outcome)),
		slog.String("reason", r.Reason),
		slog.Any("rules", r.Rules), slog.Int("calls", r.Calls), slog.Int("attempts", r.Attempts),
		slog.String("waited", r.Waited),
		slog.Int("receives", d.Receives),
	}
	if len(r.Written) > 0 {
		attrs = append(attrs, slog.Any("written", slices.Sorted(maps.Keys(r.Written))))
	}
	if len(r.Removed) > 0 {
		attrs = append(attrs, slog.Any("removed", r.Removed))
	}
	if t.options.LogNames {
		attrs = append(attrs, slog.String("actor", cmp.Or(r.Actor.Name, r.Actor.ID)))
		if len(r.Written) > 0 {
			attrs = append(attrs, slog.Any("values", r.Written))
		}
	}
	if r.Age > 0 {
		attrs = append(attrs, slog.String("age", r.Age.Round(time.Millisecond).String()))
	}
	if len(r.Problems) > 0 {
		attrs = append(attrs, slog.Any("problems", r.Problems))
	}
	if trace, ok := d.Event.Extensions()["traceparent"].(string); ok {
		attrs = append(attrs, slog.String("traceparent", trace))
	}
	if r.Delay > 0 {
		attrs = append(attrs, slog.String("again_in", r.Delay.Round(time.Second).String()))
	}
	t.log.LogAttrs(ctx, level, of+" "+string(r.Outcome), attrs...)
}

// Throttled returns how many calls the API throttled.
func (r *Result) Throttled() int {
	n := 0
	for _, call := range r.calls {
		if metadata.IsClass(call.Err, metadata.Throttled) {
			n++
		}
	}
	return n
}

// Writes returns how many calls were writes, refused ones included.
func (r *Result) Writes() int {
	n := 0
	for _, call := range r.calls {
		if call.Request.Method != http.MethodGet {
			n++
		}
	}
	return n
}

// Key returns the key of the change, "" if the event reports none; see [lifecycle.Change.Key].
func (p *Plan) Key() string { return p.change.Key() }
