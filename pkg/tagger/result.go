package tagger

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Planned is what the rules want for one change. As JSON it is the contract of the commands' -o json.
type Planned struct {
	Event    EventRef         `json:"event"`
	Action   lifecycle.Action `json:"action"`
	Resource ResourceRef      `json:"resource"`
	Actor    ActorRef         `json:"actor"`
	// Rules names those that matched.
	Rules    []string        `json:"rules"`
	Skipped  []rules.Skip    `json:"skipped"`
	Plan     PlanRef         `json:"plan"`
	Problems []rules.Problem `json:"problems"`
	// Requests are those of a plan, with the API pages' own paths, or those that a run has sent.
	Requests []RequestRef `json:"requests"`

	// Outcome and Reason are set where there is nothing to apply.
	Outcome apply.Outcome `json:"outcome,omitempty"`
	Reason  string        `json:"reason,omitempty"`

	change lifecycle.Change
	plan   rules.Plan
}

// Previewed is a plan for a resource as it is.
type Previewed struct {
	Planned
	// Diff is what would change, nil where the resource was not read.
	Diff *apply.Diff `json:"-"`
}

// Result is what became of one change.
type Result struct {
	Planned
	// Outcome and Reason stand in the place of Planned's.
	Outcome apply.Outcome `json:"outcome"`
	Reason  string        `json:"reason"`

	Written map[string]string `json:"written"`
	Removed []string          `json:"removed"`
	// Calls counts the API calls.
	Calls int `json:"calls"`
	// Waited is the sum of the pauses, as a duration.
	Waited string `json:"waited"`

	// Delay is when to try again, for deferred; Age is how long ago the event happened, 0 when it does not say.
	Delay    time.Duration `json:"-"`
	Age      time.Duration `json:"-"`
	Attempts int           `json:"-"`
	// Err is set when configuration or credentials are at fault; then the outcome is not the event's.
	Err error `json:"-"`

	calls []metadata.Call
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

// PlanRef is a plan's keys.
type PlanRef struct {
	Set    map[string]string `json:"set"`
	Add    map[string]string `json:"add"`
	Remove []string          `json:"remove"`
}

// RequestRef is a request; Body is null or the JSON that is sent.
type RequestRef struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body"`
}

// Worst returns the result that decides for a record with all of these: one whose configuration or credentials are at fault, else that
// with the worst outcome. There must be one at least.
func Worst(results []Result) Result {
	order := apply.Outcomes()
	return slices.MaxFunc(results, func(a, b Result) int {
		if (a.Err == nil) != (b.Err == nil) {
			if a.Err != nil {
				return 1
			}
			return -1
		}
		// Of those that come back, the one that wants to be left alone the longest.
		return cmp.Or(cmp.Compare(slices.Index(order, a.Outcome), slices.Index(order, b.Outcome)), cmp.Compare(a.Delay, b.Delay))
	})
}

// EmptyBatch is the result of a record without events, which the JSON format allows: it is done.
func EmptyBatch() Result {
	return Result{Outcome: apply.Ignored, Reason: "the batch is empty"}.filled()
}

// filled makes lists and maps that are not there empty ones, for JSON.
func (p Planned) filled() Planned {
	p.Rules, p.Skipped, p.Problems, p.Requests = notNil(p.Rules), notNil(p.Skipped), notNil(p.Problems), notNil(p.Requests)
	p.Plan.Remove = notNil(p.Plan.Remove)
	if p.Plan.Set == nil {
		p.Plan.Set = map[string]string{}
	}
	if p.Plan.Add == nil {
		p.Plan.Add = map[string]string{}
	}
	return p
}

func (r Result) filled() Result {
	r.Planned, r.Removed = r.Planned.filled(), notNil(r.Removed)
	if r.Written == nil {
		r.Written = map[string]string{}
	}
	if r.Waited == "" {
		r.Waited = "0s"
	}
	return r
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// seedPath is the path before a request's own as the API pages have it.
func seedPath(r lifecycle.Resource) string {
	project := r.Project
	if project == "" {
		project = "{project_id}"
	}
	if r.Kind == lifecycle.Snapshot {
		return "/v2/" + project + "/"
	}
	return "/v2.1/" + project + "/"
}

func pathOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "/"
	}
	return strings.TrimSuffix(u.EscapedPath(), "/") + "/"
}

func requestRef(prefix string, r metadata.Request) RequestRef {
	return RequestRef{r.Method, prefix + r.Path, r.Body}
}

// report logs one line for a result, and has it counted.
func (t *Tagger) report(ctx context.Context, d Delivery, r Result) {
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
			level = slog.LevelDebug // most of what a bus carries is no change: a server's creation is some twenty notifications
		}
	}
	if r.Err != nil {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("event_id", r.Event.ID), slog.String("source", r.Event.Source), slog.String("type", r.Event.Type),
		slog.String("action", string(r.Action)), slog.String("kind", string(r.Resource.Kind)), slog.String("resource_id", r.Resource.ID),
		slog.String("project", r.Resource.Project), slog.String("outcome", string(r.Outcome)), slog.String("reason", r.Reason),
		slog.Any("rules", r.Rules), slog.Int("calls", r.Calls), slog.Int("attempts", r.Attempts), slog.String("waited", r.Waited),
		slog.Int("receives", d.Receives),
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
	t.log.LogAttrs(ctx, level, "event "+string(r.Outcome), attrs...)
}

// Throttled counts the calls that the API throttled.
func (r Result) Throttled() int {
	n := 0
	for _, call := range r.calls {
		if metadata.IsClass(call.Err, metadata.Throttled) {
			n++
		}
	}
	return n
}

// Key is the change's; see [lifecycle.Change.Key]. It is "" where the event reports no change.
func (p Planned) Key() string { return p.change.Key() }

// AsPlanned returns the result as a plan that needs no run.
func (r Result) AsPlanned() Planned {
	r.Planned.Outcome, r.Planned.Reason = r.Outcome, r.Reason
	return r.Planned
}
