package simcloud

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Server is a server, as Go code creates and reads it.
type Server struct {
	// ID is a new UUID when empty.
	ID, Name, Description string
	// ProjectID is the first project's, UserID the first user's when empty.
	ProjectID, UserID string
	// Image and Flavor are ids; the first ones when empty.
	Image, Flavor string
	// VMState is active when empty. A building server becomes active after BuildTime, or error if BuildFails is set; with
	// a BuildTime of 0 it stays building until FinishBuild or SetServerState.
	VMState, TaskState string
	BuildTime          time.Duration
	BuildFails         bool
	Locked             bool
	Metadata           map[string]string
	// Volumes are the ids of the attached volumes. PutServer ignores them: PutVolume attaches.
	Volumes []string
	// Created is now when zero. Launched is when the server first ran: Created when zero, unless it is building or
	// NeverLaunched.
	Created, Launched time.Time
	NeverLaunched     bool
}

// Snapshot is a volume snapshot, as Go code creates and reads it.
type Snapshot struct {
	// ID is a new UUID when empty. VolumeID is a new volume when empty.
	ID, Name, Description, VolumeID string
	// ProjectID is the first project's, UserID the first user's when empty.
	ProjectID, UserID string
	// Status is available when empty.
	Status   string
	Metadata map[string]string
	// Created is now when zero.
	Created time.Time
}

// PutServer creates a server, or replaces the one with the same ID, and returns its ID.
func (c *Cloud) PutServer(v Server) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.Metadata = textOrEmpty(v.Metadata)
	return c.putServer(v, time.Now())
}

// putServer keeps the metadata map without copying it. The caller holds c.mu.
func (c *Cloud) putServer(v Server, now time.Time) string {
	project, user := c.owner(v.ProjectID, v.UserID)
	s := &server{
		id: v.ID, name: v.Name, description: v.Description, projectID: project, userID: user,
		image: v.Image, flavor: v.Flavor,
		zone: "nova", metadata: v.Metadata, vmState: cmp.Or(v.VMState, vmActive), taskState: v.TaskState, locked: v.Locked,
		created: orNow(v.Created, now), updated: orNow(v.Created, now), launched: v.Launched, sequence: c.nextSequence(),
	}
	if s.id == "" {
		s.id = c.newUUID()
	}
	if s.image == "" && len(c.directory.images) > 0 {
		s.image = c.directory.images[0].ID
	}
	if s.flavor == "" && len(c.directory.flavors) > 0 {
		s.flavor = c.directory.flavors[0].ID
	}
	switch {
	case s.vmState == vmBuilding && v.BuildTime > 0:
		s.build(now, v.BuildTime, v.BuildFails)
		s.settle(now)
	case s.vmState == vmBuilding:
		s.taskState = cmp.Or(v.TaskState, "spawning")
	case s.launched.IsZero() && s.vmState != vmBuilding && !v.NeverLaunched:
		s.launched = s.created
	}
	c.servers.put(s)
	c.watch(s)
	return s.id
}

// owner defaults to the first project and user. The caller holds c.mu.
func (c *Cloud) owner(project, user string) (string, string) {
	if project == "" && len(c.directory.projects) > 0 {
		project = c.directory.projects[0].ID
	}
	if user == "" && len(c.directory.users) > 0 {
		user = c.directory.users[0].ID
	}
	return project, user
}

func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}

func textOrEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

// Server returns a server as it is now, and whether it exists.
func (c *Cloud) Server(id string) (Server, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	s := c.servers.get(id)
	if s == nil {
		return Server{}, false
	}
	return s.public(), true
}

func (s *server) public() Server {
	return Server{
		ID: s.id, Name: s.name, Description: s.description, ProjectID: s.projectID, UserID: s.userID, Image: s.image,
		Flavor: s.flavor, VMState: s.vmState, TaskState: s.taskState, Locked: s.locked, Metadata: maps.Clone(s.metadata),
		Volumes: slices.Clone(s.volumes), Created: s.created, Launched: s.launched, NeverLaunched: s.launched.IsZero(),
	}
}

// Servers returns every server of every project, the oldest first.
func (c *Cloud) Servers() []Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	var out []Server
	for s := range c.servers.all.oldest() {
		out = append(out, s.public())
	}
	return out
}

// change applies a function to a server and reports whether the server exists.
func (c *Cloud) change(id string, f func(s *server, now time.Time)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.settle(now)
	s := c.servers.get(id)
	if s == nil {
		return false
	}
	f(s, now)
	s.updated = now
	c.watch(s)
	return true
}

