package lifecycle

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// Notice is information about a server from a Nova notification that rules do not act on: the server's record was
// saved, or writes of its metadata may succeed again.
type Notice struct {
	// Server is the server's id, a UUID.
	Server string
	// Request is the id of the API request, "" if unknown. It is the same in both formats of a notification.
	Request string
	Actor   Actor
	// Time is when Nova sent the notification, zero if unknown.
	Time time.Time
	// Metadata is the map that the writer had in memory, which may differ from the database. It is nil if the
	// notification has none.
	Metadata map[string]string
	// Saved reports that the server's record was saved without a change of vm_state or task_state. Each write of metadata
	// does that.
	Saved bool
	// Unblocks reports that the server was unlocked, unrescued or unshelved, or its resize confirmed: writes that Nova
	// refused before can succeed now.
	Unblocks bool
}

// openstackUnblocking are the event types after which Nova may accept writes that it refused before. An unlock has no
// legacy notification. The samples are in Nova's doc/notification_samples.
var openstackUnblocking = []string{
	"instance.unlock",
	"compute.instance.unrescue.end", "instance.unrescue.end",
	"compute.instance.unshelve.end", "instance.unshelve.end",
	"compute.instance.resize.confirm.end", "instance.resize_confirm.end",
}

// Notice reads an event as a Notice. ok is false for any other event and for one that cannot be read. Ignored actors
// count too, because their writes can also undo one of ours.
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
		Server: uuidOrEmpty(text(id)), Metadata: stringMembers(s.payload["metadata"]), Saved: update && s.stateUnchanged(),
		Unblocks: unblocks,
		Request:  cmp.Or(optionalID(s.payload["request_id"]), optionalID(notification["_context_request_id"])),
		Actor:    openstackActor("", notification, s),
	}
	n.Time, _ = timestamp.Parse(text(notification["timestamp"]))
	for _, s := range []string{n.Request, n.Actor.ID, n.Actor.Name} { // these are remembered and logged
		if len(s) > r.options.Limits.Text {
			return Notice{}, false
		}
	}
	return n, n.Server != ""
}

// stateUnchanged reports whether neither vm_state nor task_state changed.
func (s source) stateUnchanged() bool {
	p := s.payload
	if s.versioned {
		p = object(object(p["state_update"])["nova_object.data"])
	}
	return text(p["old_state"]) == text(p["state"]) && text(p["old_task_state"]) == text(p["new_task_state"])
}
