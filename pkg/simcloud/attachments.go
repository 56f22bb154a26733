package simcloud

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// attachment attaches a volume to a server: Cinder's row and Nova's block device mapping in one.
type attachment struct {
	id, device          string // id is Cinder's
	mapping             string // the id of Nova's block device mapping
	serverID            string
	mode                string // rw, or "" while it has none
	tag                 string
	deleteOnTermination bool
	boot                bool // the server runs from it
	at                  time.Time
}

// volumesOf returns a server's volumes, in the order of their attachments.
func (c *Cloud) volumesOf(s *server) []*volume {
	var list []*volume
	for _, id := range s.volumes {
		if v := c.volumes.get(id); v != nil && v.attachedTo(s.id) {
			list = append(list, v)
		}
	}
	return list
}

// attachedTo reports whether the volume is attached to the server, or about to be.
func (v *volume) attachedTo(serverID string) bool {
	return v.attachment != nil && v.attachment.serverID == serverID
}

// attachedVolumes returns the volumes as a server's view shows them.
func (c *Cloud) attachedVolumes(r *request, s *server) []object {
	list := []object{}
	for _, v := range c.volumesOf(s) {
		view := object{{"id", v.id}}
		if r.version.atLeast(2, 3) {
			view = append(view, member{"delete_on_termination", v.attachment.deleteOnTermination})
		}
		list = append(list, view)
	}
	return list
}

// attachmentView returns a volume's attachment as Nova shows it.
func (r *request) attachmentView(v *volume) object {
	a := v.attachment
	view := object{}
	if !r.version.atLeast(2, 89) {
		view = append(view, member{"id", v.id})
	}
	view = append(view, object{{"volumeId", v.id}, {"serverId", a.serverID}, {"device", a.device}}...)
	if r.version.atLeast(2, 70) {
		view = append(view, member{"tag", textOrNil(a.tag)})
	}
	if r.version.atLeast(2, 79) {
		view = append(view, member{"delete_on_termination", a.deleteOnTermination})
	}
	if r.version.atLeast(2, 89) {
		view = append(view, object{{"attachment_id", a.id}, {"bdm_uuid", a.mapping}}...)
	}
	return view
}

// cinderAttachments returns a volume's attachments as Cinder shows them.
func (r *request) cinderAttachments(v *volume) []object {
	a := v.attachment
	if a == nil || v.status == "attaching" || v.status == "reserved" {
		return []object{}
	}
	var host any
	if r.who.admin() {
		host = "simcloud"
	}
	return []object{
		{
			{
				"id",
				v.id,
			},
			{"attachment_id", a.id},
			{"volume_id", v.id},
			{"server_id", textOrNil(a.serverID)},
			{"host_name", host},
			{"device", a.device},
			{"attached_at", momentOrNil(a.at)},
		},
	}
}

func (c *Cloud) listAttachments(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	// limit and offset also count the disk made from the image.
	disks := c.volumesOf(s)
	if s.image != "" {
		disks = slices.Insert(disks, 0, nil)
	}
	offset, _ := strconv.Atoi(r.query.Get("offset"))
	disks = disks[min(max(offset, 0), len(disks)):]
	if limit, err := strconv.Atoi(r.query.Get("limit")); err == nil && limit > 0 {
		disks = disks[:min(limit, len(disks))]
	}
	views := []object{}
	for _, v := range disks {
		if v != nil {
			views = append(views, r.attachmentView(v))
		}
	}
	return r.json(http.StatusOK, object{{"volumeAttachments", views}})
}

// attachmentOf returns the server's volume with the id in the URL, or nil.
func (c *Cloud) attachmentOf(r *request, s *server) *volume {
	if v := c.volumes.get(strings.ToLower(r.vars["volume"])); v != nil && v.attachedTo(s.id) {
		return v
	}
	return nil
}

func (c *Cloud) showAttachment(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	v := c.attachmentOf(r, s)
	if v == nil {
		return r.notFound("Instance %s is not attached to volume %s", r.vars["id"], r.vars["volume"])
	}
	return r.json(http.StatusOK, object{{"volumeAttachment", r.attachmentView(v)}})
}

// createAttachmentSchema is create_volume_attachment of nova/api/openstack/compute/schemas/volumes.py.
func createAttachmentSchema(v microversion) schema {
	s := schema{types: []string{"object"}, closed: true, required: []string{"volumeId"}, properties: []property{
		{
			"volumeId",
			schema{types: []string{"string"}, format: checkVolumeID},
		},
		{"device", schema{types: []string{"string", "null"}}},
	}}
	if v.atLeast(2, 49) {
		s.properties = append(
			s.properties,
			property{"tag", schema{types: []string{"string"}, minLength: 1, maxLength: 60}},
		)
	}
	if v.atLeast(2, 79) {
		s.properties = append(
			s.properties,
			property{"delete_on_termination", schema{types: []string{"boolean", "string"}, enum: novaBooleans}},
		)
	}
	return schema{
		types:      []string{"object"},
		closed:     true,
		required:   []string{"volumeAttachment"},
		properties: []property{{"volumeAttachment", s}},
	}
}

