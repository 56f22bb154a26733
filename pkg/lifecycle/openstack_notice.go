package lifecycle

import (
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// Notice is what one of Nova's notifications tells about a server although rules do not act on it: that something in
// the server's record was saved, or that what kept its metadata from being written may be over.
type Notice struct {
	// Server is the server's id, a UUID.
	Server string
	// Request is the id of the API request, "" when unknown. Both formats of one notification have the same.
	Request string
	Actor   Actor
	// Time is when Nova sent it, zero when it does not say.
	Time time.Time
	// Metadata is the map that the writer had in memory, which need not be what is in the database. It is nil if the
	// notification has none.
	Metadata map[string]string
	// Saved says that the server's record was saved without a change of its vm_state or task_state, as for each write
	// of metadata.
	Saved bool
	// Unblocks says that the server was unlocked, unrescued or unshelved, or its resize confirmed: writes that were
	// refused can succeed now.
	Unblocks bool
}

// openstackUnblocking has the event types after which Nova may take writes that it refused before. There is no legacy
// notification of an unlock. The samples are in Nova's doc/notification_samples.
var openstackUnblocking = []string{
	"instance.unlock",
	"compute.instance.unrescue.end", "instance.unrescue.end",
	"compute.instance.unshelve.end", "instance.unshelve.end",
	"compute.instance.resize.confirm.end", "instance.resize_confirm.end",
}

// Notice returns what an event tells about a server. ok is false for an event that is no such notification, or that
// cannot be read. Ignored actors count too: what they write can undo a write as well as anyone's.
func (r *Registry) Notice(e event.Event) (n Notice, ok bool) {
	if e.Context == nil {
		return Notice{}, false
	}
	eventType, ours := strings.CutPrefix(e.Type(), openstackPrefix)
	update, unblocks := slices.Contains(openstackUpdates, eventType), slices.Contains(openstackUnblocking, eventType)
	if !ours || !update && !unblocks {
		return Notice{}, false
	}
	data, err := (&payload{raw: e.Data(), limits: r.options.Limits, left: r.options.Limits.Values}).decode()
	if err != nil {
		return Notice{}, false
	}
	o := openstack{}
	notification := object(data)
	s := o.source(notification)
	id := s.payload["instance_id"]
	if s.versioned {
		id = s.payload["uuid"]
	}
	n = Notice{
		Server: uuidOnly(text(id)), Metadata: texts(s.payload["metadata"]), Saved: update && s.steady(), Unblocks: unblocks,
		Request: first(reference(s.payload["request_id"]), reference(notification["_context_request_id"])),
		Actor:   openstackActor("", notification, s),
	}
	n.Time, _ = timestamp.Parse(text(notification["timestamp"]))
	return n, n.Server != ""
}

// steady reports whether neither vm_state nor task_state changed.
func (s source) steady() bool {
	p := s.payload
	if s.versioned {
		p = object(object(p["state_update"])["nova_object.data"])
	}
	return text(p["old_state"]) == text(p["state"]) && text(p["old_task_state"]) == text(p["new_task_state"])
}
