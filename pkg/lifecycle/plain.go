package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// plainPrefix is the prefix of the plain dialect's types; an action follows.
const plainPrefix = "io.github.cloudtagger."

// plain is Tagger's own schema, for producers without one: docs/events.md, docs/plain-event.schema.json. It also reads
// the CloudEvents types that configuration maps to an action.
type plain struct {
	types map[string]Action
}

func (plain) name() string { return "plain" }

// markers returns nil, because plain events are always CloudEvents.
func (plain) markers() []string { return nil }

func (plain) format() string { return "" }

func (plain) recognise(document.Object) (*NativeEvent, error) { return nil, nil }

func (p plain) claims(eventType string) bool {
	_, mapped := p.types[eventType]
	return mapped || strings.HasPrefix(eventType, plainPrefix)
}

func (p plain) read(e event.Event, from *payload) (Reading, error) {
	action, ok := p.types[e.Type()]
	if !ok {
		action = Action(strings.TrimPrefix(e.Type(), plainPrefix))
	}
	if !action.known() {
		const problem = " is not in the plain schema, " + plainPrefix + "ACTION (docs/events.md)"
		return Reading{Why: "type " + printable(e.Type()) + problem + actionHint(e.Type())}, nil
	}
	data, err := from.decode()
	if err != nil {
		return Reading{}, undecodable(p, e.Type(), "data", err)
	}
	if data != nil && object(data) == nil {
		return Reading{}, malformed(p, e.Type(), "data", "is not an object")
	}
	r := plainReader{dialect: p, event: e}
	changes := []Change{{Action: action, Resource: Resource{ID: r.subject()}, Data: data}}
	c := &changes[0]
	for _, name := range [...]string{"resource", "actor"} {
		r.fields(c, name, r.object(data, name))
	}
	c.Resource.Kind = r.kind(c.Resource.Kind, action)
	if (c.Actor.ID != "" || c.Actor.Name != "") && c.Actor.Kind == "" {
		c.Actor.Kind = UnknownActor
	}
	if !e.Time().IsZero() {
		c.Time = e.Time().UTC()
	}
	if c.Resource.Project != "" && !isProject(c.Resource.Project) {
		r.fail("data.resource.project", notProject(c.Resource.Project))
	}
	if r.err != nil {
		return Reading{}, r.err
	}
	return Reading{Known: true, Changes: changes}, nil
}

// plainReader reads a plain event's members and keeps the first error. The schema is ours, so a wrong type is an error.
type plainReader struct {
	dialect plain
	event   event.Event
	err     error
}

func (r *plainReader) fail(place, problem string) {
	if r.err == nil {
		r.err = malformed(r.dialect, r.event.Type(), place, problem)
	}
}

func (r *plainReader) subject() string {
	id := r.event.Subject()
	switch {
	case id == "":
		r.fail("subject", "is missing; want the resource's UUID")
	case !isUUID(id):
		r.fail("subject", notUUID(id))
	}
	return id
}

func (r *plainReader) object(data any, name string) map[string]any {
	v := object(data)[name]
	if v != nil && object(v) == nil {
		r.fail("data."+name, "is not an object")
	}
	return object(v)
}

// fields sets the change's fields of one object, except for the resource's id, which is the subject.
func (r *plainReader) fields(c *Change, object string, in map[string]any) {
	if len(in) == 0 {
		return
	}
	for _, f := range fields {
		if f.Object == object && f.Path() != "resource.id" {
			f.set(c, r.value(in, f))
		}
	}
}

// value returns a field's value, "" or the zero time if there is none.
func (r *plainReader) value(in map[string]any, f Field) any {
	place := "data." + f.Path()
	v := in[f.Name]
	s, ok := v.(string)
	if v != nil && !ok {
		r.fail(place, "is not a string")
	}
	if f.Type == Instant {
		t, ok := timestamp.Parse(s)
		if s != "" && !ok {
			r.fail(place, "is not a timestamp (RFC 3339)")
		}
		return t
	}
	if s != "" && f.Values != nil && f.Path() != "resource.kind" && !slices.Contains(f.Values, s) {
		last := len(f.Values) - 1
		r.fail(place, fmt.Sprintf("%.60q is not %s or %s", s, strings.Join(f.Values[:last], ", "), f.Values[last]))
	}
	return s
}

// kind returns the resource's kind. If the data does not name it, the event's type determines it.
func (r *plainReader) kind(kind Kind, action Action) Kind {
	kinds := action.Kinds()
	if kind == "" {
		return kinds[0]
	}
	if !slices.Contains(kinds, kind) {
		var names []string
		for _, k := range kinds {
			names = append(names, string(k))
		}
		r.fail("data.resource.kind", fmt.Sprintf("%.60q does not fit the event's type; want %s", kind,
			strings.Join(names, " or ")))
	}
	return kind
}