func (c *Cloud) createAttachment(r *request) *response {
	body, refused := r.checkedBody(createAttachmentSchema(r.version))
	if refused != nil {
		return refused
	}
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	if refused := r.allowed(s, action{label: "attach_volume", anyTask: true, unlaunched: true, from: []string{
		vmActive, vmPaused, vmStopped, vmResized, vmShelved, vmShelvedOffloaded, vmSuspended,
	}}); refused != nil {
		return refused
	}
	id := body.text("volumeAttachment", "volumeId")
	v := c.volumes.get(strings.ToLower(id))
	if v == nil || !r.who.sees(v.projectID) {
		return r.notFound("Volume %s could not be found.", id)
	}
	if refused := r.attachable(v); refused != nil {
		return refused
	}
	a := c.attach(r.start, s, v, body.text("volumeAttachment", "device"))
	a.tag = body.text("volumeAttachment", "tag")
	a.deleteOnTermination = parseBool(body.at("volumeAttachment", "delete_on_termination"))
	view := object{{"id", v.id}, {"serverId", s.id}, {"volumeId", v.id}, {"device", a.device}}
	if r.version.atLeast(2, 70) {
		view = append(view, member{"tag", textOrNil(a.tag)})
	}
	if r.version.atLeast(2, 79) {
		view = append(view, member{"delete_on_termination", a.deleteOnTermination})
	}
	return r.json(http.StatusOK, object{{"volumeAttachment", view}})
}

// attachable returns Nova's error for a volume that cannot be attached now.
func (r *request) attachable(v *volume) *response {
	switch {
	case v.attachment != nil:
		return r.badRequest(
			"Invalid volume: volume %s is already attached to instances: %s",
			v.id,
			v.attachment.serverID,
		)
	case v.status != "available":
		return r.badRequest(
			"Invalid volume: volume '%s' status must be 'available' or 'in-use'. Currently in '%s'",
			v.id,
			v.status,
		)
	}
	return nil
}

// attach begins the attachment of a volume to a server.
func (c *Cloud) attach(now time.Time, s *server, v *volume, device string) *attachment {
	a := &attachment{id: c.newUUID(), mapping: c.newUUID(), serverID: s.id, device: device}
	if a.device == "" {
		a.device = c.nextDevice(s)
	}
	v.attachment = a
	s.volumes = append(slices.Clone(s.volumes), v.id)
	v.become(now, c.options.AttachTime, "attaching", "in-use", func(v *volume) { a.at, a.mode = v.updated, "rw" })
	c.watch(v)
	return a
}

// nextDevice returns the server's first unused device name. Its own disk is /dev/sda.
func (c *Cloud) nextDevice(s *server) string {
	used := map[string]bool{"/dev/sda": s.image != ""}
	for _, v := range c.volumesOf(s) {
		used[v.attachment.device] = true
	}
	for letter := 'a'; ; letter++ {
		if name := fmt.Sprintf("/dev/sd%c", letter); !used[name] || letter == 'z' {
			return name
		}
	}
}

func (c *Cloud) updateAttachment(r *request) *response {
	body, refused := r.checkedBody(
		schema{types: []string{"object"}, closed: true, required: []string{"volumeAttachment"}, properties: []property{
			{
				"volumeAttachment",
				schema{types: []string{"object"}, required: []string{"volumeId"}, properties: []property{
					{"volumeId", schema{types: []string{"string"}, format: checkVolumeID}},
					{"delete_on_termination", schema{types: []string{"boolean", "string"}, enum: novaBooleans}},
				}},
			},
		}},
	)
	if refused != nil {
		return refused
	}
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	v := c.attachmentOf(r, s)
	switch {
	case !r.version.atLeast(2, 85) || body.text("volumeAttachment", "volumeId") != r.vars["volume"]:
		return r.forbidden(
			"Policy doesn't allow os_compute_api:os-volumes-attachments:swap to be performed.",
		) // it is for Cinder alone
	case v == nil:
		return r.notFound("Volume %s is not attached.", r.vars["volume"])
	}
	if end := body.at("volumeAttachment", "delete_on_termination"); end != nil {
		v.attachment.deleteOnTermination = parseBool(end)
	}
	return r.empty(http.StatusAccepted, "application/json")
}

