package simcloud

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const defaultVolumeType = "__DEFAULT__"

// volume is Cinder's state of a volume.
type volume struct {
	id, name, description string
	projectID, userID     string
	status                string // creating, available, in-use, error, deleting, …
	size                  int    // GiB
	snapshotID, sourceID  string // its source
	imageID               string
	bootable              bool
	nameless              bool // created by Nova, with an empty name instead of none
	metadata              map[string]string
	visible               map[string]string // Cinder's own metadata that GET shows among the user's, after os-attach
	attachment            *attachment       // nil for none
	created, updated      time.Time
	sequence              int
	// until is when the status becomes then, if that is not "", and done is called.
	until time.Time
	then  string
	done  func(*volume)
}

// snapshot is Cinder's state of a snapshot.
type snapshot struct {
	id, name, description string
	projectID, userID     string
	volumeID              string
	status                string // creating, available, error, deleting, …
	taken                 bool   // whether it was ever available
	size                  int    // GiB
	metadata              map[string]string
	created, updated      time.Time
	sequence              int
	until                 time.Time // when the status becomes then, if that is not ""
	then                  string
}

// statusGone is the status after deleting.
const statusGone = "deleted"

func (v *volume) key() string   { return v.id }
func (v *volume) owner() string { return v.projectID }
func (v *volume) number() int   { return v.sequence }

func (v *volume) next() (time.Time, bool) { return v.until, v.then != "" }

// settle applies a status change that is due and reports whether the volume is gone.
func (v *volume) settle(now time.Time) (gone bool) {
	if v.then != "" && !v.until.After(now) {
		done := v.done
		v.status, v.updated, v.then, v.done = v.then, v.until, "", nil
		if done != nil {
			done(v)
		}
	}
	return v.status == statusGone
}

// become sets a status that after a time becomes another; "" means that it stays.
func (v *volume) become(now time.Time, duration time.Duration, status, then string, done func(*volume)) {
	v.status, v.updated, v.until, v.then, v.done = status, now, now.Add(duration), then, done
	v.settle(now)
}

func (s *snapshot) key() string   { return s.id }
func (s *snapshot) owner() string { return s.projectID }
func (s *snapshot) number() int   { return s.sequence }

func (s *snapshot) next() (time.Time, bool) { return s.until, s.then != "" }

// settle applies a status change that is due and reports whether the snapshot is gone.
func (s *snapshot) settle(now time.Time) (gone bool) {
	if s.then != "" && !s.until.After(now) {
		s.status, s.updated, s.then = s.then, s.until, ""
		s.taken = s.taken || s.status == "available"
	}
	return s.status == statusGone
}

// resourceMetadataSchema is parameter_types.metadata_allows_null of cinder/api/validation/parameter_types.py.
var resourceMetadataSchema = schema{
	types: []string{"object", "null"}, keys: newLazyRegexp(`^[a-zA-Z0-9-_:. /]{1,255}$`),
	values: &schema{types: []string{"string"}, maxLength: 255}, closed: true,
}

// optionalText is a text of up to 255 characters, or null.
var optionalText = schema{types: []string{"string", "null"}, maxLength: 255}

var createVolumeSchema = schema{types: []string{"object"}, closed: true, required: []string{"volume"},
	properties: []property{
		{"volume", schema{types: []string{"object"}, properties: []property{
			{"name", schema{types: []string{"string", "null"}}}, {"description", schema{types: []string{"string", "null"}}},
			{"volume_type", optionalText}, {"metadata", resourceMetadataSchema},
			{"size", schema{types: []string{"integer", "string", "null"}, minimum: 1, pattern: newLazyRegexp(`^[0-9]+$`)}},
		}}},
		{"OS-SCH-HNT:scheduler_hints", schema{types: []string{"object", "null"}}},
	}}

func (c *Cloud) createVolume(r *request) *response {
	body, refused := r.checkedVolumeBody(createVolumeSchema)
	if refused != nil {
		return refused
	}
	name, size := body.text("volume", "name"), 0
	if n := len([]rune(name)); n > 255 {
		return r.badRequest("Invalid input received: name has %d characters, more than 255.", n)
	}
	if t := body.text("volume", "volume_type"); t != "" && t != defaultVolumeType && t != volumeTypeView().text("id") {
		return r.notFound("Volume type with name %s could not be found.", t)
	}
	if zone := body.text("volume", "availability_zone"); zone != "" && zone != "nova" {
		return r.badRequest("Availability zone '%s' is invalid.", zone)
	}
	v := &volume{
		id:          c.newUUID(),
		name:        name,
		description: body.text("volume", "description"),
		projectID:   r.who.project.ID,
		userID:      r.who.user.ID,
		snapshotID: body.text(
			"volume",
			"snapshot_id",
		),
		sourceID: body.text("volume", "source_volid"),
		imageID:  body.text("volume", "imageRef"),
		metadata: textMap(body.at("volume", "metadata")),
		created:  r.start,
	}
	if n, ok := intOf(body.at("volume", "size")); ok {
		size = n
	}
	if refused := c.sourceOf(r, v, size); refused != nil {
		return refused
	}
	c.makeVolume(v, r.start)
	return r.json(http.StatusAccepted, object{{"volume", c.volumeView(r, v, false)}})
}

