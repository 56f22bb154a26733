package simcloud

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The actions of POST /volumes/{id}/action and /snapshots/{id}/action. Source: cinder/api/contrib/volume_actions.py and
// admin_actions.py.

// volumeAction is one of them: the schema of its argument, and its handler. A nil response means 202.
type volumeAction struct {
	argument schema
	perform  func(c *Cloud, r *request, v *volume, argument object) *response
}

func volumeActionOf(name string) (volumeAction, bool) {
	text := schema{types: []string{"string", "null"}}
	size := schema{
		types:     []string{"integer", "string"},
		minimum:   1,
		minLength: 1,
		maxLength: 11,
		pattern:   newLazyRegexp(`^[0-9]+$`),
	}
	anything := schema{}
	a, ok := map[string]volumeAction{
		"os-extend": {
			schema{
				types: []string{"object"}, closed: true, required: []string{"new_size"},
				properties: []property{{"new_size", size}},
			},
			(*Cloud).extendVolume,
		},
		"os-reset_status": {schema{types: []string{"object"}, closed: true, properties: []property{
			{"status", text}, {"attach_status", text}, {"migration_status", text},
		}}, (*Cloud).resetVolume},
		"os-reserve": {anything, func(_ *Cloud, r *request, v *volume, _ object) *response {
			if v.status != "available" {
				return r.badRequest("Invalid volume: Volume status must be available to reserve, but the status is %s.", v.status)
			}
			v.become(r.start, 0, "attaching", "", nil)
			return nil
		}},
		"os-unreserve": {anything, func(_ *Cloud, r *request, v *volume, _ object) *response {
			switch {
			case v.status == "attaching" && v.attachment != nil:
				v.become(r.start, 0, "in-use", "", nil)
			case v.status == "attaching":
				v.become(r.start, 0, "available", "", nil)
			}
			return nil
		}},
		"os-begin_detaching": {anything, func(_ *Cloud, r *request, v *volume, _ object) *response {
			if v.status != "in-use" {
				return r.badRequest("Invalid volume: Unable to detach volume. Volume status must be 'in-use' and " +
					"attach_status must be 'attached' to detach.")
			}
			v.become(r.start, 0, "detaching", "", nil)
			return nil
		}},
		"os-roll_detaching": {anything, func(_ *Cloud, r *request, v *volume, _ object) *response {
			if v.status == "detaching" {
				v.become(r.start, 0, "in-use", "", nil)
			}
			return nil
		}},
		"os-set_bootable": {schema{types: []string{"object"}, closed: true, required: []string{"bootable"},
			properties: []property{
				{"bootable", schema{enum: cinderBooleans}},
			}}, func(_ *Cloud, r *request, v *volume, argument object) *response {
			v.bootable = parseBool(argument.at("bootable"))
			res := r.accepted()
			res.status = http.StatusOK
			return res
		}},
		"os-attach": {schema{types: []string{"object"}, closed: true, required: []string{"mountpoint"},
			properties: []property{
				{"instance_uuid", text}, {"host_name", text},
				{"mountpoint", schema{types: []string{"string"}, minLength: 1, maxLength: 255}},
				{"mode", schema{types: []string{"string"}, enum: []any{"rw", "ro"}}},
			}}, (*Cloud).attachByCinder},
		"os-detach": {schema{types: []string{"object", "null"}, closed: true,
			properties: []property{{"attachment_id", text}}},
			func(c *Cloud, r *request, v *volume, _ object) *response {
				if v.attachment != nil {
					c.detach(r.start, v, 0)
				}
				if v.visible != nil {
					v.visible = map[string]string{"readonly": "False"}
				}
				return nil
			}},
		"os-volume_upload_image": {schema{types: []string{"object"}, required: []string{"image_name"}, properties: []property{
			{"image_name", schema{types: []string{"string"}, minLength: 1, maxLength: 255}},
		}}, (*Cloud).uploadVolume},
		"os-force_delete": {anything, func(c *Cloud, r *request, v *volume, _ object) *response {
			if !r.who.admin() {
				return r.forbidden("Policy doesn't allow volume_extension:volume_admin_actions:force_delete to be performed.")
			}
			v.become(r.start, c.options.DeleteTime, "deleting", statusGone, nil)
			return nil
		}},
	}[name]
	return a, ok
}

