package lifecycle

import (
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// openstackPrefix begins the types that ingress gives to OpenStack notifications; the notification's event_type follows.
const openstackPrefix = "org.openstack."

// openstack reads notifications of Nova, in the legacy and in the versioned format, and of Cinder
// (https://docs.openstack.org/nova/latest/reference/notifications.html). The event's data is the notification.
type openstack struct {
	types map[string]Action
}

func (openstack) name() string { return "openstack" }

func (openstack) claims(e event.Event) bool { return strings.HasPrefix(e.Type(), openstackPrefix) }

// openstackAction is the change that an event type reports.
//
// A resize is complete when it is confirmed (by a person, or by Nova after resize_confirm_window): after
// finish_resize.end the server is in vm_state "resized", takes no metadata, and can still go back to its old flavor.
// The confirmation comes with the new flavor and vm_state active or stopped. It has a request of its own.
//
// A soft-deleted server can be restored, so only its final deletion counts.
func openstackAction(eventType string) Action {
	switch eventType {
	case "compute.instance.create.end", "instance.create.end":
		return ServerCreated
	case "compute.instance.power_on.end", "instance.power_on.end":
		return ServerStarted
	case "compute.instance.power_off.end", "instance.power_off.end":
		return ServerStopped
	case "compute.instance.resize.confirm.end", "instance.resize_confirm.end":
		return ServerResized
	case "compute.instance.delete.end", "instance.delete.end", "compute.instance.force_delete.end", "instance.force_delete.end":
		return ServerDeleted
	case "snapshot.create.end":
		return SnapshotCreated
	case "snapshot.delete.end":
		return SnapshotDeleted
	}
	return ""
}

// openstackWhy says why an event type that reports no change does not.
func openstackWhy(eventType, priority string) string {
	switch {
	case strings.HasSuffix(eventType, ".error"), strings.EqualFold(priority, "ERROR"):
		return "reports a failure"
	case strings.HasSuffix(eventType, ".start"):
		return "is the start of an operation; its end is reported too"
	}
	switch eventType {
	case "compute.instance.finish_resize.end", "instance.resize_finish.end":
		return "is a resize that is not confirmed yet"
	case "compute.instance.resize.revert.end", "instance.resize_revert.end":
		return "is a resize that was undone"
	case "compute.instance.soft_delete.end", "instance.soft_delete.end":
		return "is a deletion that can still be undone"
	case "compute.instance.snapshot.end", "instance.snapshot.end":
		return "is an image of a server, not a snapshot of a volume"
	}
	return "changes nothing that rules act on"
}

func (o openstack) read(e event.Event, data any) (Reading, error) {
	n := object(data)
	eventType := text(n["event_type"])
	if eventType == "" {
		return Reading{}, malformed(o, e.Type(), "data.event_type", "is missing; the notification is wanted as data")
	}
	s := o.source(n)
	action, mapped := o.types[eventType]
	if !mapped {
		action, mapped = o.types[e.Type()]
	}
	if !mapped {
		action = openstackAction(eventType)
	}
	if eventType == "compute.instance.update" || eventType == "instance.update" {
		if !mapped {
			action = s.transition()
		}
		if action == "" {
			return nothing(printable(eventType) + " without a change between active and stopped")
		}
	}
	if action == "" {
		return nothing(printable(eventType) + " " + openstackWhy(eventType, text(n["priority"])))
	}
	if s.payload == nil {
		return Reading{}, malformed(o, eventType, "data.payload", "is not an object")
	}
	if action == SnapshotCreated && strings.HasPrefix(text(s.payload["status"]), "error") {
		return nothing(printable(eventType) + " of a snapshot in an error status")
	}
	c, err := o.change(eventType, action, n, s)
	if err != nil {
		return Reading{}, err
	}
	c.Time, _ = timestamp.Parse(text(n["timestamp"]))
	if c.Time.IsZero() && !e.Time().IsZero() {
		c.Time = e.Time().UTC()
	}
	c.Data = data
	return Reading{Known: true, Changes: []Change{c}}, nil
}

// source is where a notification's facts are: a versioned notification has them inside nova_object.data.
type source struct {
	payload   map[string]any
	versioned bool
	place     string
}

func (openstack) source(n map[string]any) source {
	payload := object(n["payload"])
	if inner := object(payload["nova_object.data"]); inner != nil {
		return source{inner, true, "data.payload.nova_object.data."}
	}
	return source{payload, false, "data.payload."}
}

// transition is what an update reports: a start or a stop, when the vm_state went from one of the two states to the
// other. Nova sends an update for each change of a task_state, a name or the metadata too, and so for each write of
// ours. Other ways into the states are a creation, a confirmed resize, the end of a rescue: they have notifications of
// their own.
func (s source) transition() Action {
	before, after := text(s.payload["old_state"]), text(s.payload["state"])
	if s.versioned {
		update := object(object(s.payload["state_update"])["nova_object.data"])
		before, after = text(update["old_state"]), text(update["state"])
	}
	switch {
	case before == "active" && after == "stopped":
		return ServerStopped
	case before == "stopped" && after == "active":
		return ServerStarted
	}
	return ""
}

func (o openstack) change(eventType string, action Action, n map[string]any, s source) (Change, error) {
	p := s.payload
	idName, kind := "instance_id", Server
	switch {
	case strings.HasPrefix(string(action), "snapshot."):
		idName, kind = "snapshot_id", Snapshot
	case s.versioned:
		idName = "uuid"
	}
	id := text(p[idName])
	if !isUUID(id) {
		problem := notUUID(id)
		if id == "" {
			problem = "is missing"
		}
		return Change{}, malformed(o, eventType, s.place+idName, problem)
	}
	project := text(p["tenant_id"])
	if project != "" && !isProject(project) {
		return Change{}, malformed(o, eventType, s.place+"tenant_id", notProject(project))
	}
	created, _ := timestamp.Parse(text(p["created_at"]))
	c := Change{
		Action: action,
		Resource: Resource{
			Kind:    kind,
			ID:      id,
			Name:    text(p["display_name"]),
			Project: project,
			Zone:    text(p["availability_zone"]),
			Created: created.UTC(),
		},
		Actor:   openstackActor(action, n, s),
		Request: first(text(p["request_id"]), text(n["_context_request_id"])),
	}
	if project != "" && project == first(text(n["_context_project_id"]), text(n["_context_project"])) {
		// An admin acts on other projects' servers with a context of their own.
		c.Resource.ProjectName = text(n["_context_project_name"])
	}
	if kind == Snapshot {
		c.Resource.Volume = uuidOnly(text(p["volume_id"]))
		parseMetadata(p)
		return c, nil
	}
	c.Resource.Flavor, c.Resource.Image = s.flavor(), s.image()
	return c, nil
}

func (s source) flavor() string {
	if s.versioned {
		flavor := object(object(s.payload["flavor"])["nova_object.data"])
		return first(text(flavor["name"]), text(flavor["flavorid"]))
	}
	return first(text(s.payload["instance_type"]), text(s.payload["instance_flavor_id"]))
}

// image is "" for a server that boots from a volume.
func (s source) image() string {
	if s.versioned {
		return uuidOnly(text(s.payload["image_uuid"]))
	}
	url := text(s.payload["image_ref_url"])
	return first(
		uuidOnly(text(object(s.payload["image_meta"])["base_image_ref"])),
		uuidOnly(url[strings.LastIndexByte(url, '/')+1:]),
	)
}

// openstackActor is whose request it was. The payload's user_id is the resource's owner, which is the actor of its
// creation only; a versioned payload names the initiator; the context names the user, with a name where the service
// sends it (Nova does, Cinder does not).
//
// _context_is_admin does not tell machines from people: Nova and Cinder raise a person's context to admin rights
// half-way through most operations (seen with Zed: reboot, pause, delete of an ordinary member, every snapshot). What
// does: no user at all, in a context that has the member, is the service's own periodic task; the role "service", or a
// project named service or services, is how deployments mark the services' users.
func openstackActor(action Action, n map[string]any, s source) Actor {
	user := first(text(n["_context_user_id"]), text(n["_context_user"]))
	id := first(text(s.payload["action_initiator_user"]), user)
	if id == "" && (action == ServerCreated || action == SnapshotCreated) {
		id = text(s.payload["user_id"])
	}
	if id == "" {
		if _, ok := n["_context_is_admin"]; ok {
			return Actor{Kind: Service}
		}
		return Actor{}
	}
	a := Actor{ID: id, Kind: User}
	if id != user {
		return a
	}
	a.Name = text(n["_context_user_name"])
	for _, role := range list(n["_context_roles"]) {
		if text(role) == "service" {
			a.Kind = Service
		}
	}
	if project := text(n["_context_project_name"]); project == "service" || project == "services" {
		a.Kind = Service
	}
	return a
}

// parseMetadata replaces a snapshot's metadata, which Cinder writes as Python shows a dictionary, by what it says. ""
// is none.
func parseMetadata(payload map[string]any) {
	s, ok := payload["metadata"].(string)
	if !ok {
		return
	}
	if s == "" {
		payload["metadata"] = map[string]any{}
		return
	}
	if m, ok := parseRepr(s); ok {
		payload["metadata"] = m
	}
}