// sourceOf sets a new volume's size to at least that of its source, or returns an error response.
func (c *Cloud) sourceOf(r *request, v *volume, size int) *response {
	least, what := 0, ""
	if (v.snapshotID != "" && v.sourceID != "") || (v.imageID != "" && v.snapshotID+v.sourceID != "") {
		return r.badRequest("Invalid input received: May specify only one of backup, imageRef, snapshot, source volume")
	}
	switch {
	case v.snapshotID != "":
		s := c.snapshots.get(strings.ToLower(v.snapshotID))
		if s == nil || !r.who.sees(s.projectID) {
			return r.notFound("Snapshot %s could not be found.", v.snapshotID)
		}
		least, what = s.size, "the snapshot size"
	case v.sourceID != "":
		source := c.volumes.get(strings.ToLower(v.sourceID))
		if source == nil || !r.who.sees(source.projectID) {
			return r.notFound("Volume %s could not be found.", v.sourceID)
		}
		least, what, v.bootable = source.size, "original volume size ", source.bootable
	case v.imageID != "":
		if _, found := c.directory.image(v.imageID); !found {
			return r.badRequest("Invalid image identifier or unable to access requested image.")
		}
	}
	switch v.size = cmp.Or(size, least); {
	case v.size == 0:
		return r.malformed()
	case v.size < least:
		return r.badRequest(
			"Invalid input received: Volume size '%d'GB cannot be smaller than %s %dGB. They must be >= %s.",
			v.size,
			what,
			least,
			strings.TrimSpace(what),
		)
	}
	return nil
}

// makeVolume starts to create a volume.
func (c *Cloud) makeVolume(v *volume, now time.Time) {
	v.sequence = c.nextSequence()
	v.status, v.until, v.then = "creating", now.Add(c.options.VolumeTime), "available"
	v.done = func(v *volume) { v.bootable = v.bootable || v.imageID != "" }
	c.volumes.put(v)
	c.watch(v)
}

// volumeOf returns the volume that the request's URL names, or an error response.
func (c *Cloud) volumeOf(r *request) (*volume, *response) {
	v := c.volumes.get(strings.ToLower(r.vars["id"])) // the database ignores case
	if v == nil || !r.who.sees(v.projectID) {
		return nil, r.refuse(refusal{http.StatusNotFound, "Volume " + r.vars["id"] + " could not be found.", "EVS.5404",
			http.StatusNotFound})
	}
	return v, nil
}

// text returns a name or description of the volume as the API shows it.
func (v *volume) text(s string) any {
	if v.nameless {
		return s
	}
	return textOrNil(s)
}

// volumeView returns a volume: detailed as GET shows it, otherwise as updates do.
func (c *Cloud) volumeView(r *request, v *volume, detailed bool) object {
	shown := v.metadata
	if len(v.visible) > 0 && detailed {
		shown = maps.Clone(v.visible)
		maps.Copy(shown, v.metadata)
	}
	updated := v.updated
	if v.status == "creating" && detailed {
		updated = v.created // when the scheduler placed it
	}
	view := object{
		{"id", v.id}, {"status", v.status}, {"size", v.size}, {"availability_zone", "nova"},
		{"created_at", momentOrNil(v.created)}, {"updated_at", momentOrNil(updated)}, {"name", v.text(v.name)},
		{"description", v.text(v.description)}, {"volume_type", defaultVolumeType},
		{"snapshot_id", textOrNil(v.snapshotID)}, {"source_volid", textOrNil(v.sourceID)}, {"metadata", shown},
		{"links", r.links("volume", "volumes/"+v.id)}, {"user_id", v.userID}, {"bootable", strconv.FormatBool(v.bootable)},
		{"encrypted", false}, {"replication_status", nil}, {"consistencygroup_id", nil}, {"multiattach", false},
		{"attachments", r.cinderAttachments(v)},
	}
	if r.who.admin() {
		view = append(view, member{"migration_status", nil})
	}
	since := func(minor int, m member) {
		if r.version.atLeast(3, minor) {
			view = append(view, m)
		}
	}
	since(13, member{"group_id", nil})
	if v.status == "creating" { // not yet on a backend
		since(48, member{"shared_targets", true})
		since(48, member{"service_uuid", nil})
	} else {
		since(48, member{"shared_targets", false})
		since(48, member{"service_uuid", stableUUID("service", "volume")})
	}
	since(63, member{"volume_type_id", volumeTypeView().text("id")})
	since(65, member{"consumes_quota", true})
	if r.who.admin() {
		since(21, member{"provider_id", nil})
		since(61, member{"cluster_name", nil})
	}
	if detailed {
		view = append(view, member{"os-vol-tenant-attr:tenant_id", v.projectID})
		if r.who.admin() {
			view = append(view, object{
				{
					"os-vol-mig-status-attr:migstat",
					nil,
				},
				{"os-vol-mig-status-attr:name_id", nil},
				{"os-vol-host-attr:host", "simcloud@embedded#embedded"},
			}...)
		}
		if image, found := c.directory.image(v.imageID); found {
			view = append(
				view,
				member{"volume_image_metadata", object{{"image_id", image.ID}, {"image_name", image.Name}}},
			)
		}
	}
	return view
}