// SetServerState puts a server into a vm_state and task_state, where it then stays: what was under way ends. It reports
// whether the server exists.
func (c *Cloud) SetServerState(id, vmState, taskState string) bool {
	return c.change(id, func(s *server, now time.Time) {
		s.vmState, s.taskState, s.plan = vmState, taskState, nil
		if s.launched.IsZero() && vmState != vmBuilding && vmState != vmError {
			s.launched = now
		}
	})
}

// SetServerLocked locks or unlocks a server as an administrator. It reports whether the server exists.
func (c *Cloud) SetServerLocked(id string, locked bool) bool {
	return c.change(id, func(s *server, _ time.Time) { s.locked, s.lockedByAdmin = locked, locked })
}

// SetServerMetadata replaces a server's metadata in any state. It reports whether the server exists.
func (c *Cloud) SetServerMetadata(id string, metadata map[string]string) bool {
	return c.change(id, func(s *server, _ time.Time) { s.metadata = textOrEmpty(metadata) })
}

// FinishBuild reschedules the end of a server's build; 0 ends it now. It reports whether the server exists and is
// building.
func (c *Cloud) FinishBuild(id string, after time.Duration, fails bool) bool {
	building := false
	c.change(id, func(s *server, now time.Time) {
		if building = s.vmState == vmBuilding; building {
			s.build(now, after, fails)
			s.settle(now)
		}
	})
	return building
}

// DeleteServer removes a server at once. It reports whether it existed.
func (c *Cloud) DeleteServer(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers.get(id)
	if s != nil {
		s.updated = time.Now()
		c.releaseVolumes(s)
		c.archive(s)
	}
	return s != nil
}

// PutSnapshot creates a snapshot, or replaces the one with the same ID, and returns its ID. In status creating, it
// becomes available after Options.SnapshotTime if that is set.
func (c *Cloud) PutSnapshot(v Snapshot) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.Metadata = textOrEmpty(v.Metadata)
	return c.putSnapshot(v, time.Now())
}

// putSnapshot keeps the metadata map without copying it. The caller holds c.mu.
func (c *Cloud) putSnapshot(v Snapshot, now time.Time) string {
	project, user := c.owner(v.ProjectID, v.UserID)
	s := &snapshot{
		id:          v.ID,
		name:        v.Name,
		description: v.Description,
		volumeID:    v.VolumeID,
		projectID:   project,
		userID:      user,
		size:        1,
		status: cmp.Or(
			v.Status,
			"available",
		),
		metadata: v.Metadata,
		created:  orNow(v.Created, now),
		updated:  now,
		sequence: c.nextSequence(),
	}
	if s.id == "" {
		s.id = c.newUUID()
	}
	if s.volumeID == "" {
		s.volumeID = c.newUUID()
		c.volumes.put(&volume{
			id: s.volumeID, name: "volume of " + s.id, projectID: project, userID: user, status: "available", size: 1,
			metadata: map[string]string{}, created: s.created, updated: s.created, sequence: c.nextSequence(),
		})
	}
	s.taken = s.status != "creating" && s.status != "error"
	if s.status == "creating" && c.options.SnapshotTime > 0 {
		s.until, s.then = now.Add(c.options.SnapshotTime), "available"
		if c.options.SnapshotFails {
			s.then = "error"
		}
	}
	c.snapshots.put(s)
	c.watch(s)
	return s.id
}

// Snapshot returns a snapshot as it is now, and whether it exists.
func (c *Cloud) Snapshot(id string) (Snapshot, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	s := c.snapshots.get(id)
	if s == nil {
		return Snapshot{}, false
	}
	return s.public(), true
}

func (s *snapshot) public() Snapshot {
	return Snapshot{
		ID: s.id, Name: s.name, Description: s.description, VolumeID: s.volumeID, ProjectID: s.projectID, UserID: s.userID,
		Status: s.status, Metadata: maps.Clone(s.metadata), Created: s.created,
	}
}

// Snapshots returns every snapshot of every project, the oldest first.
func (c *Cloud) Snapshots() []Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	var out []Snapshot
	for s := range c.snapshots.all.oldest() {
		out = append(out, s.public())
	}
	return out
}

// SetSnapshotStatus sets a snapshot\'s status. It stays there. It reports whether the snapshot exists.
func (c *Cloud) SetSnapshotStatus(id, status string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.snapshots.get(id)
	if s == nil {
		return false
	}
	s.status, s.then, s.updated = status, "", time.Now()
	s.taken = s.taken || status == "available"
	return true
}

// DeleteSnapshot removes a snapshot at once. It reports whether it existed.
func (c *Cloud) DeleteSnapshot(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshots.drop(id)
}
