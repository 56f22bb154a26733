package simcloud

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const defaultVolumeType = "__DEFAULT__"

// volume is what Cinder knows of a volume.
type volume struct {
	id, name, description string
	projectID, userID     string
	status                string // creating, available, error, deleting
	size                  int    // GiB
	snapshotID            string
	metadata              map[string]string
	created, updated      time.Time
	sequence              int
	until                 time.Time // when the status becomes next
	next                  string
}

// snapshot is what Cinder knows of a snapshot.
type snapshot struct {
	id, name, description string
	projectID, userID     string
	volumeID              string
	status                string // creating, available, error, deleting, …
	taken                 bool   // whether it was available once
	size                  int    // GiB
	metadata              map[string]string
	created, updated      time.Time
	sequence              int
	until                 time.Time
	next                  string
}

// statusGone is the status after deleting.
const statusGone = "deleted"

// settle brings a volume up to date and reports whether it is gone.
func (v *volume) settle(now time.Time) (gone bool) {
	if v.next != "" && !v.until.After(now) {
		v.status, v.updated, v.next = v.next, v.until, ""
	}
	return v.status == statusGone
}

// settle brings a snapshot up to date and reports whether it is gone.
func (s *snapshot) settle(now time.Time) (gone bool) {
	if s.next != "" && !s.until.After(now) {
		s.status, s.updated, s.next = s.next, s.until, ""
		s.taken = s.taken || s.status == "available"
	}
	return s.status == statusGone
}

// resourceMetadataSchema is parameter_types.metadata_allows_null of cinder/api/validation/parameter_types.py.
var resourceMetadataSchema = schema{
	types: []string{"object", "null"}, keys: regexp.MustCompile(`^[a-zA-Z0-9-_:. /]{1,255}$`),
	values: &schema{types: []string{"string"}, maxLength: 255}, closed: true,
}

// optionalText is a text of up to 255 characters, or null.
var optionalText = schema{types: []string{"string", "null"}, maxLength: 255}

