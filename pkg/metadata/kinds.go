package metadata

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// Kind is a kind of resource, with its name in package lifecycle. The table in this file has everything that depends on
// the kind.
type Kind string

// The kinds.
const (
	Server    Kind = "server"
	BareMetal Kind = "baremetal"
	Volume    Kind = "volume"
	Snapshot  Kind = "snapshot"
)

// Service is the API that serves a kind.
type Service string

// The services.
const (
	Compute      Service = "compute"
	BlockStorage Service = "volume"
)

// Readiness is whether metadata can be written in a resource's state.
type Readiness string

// Ready: the state allows writing, or the kind has no relevant state. Passing: the state refuses writes and ends by
// itself. Stuck: the state refuses writes until an operator changes it. Deleted: the resource is being deleted, or
// gone.
const (
	Ready   Readiness = "ready"
	Passing Readiness = "passing"
	Stuck   Readiness = "stuck"
	Deleted Readiness = "deleted"
)

// row holds everything that depends on a kind.
type row struct {
	kind    Kind
	service Service
	// collection is the path under the service's endpoint, member the name of a resource's JSON object, pages the path
	// that the API pages put before it.
	collection, member, pages string
	// openstack and huaweicloud are the families whose limits apply.
	openstack, huaweicloud Family
	// perKey means that each key is written by its own PUT. Otherwise one POST writes all keys.
	perKey bool
	// foldsCase means that the service treats owner and Owner as one key, and stores one in the row of the other.
	foldsCase bool
	// maxItems is the limit of metadata items per resource in the service's default configuration, 0 for none.
	maxItems int
	// stateName is the service's name for the state that decides whether writes are allowed, "" if there is none.
	stateName string
	// ready has the states in which metadata can be written, passing those that end by themselves, deleted those of
	// deleted resources. Only an operator can change any other state; if ready is nil, it counts as ready.
	ready, passing, deleted []string
	// ownedWhole means that other programs (Terraform, Heat) own all metadata of the resources that they manage.
	ownedWhole bool
	// parent is the kind that a resource of this kind belongs to, "" for none.
	parent Kind
	// microversion is the lowest one with every field of the view, "" if the service's default has all of them.
	microversion string
	// downCells is the microversion in which the list has servers of a cell that is down, "" for other kinds.
	downCells string
	// tasks means that a resource has a task_state beside its state.
	tasks bool
	// history is the path under a resource with the actions that the service recorded, "" if it records none.
	// historyVersion is the first microversion that has those of deleted resources.
	history, historyVersion string
	// flavors is the path of the list of flavors, "" for a kind without them.
	flavors string
	// unit is the unit of a resource's size, size reads the size from a resource's JSON object.
	unit Unit
	size func([]byte) int
	// decode reads a resource's JSON object, encode makes one.
	decode func([]byte) (View, error)
	encode func(View) any
}

// table is only read. The states are those of the ECS and BMS pages ("Constraints") and of Nova's check_instance_state
// on update_instance_metadata. A server's user is there at every microversion, its lock from 2.9, a snapshot's user
// from 3.41 (the API references' "New in version").
var table = []row{
	{
		kind: Server, service: Compute, collection: "servers", member: "server", pages: "/v2.1/",
		openstack: Nova, huaweicloud: ECS, maxItems: 128,
		stateName: "vm_state", ready: serverReady, passing: serverPassing, deleted: serverDeleted,
		microversion: "2.9", downCells: "2.69", tasks: true, history: "os-instance-actions", historyVersion: "2.21",
		flavors: "flavors/detail", unit: VCPU, size: serverSize, decode: decodeServer, encode: encodeServer,
	},
	{
		kind: BareMetal, service: Compute, collection: "servers", member: "server", pages: "/v2.1/",
		openstack: Nova, huaweicloud: BMS, maxItems: 128,
		stateName: "vm_state", ready: serverReady, passing: serverPassing, deleted: serverDeleted,
		microversion: "2.9", downCells: "2.69", tasks: true, history: "os-instance-actions", historyVersion: "2.21",
		flavors: "flavors/detail", unit: VCPU, size: serverSize, decode: decodeServer, encode: encodeServer,
	},
	{
		kind: Volume, service: BlockStorage, collection: "volumes", member: "volume", pages: "/v3/",
		openstack: CinderVolume, huaweicloud: EVSVolume,
		stateName: "status", passing: []string{"maintenance", "uploading"}, deleted: []string{"deleting"},
		ownedWhole: true, parent: Server,
		unit: GiB, size: volumeSize, decode: decodeVolume, encode: encodeVolume,
	},
	{
		kind: Snapshot, service: BlockStorage, collection: "snapshots", member: "snapshot", pages: "/v2/",
		openstack: Cinder, huaweicloud: EVS,
		perKey: true, foldsCase: true, parent: Volume,
		microversion: "3.41",
		unit:         GiB, size: volumeSize, decode: decodeSnapshot, encode: encodeSnapshot,
	},
}

