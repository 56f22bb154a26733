package simcloud

import "time"

// Resource is a resource of any kind, for callers that treat all kinds alike.
type Resource struct {
	// Kind is a kind of package lifecycle: server, baremetal, snapshot. An unknown kind is a server.
	Kind string
	// ID, Name and ProjectID are those of [Server].
	ID, Name, ProjectID string
	// BuildTime, if not 0, makes the resource build for so long.
	BuildTime time.Duration
	// State is its state otherwise, the default one when empty.
	State string
}

// kinds are the functions to create and read resources other than servers.
func (c *Cloud) kinds() map[string]kindOperations {
	return map[string]kindOperations{
		"volume": {
			put: func(r Resource) {
				v := Volume{ID: r.ID, Name: r.Name, ProjectID: r.ProjectID, Status: r.State}
				if r.BuildTime > 0 {
					v.Status = "creating" // for the cloud's VolumeTime
				}
				c.PutVolume(v)
			},
			set:      func(id string, m map[string]string) { c.SetVolumeMetadata(id, m) },
			metadata: func(id string) map[string]string { v, _ := c.Volume(id); return v.Metadata },
		},
		"snapshot": {
			put: func(r Resource) {
				s := Snapshot{ID: r.ID, Name: r.Name, ProjectID: r.ProjectID, Status: r.State}
				if r.BuildTime > 0 {
					s.Status = "creating" // for the cloud's SnapshotTime
				}
				c.PutSnapshot(s)
			},
			set: func(id string, m map[string]string) {
				if s, ok := c.Snapshot(id); ok {
					s.Metadata = m
					c.PutSnapshot(s)
				}
			},
			metadata: func(id string) map[string]string { s, _ := c.Snapshot(id); return s.Metadata },
		},
	}
}

type kindOperations struct {
	put      func(Resource)
	set      func(id string, metadata map[string]string)
	metadata func(id string) map[string]string
}

// Put creates a resource, or replaces the one with the same ID.
func (c *Cloud) Put(r Resource) {
	if kind, ok := c.kinds()[r.Kind]; ok {
		kind.put(r)
		return
	}
	s := Server{ID: r.ID, Name: r.Name, ProjectID: r.ProjectID, VMState: r.State, BuildTime: r.BuildTime}
	if r.BuildTime > 0 {
		s.VMState = vmBuilding
	}
	c.PutServer(s)
}

// Metadata returns a resource's metadata, nil when there is no such resource.
func (c *Cloud) Metadata(kind, id string) map[string]string {
	if operations, ok := c.kinds()[kind]; ok {
		return operations.metadata(id)
	}
	s, _ := c.Server(id)
	return s.Metadata
}

// SetMetadata replaces a resource's metadata.
func (c *Cloud) SetMetadata(kind, id string, metadata map[string]string) {
	if operations, ok := c.kinds()[kind]; ok {
		operations.set(id, metadata)
		return
	}
	c.SetServerMetadata(id, metadata)
}