func (c *Cloud) deleteAttachment(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	v := c.volumes.get(strings.ToLower(r.vars["volume"]))
	if v == nil || !r.who.sees(v.projectID) {
		return r.notFound("Volume %s could not be found.", r.vars["volume"])
	}
	if !v.attachedTo(s.id) {
		return r.notFound("Instance %s is not attached to volume %s", r.vars["id"], r.vars["volume"])
	}
	if v.attachment.boot && s.vmState != vmShelvedOffloaded {
		return r.badRequest("Cannot detach a root device volume")
	}
	if refused := r.allowed(s, action{label: "detach_volume", anyTask: true, unlaunched: true, from: []string{
		vmActive, vmPaused, vmStopped, vmResized, vmShelved, vmShelvedOffloaded, vmSuspended,
	}}); refused != nil {
		return refused
	}
	if v.status != "in-use" {
		return r.badRequest(
			"Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. Volume status must be 'in-use' "+
				"and attach_status must be 'attached' to detach. (HTTP 400) (Request-ID: %s)",
			r.id,
		)
	}
	c.detach(r.start, v, c.options.AttachTime)
	return r.empty(http.StatusAccepted, "application/json")
}

// detach starts to detach a volume.
func (c *Cloud) detach(now time.Time, v *volume, duration time.Duration) {
	v.become(now, duration, "detaching", "available", func(v *volume) { c.release(v) })
	c.watch(v)
}

// release removes a volume from its server.
func (c *Cloud) release(v *volume) {
	if v.attachment == nil {
		return
	}
	if s := c.servers.get(v.attachment.serverID); s != nil {
		s.volumes = slices.DeleteFunc(slices.Clone(s.volumes), func(id string) bool { return id == v.id })
	}
	v.attachment = nil
}

// releaseVolumes releases a deleted server's volumes, and deletes those with delete_on_termination.
func (c *Cloud) releaseVolumes(s *server) {
	for _, v := range c.volumesOf(s) {
		ends := v.attachment.deleteOnTermination
		v.attachment = nil
		v.become(s.updated, 0, "available", "available", nil)
		if ends {
			c.deleteNow(v, s.updated)
		}
	}
	s.volumes = nil
}

// checkDevices validates the disks of a new server, with Nova's messages.
// Source: _validate_bdm of nova/compute/api.py, and nova/block_device.py.
func (c *Cloud) checkDevices(r *request, devices []any, hasImage bool) *response {
	boots := hasImage
	for _, d := range devices {
		device, _ := d.(object)
		source, destination, id := device.text("source_type"), device.text("destination_type"), device.text("uuid")
		size, _ := intOf(device.at("volume_size"))
		if index, ok := intOf(device.at("boot_index")); ok && index == 0 {
			boots = true
		}
		if source == "image" && destination == "volume" && size == 0 {
			return r.badRequest("Images with destination_type 'volume' need to have a non-zero size specified")
		}
		if source == "blank" && destination == "volume" && size == 0 {
			return r.badRequest("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
		}
		switch source {
		case "image":
			if _, found := c.directory.image(id); !found {
				return r.badRequest("Block Device Mapping is Invalid: failed to get image %s.", id)
			}
		case "volume":
			v := c.volumes.get(strings.ToLower(id))
			switch {
			case v == nil || !r.who.sees(v.projectID):
				return r.badRequest("Block Device Mapping is Invalid: failed to get volume %s.", id)
			case v.status != "available":
				return r.badRequest(
					"Invalid volume: Invalid input received: Invalid volume: Volume %s status must be available or "+
						"downloading to reserve, "+
						"but the current status is %s. (HTTP 400) (Request-ID: %s)",
					v.id,
					v.status,
					r.id,
				)
			}
		case "snapshot":
			if s := c.snapshots.get(strings.ToLower(id)); s == nil || !r.who.sees(s.projectID) {
				return r.badRequest("Block Device Mapping is Invalid: failed to get snapshot %s.", id)
			}
		}
	}
	if !boots {
		return r.badRequest(
			"Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping " +
				"combination is not valid.",
		)
	}
	return nil
}

// attachDevices attaches a new server's volumes: existing ones, and those that Nova has Cinder create, without name and
// metadata.
func (c *Cloud) attachDevices(r *request, s *server, devices []any) {
	for _, d := range devices {
		device, _ := d.(object)
		if device.text("destination_type") != "volume" {
			continue
		}
		v := c.volumes.get(strings.ToLower(device.text("uuid")))
		if source := device.text("source_type"); source != "volume" {
			v = &volume{
				id:        c.newUUID(),
				nameless:  true,
				projectID: s.projectID,
				userID:    s.userID,
				metadata:  map[string]string{},
				created:   r.start,
			}
			v.size, _ = intOf(device.at("volume_size"))
			switch source {
			case "image":
				v.imageID, v.bootable = device.text("uuid"), true
			case "snapshot":
				v.snapshotID = device.text("uuid")
				v.size = max(v.size, c.snapshots.get(strings.ToLower(v.snapshotID)).size)
			}
			v.sequence = c.nextSequence()
			c.volumes.put(v)
		}
		a := c.attach(r.start, s, v, device.text("device_name"))
		index, indexed := intOf(device.at("boot_index"))
		a.boot = indexed && index == 0
		a.deleteOnTermination = parseBool(device.at("delete_on_termination"))
		a.tag = device.text("tag")
	}
}