func (r *request) unknownAction(name string) *response {
	return r.badRequest("There is no such action: %s. Verify the request body and Content-Type header and try again.",
		name)
}

// actionOf returns an action's name and argument, or an error response.
func (r *request) actionOf() (string, any, *response) {
	if !r.hasBody {
		return "", nil, r.unknownAction("None")
	}
	o, ok := r.decoded.(object)
	if !ok || len(o) != 1 {
		return "", nil, r.badRequest("Malformed request body")
	}
	return o[0].name, o[0].value, nil
}

func (c *Cloud) actOnVolume(r *request) *response {
	name, argument, refused := r.actionOf()
	if refused != nil {
		return refused
	}
	a, ok := volumeActionOf(name)
	if !ok {
		return r.unknownAction(name)
	}
	if message := (schema{properties: []property{{name, a.argument}}}).validate(
		object{{name, argument}},
	); message != "" {
		return r.badRequest("%s", message)
	}
	o, _ := argument.(object)
	if name == "os-reset_status" {
		if refused := r.checkStatuses(o); refused != nil {
			return refused
		}
	}
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	if res := a.perform(c, r, v, o); res != nil {
		return res
	}
	c.watch(v)
	return r.accepted()
}

// accepted is the response to an action, with an empty body.
func (r *request) accepted() *response {
	res := r.empty(http.StatusAccepted, "application/json")
	res.header.Set("X-Compute-Request-Id", r.id)
	return res
}

func (c *Cloud) extendVolume(r *request, v *volume, argument object) *response {
	size, _ := intOf(argument.at("new_size")) // valid by the schema
	if size <= v.size {
		return r.badRequest(
			"Invalid input received: New size for extend must be greater than current size. (current: %d, extended: %d).",
			v.size,
			size,
		)
	}
	back := "available"
	if v.status == "in-use" && r.version.atLeast(3, 42) {
		back = "in-use"
	}
	if v.status != back {
		return r.badRequest(
			"Invalid volume: Volume %s status must be '{'status': '%s'}' to extend, currently %s.",
			v.id,
			back,
			v.status,
		)
	}
	v.become(r.start, c.options.VolumeActionTime, "extending", back, func(v *volume) { v.size = size })
	return nil
}

func (c *Cloud) uploadVolume(r *request, v *volume, argument object) *response {
	if v.status != "available" {
		return r.badRequest("Invalid volume: Volume %s status must be available, currently %s.", v.id, v.status)
	}
	v.become(r.start, c.options.VolumeActionTime, "uploading", "available", nil)
	c.watch(v)
	return r.json(http.StatusAccepted, object{
		{
			"os-volume_upload_image",
			object{
				{
					"id",
					v.id,
				},
				{"updated_at", momentOrNil(v.updated)},
				{"status", "uploading"},
				{"display_description", textOrNil(v.description)},
				{"size", v.size},
				{
					"volume_type",
					volumeTypeView(),
				},
				{"image_id", c.newUUID()},
				{"container_format", "bare"},
				{"disk_format", "raw"},
				{"image_name", argument.text("image_name")},
			},
		},
	})
}

// attachByCinder records an attachment made by another service, as Nova once did.
func (c *Cloud) attachByCinder(r *request, v *volume, argument object) *response {
	switch {
	case v.status == "maintenance":
		return r.badRequest("Invalid volume: The volume cannot be attached in maintenance mode.")
	case v.status != "available" && v.status != "attaching":
		return r.internalError("")
	}
	v.attachment = &attachment{
		id:       c.newUUID(),
		mapping:  c.newUUID(),
		serverID: argument.text("instance_uuid"),
		device:   argument.text("mountpoint"),
		mode:     argument.text("mode"),
		at:       r.start,
	}
	v.visible = map[string]string{"attached_mode": cmp.Or(argument.text("mode"), "rw"), "readonly": "False"}
	v.become(r.start, 0, "in-use", "", nil)
	return nil
}