var (
	serverReady   = []string{"active", "stopped", "paused", "suspended"}
	serverPassing = []string{"building"}
	serverDeleted = []string{"deleted", "soft-delete"}
)

// Kinds returns every kind.
func Kinds() []Kind {
	all := make([]Kind, len(table))
	for i := range table {
		all[i] = table[i].kind
	}
	return all
}

// ListedKinds returns the kinds that have a list of their own; see [Kind.ListsOthers].
func ListedKinds() []Kind { return slices.DeleteFunc(Kinds(), Kind.ListsOthers) }

// row returns the kind's row, or an empty one for an unknown kind.
func (k Kind) row() *row {
	for i := range table {
		if table[i].kind == k {
			return &table[i]
		}
	}
	return &row{}
}

// apiVersion returns the header value that requests the row's microversion, "" for none.
func (r *row) apiVersion() string {
	if r.microversion == "" {
		return ""
	}
	return string(r.service) + " " + r.microversion
}

// Service returns the API that serves the kind, "" for an unknown kind.
func (k Kind) Service() Service { return k.row().service }

// Family returns the family whose limits for keys and values apply.
func (k Kind) Family(api API) Family {
	if api == HuaweiCloud {
		return k.row().huaweicloud
	}
	return k.row().openstack
}

// PagePath returns the prefix of a request's path in the API pages: "/v2.1/{project}/".
func (k Kind) PagePath(project string) string { return k.row().pages + project + "/" }

// MaxItems returns how many items of metadata a resource of the kind may have by the service's default configuration
// (Nova's quota metadata_items), 0 for no limit.
func (k Kind) MaxItems() int { return k.row().maxItems }

// HasState reports whether the kind has states that decide whether writes are allowed.
func (k Kind) HasState() bool { return k.row().stateName != "" }

// StateName returns the service's name for the state that decides whether writes are allowed: "vm_state" or "status",
// "" for none.
func (k Kind) StateName() string { return k.row().stateName }

// HasTasks reports whether a resource of the kind has a task, or none, beside its state; see [View].Task.
func (k Kind) HasTasks() bool { return k.row().tasks }

// OwnedWhole reports whether programs that manage resources of this kind own all their metadata, and undo or report
// other writes.
func (k Kind) OwnedWhole() bool { return k.row().ownedWhole }

// Parent returns the kind that a resource of this kind belongs to, "" for none.
func (k Kind) Parent() Kind { return k.row().parent }

// FoldsCase reports whether the service treats keys that differ only in case as one.
func (k Kind) FoldsCase() bool { return k.row().foldsCase }

// Readiness returns whether metadata can be written in the state. A state that was not read, "", counts as ready.
func (k Kind) Readiness(state string) Readiness {
	r := k.row()
	switch {
	case state == "" || slices.Contains(r.ready, state):
		return Ready
	case slices.Contains(r.passing, state):
		return Passing
	case slices.Contains(r.deleted, state):
		return Deleted
	case r.ready == nil:
		return Ready
	}
	return Stuck
}

// readyState returns a state in which metadata can be written.
func (r *row) readyState() string {
	if len(r.ready) > 0 {
		return r.ready[0]
	}
	return "available"
}

// View is a resource as the API returns it. A missing field is zero.
type View struct {
	ID      string
	Name    string
	Project string
	// User is the id of the user that created the resource.
	User    string
	Created time.Time
	// Updated is when the resource, or its metadata, last changed.
	Updated time.Time
	// State is a server's OS-EXT-STS:vm_state ("active", "building", …), not its status, which uses other terms (SHUTOFF
	// for stopped); and the status of any other kind.
	State string
	// Task is a server's OS-EXT-STS:task_state, "" for none.
	Task string
	// Locked reports that a server is locked, if the microversion shows it.
	Locked bool
	// Flavor is a server's flavor: its id, or its name if the microversion has no id.
	Flavor string
	// Image is the id of a server's image, "" for a server that boots from a volume; Zone is the availability zone.
	Image, Zone string
	// Parents are the ids of the resources that this one belongs to: a snapshot's volume, the servers that a volume is
	// attached to.
	Parents  []string
	Metadata map[string]string
	// Size is in the kind's [Unit]. Only lists have it; it is 0 if they do not, as below Nova's microversion 2.47.
	Size int
}

type serverBody struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Project  string            `json:"tenant_id"`
	User     string            `json:"user_id,omitempty"`
	Created  string            `json:"created,omitempty"`
	Updated  string            `json:"updated,omitempty"`
	VMState  string            `json:"OS-EXT-STS:vm_state"`
	Task     string            `json:"OS-EXT-STS:task_state"`
	Locked   bool              `json:"locked"`
	Flavor   flavorBody        `json:"flavor"`
	Image    json.RawMessage   `json:"image,omitempty"` // an object, or ""
	Zone     string            `json:"OS-EXT-AZ:availability_zone,omitempty"`
	Metadata map[string]string `json:"metadata"`
}

