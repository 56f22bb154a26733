package lifecycle

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Options configures a [Registry].
type Options struct {
	// Region is set as the region of every resource.
	Region string
	// EventTypes maps further event types to actions, or known ones to other actions. A key is a CloudEvents type, an
	// OpenStack event type ("compute.instance.unshelve.end"), or a CTS trace name, alone ("createSnapshotV2") or with
	// its service ("EVS:createSnapshotV2").
	EventTypes map[string]Action
	// IgnoreActors are patterns of actors whose changes are ignored. They match the name or the id; * stands for any
	// characters, ? for one.
	IgnoreActors []string
	// Limits bound the cost of one event. Zero fields mean [DefaultLimits].
	Limits Limits
}

// Validate returns an error if an event type is mapped to an unknown action.
func (o Options) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(o.EventTypes)) {
		if action := o.EventTypes[name]; !action.known() {
			return fmt.Errorf("map event type %q: %q is not an action%s", name, action,
				suggest.Meant(string(action), actionNames()))
		}
	}
	return nil
}

// Registry reads events of every dialect. It is safe for concurrent use.
type Registry struct {
	dialects []dialect
	options  Options
}

// New returns a registry of all dialects. The options must be valid.
func New(o Options) *Registry {
	o.Limits = o.Limits.withDefaults(DefaultLimits())
	return &Registry{dialects: dialects(o.EventTypes), options: o}
}

// Read returns the changes that an event reports. An event of an unknown type yields a Reading, not an error. Any error
// is a *MalformedError.
func (r *Registry) Read(e event.Event) (Reading, error) {
	if e.Context == nil {
		return Reading{Why: "the event has no attributes"}, nil
	}
	for _, d := range r.dialects {
		if !d.claims(e.Type()) {
			continue
		}
		reading, err := d.read(e, &payload{raw: e.Data(), limits: r.options.Limits, left: r.options.Limits.Values})
		reading.Dialect = d.name()
		if err != nil {
			return Reading{Dialect: d.name()}, err
		}
		return r.finish(d, e, reading)
	}
	const solution = " is not recognised: map it to an action with TAGGER_EVENT_TYPES (docs/events.md)"
	return Reading{Why: "type " + printable(e.Type()) + solution + actionHint(e.Type())}, nil
}

// actionHint returns the action that a type most likely means, or else all actions.
func actionHint(eventType string) string {
	names := actionNames()
	if near := suggest.Word(strings.TrimPrefix(eventType, plainPrefix), names); near != "" {
		return "; did you mean " + plainPrefix + near + "?"
	}
	return "; the actions are " + strings.Join(names, ", ")
}

// actionNames returns [Actions] as text, for suggestions.
func actionNames() []string {
	var names []string
	for _, a := range Actions() {
		names = append(names, string(a))
	}
	return names
}

// finish adds what does not depend on the dialect and enforces the limits.
func (r *Registry) finish(d dialect, e event.Event, reading Reading) (Reading, error) {
	if limit := r.options.Limits.Changes; len(reading.Changes) > limit {
		return Reading{Dialect: d.name()}, tooLarge(d, e.Type(), "data", &document.LimitError{What: "resources", Max: limit})
	}
	for i := range reading.Changes {
		c := &reading.Changes[i]
		c.Resource.Region = r.options.Region
		c.addParent()
		if c.Actor == (Actor{}) {
			c.Actor = principal(e)
		}
		if c.Actor.Kind == "" {
			c.Actor.Kind = UnknownActor
		}
		// it is remembered, to recognise a change that is reported twice
		if limit := r.options.Limits.Text; len(c.Request) > limit {
			return Reading{Dialect: d.name()},
				tooLarge(d, e.Type(), "the request's id", &document.LimitError{What: "bytes", Max: limit})
		}
		for _, f := range fields {
			if f.Type == Text && len(f.text(c)) > r.options.Limits.Text {
				limit := &document.LimitError{What: "bytes", Max: r.options.Limits.Text}
				return Reading{Dialect: d.name()}, tooLarge(d, e.Type(), f.Path(), limit)
			}
		}
		if r.ignores(c.Actor) {
			// All changes of one event have one actor.
			return Reading{Dialect: reading.Dialect, Known: true, Why: "the actor matches TAGGER_IGNORE_ACTORS"}, nil
		}
	}
	return reading, nil
}

func (r *Registry) ignores(a Actor) bool {
	return slices.ContainsFunc(r.options.IgnoreActors, func(pattern string) bool {
		return a.Name != "" && glob(pattern, a.Name) || a.ID != "" && glob(pattern, a.ID)
	})
}

// principal returns the actor in the authcontext extension
// (https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/authcontext.md).
func principal(e event.Event) Actor {
	extensions := e.Extensions()
	id, _ := extensions["authid"].(string)
	kind, _ := extensions["authtype"].(string)
	switch {
	case kind == "user" || kind == "app_user":
		return Actor{ID: id, Kind: User}
	case kind == "service_account" || kind == "api_key" || kind == "system":
		return Actor{ID: id, Kind: Service}
	case id != "":
		return Actor{ID: id, Kind: UnknownActor}
	}
	return Actor{}
}

// glob is like path.Match, but * also matches slashes (an agency is "domain/agency") and every pattern is valid.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p, i = p+1, i+1
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func malformed(d dialect, eventType, place, problem string) *MalformedError {
	return &MalformedError{Dialect: d.name(), Type: printable(eventType), Place: place, Problem: problem}
}

func tooLarge(d dialect, eventType, place string, limit *document.LimitError) *MalformedError {
	err := malformed(d, eventType, place, limit.Error())
	err.Err = limit
	return err
}

// undecodable returns the error for data, or a part of it, that payload could not decode.
func undecodable(d dialect, eventType, place string, err error) *MalformedError {
	if limit, ok := errors.AsType[*document.LimitError](err); ok {
		return tooLarge(d, eventType, place, limit)
	}
	return malformed(d, eventType, place, "is not JSON")
}

// noChange returns the reading of a known event that reports no change.
func noChange(why string) (Reading, error) { return Reading{Known: true, Why: why}, nil }

// maxPrinted limits how many bytes of an event's type or a trace's name an error or a reason shows.
const maxPrinted = 120

// printable makes an event's type safe for a log line: bounded and on one line.
func printable(s string) string {
	if len(s) > maxPrinted {
		s = s[:maxPrinted] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
