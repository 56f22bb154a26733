package lifecycle

import "slices"

// Kind is what sort of resource changed; it decides which API and which limits apply.
type Kind string

// The kinds. A bare metal server is changed through the compute API too, with other rules for keys and values.
const (
	Server    Kind = "server"
	BareMetal Kind = "baremetal"
	Volume    Kind = "volume"
	Snapshot  Kind = "snapshot"
)

// Action is what happened to a resource, in the word that rules use in "on".
type Action string

// The actions. Nothing can be written on a deleted resource; deletions are known so that they can be told from events
// that are not understood.
const (
	ServerCreated Action = "server.created"
	ServerStarted Action = "server.started"
	ServerStopped Action = "server.stopped"
	ServerResized Action = "server.resized"
	ServerRebuilt Action = "server.rebuilt"
	ServerDeleted Action = "server.deleted"
	VolumeCreated Action = "volume.created"
	// VolumeAttached and VolumeDetached have two reporters, Nova and Cinder.
	VolumeAttached    Action = "volume.attached"
	VolumeDetached    Action = "volume.detached"
	VolumeResized     Action = "volume.resized"
	VolumeTransferred Action = "volume.transferred" // to another project
	VolumeDeleted     Action = "volume.deleted"
	SnapshotCreated   Action = "snapshot.created"
	SnapshotDeleted   Action = "snapshot.deleted"
)

// kindRow is everything about a kind that events decide. What its API decides is in package metadata's table.
type kindRow struct {
	kind Kind
	// noun is the word before the dot in the kind's actions.
	noun string
	// actions are the kind's, in the order in which documentation lists them.
	actions []actionRow
}

type actionRow struct {
	action Action
	// creates says that the resource did not exist before.
	creates bool
	// final says that nothing can be written afterwards.
	final bool
	// state is the vm_state in which the change leaves the resource, "" where that does not identify the change.
	state string
	// flavor says that the change leaves the resource with the event's flavor.
	flavor bool
}

// kinds is only read. The first kind of a noun is the one that an event is about that names no kind.
var kinds = []kindRow{
	{Server, "server", serverActions},
	{BareMetal, "server", serverActions},
	{Volume, "volume", []actionRow{
		{action: VolumeCreated, creates: true},
		{action: VolumeAttached},
		{action: VolumeDetached},
		{action: VolumeResized},
		{action: VolumeTransferred},
		{action: VolumeDeleted, final: true},
	}},
	{Snapshot, "snapshot", []actionRow{
		{action: SnapshotCreated, creates: true},
		{action: SnapshotDeleted, final: true},
	}},
}

var serverActions = []actionRow{
	{action: ServerCreated, creates: true},
	{action: ServerStarted, state: "active"},
	{action: ServerStopped, state: "stopped"},
	{action: ServerResized, flavor: true},
	{action: ServerRebuilt},
	{action: ServerDeleted, final: true},
}

// Kinds returns every kind.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i, k := range kinds {
		all[i] = k.kind
	}
	return all
}

// Actions returns every action, in the order in which documentation lists them.
func Actions() []Action {
	var all []Action
	for _, k := range kinds {
		for _, a := range k.actions {
			if !slices.Contains(all, a.action) {
				all = append(all, a.action)
			}
		}
	}
	return all
}

// Kinds returns the kinds that the action can happen to. The first is meant where an event does not say which.
func (a Action) Kinds() []Kind {
	var all []Kind
	for _, k := range kinds {
		if _, ok := k.row(a); ok {
			all = append(all, k.kind)
		}
	}
	return all
}

// Creation returns the action that makes a resource of the kind, "" for a kind that is not known.
func (k Kind) Creation() Action {
	for _, row := range kinds {
		for _, a := range row.actions {
			if row.kind == k && a.creates {
				return a.action
			}
		}
	}
	return ""
}

// Writable reports whether metadata can still be written after the action.
func (a Action) Writable() bool { return !a.row().final }

// Creates reports whether the resource did not exist before the action.
func (a Action) Creates() bool { return a.row().creates }

// State returns the vm_state in which the action leaves a resource, "" where the action does not decide it.
func (a Action) State() string { return a.row().state }

// Comparable reports whether a look at the resource tells whether it has been changed again since: see
// [Change.Superseded].
func (c Change) Comparable() bool {
	row := c.Action.row()
	return row.state != "" || row.flavor && c.Resource.FlavorID != ""
}

// Superseded says why a resource that has the state and the flavor now has been changed again since the change, "" when
// it has not, or when that cannot be told. The flavor is an id.
func (c Change) Superseded(state, flavor string) string {
	switch {
	case c.Action.contradicts(state):
		return "the server's vm_state is " + state + " by now"
	case c.Action.row().flavor && c.Resource.FlavorID != "" && flavor != "" && flavor != c.Resource.FlavorID:
		return "the server's flavor is " + flavor + " by now"
	}
	return ""
}

// contradicts reports whether a resource in the state has been changed again since the action: another action leaves it
// in that state. A state that no action leaves a resource in (paused, rescued, …) says nothing.
func (a Action) contradicts(state string) bool {
	if a.State() == "" || state == a.State() {
		return false
	}
	for _, k := range kinds {
		if _, ok := k.row(a); ok {
			return slices.ContainsFunc(k.actions, func(other actionRow) bool {
				return other.state != "" &&
					other.state == state
			})
		}
	}
	return false
}

func (a Action) row() actionRow {
	for _, k := range kinds {
		if r, ok := k.row(a); ok {
			return r
		}
	}
	return actionRow{}
}

func (k kindRow) row(a Action) (actionRow, bool) {
	i := slices.IndexFunc(k.actions, func(r actionRow) bool { return r.action == a })
	if i < 0 {
		return actionRow{}, false
	}
	return k.actions[i], true
}
