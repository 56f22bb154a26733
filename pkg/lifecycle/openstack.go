package lifecycle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// openstackPrefix is the prefix of the types of OpenStack events; the notification's event_type follows.
const openstackPrefix = "org.openstack."

// openstack reads notifications of Nova, in the legacy and in the versioned format, and of Cinder
// (https://docs.openstack.org/nova/latest/reference/notifications.html). The event's data is the notification.
type openstack struct {
	types map[string]Action
}

func (openstack) name() string { return "openstack" }

func (openstack) markers() []string { return []string{`"event_type"`, `"oslo.message"`} }

func (openstack) format() string { return "OpenStack notification" }

// recognise accepts a notification from the "messaging" driver, one in the envelope of "messagingv2", and either of
// them in oslo.messaging's wrapper for AMQP 1.0.
func (o openstack) recognise(d document.Object) (*NativeEvent, error) {
	const amqp = "oslo.messaging AMQP 1.0 message: request: "
	switch {
	case d.Has("oslo.message"):
		return o.envelope(d, nil)
	case isNotification(d):
		return o.notification(d), nil
	case d.Kind("request") == '{' && d.Kind("context") == '{':
		// https://opendev.org/openstack/oslo.messaging/src/branch/master/oslo_messaging/_drivers/impl_amqp1.py
		// (marshal_request): the context is beside the message, not in it as members _context_….
		request, err := document.Members(d.Member("request"))
		switch {
		case err != nil || !request.Has("oslo.message") && !isNotification(request):
			return nil, nil
		case request.Has("oslo.message"):
			native, err := o.envelope(request, d.Member("context"))
			if err != nil {
				err = fmt.Errorf(amqp+"%w", err)
			}
			return native, err
		}
		if request, err = withContext(request, d.Member("context")); err != nil {
			return nil, fmt.Errorf(amqp+"%w", err)
		}
		return o.notification(request), nil
	}
	return nil, nil
}

// envelope reads the envelope of oslo.messaging's messagingv2 driver: {"oslo.version": "2.0", "oslo.message": "<JSON in
// a string>"}. context is nil if the message contains it.
func (o openstack) envelope(d document.Object, context []byte) (*NativeEvent, error) {
	failed := func(err error) error { return fmt.Errorf("oslo.messaging envelope: oslo.message: %w", err) }
	message := d.Member("oslo.message")
	if d.Kind("oslo.message") == '"' {
		message = document.TrimMark([]byte(d.Text("oslo.message")))
	}
	if err := document.Check(message); err != nil {
		return nil, failed(err)
	}
	if document.Kind(message) != '{' {
		return nil, failed(errors.New("is not an object"))
	}
	inner, err := document.Members(message)
	if err != nil {
		return nil, failed(err)
	}
	if !isNotification(inner) {
		const problem = "is not a notification (event_type, publisher_id or payload is missing; an RPC message?)"
		return nil, failed(errors.New(problem))
	}
	if inner, err = withContext(inner, context); err != nil {
		return nil, failed(err)
	}
	return o.notification(inner), nil
}

// withContext adds a separate context to a notification, so that it looks like one from RabbitMQ, where
// oslo.messaging's driver does the same (pack_context).
func withContext(n document.Object, context []byte) (document.Object, error) {
	if context == nil {
		return n, nil
	}
	c, err := document.Members(context)
	if err != nil {
		return n, fmt.Errorf("context: %w", err)
	}
	raw := bytes.TrimRight(n.Raw, " \t\r\n")
	raw = bytes.Clone(raw[:len(raw)-1]) // without the closing brace; a notification has members
	members := maps.Collect(c.All())
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if n.Has("_context_" + name) {
			continue
		}
		quoted, err := json.Marshal("_context_" + name)
		if err != nil {
			return n, fmt.Errorf("context: %w", err)
		}
		raw = append(append(append(append(raw, ','), quoted...), ':'), members[name]...)
	}
	n.Raw = append(raw, '}')
	return n, nil
}

// isNotification does not require message_id and timestamp, because the samples in Nova's documentation omit them.
func isNotification(d document.Object) bool {
	return d.Kind("event_type") == '"' && d.Kind("publisher_id") == '"' && d.Has("payload")
}

// notification converts a notification in the style of the CloudEvents adapters
// (https://github.com/cloudevents/spec/tree/main/cloudevents/adapters), which do not cover OpenStack.
func (o openstack) notification(d document.Object) *NativeEvent {
	return &NativeEvent{
		Format: o.format(),
		ID:     d.Text("message_id"),
		Source: "openstack:" + url.PathEscape(d.Text("publisher_id")),
		Type:   openstackPrefix + d.Text("event_type"),
		Time:   d.Member("timestamp"),
		Data:   d.Raw,
	}
}

