package simcloud

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Options configure a cloud. The zero value has the projects demo, admin and other, the users of [DefaultUsers], two
// flavors and one image, and no delays.
type Options struct {
	// Endpoint is the base URL of links and of the catalog, without a trailing slash. When empty, it is that of each
	// request.
	Endpoint string
	// Region is the catalog's only region, RegionOne by default.
	Region string
	// Projects, Users, ApplicationCredentials and AccessKeys replace the defaults. The first user is the one of
	// [Cloud.Env].
	Projects               []Project
	Users                  []User
	ApplicationCredentials []ApplicationCredential
	AccessKeys             []AccessKey
	// Flavors and Images replace the defaults.
	Flavors []Flavor
	Images  []Image
	// TokenLifetime is how long a token is valid, 1 h by default.
	TokenLifetime time.Duration

	// BuildTime is how long a new server is building.
	BuildTime time.Duration
	// BuildFails makes every build end in error.
	BuildFails bool
	// ActionTime is how long an action (os-stop, resize, …) takes. During it, the server has a task_state.
	ActionTime time.Duration
	// ShelvedOffloadTime is how long a shelved server stays on its host, as Nova's shelved_offload_time: 0 offloads it at
	// once, a negative value never.
	ShelvedOffloadTime time.Duration
	// DeleteTime is how long a server, volume or snapshot is being deleted.
	DeleteTime time.Duration
	// DeletedVisible is how long a deleted server stays visible, in vm_state deleted.
	DeletedVisible time.Duration
	// SoftDelete puts a deleted server into vm_state soft-delete, from which it can be restored, as Nova does with
	// reclaim_instance_interval.
	SoftDelete bool
	// AttachTime is how long a volume is attaching or detaching, VolumeActionTime how long it is extending or uploading.
	AttachTime, VolumeActionTime time.Duration
	// SnapshotTime is how long a new snapshot is creating, VolumeTime the same for a volume.
	SnapshotTime, VolumeTime time.Duration
	// SnapshotFails makes every snapshot end in error.
	SnapshotFails bool
	// MaxMetadataItems is Nova's quota of metadata items per server, 128 by default, unlimited when negative.
	MaxMetadataItems int

	// Latency is how long every request takes. Its effect is immediate, only the response is delayed; a client that
	// disconnects does not undo it.
	Latency time.Duration
	// LostUpdates makes metadata writes racy, as in Nova and, for snapshots, in Cinder: the map is read when the request
	// begins, and the merged map is saved when it ends. Of two overlapping writers (see Latency), one loses its keys
	// although both get 200. Without it, writes are atomic.
	LostUpdates bool
	// HuaweiCloud makes Compute and Block Storage behave as Huawei Cloud's ECS and EVS: error codes such as Ecs.0100,
	// block storage at /volume/v2/{project_id}, and requests signed with AK/SK.
	HuaweiCloud bool

	// Faults are injected at the start, see [Cloud.Inject].
	Faults []Fault
	// Seed makes ids and random faults repeatable; 0 uses a random seed.
	Seed uint64
	// JournalSize is how many requests [Cloud.Requests] returns at most: 1000 by default, none when negative.
	JournalSize int
	// OnRequest, if set, is called after each request, on the goroutine that served it.
	OnRequest func(Request)
}

// Secret is a password or key. Formatted output and JSON show a placeholder.
type Secret string

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Project is a Keystone project of the domain Default.
type Project struct {
	// ID is 32 hexadecimal digits. The default is derived from the name, so that it is stable.
	ID   string
	Name string
	// Description, Tags and Extra (additional members) are shown by GET /v3/projects/{id}.
	Description string
	Tags        []string
	Extra       map[string]string
}

// User is a Keystone user of the domain Default.
type User struct {
	// ID is by default derived from the name.
	ID       string
	Name     string
	Password Secret
	// Roles maps project names to the user's role: admin, member or reader. A role implies those after it.
	Roles map[string]string
	// DomainRole is the user's role on the domain: admin, member, reader, or none.
	DomainRole string
	// Extra are additional members of GET /v3/users/{id}, such as email and description.
	Extra map[string]string
}

// ApplicationCredential is an application credential of a user in one project.
type ApplicationCredential struct {
	// ID is by default derived from the name.
	ID     string
	Name   string
	Secret Secret
	// User and Project are names.
	User    string
	Project string
}

// AccessKey is an AK/SK pair of Huawei Cloud. It requires [Options.HuaweiCloud].
type AccessKey struct {
	AccessKey string
	SecretKey Secret
	// SecurityToken, if set, marks a temporary pair and is required in X-Security-Token.
	SecurityToken Secret
	// User is the name of the user who owns the pair.
	User string
}

// Flavor is a Compute flavor.
type Flavor struct {
	ID, Name string
	VCPUs    int
	// RAM is in MiB, Disk in GiB.
	RAM, Disk int
}

// Image is an image of the Image service.
type Image struct {
	// ID is a UUID; by default derived from the name.
	ID, Name string
}

// DefaultUsers returns the default users: demo (member of demo), admin (admin of admin and
// demo), reader (reader of demo) and stranger (member of other), each with the password secret.
func DefaultUsers() []User {
	return []User{
		{Name: "demo", Password: "secret", Roles: map[string]string{"demo": "member"}},
		{Name: "admin", Password: "secret", Roles: map[string]string{"admin": "admin", "demo": "admin"}},
		{Name: "reader", Password: "secret", Roles: map[string]string{"demo": "reader"}},
		{Name: "stranger", Password: "secret", Roles: map[string]string{"other": "member"}},
	}
}

func (o Options) withDefaults() Options {
	o.Region = cmp.Or(o.Region, "RegionOne")
	o.TokenLifetime = cmp.Or(o.TokenLifetime, time.Hour)
	o.MaxMetadataItems = cmp.Or(o.MaxMetadataItems, 128)
	o.JournalSize = cmp.Or(o.JournalSize, 1000)
	defaultUsers := o.Users == nil
	if defaultUsers {
		o.Users = DefaultUsers()
	}
	if o.Projects == nil {
		o.Projects = []Project{{Name: "demo"}, {Name: "admin"}, {Name: "other"}}
	}
	if o.ApplicationCredentials == nil && defaultUsers {
		o.ApplicationCredentials = []ApplicationCredential{{Name: "tagger", Secret: "application-secret", User: "demo",
			Project: "demo"}}
	}
	if o.AccessKeys == nil && defaultUsers {
		o.AccessKeys = []AccessKey{{AccessKey: "SIMCLOUDACCESSKEY000", SecretKey: "simcloud-secret-key", User: "demo"}}
	}
	if o.Flavors == nil {
		o.Flavors = []Flavor{{ID: "42", Name: "m1.nano", VCPUs: 1, RAM: 128, Disk: 1},
			{ID: "84", Name: "m1.micro", VCPUs: 1, RAM: 192, Disk: 1}}
	}
	if o.Images == nil {
		o.Images = []Image{{Name: "cirros"}}
	}
	return o
}

// stableID derives an id from a kind and a name, so that ids are the same in every run.
func stableID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + ":" + name))
	return hex.EncodeToString(sum[:16])
}

// stableUUID is stableID in the form of a version 4 UUID.
func stableUUID(kind, name string) string {
	id := stableID(kind, name)
	return id[:8] + "-" + id[8:12] + "-4" + id[13:16] + "-8" + id[17:20] + "-" + id[20:]
}
