package simcloud

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Options describe a cloud. The zero value is one with the projects demo, admin and other, the users of [DefaultUsers],
// two flavors, one image, and in which everything happens at once.
type Options struct {
	// Endpoint is the base URL of links and of the catalog, without a slash at its end. When empty, it is that of each
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
	// BuildFails lets every build end in error.
	BuildFails bool
	// ActionTime is how long an action takes (os-stop, resize, …). The server has a task_state meanwhile.
	ActionTime time.Duration
	// ShelvedOffloadTime is how long a shelved server stays on its host. As Nova's shelved_offload_time: 0 takes it off
	// at once, a negative value never.
	ShelvedOffloadTime time.Duration
	// DeleteTime is how long a server, volume or snapshot is being deleted.
	DeleteTime time.Duration
	// DeletedVisible is how long a deleted server can still be seen, in vm_state deleted.
	DeletedVisible time.Duration
	// SoftDelete puts a deleted server into vm_state soft-delete, from which it can be restored, as Nova does with
	// reclaim_instance_interval.
	SoftDelete bool
	// AttachTime is how long a volume is attaching or detaching, VolumeActionTime how long it is extending or uploading.
	AttachTime, VolumeActionTime time.Duration
	// SnapshotTime is how long a new snapshot is creating, VolumeTime the same for a volume.
	SnapshotTime, VolumeTime time.Duration
	// SnapshotFails lets every snapshot end in error.
	SnapshotFails bool
	// MaxMetadataItems is Nova's quota of metadata items per server, 128 by default, unlimited when negative.
	MaxMetadataItems int

	// Latency is how long every request takes. Its effect comes at its beginning, the answer at its end; a client that
	// goes away meanwhile does not undo the effect.
	Latency time.Duration
	// LostUpdates makes metadata writes what they are in Nova and, for snapshots, in Cinder: the whole map is read when
	// the request begins and saved, merged, when it ends, so that of two writers that overlap (see Latency) one loses
	// its keys while both are answered 200. Without it, writes are atomic.
	LostUpdates bool
	// HuaweiCloud gives Compute and Block Storage the face of Huawei Cloud's ECS and EVS: error codes such as Ecs.0100,
	// block storage at /volume/v2/{project_id}, and requests signed with AK/SK.
	HuaweiCloud bool

	// Faults are injected from the beginning, see [Cloud.Inject].
	Faults []Fault
	// Seed makes ids and random faults repeatable; 0 is another one each time.
	Seed uint64
	// JournalSize is how many requests [Cloud.Requests] remembers: 1000 by default, none when negative.
	JournalSize int
	// OnRequest, when set, is called with every request once it is answered, on the goroutine that served it.
	OnRequest func(Request)
}

// Secret is a password or key. It does not show itself in formatted output.
type Secret string

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Project is a Keystone project of the domain Default.
type Project struct {
	// ID is 32 hexadecimal digits; by default derived from the name, so that it is the same in every run.
	ID   string
	Name string
	// Description, Tags and Extra (members beside Keystone's own) are what GET /v3/projects/{id} tells of it.
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
	// Roles gives the user's role for each project's name: admin, member or reader. A role implies those after it.
	Roles map[string]string
	// DomainRole is the user's role on the domain: admin, member, reader, or none.
	DomainRole string
	// Extra are members beside Keystone's own that GET /v3/users/{id} tells, such as email and description.
	Extra map[string]string
}

// ApplicationCredential lets a program act as a user in one project.
type ApplicationCredential struct {
	// ID is by default derived from the name.
	ID     string
	Name   string
	Secret Secret
	// User and Project are names.
	User    string
	Project string
}

// AccessKey is an AK/SK pair of Huawei Cloud. Only a cloud with [Options.HuaweiCloud] knows it.
type AccessKey struct {
	AccessKey string
	SecretKey Secret
	// SecurityToken is required in X-Security-Token when set: the pair is a temporary one then.
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

// Image is an Image service's image.
type Image struct {
	// ID is a UUID; by default derived from the name.
	ID, Name string
}

// DefaultUsers returns the users of a cloud whose options name none: demo (member of demo), admin (admin of admin and
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

// stableID derives an id from what it is the id of, so that a cloud has the same ids in every run.
func stableID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + ":" + name))
	return hex.EncodeToString(sum[:16])
}

// stableUUID is stableID in the form of a version 4 UUID.
func stableUUID(kind, name string) string {
	id := stableID(kind, name)
	return id[:8] + "-" + id[8:12] + "-4" + id[13:16] + "-8" + id[17:20] + "-" + id[20:]
}