// flavorBody has the id up to microversion 2.46, and the name from 2.47.
type flavorBody struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"original_name,omitempty"`
}

func decodeServer(text []byte) (View, error) {
	var b *serverBody
	if err := json.Unmarshal(text, &b); err != nil {
		return View{}, err
	}
	if b == nil || b.VMState == "" || b.Metadata == nil {
		return View{}, errors.New(`the response has no server with "OS-EXT-STS:vm_state" and "metadata"`)
	}
	created, _ := time.Parse(time.RFC3339, b.Created)
	updated, _ := time.Parse(time.RFC3339, b.Updated)
	flavor := b.Flavor.ID
	if flavor == "" {
		flavor = b.Flavor.Name
	}
	var image struct{ ID string }
	_ = json.Unmarshal(b.Image, &image)
	return View{
		ID: b.ID, Name: b.Name, Project: b.Project, User: b.User, Created: created, Updated: updated, Image: image.ID,
		Zone:  b.Zone,
		State: b.VMState, Task: b.Task, Locked: b.Locked,
		Flavor: flavor, Metadata: b.Metadata,
	}, nil
}

func encodeServer(v View) any {
	return serverBody{
		ID: v.ID, Name: v.Name, Project: v.Project, User: v.User, VMState: v.State, Task: v.Task, Locked: v.Locked,
		Flavor: flavorBody{ID: v.Flavor}, Metadata: v.Metadata,
	}
}

type snapshotBody struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Project  string            `json:"os-extended-snapshot-attributes:project_id,omitempty"`
	User     string            `json:"user_id,omitempty"`
	Created  string            `json:"created_at,omitempty"`
	Updated  string            `json:"updated_at,omitempty"`
	Status   string            `json:"status"`
	Volume   string            `json:"volume_id"`
	Metadata map[string]string `json:"metadata"`
}

// cinderTime is how Cinder writes times: UTC, without a zone.
const cinderTime = "2006-01-02T15:04:05.999999"

func decodeSnapshot(text []byte) (View, error) {
	var b *snapshotBody
	if err := json.Unmarshal(text, &b); err != nil {
		return View{}, err
	}
	if b == nil || b.Status == "" || b.Metadata == nil {
		return View{}, errors.New(`the response has no snapshot with "status" and "metadata"`)
	}
	created, _ := time.Parse(cinderTime, b.Created)
	updated, _ := time.Parse(cinderTime, b.Updated)
	return View{
		ID: b.ID, Name: b.Name, Project: b.Project, User: b.User, Created: created, Updated: updated,
		State: b.Status, Parents: ids(b.Volume), Metadata: b.Metadata,
	}, nil
}

func encodeSnapshot(v View) any {
	b := snapshotBody{ID: v.ID, Name: v.Name, Project: v.Project, User: v.User, Status: v.State, Metadata: v.Metadata}
	if len(v.Parents) > 0 {
		b.Volume = v.Parents[0]
	}
	return b
}

// ids returns the ids that are not empty.
func ids(all ...string) []string {
	return slices.DeleteFunc(all, func(id string) bool { return id == "" })
}

type volumeBody struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Project     string            `json:"os-vol-tenant-attr:tenant_id,omitempty"`
	User        string            `json:"user_id,omitempty"`
	Created     string            `json:"created_at,omitempty"`
	Updated     string            `json:"updated_at,omitempty"`
	Status      string            `json:"status"`
	Zone        string            `json:"availability_zone,omitempty"`
	Attachments []attachmentBody  `json:"attachments"`
	Metadata    map[string]string `json:"metadata"`
}

type attachmentBody struct {
	Server string `json:"server_id"`
}

func decodeVolume(text []byte) (View, error) {
	var b *volumeBody
	if err := json.Unmarshal(text, &b); err != nil {
		return View{}, err
	}
	if b == nil || b.Status == "" || b.Metadata == nil {
		return View{}, errors.New(`the response has no volume with "status" and "metadata"`)
	}
	// While a volume is attached by os-attach, Cinder shows two keys of its own in the metadata.
	delete(b.Metadata, "readonly")
	delete(b.Metadata, "attached_mode")
	created, _ := time.Parse(cinderTime, b.Created)
	updated, _ := time.Parse(cinderTime, b.Updated)
	v := View{
		ID: b.ID, Name: b.Name, Project: b.Project, User: b.User, Created: created, Updated: updated, State: b.Status,
		Zone:     b.Zone,
		Metadata: b.Metadata,
	}
	for _, a := range b.Attachments {
		v.Parents = append(v.Parents, ids(a.Server)...)
	}
	return v, nil
}

func encodeVolume(v View) any {
	b := volumeBody{
		ID: v.ID, Name: v.Name, Project: v.Project, User: v.User, Status: v.State, Attachments: []attachmentBody{},
		Metadata: v.Metadata,
	}
	for _, server := range v.Parents {
		b.Attachments = append(b.Attachments, attachmentBody{server})
	}
	return b
}