// volumeStatuses and snapshotStatuses are those that os-reset_status accepts, in Cinder's order.
var (
	volumeStatuses = []string{
		"creating",
		"available",
		"deleting",
		"error",
		"error_deleting",
		"error_managing",
		"managing",
		"attaching",
		"in-use",
		"detaching",
		"maintenance",
		"restoring-backup",
		"error_restoring",
		"reserved",
		"awaiting-transfer",
		"backing-up",
		"error_backing-up",
		"error_extending",
		"downloading",
		"uploading",
		"retyping",
		"extending",
	}
	snapshotStatuses = []string{
		"error",
		"available",
		"creating",
		"deleting",
		"deleted",
		"updating",
		"error_deleting",
		"unmanaging",
		"backing-up",
		"restoring",
	}
)

// pythonTuple is repr() of a tuple of strings.
func pythonTuple(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quoteRepr(s)
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}

// checkStatuses validates the statuses of os-reset_status.
func (r *request) checkStatuses(argument object) *response {
	status, _ := argument.at("status").(string)
	if status == "" && argument.text("attach_status") == "" && argument.text("migration_status") == "" {
		return r.badRequest("Must specify 'status', 'attach_status' or 'migration_status' for update.")
	}
	if status != "" && !slices.Contains(volumeStatuses, strings.ToLower(status)) {
		return r.badRequest(
			"%s",
			fmt.Sprintf("Volume status: %s is invalid, valid statuses are: %s.", status, pythonTuple(volumeStatuses)),
		)
	}
	return nil
}

func (c *Cloud) resetVolume(r *request, v *volume, argument object) *response {
	status := strings.ToLower(argument.text("status"))
	switch {
	case !r.who.admin():
		return r.forbidden("Policy doesn't allow volume_extension:volume_admin_actions:reset_status to be performed.")
	case status == "deleting" || status == "error_deletingdetaching": // Cinder's list lacks a comma there
		return r.badRequest("Cannot reset-state to %s", status)
	case status == "in-use" && v.attachment == nil:
		return r.badRequest("Cannot reset-state to in-use because volume does not have any attachments.")
	}
	if strings.EqualFold(argument.text("attach_status"), "detached") {
		c.release(v)
	}
	if status != "" {
		v.become(r.start, 0, status, "", nil)
	}
	return nil
}

func (c *Cloud) actOnSnapshot(r *request) *response {
	name, argument, refused := r.actionOf()
	if refused != nil {
		return refused
	}
	if name != "os-reset_status" && name != "os-force_delete" {
		return r.unknownAction(name)
	}
	o, _ := argument.(object)
	if name == "os-reset_status" {
		s := schema{
			properties: []property{
				{
					name,
					schema{
						types:    []string{"object"},
						closed:   true,
						required: []string{"status"},
						properties: []property{
							{"status", schema{types: []string{"string"}}},
						},
					},
				},
			},
		}
		if message := s.validate(object{{name, argument}}); message != "" {
			return r.badRequest("%s", message)
		}
		if status := o.text("status"); !slices.Contains(snapshotStatuses, strings.ToLower(status)) {
			return r.badRequest(
				"%s",
				fmt.Sprintf(
					"Snapshot status: %s is invalid, valid statuses are: %s.",
					status,
					pythonTuple(snapshotStatuses),
				),
			)
		}
	}
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	if !r.who.admin() {
		return r.forbidden(
			"Policy doesn't allow volume_extension:snapshot_admin_actions:%s to be performed.",
			strings.TrimPrefix(name, "os-"),
		)
	}
	if name == "os-force_delete" {
		c.endSnapshot(s, r.start)
		return r.accepted()
	}
	s.status, s.then, s.updated = strings.ToLower(o.text("status")), "", r.start
	s.taken = s.taken || s.status == "available"
	return r.accepted()
}
