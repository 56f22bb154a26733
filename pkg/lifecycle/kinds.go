package lifecycle

import "slices"

// Kind is the kind of a resource. It determines the API and the limits.
type Kind string

// The kinds. Bare metal servers use the compute API too, but with different rules for keys and values.
const (
	Server    Kind = "server"
	BareMetal Kind = "baremetal"
	Volume    Kind = "volume"
	Snapshot  Kind = "snapshot"
)

// Action is what happened to a resource. Rules name it in "on".
type Action string

// The actions. Rules cannot act on deletions; these are known to distinguish them from unknown events.
const (
	ServerCreated Action = "server.created"
	ServerStarted Action = "server.started"
	ServerStopped Action = "server.stopped"
	ServerResized Action = "server.resized"
	ServerRebuilt Action = "server.rebuilt"
	ServerDeleted Action = "server.deleted"
	VolumeCreated Action = "volume.created"
	// Nova and Cinder both report VolumeAttached and VolumeDetached.
	VolumeAttached    Action = "volume.attached"
	VolumeDetached    Action = "volume.detached"
	VolumeResized     Action = "volume.resized"
	VolumeTransferred Action = "volume.transferred" // to another project
	VolumeDeleted     Action = "volume.deleted"
	SnapshotCreated   Action = "snapshot.created"
	SnapshotDeleted   Action = "snapshot.deleted"
)

// kindRow describes a kind as far as events are concerned. Package metadata has the table for its API.
type kindRow struct {
	kind Kind
	// noun is the part before the dot in the kind's actions.
	noun string
	// actions are in the order of the documentation.
	actions []actionRow
	// parentID, if not nil, returns the field that has the id of a resource's parent, whose kind is parent.
	parentID func(*Resource) *string
	parent   Kind
	// notices means that events report more about a resource than its changes; see [Notice].
	notices bool
}

type actionRow struct {
	action Action
	// creates means that the resource did not exist before.
	creates bool
	// final means that metadata cannot be written afterwards.
	final bool
	// state is the vm_state after the action, "" if it does not identify the action.
	state string
	// flavor means that the resource has the event's flavor after the action.
	flavor bool
}

// kinds is read-only. The first kind of a noun is the default for events that do not name a kind.
var kinds = []kindRow{
	{kind: Server, noun: "server", actions: serverActions, notices: true},
	{kind: BareMetal, noun: "server", actions: serverActions},
	{kind: Volume, noun: "volume", actions: []actionRow{
		{action: VolumeCreated, creates: true},
		{action: VolumeAttached},
		{action: VolumeDetached},
		{action: VolumeResized},
		{action: VolumeTransferred},
		{action: VolumeDeleted, final: true},
	}},
	{
		kind: Snapshot, noun: "snapshot", actions: []actionRow{
			{action: SnapshotCreated, creates: true},
			{action: SnapshotDeleted, final: true},
		},
		parentID: func(r *Resource) *string { return &r.Volume }, parent: Volume,
	},
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

// Actions returns every action, in the order of the documentation.
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

// known reports whether there is such an action.
func (a Action) known() bool {
	return slices.ContainsFunc(kinds, func(k kindRow) bool {
		_, ok := k.row(a)
		return ok
	})
}

// Kinds returns the kinds that the action applies to. The first is the default.
func (a Action) Kinds() []Kind {
	var all []Kind
	for _, k := range kinds {
		if _, ok := k.row(a); ok {
			all = append(all, k.kind)
		}
	}
	return all
}

// Creation returns the action that creates a resource of the kind, "" for an unknown kind.
func (k Kind) Creation() Action {
	for _, a := range k.row().actions {
		if a.creates {
			return a.action
		}
	}
	return ""
}

// HasNotices reports whether events report more about resources of the kind than their changes; see [Notice].
func (k Kind) HasNotices() bool { return k.row().notices }

// row returns the kind's row, or an empty one for an unknown kind.
func (k Kind) row() kindRow {
	i := slices.IndexFunc(kinds, func(row kindRow) bool { return row.kind == k })
	if i < 0 {
		return kindRow{}
	}
	return kinds[i]
}

// SetParent sets the parent, and the resource's field with the parent's id if its kind has one.
func (c *Change) SetParent(p Parent) {
	c.Parent = p
	if field := c.Resource.Kind.row().parentID; field != nil {
		*field(&c.Resource) = p.ID
	}
}

// addParent sets the parent from the resource's field with its id, if the event names no other.
func (c *Change) addParent() {
	row := c.Resource.Kind.row()
	if c.Parent.ID != "" || row.parentID == nil {
		return
	}
	if id := uuidOrEmpty(*row.parentID(&c.Resource)); id != "" {
		c.Parent = Parent{Kind: row.parent, ID: id}
	}
}

// Writable reports whether metadata can still be written after the action.
func (a Action) Writable() bool { return !a.row().final }

// Creates reports whether the resource did not exist before the action.
func (a Action) Creates() bool { return a.row().creates }

// State returns the vm_state of a resource after the action, "" if the action does not determine it.
func (a Action) State() string { return a.row().state }

// HasExpectedState reports whether the change leaves the resource in a known state or with a known flavor. If so,
// [Change.Superseded] can detect a later change.
func (c Change) HasExpectedState() bool {
	row := c.Action.row()
	return row.state != "" || row.flavor && c.Resource.FlavorID != ""
}

// Superseded returns why the resource's present vm_state and flavor id show that it changed again after this change. It
// returns "" if they do not.
func (c Change) Superseded(state, flavor string) string {
	switch {
	case c.Action.contradicts(state):
		return "the server's vm_state is now " + state
	case c.Action.row().flavor && c.Resource.FlavorID != "" && flavor != "" && flavor != c.Resource.FlavorID:
		return "the server's flavor is now " + flavor
	}
	return ""
}

// contradicts reports whether another action must have followed this one, because only that leads to the state. A state
// that no action leads to (paused, rescued, …) proves nothing.
func (a Action) contradicts(state string) bool {
	if a.State() == "" || state == a.State() {
		return false
	}
	for _, k := range kinds {
		if _, ok := k.row(a); ok {
			return state != "" && slices.ContainsFunc(k.actions, func(other actionRow) bool { return other.state == state })
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