func (openstack) claims(eventType string) bool { return strings.HasPrefix(eventType, openstackPrefix) }

// openstackActions maps event types to actions.
//
// A resize is complete when it is confirmed, by a user or by Nova after resize_confirm_window. Until then, after
// finish_resize.end, the server is in vm_state "resized", rejects writes of metadata and can still return to its old
// flavor. The confirmation has the new flavor, vm_state active or stopped, and its own request id.
//
// A soft-deleted server can be restored, so only its final deletion counts. Cinder reports an adopted snapshot with
// manage_existing_snapshot.end, without a create.end
// (https://opendev.org/openstack/cinder/src/branch/master/cinder/volume/flows/manager/manage_existing_snapshot.py).
var openstackActions = map[string]Action{
	"compute.instance.create.end": ServerCreated, "instance.create.end": ServerCreated,
	"compute.instance.power_on.end": ServerStarted, "instance.power_on.end": ServerStarted,
	"compute.instance.power_off.end": ServerStopped, "instance.power_off.end": ServerStopped,
	"compute.instance.resize.confirm.end": ServerResized, "instance.resize_confirm.end": ServerResized,
	"compute.instance.rebuild.end": ServerRebuilt, "instance.rebuild.end": ServerRebuilt,
	"compute.instance.delete.end": ServerDeleted, "instance.delete.end": ServerDeleted,
	"compute.instance.force_delete.end": ServerDeleted, "instance.force_delete.end": ServerDeleted,
	"volume.create.end": VolumeCreated, "volume.manage_existing.end": VolumeCreated,
	"volume.attach.end":              VolumeAttached,
	"compute.instance.volume.attach": VolumeAttached, "instance.volume_attach.end": VolumeAttached,
	"volume.detach.end":              VolumeDetached,
	"compute.instance.volume.detach": VolumeDetached, "instance.volume_detach.end": VolumeDetached,
	"volume.resize.end":          VolumeResized,
	"volume.transfer.accept.end": VolumeTransferred,
	"volume.delete.end":          VolumeDeleted,
	"snapshot.create.end":        SnapshotCreated, "snapshot.manage_existing_snapshot.end": SnapshotCreated,
	"snapshot.delete.end": SnapshotDeleted,
}

// openstackUpdates are the event types that report a start or a stop only if the vm_state changed accordingly.
var openstackUpdates = []string{"compute.instance.update", "instance.update"}

// nonChangeReason returns why an event type reports no change.
func nonChangeReason(eventType string) string {
	switch {
	case strings.HasSuffix(eventType, ".error"):
		return "reports a failure"
	case strings.HasSuffix(eventType, ".start"):
		return "is the start of an operation; its end is reported too"
	}
	if why := openstackNonChanges[eventType]; why != "" {
		return why
	}
	return "changes nothing that rules act on"
}

// openstackNonChanges are event types that look like changes, with the reason why they are not. docs/events.md has the
// same table. The types come from Nova (doc/notification_samples, and _notify_about_instance_usage in
// nova/compute/manager.py) and Cinder (notify_about_volume_usage and notify_about_snapshot_usage).
var openstackNonChanges = map[string]string{
	"compute.instance.finish_resize.end":  "is a resize that is not confirmed yet",
	"instance.resize_finish.end":          "is a resize that is not confirmed yet",
	"compute.instance.resize.revert.end":  "is a resize that was undone",
	"instance.resize_revert.end":          "is a resize that was undone",
	"compute.instance.soft_delete.end":    "is a deletion that can still be undone",
	"instance.soft_delete.end":            "is a deletion that can still be undone",
	"compute.instance.restore.end":        "undoes a deletion; the server still has its metadata",
	"instance.restore.end":                "undoes a deletion; the server still has its metadata",
	"compute.instance.shelve.end":         "keeps the server and its metadata",
	"instance.shelve.end":                 "keeps the server and its metadata",
	"compute.instance.shelve_offload.end": "keeps the server and its metadata",
	"instance.shelve_offload.end":         "keeps the server and its metadata",
	"compute.instance.unshelve.end":       "restores a server that still has its metadata",
	"instance.unshelve.end":               "restores a server that still has its metadata",
	"compute.instance.evacuate":           "is the request; the rebuild on another host is reported too",
	"instance.evacuate":                   "is the request; the rebuild on another host is reported too",
	"instance.rebuild_scheduled":          "is the request; the rebuild's end is reported too",
	"compute.instance.rebuild.scheduled":  "is the request; the rebuild's end is reported too",
	"compute.instance.snapshot.end":       "is an image of a server, not a snapshot of a volume",
	"instance.snapshot.end":               "is an image of a server, not a snapshot of a volume",
	"snapshot.revert.end":                 "changes the volume, not the snapshot",
	"snapshot.update.end":                 "follows each write of metadata, including Tagger's own",
}

