package simcloud

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// Volume is a volume, as Go code creates and reads it.
type Volume struct {
	// ID is a new UUID when empty.
	ID, Name, Description string
	// ProjectID is the first project's, UserID the first user's when empty.
	ProjectID, UserID string
	// Status is available when empty, or in-use when there is a ServerID.
	Status string
	// Size is in GiB, 1 when 0.
	Size int
	// SnapshotID or ImageID is the volume's source.
	SnapshotID, ImageID string
	// ServerID is the existing server to attach the volume to. Device is its name in the guest, Boot whether the server
	// boots from it, DeleteOnTermination whether it is deleted with the server.
	ServerID, Device          string
	Boot, DeleteOnTermination bool
	Metadata                  map[string]string
	// Created is now when zero.
	Created time.Time
}

// PutVolume creates a volume, or replaces the one with the same ID, and returns its ID.
func (c *Cloud) PutVolume(v Volume) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.Metadata = textOrEmpty(v.Metadata)
	return c.putVolume(v, time.Now())
}

// putVolume keeps the metadata map without copying it. The caller holds c.mu.
func (c *Cloud) putVolume(v Volume, now time.Time) string {
	project, user := c.owner(v.ProjectID, v.UserID)
	made := &volume{
		id:          v.ID,
		name:        v.Name,
		description: v.Description,
		projectID:   project,
		userID:      user,
		status:      cmp.Or(v.Status, "available"),
		size:        max(v.Size, 1),
		snapshotID:  v.SnapshotID,
		imageID:     v.ImageID,
		bootable:    v.Boot || v.ImageID != "",
		metadata:    v.Metadata,
		created:     orNow(v.Created, now),
		updated:     orNow(v.Created, now),
		sequence:    c.nextSequence(),
	}
	if made.id == "" {
		made.id = c.newUUID()
	}
	c.volumes.put(made)
	if v.ServerID != "" {
		made.attachment = &attachment{
			id:                  c.newUUID(),
			mapping:             c.newUUID(),
			serverID:            v.ServerID,
			device:              v.Device,
			mode:                "rw",
			boot:                v.Boot,
			at:                  made.created,
			deleteOnTermination: v.DeleteOnTermination,
		}
		made.status = cmp.Or(v.Status, "in-use")
		if s := c.servers.get(v.ServerID); s != nil {
			if v.Device == "" {
				made.attachment.device = c.nextDevice(s)
			}
			s.volumes = append(s.volumes[:len(s.volumes):len(s.volumes)], made.id)
		}
	}
	return made.id
}

// Volume returns a volume as it is now, and whether it exists.
func (c *Cloud) Volume(id string) (Volume, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	v := c.volumes.get(id)
	if v == nil {
		return Volume{}, false
	}
	return v.public(), true
}

func (v *volume) public() Volume {
	out := Volume{
		ID:          v.id,
		Name:        v.name,
		Description: v.description,
		ProjectID:   v.projectID,
		UserID:      v.userID,
		Status:      v.status,
		Size:        v.size,
		SnapshotID:  v.snapshotID,
		ImageID:     v.imageID,
		Metadata:    maps.Clone(v.metadata),
		Created:     v.created,
	}
	if a := v.attachment; a != nil {
		out.ServerID, out.Device, out.Boot, out.DeleteOnTermination = a.serverID, a.device, a.boot, a.deleteOnTermination
	}
	return out
}

// Volumes returns every volume of every project, the oldest first.
func (c *Cloud) Volumes() []Volume {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	var out []Volume
	for v := range c.volumes.all.oldest() {
		out = append(out, v.public())
	}
	return out
}

// SetVolumeMetadata replaces a volume's metadata in any status. It reports whether the volume exists.
func (c *Cloud) SetVolumeMetadata(id string, metadata map[string]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.volumes.get(id)
	if v == nil {
		return false
	}
	v.metadata = textOrEmpty(metadata)
	return true
}

// SetVolumeStatus sets a volume\'s status. It stays there. It reports whether the volume exists.
func (c *Cloud) SetVolumeStatus(id, status string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.volumes.get(id)
	if v == nil {
		return false
	}
	v.become(time.Now(), 0, status, "", nil)
	return true
}

// DeleteVolume removes a volume and its snapshots at once. It reports whether it existed.
func (c *Cloud) DeleteVolume(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.volumes.get(id)
	if v == nil {
		return false
	}
	c.release(v)
	c.deleteNow(v, time.Now())
	return true
}

// Fill creates n active servers in the first project, named server-000000 and so on, a second apart, the last one now.
// describe, if not nil, may change server i before it is created. Metadata is not copied: servers may share a map,
// which must not change afterwards.
func (c *Cloud) Fill(n int, describe func(i int, s *Server)) {
	fill(c, "server", n, describe, c.putServer, func(name string, created time.Time, none map[string]string) Server {
		return Server{Name: name, Created: created, Metadata: none}
	})
}

// FillVolumes creates many volumes, as Fill creates servers.
func (c *Cloud) FillVolumes(n int, describe func(i int, v *Volume)) {
	fill(c, "volume", n, describe, c.putVolume, func(name string, created time.Time, none map[string]string) Volume {
		return Volume{Name: name, Created: created, Metadata: none}
	})
}

// FillSnapshots creates many snapshots, as Fill creates servers. A snapshot without a VolumeID gets a volume of its
// own.
func (c *Cloud) FillSnapshots(n int, describe func(i int, s *Snapshot)) {
	fill(c, "snapshot", n, describe, c.putSnapshot, func(name string, created time.Time, none map[string]string) Snapshot {
		return Snapshot{Name: name, Created: created, Metadata: none}
	})
}

func fill[R any](c *Cloud, kind string, n int, describe func(int, *R), put func(R, time.Time) string,
	plain func(name string, created time.Time, none map[string]string) R,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	none := map[string]string{}
	for i := range n {
		r := plain(fmt.Sprintf("%s-%06d", kind, i), now.Add(time.Duration(i-n+1)*time.Second), none)
		if describe != nil {
			describe(i, &r)
		}
		put(r, now)
	}
}
