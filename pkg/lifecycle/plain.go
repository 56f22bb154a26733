package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// plainPrefix begins the types of the plain dialect; an action follows.
const plainPrefix = "io.github.cloudtagger."

// plain is Tagger's own schema, for producers that have none: docs/events.md, docs/plain-event.schema.json. It also
// reads the CloudEvents types that configuration maps to an action.
type plain struct {
	types map[string]Action
}

func (plain) name() string { return "plain" }

func (p plain) claims(e event.Event) bool {
	_, mapped := p.types[e.Type()]
	return mapped || strings.HasPrefix(e.Type(), plainPrefix)
}

func (p plain) read(e event.Event, data any) (Reading, error) {
	action, ok := p.types[e.Type()]
	if !ok {
		action = Action(strings.TrimPrefix(e.Type(), plainPrefix))
	}
	if !slices.Contains(Actions(), action) {
		return Reading{Why: "type " + printable(e.Type()) + " is not one of the plain schema (" + plainPrefix + "server.created …)"}, nil
	}
	f := fields{dialect: p, event: e}
	if data != nil && object(data) == nil {
		return Reading{}, malformed(p, e.Type(), "data", "is not an object")
	}
	resource, actor := f.object(data, "resource"), f.object(data, "actor")
	c := Change{
		Action: action,
		Resource: Resource{
			Kind:        f.kind(resource, action),
			ID:          f.subject(),
			Name:        f.text(resource, "resource", "name"),
			Project:     f.text(resource, "resource", "project"),
			ProjectName: f.text(resource, "resource", "project_name"),
			Flavor:      f.text(resource, "resource", "flavor"),
			Image:       f.text(resource, "resource", "image"),
			Zone:        f.text(resource, "resource", "zone"),
			Volume:      f.text(resource, "resource", "volume"),
			Created:     f.time(resource, "resource", "created"),
		},
		Actor: f.actor(actor),
		Data:  data,
	}
	if !e.Time().IsZero() {
		c.Time = e.Time().UTC()
	}
	f.text(resource, "resource", "region") // a wrong type is a mistake all the same
	if c.Resource.Project != "" && !isProject(c.Resource.Project) {
		f.fail("data.resource.project", notProject(c.Resource.Project))
	}
	if f.err != nil {
		return Reading{}, f.err
	}
	return Reading{Known: true, Changes: []Change{c}}, nil
}

// fields reads a plain event's members and keeps the first mistake. The schema is ours, so a wrong type is one.
type fields struct {
	dialect plain
	event   event.Event
	err     error
}

func (f *fields) fail(place, problem string) {
	if f.err == nil {
		f.err = malformed(f.dialect, f.event.Type(), place, problem)
	}
}

func (f *fields) subject() string {
	id := f.event.Subject()
	switch {
	case id == "":
		f.fail("subject", "is missing; the resource's UUID is wanted")
	case !isUUID(id):
		f.fail("subject", notUUID(id))
	}
	return id
}

func (f *fields) object(data any, name string) map[string]any {
	v := object(data)[name]
	if v != nil && object(v) == nil {
		f.fail("data."+name, "is not an object")
	}
	return object(v)
}

func (f *fields) text(in map[string]any, place, name string) string {
	v := in[name]
	s, ok := v.(string)
	if v != nil && !ok {
		f.fail("data."+place+"."+name, "is not a string")
	}
	return s
}

func (f *fields) time(in map[string]any, place, name string) time.Time {
	s := f.text(in, place, name)
	t, ok := timestamp.Parse(s)
	if s != "" && !ok {
		f.fail("data."+place+"."+name, "is not a timestamp (RFC 3339)")
	}
	return t
}

func (f *fields) kind(resource map[string]any, action Action) Kind {
	kind := Kind(f.text(resource, "resource", "kind"))
	ofSnapshot := strings.HasPrefix(string(action), "snapshot.")
	switch {
	case kind == "" && ofSnapshot:
		return Snapshot
	case kind == "":
		return Server
	case ofSnapshot && kind != Snapshot:
		f.fail("data.resource.kind", fmt.Sprintf("%.60q is not snapshot, as the type says", kind))
	case !ofSnapshot && kind != Server && kind != BareMetal:
		f.fail("data.resource.kind", fmt.Sprintf("%.60q is neither server nor baremetal", kind))
	}
	return kind
}

func (f *fields) actor(actor map[string]any) Actor {
	a := Actor{
		ID:   f.text(actor, "actor", "id"),
		Name: f.text(actor, "actor", "name"),
		Kind: ActorKind(f.text(actor, "actor", "kind")),
	}
	switch a.Kind {
	case User, Service, Agency, UnknownActor:
	case "":
		if a != (Actor{}) {
			a.Kind = UnknownActor
		}
	default:
		f.fail("data.actor.kind", fmt.Sprintf("%.60q is not user, service, agency or unknown", a.Kind))
	}
	return a
}