func (c *Cloud) showVolume(r *request) *response {
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"volume", c.volumeView(r, v, true)}})
}

func (c *Cloud) updateVolume(r *request) *response {
	body, refused := r.checkedVolumeBody(schema{types: []string{"object"}, closed: true, required: []string{"volume"},
		properties: []property{
			{"volume", schema{types: []string{"object"}, closed: true, properties: []property{
				{"name", schema{types: []string{"string", "null"}}}, {"description", schema{types: []string{"string", "null"}}},
				{"metadata", resourceMetadataSchema},
			}}},
		}})
	if refused != nil {
		return refused
	}
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	rename(body, "volume", &v.name, &v.description)
	if changes, ok := body.at("volume", "metadata").(object); ok {
		v.metadata = textMap(changes)
	}
	v.updated = r.start
	return r.json(http.StatusOK, object{{"volume", c.volumeView(r, v, false)}})
}

// rename sets the name and description of a body.
func rename(body object, kind string, name, description *string) {
	changes, _ := body.at(kind).(object)
	if v, ok := changes.get("name"); ok {
		*name, _ = v.(string)
	}
	if v, ok := changes.get("description"); ok {
		*description, _ = v.(string)
	}
}

// snapshotsOf returns a volume's snapshots. It scans all of the project's, because deletions and transfers are rare.
func (c *Cloud) snapshotsOf(v *volume) []*snapshot {
	var list []*snapshot
	for s := range c.snapshots.in(v.projectID, false).oldest() {
		if s.volumeID == v.id {
			list = append(list, s)
		}
	}
	return list
}

func (c *Cloud) deleteVolume(r *request) *response {
	cascade, refused := r.flag("cascade")
	if refused != nil {
		return refused
	}
	force := false
	if r.version.atLeast(3, 23) {
		if force, refused = r.flag("force"); refused != nil {
			return refused
		}
	}
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	if force && !r.who.admin() {
		return r.forbidden("Policy doesn't allow volume:force_delete to be performed.")
	}
	snapshots := c.snapshotsOf(v)
	deletable := force ||
		slices.Contains(
			[]string{"available", "error", "error_restoring", "error_extending", "error_managing"},
			v.status,
		)
	if len(snapshots) > 0 && !cascade || !deletable || v.attachment != nil {
		return r.badRequest(
			"Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing " +
				"and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be " +
				"disassociated from snapshots " +
				"after volume transfer.",
		)
	}
	for _, s := range snapshots {
		c.endSnapshot(s, r.start)
	}
	v.become(r.start, c.options.DeleteTime, "deleting", statusGone, nil)
	c.watch(v)
	return r.empty(http.StatusAccepted, "text/html; charset=UTF-8")
}

// flag parses a boolean parameter of the query, false by default.
func (r *request) flag(name string) (bool, *response) {
	value := r.query.Get(name)
	switch {
	case value == "" || slices.Contains([]string{"0", "f", "false", "off", "n", "no"}, strings.ToLower(value)):
		return false, nil
	case r.trueParameter(name):
		return true, nil
	}
	return false, r.badRequest("Value '%s' for '%s' is not a boolean.", value, name)
}

// deleteNow removes a volume and its snapshots, at once.
func (c *Cloud) deleteNow(v *volume, now time.Time) {
	for _, s := range c.snapshotsOf(v) {
		c.snapshots.drop(s.id)
	}
	v.become(now, 0, "deleting", statusGone, nil)
	c.volumes.drop(v.id)
}