// action returns the action that events of this type report, "" for none. update reports that it depends on the
// payload.
func (o openstack) action(eventType string) (action Action, update bool) {
	for _, mapped := range [...]string{eventType, openstackPrefix + eventType} {
		if action, ok := o.types[mapped]; ok {
			return action, false
		}
	}
	return openstackActions[eventType], slices.Contains(openstackUpdates, eventType)
}

// read decodes the data only if the type can report a change: most notifications do not.
func (o openstack) read(e event.Event, from *payload) (Reading, error) {
	eventType := strings.TrimPrefix(e.Type(), openstackPrefix)
	action, update := o.action(eventType)
	if action == "" && !update {
		return noChange(printable(eventType) + " " + nonChangeReason(eventType))
	}
	data, err := from.decode()
	if err != nil {
		return Reading{}, undecodable(o, e.Type(), "data", err)
	}
	n := object(data)
	switch text(n["event_type"]) {
	case eventType:
	case "":
		return Reading{}, malformed(o, e.Type(), "data.event_type", "is missing; want the notification as data")
	default:
		return Reading{}, malformed(o, e.Type(), "data.event_type", "does not match the event's type")
	}
	s := o.source(n)
	if update {
		if action = s.transition(); action == "" {
			return noChange(printable(eventType) + " reports no change between active and stopped")
		}
	}
	if s.payload == nil {
		return Reading{}, malformed(o, eventType, "data.payload", "is not an object")
	}
	// Cinder reports a failed creation like this. Nova has a separate event type.
	if action.Creates() && strings.HasPrefix(text(s.payload["status"]), "error") {
		return noChange(printable(eventType) + " reports a " + string(action.Kinds()[0]) + " in an error status")
	}
	c, err := o.change(eventType, action, n, s, from)
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

// source is the part of a notification that describes the resource. In a versioned notification that is
// nova_object.data. place is its path in the event, for errors.
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

// transition returns the start or stop that an update reports, "" for none. Nova also sends an update for each change
// of a task_state, a name or the metadata, including our own writes. A creation, a confirmed resize and the end of a
// rescue lead to the same states, but have their own notifications.
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

func (o openstack) change(eventType string, action Action, n map[string]any, s source, from *payload) (Change, error) {
	p := s.payload
	kind := action.Kinds()[0]
	of, ok := payloadKinds[kind]
	if !ok {
		return Change{}, malformed(o, eventType, "data.event_type", fmt.Sprintf("no notification is about a %s", kind))
	}
	idName := of.id
	if s.versioned && of.versionedID != "" {
		idName = of.versionedID
	}
	id, problem := identifier(p[idName], isUUID, notUUID)
	if id == "" && problem == "" {
		problem = "is missing"
	}
	if problem != "" {
		return Change{}, malformed(o, eventType, s.place+idName, problem)
	}
	project, problem := identifier(p["tenant_id"], isProject, notProject)
	if problem != "" {
		return Change{}, malformed(o, eventType, s.place+"tenant_id", problem)
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
		Request: cmp.Or(optionalID(p["request_id"]), optionalID(n["_context_request_id"])),
	}
	caller := cmp.Or(text(n["_context_project_id"]), text(n["_context_project"]), text(n["_context_tenant"]))
	if project != "" && project == caller { // an admin may act from another project
		c.Resource.ProjectName = text(n["_context_project_name"])
	}
	if strings.HasPrefix(eventType, "volume.") {
		// When Nova calls Cinder, the call has a new request id, and Nova's is the global one.
		c.Request = cmp.Or(optionalID(n["_context_global_request_id"]), c.Request)
	}
	if err := of.read(s, from, &c); err != nil {
		return Change{}, undecodable(o, eventType, s.place+"metadata", err)
	}
	return c, nil
}

// payloadKind describes the payloads about one kind of resource.
type payloadKind struct {
	// id is the member with the resource's id; versionedID replaces it in Nova's versioned format.
	id, versionedID string
	// read adds the fields that are specific to this kind. Its error is a [*document.LimitError].
	read func(s source, from *payload, c *Change) error
}

// payloadKinds has the kinds that notifications report.
var payloadKinds = map[Kind]payloadKind{
	Server:   {id: "instance_id", versionedID: "uuid", read: readServer},
	Volume:   {id: "volume_id", read: readVolume},
	Snapshot: {id: "snapshot_id", read: readSnapshot},
}

func readServer(s source, _ *payload, c *Change) error {
	c.Resource.Flavor, c.Resource.FlavorID = s.flavor()
	c.Resource.Image = s.image()
	c.Resource.Metadata = stringMembers(s.payload["metadata"])
	return nil
}

// readVolume reads Cinder's notifications, and Nova's notifications of an attachment, whose payload is the server's
// plus the volume's id.
func readVolume(s source, _ *payload, c *Change) error {
	p := s.payload
	if server := cmp.Or(text(p["uuid"]), text(p["instance_id"])); server != "" {
		c.Resource.Name, c.Resource.Zone, c.Resource.Created = "", "", time.Time{}
		if c.Action == VolumeAttached { // a detached volume no longer belongs to the server
			c.Parent = Parent{Kind: Server, ID: uuidOrEmpty(server), Name: text(p["display_name"]),
				Metadata: stringMembers(p["metadata"])}
		}
		return nil
	}
	p["metadata"] = fromRows(p["metadata"])
	c.Resource.Metadata = stringMembers(p["metadata"])
	newest := ""
	for _, row := range list(p["volume_attachment"]) {
		row := object(row)
		if at := text(row["attach_time"]); c.Parent.ID == "" || at > newest {
			if server := uuidOrEmpty(text(row["instance_uuid"])); server != "" {
				newest, c.Parent = at, Parent{Kind: Server, ID: server}
			}
		}
	}
	return nil
}

func readSnapshot(s source, from *payload, c *Change) error {
	if err := parseMetadata(s.payload, from); err != nil {
		return err
	}
	c.Resource.Metadata = stringMembers(s.payload["metadata"])
	if volume := uuidOrEmpty(text(s.payload["volume_id"])); volume != "" {
		c.SetParent(Parent{Kind: Volume, ID: volume})
	}
	return nil
}

// fromRows converts a volume's metadata, which Cinder sends as a list of database rows, to an object.
func fromRows(v any) any {
	rows, ok := v.([]any)
	if !ok {
		return v
	}
	m := make(map[string]any, len(rows))
	for _, row := range rows {
		if key := text(object(row)["key"]); key != "" {
			m[key] = object(row)["value"]
		}
	}
	return m
}

// stringMembers returns the members of an object that are strings, nil if v is not an object.
func stringMembers(v any) map[string]string {
	o, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	m := make(map[string]string, len(o))
	for key, value := range o {
		if s, ok := value.(string); ok {
			m[key] = s
		}
	}
	return m
}

// flavor returns the flavor's name and id. The name is the id if the payload has no name.
func (s source) flavor() (name, id string) {
	if s.versioned {
		flavor := object(object(s.payload["flavor"])["nova_object.data"])
		name, id = text(flavor["name"]), text(flavor["flavorid"])
	} else {
		name, id = text(s.payload["instance_type"]), text(s.payload["instance_flavor_id"])
	}
	return cmp.Or(name, id), id
}

// image returns the image's id, "" for a server that boots from a volume.
func (s source) image() string {
	if s.versioned {
		return uuidOrEmpty(text(s.payload["image_uuid"]))
	}
	url := text(s.payload["image_ref_url"])
	return cmp.Or(
		uuidOrEmpty(text(object(s.payload["image_meta"])["base_image_ref"])),
		uuidOrEmpty(url[strings.LastIndexByte(url, '/')+1:]),
	)
}

// openstackActor returns the user whose request caused the change. A versioned payload names the initiator; the context
// names the user, with Nova also by name. The payload's user_id is the resource's owner, which is the actor only of its
// creation.
//
// _context_is_admin does not identify services: Nova and Cinder elevate a user's context to admin during most
// operations (seen with Zed: reboot, pause and delete by an ordinary member, every snapshot). A context with that
// member but without a user is the service's own periodic task. Deployments mark the services' users by the role
// "service" or by a project named service or services.
func openstackActor(action Action, n map[string]any, s source) Actor {
	user := cmp.Or(text(n["_context_user_id"]), text(n["_context_user"]))
	id := cmp.Or(text(s.payload["action_initiator_user"]), user)
	if id == "" && action.Creates() {
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

// parseMetadata decodes a snapshot's metadata, which Cinder sends as the repr of a Python dictionary; "" means none.
// The error is a [*document.LimitError].
func parseMetadata(payload map[string]any, from *payload) error {
	s, ok := payload["metadata"].(string)
	if !ok {
		return nil
	}
	if s == "" {
		payload["metadata"] = map[string]any{}
		return nil
	}
	if from.left -= strings.Count(s, ","); from.left < 0 {
		return &document.LimitError{What: "JSON values", Max: from.limits.Values}
	}
	if m, ok := parseRepr(s); ok {
		payload["metadata"] = m
	}
	return nil
}
