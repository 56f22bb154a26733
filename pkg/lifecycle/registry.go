package lifecycle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Options is what configuration adds to the dialects.
type Options struct {
	// Region becomes every resource's region.
	Region string
	// EventTypes maps what the dialects do not know, or know otherwise, to actions: a CloudEvents type, an OpenStack
	// event type ("compute.instance.unshelve.end"), or a CTS trace name, alone ("createSnapshotV2") or with its service
	// before it ("EVS:createSnapshotV2").
	EventTypes map[string]Action
	// IgnoreActors are patterns of actors whose changes ask for nothing. They are matched against the name and the id;
	// * stands for any characters, ? for one.
	IgnoreActors []string
}

// Validate reports a type that is mapped to something that is no action.
func (o Options) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(o.EventTypes)) {
		if action := o.EventTypes[name]; !slices.Contains(Actions(), action) {
			return fmt.Errorf("map event type %q: %q is not an action", name, action)
		}
	}
	return nil
}

// dialect is one way in which a cloud reports changes.
type dialect interface {
	// name is the Reading's Dialect.
	name() string
	// claims reports whether the event is of this dialect, going by its attributes.
	claims(e event.Event) bool
	// read reads an event that it has claimed. data is the event's data as Change.Data describes it, nil when there is none.
	read(e event.Event, data any) (Reading, error)
}

// Registry reads events of every dialect. It is safe for concurrent use.
type Registry struct {
	dialects []dialect
	options  Options
}

// New returns a registry of all dialects. The options are taken to be valid.
func New(o Options) *Registry {
	return &Registry{
		dialects: []dialect{openstack{o.EventTypes}, huaweicloud{o.EventTypes}, plain{o.EventTypes}},
		options:  o,
	}
}

// Read says what an event reports. An event of which no dialect knows the type is a Reading, not an error; the error is a
// *MalformedError always.
func (r *Registry) Read(e event.Event) (Reading, error) {
	if e.Context == nil {
		return Reading{Why: "the event has no attributes"}, nil
	}
	for _, d := range r.dialects {
		if !d.claims(e) {
			continue
		}
		data, err := decode(e.Data())
		if err != nil {
			return Reading{Dialect: d.name()}, malformed(d, e.Type(), "data", "is not JSON")
		}
		reading, err := d.read(e, data)
		reading.Dialect = d.name()
		if err != nil {
			return reading, err
		}
		return r.finish(e, reading), nil
	}
	return Reading{Why: "type " + printable(e.Type()) + " is of no dialect"}, nil
}

// finish adds what does not depend on the dialect.
func (r *Registry) finish(e event.Event, reading Reading) Reading {
	for i := range reading.Changes {
		c := &reading.Changes[i]
		c.Resource.Region = r.options.Region
		if c.Actor == (Actor{}) {
			c.Actor = principal(e)
		}
		if r.ignores(c.Actor) {
			// All changes of one event have one actor.
			return Reading{Dialect: reading.Dialect, Known: true, Why: "the actor is one of TAGGER_IGNORE_ACTORS"}
		}
	}
	return reading
}

func (r *Registry) ignores(a Actor) bool {
	return slices.ContainsFunc(r.options.IgnoreActors, func(pattern string) bool {
		return a.Name != "" && glob(pattern, a.Name) || a.ID != "" && glob(pattern, a.ID)
	})
}

// principal reads the authcontext extension
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

// glob matches as path.Match does, but * matches a slash too (an agency is "domain/agency") and no pattern is wrong.
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

// nothing is the reading of an event that is known and asks for nothing.
func nothing(why string) (Reading, error) { return Reading{Known: true, Why: why}, nil }

// printable makes an event's type fit for a log line: bounded, on one line.
func printable(s string) string {
	const limit = 120
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