var createVolumeSchema = schema{types: []string{"object"}, closed: true, required: []string{"volume"}, properties: []property{
	{"volume", schema{types: []string{"object"}, properties: []property{
		{"name", schema{types: []string{"string", "null"}}}, {"description", schema{types: []string{"string", "null"}}},
		{"volume_type", optionalText}, {"metadata", resourceMetadataSchema},
		{"size", schema{types: []string{"integer", "string", "null"}, minimum: 1, pattern: regexp.MustCompile(`^[0-9]+$`)}},
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
	from := body.text("volume", "snapshot_id")
	if from != "" {
		s := c.snapshots[from]
		if s == nil || !r.who.sees(s.projectID) {
			return r.notFound("Snapshot %s could not be found.", from)
		}
		size = s.size
	}
	if n, ok := intOf(body.at("volume", "size")); ok {
		size = n
	}
	if size == 0 {
		return r.malformed()
	}
	v := &volume{
		id: c.newUUID(), name: name, description: body.text("volume", "description"), projectID: r.who.project.ID, userID: r.who.user.ID,
		status: "creating", size: size, snapshotID: from, metadata: textMap(body.at("volume", "metadata")), created: r.start,
		until: r.start.Add(c.options.VolumeTime), next: "available", sequence: c.nextSequence(),
	}
	c.volumes[v.id] = v
	return r.json(http.StatusAccepted, object{{"volume", r.volumeView(v, false)}})
}

// volumeOf finds the volume of a request, or refuses.
func (c *Cloud) volumeOf(r *request) (*volume, *response) {
	v := c.volumes[strings.ToLower(r.vars["id"])] // to the database, upper case is the same
	if v == nil || !r.who.sees(v.projectID) {
		return nil, r.refuse(refusal{http.StatusNotFound, "Volume " + r.vars["id"] + " could not be found.", "EVS.5404", http.StatusNotFound})
	}
	return v, nil
}

// volumeView shows a volume; detailed as GET does, otherwise as the operations that change it do.
func (r *request) volumeView(v *volume, detailed bool) object {
	view := object{
		{"id", v.id}, {"status", v.status}, {"size", v.size}, {"availability_zone", "nova"}, {"created_at", momentOrNil(v.created)},
		{"updated_at", momentOrNil(v.updated)}, {"name", textOrNil(v.name)}, {"description", textOrNil(v.description)},
		{"volume_type", defaultVolumeType}, {"snapshot_id", textOrNil(v.snapshotID)}, {"source_volid", nil}, {"metadata", v.metadata},
		{"links", r.links("volume", "volumes/"+v.id)}, {"user_id", v.userID}, {"bootable", "false"}, {"encrypted", false},
		{"replication_status", nil}, {"consistencygroup_id", nil}, {"multiattach", false}, {"attachments", []string{}},
	}
	since := func(minor int, m member) {
		if r.version.atLeast(3, minor) {
			view = append(view, m)
		}
	}
	since(13, member{"group_id", nil})
	since(48, member{"shared_targets", false})
	since(48, member{"service_uuid", stableUUID("service", "volume")})
	since(63, member{"volume_type_id", volumeTypeView().text("id")})
	since(65, member{"consumes_quota", true})
	if detailed {
		view = append(view, member{"os-vol-tenant-attr:tenant_id", v.projectID})
	}
	return view
}

func (c *Cloud) showVolume(r *request) *response {
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"volume", r.volumeView(v, true)}})
}

func (c *Cloud) updateVolume(r *request) *response {
	body, refused := r.checkedVolumeBody(schema{types: []string{"object"}, closed: true, required: []string{"volume"}, properties: []property{
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
	return r.json(http.StatusOK, object{{"volume", r.volumeView(v, false)}})
}

// rename takes a new name and description out of a body.
func rename(body object, kind string, name, description *string) {
	changes, _ := body.at(kind).(object)
	if v, ok := changes.get("name"); ok {
		*name, _ = v.(string)
	}
	if v, ok := changes.get("description"); ok {
		*description, _ = v.(string)
	}
}

func (c *Cloud) deleteVolume(r *request) *response {
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	hasSnapshots := false
	for _, s := range c.snapshots {
		hasSnapshots = hasSnapshots || s.volumeID == v.id
	}
	if hasSnapshots || !slices.Contains([]string{"available", "error"}, v.status) {
		return r.badRequest("Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing " +
			"and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots " +
			"after volume transfer.")
	}
	v.status, v.updated, v.until, v.next = "deleting", r.start, r.start.Add(c.options.DeleteTime), statusGone
	return r.empty(http.StatusAccepted, "text/html; charset=UTF-8")
}

func (c *Cloud) listVolumes(r *request) *response {
	all := r.formSays("all_tenants") && r.who.admin()
	var list []*volume
	for _, v := range slices.SortedFunc(maps.Values(c.volumes), func(a, b *volume) int { return byCreation(a.sequence, b.sequence) }) {
		if (all || v.projectID == r.who.project.ID) && listed(r.query, v.name, v.status, "") {
			list = append(list, v)
		}
	}
	page, next, refused := paged(r, list, func(v *volume) string { return v.id }, "Volume")
	if refused != nil {
		return refused
	}
	views := []object{}
	for _, v := range page {
		if strings.HasSuffix(cutFormat(r.path), "/detail") {
			views = append(views, r.volumeView(v, true))
		} else {
			views = append(views, object{{"id", v.id}, {"name", textOrNil(v.name)}, {"links", r.links("volume", "volumes/"+v.id)}})
		}
	}
	answer := object{{"volumes", views}}
	if next != nil {
		answer = append(answer, member{"volumes_links", next})
	}
	return r.json(http.StatusOK, answer)
}

// listed reports whether a list's query asks for a resource.
func listed(q url.Values, name, status, volumeID string) bool {
	fits := func(parameter, value string) bool { return !q.Has(parameter) || q.Get(parameter) == value }
	return fits("name", name) && fits("status", status) && (volumeID == "" || fits("volume_id", volumeID))
}

// paged cuts the page out of a list that limit and marker ask for, with the link to the next one if there may be one.
func paged[T any](r *request, list []T, id func(T) string, kind string) (page []T, next []object, refused *response) {
	if marker := r.query.Get("marker"); marker != "" {
		i := slices.IndexFunc(list, func(t T) bool { return id(t) == marker })
		if i < 0 {
			return nil, nil, r.notFound("%s %s could not be found.", kind, marker)
		}
		list = list[i+1:]
	}
	if !r.query.Has("limit") {
		return list, nil, nil
	}
	limit, err := strconv.Atoi(r.query.Get("limit"))
	if err != nil {
		return nil, nil, r.badRequest("limit param must be an integer")
	}
	if limit < 0 {
		return nil, nil, r.badRequest("limit param must be positive")
	}
	if limit > 0 && len(list) >= limit {
		next = r.nextLink(id(list[limit-1]))
	}
	return list[:min(limit, len(list))], next, nil
}
