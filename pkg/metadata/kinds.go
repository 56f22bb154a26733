package metadata

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// Kind is a sort of resource, by the name that package lifecycle gives it. Everything that depends on the kind is in
// one table, in this file.
type Kind string

// The kinds.
const (
	Server    Kind = "server"
	BareMetal Kind = "baremetal"
	Volume    Kind = "volume"
	Snapshot  Kind = "snapshot"
)

// Service is the API that a kind is reached through.
type Service string

// The services.
const (
	Compute      Service = "compute"
	BlockStorage Service = "volume"
)

// Readiness says whether metadata can be written in a resource's state.
type Readiness string

// Ready: the state allows writing, or the kind has no state that matters. Passing: the state refuses and passes by
// itself. Stuck: it refuses until a person changes it. Deleted: the resource is going, or gone.
const (
	Ready   Readiness = "ready"
	Passing Readiness = "passing"
	Stuck   Readiness = "stuck"
	Deleted Readiness = "deleted"
)

// row is everything that depends on a kind.
type row struct {
	kind    Kind
	service Service
	// collection is the path under the service's endpoint, member the name of a resource's JSON object, pages the path
	// that the API pages put before it.
	collection, member, pages string
	// openstack and huaweicloud are the families whose limits apply.
	openstack, huaweicloud Family
	// perKey says that each key is written by a PUT of its own. Otherwise one POST writes all of them.
	perKey bool
	// foldsCase says that the service takes owner and Owner for one key, and writes one into the row of the other.
	foldsCase bool
	// maxItems is how many items of metadata a resource may have by the service's default configuration, 0 for no limit.
	maxItems int
	// stateName is what the service calls the state that decides about writing, "" where none does.
	stateName string
	// ready, passing and deleted are the states in which metadata can be written, that pass by themselves, and that say
	// that the resource is gone. Any other state is for a person to change; where ready is nil, it is ready.
	ready, passing, deleted []string
	// ownedWhole says that other programs (Terraform, Heat) own all metadata of the resources that they manage.
	ownedWhole bool
	// parent is the kind that a resource of this kind belongs to, "" for none.
	parent Kind
	// microversion is the lowest one with every field of the view, "" where the service's default has all of them.
	microversion string
	// downCells is the microversion in which the list has servers of a cell that is down, "" for other kinds.
	downCells string
	// unit is what the size of a resource is counted in, size reads it from a resource's JSON object.
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
		microversion: "2.9", downCells: "2.69",
		unit: VCPU, size: serverSize, decode: decodeServer, encode: encodeServer,
	},
	{
		kind: BareMetal, service: Compute, collection: "servers", member: "server", pages: "/v2.1/",
		openstack: Nova, huaweicloud: BMS, maxItems: 128,
		stateName: "vm_state", ready: serverReady, passing: serverPassing, deleted: serverDeleted,
		microversion: "2.9", downCells: "2.69",
		unit: VCPU, size: serverSize, decode: decodeServer, encode: encodeServer,
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

// row returns the kind's row, and an empty one for a kind that there is none for.
func (k Kind) row() *row {
	for i := range table {
		if table[i].kind == k {
			return &table[i]
		}
	}
	return &row{}
}

// apiVersion is the value of the header that asks for the row's microversion, "" for none.
func (r *row) apiVersion() string {
	if r.microversion == "" {
		return ""
	}
	return string(r.service) + " " + r.microversion
}

// Service returns the API that the kind is reached through, "" for an unknown kind.
func (k Kind) Service() Service { return k.row().service }

// Family returns the family whose limits for keys and values apply.
func (k Kind) Family(api API) Family {
	if api == HuaweiCloud {
		return k.row().huaweicloud
	}
	return k.row().openstack
}

// PagePath returns the path before a request's own, as the API pages have it: "/v2.1/{project}/".
func (k Kind) PagePath(project string) string { return k.row().pages + project + "/" }

// MaxItems returns how many items of metadata a resource of the kind may have by the service's default configuration
// (Nova's quota metadata_items), 0 for no limit.
func (k Kind) MaxItems() int { return k.row().maxItems }

// HasState reports whether the kind has states that decide about writing.
func (k Kind) HasState() bool { return k.row().stateName != "" }

// StateName returns what the service calls the state that decides about writing: "vm_state" or "status", "" for none.
func (k Kind) StateName() string { return k.row().stateName }

// OwnedWhole reports whether other programs own all metadata of the resources of this kind that they manage, and undo
// or report what else is written.
func (k Kind) OwnedWhole() bool { return k.row().ownedWhole }

// Parent returns the kind that a resource of this kind belongs to, "" for none.
func (k Kind) Parent() Kind { return k.row().parent }

// FoldsCase reports whether the service takes keys that differ in case only for one.
func (k Kind) FoldsCase() bool { return k.row().foldsCase }

// Readiness says whether metadata can be written in the state. "" is a state that was not read; it counts as ready.
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

// View is what the API tells of a resource. A field that it does not tell is zero.
type View struct {
	ID      string
	Name    string
	Project string
	// User is the id of the user that created the resource.
	User    string
	Created time.Time
	// Updated is when the resource, or its metadata, last changed.
	Updated time.Time
	// State is a server's OS-EXT-STS:vm_state ("active", "building", …), not its status, which has other words (SHUTOFF
	// for stopped); and the status of any other kind.
	State string
	// Task is a server's OS-EXT-STS:task_state, "" for none.
	Task string
	// Locked says that a server is locked, as far as the microversion tells it.
	Locked bool
	// Flavor is a server's flavor: its id, or its name where the microversion has no id.
	Flavor string
	// Image is the id of a server's image, "" for a server that boots from a volume; Zone is the availability zone.
	Image, Zone string
	// Parents are the ids of the resources that this one belongs to: a snapshot's volume, the servers that a volume is
	// attached to.
	Parents  []string
	Metadata map[string]string
	// Size is in the kind's [Unit]. Only lists tell it; it is 0 where they do not, as below Nova's microversion 2.47.
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
		return View{}, errors.New(`the answer has no server with "OS-EXT-STS:vm_state" and "metadata"`)
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
		return View{}, errors.New(`the answer has no snapshot with "status" and "metadata"`)
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
		return View{}, errors.New(`the answer has no volume with "status" and "metadata"`)
	}
	// Cinder shows two keys of its own among a volume's metadata while it is attached by os-attach.
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
