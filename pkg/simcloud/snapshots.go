package simcloud

import (
	"net/http"
	"strings"
	"time"
)

// cinderBooleans are the booleans that Cinder accepts.
var cinderBooleans = []any{
	true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t",
	false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f",
}

var createSnapshotSchema = schema{types: []string{"object"}, closed: true, required: []string{"snapshot"},
	properties: []property{
		{"snapshot", schema{types: []string{"object"}, closed: true, required: []string{"volume_id"}, properties: []property{
			{"name", optionalText}, {"display_name", optionalText}, {"description", optionalText},
			{"volume_id", schema{anyOf: []schema{{types: []string{"string"}, format: checkUUID}, {types: []string{"null"}}}}},
			{"force", schema{enum: cinderBooleans}}, {"metadata", resourceMetadataSchema},
		}}},
	}}

func (c *Cloud) createSnapshot(r *request) *response {
	body, refused := r.checkedVolumeBody(createSnapshotSchema)
	if refused != nil {
		return refused
	}
	volumeID := pythonStr(body.at("snapshot", "volume_id"))
	v := c.volumes.get(volumeID)
	if v == nil || !r.who.sees(v.projectID) {
		return r.notFound("Volume %s could not be found.", volumeID)
	}
	force := parseBool(body.at("snapshot", "force")) || r.version.atLeast(3, 66)
	if v.status != "available" && !(force && v.status == "in-use") {
		return r.badRequest("Invalid volume: Volume %s status must be available, but current status is: %s.", v.id, v.status)
	}
	s := &snapshot{
		id: c.newUUID(), name: body.text("snapshot", "name"), description: body.text("snapshot", "description"),
		projectID: r.who.project.ID, userID: r.who.user.ID, volumeID: v.id, status: "creating", size: v.size,
		metadata: textMap(body.at("snapshot", "metadata")), created: r.start, sequence: c.nextSequence(),
		until: r.start.Add(c.options.SnapshotTime), then: "available",
	}
	if c.options.SnapshotFails {
		s.then = "error"
	}
	c.snapshots.put(s)
	c.watch(s)
	return r.json(http.StatusAccepted, object{{"snapshot", r.snapshotView(s, false)}})
}

// snapshotOf returns the snapshot that the request's URL names, or an error response.
func (c *Cloud) snapshotOf(r *request) (*snapshot, *response) {
	s := c.snapshots.get(strings.ToLower(r.vars["id"])) // the database ignores case
	if s == nil || !r.who.sees(s.projectID) {
		return nil, r.refuse(refusal{http.StatusNotFound, "Snapshot " + r.vars["id"] + " could not be found.", "EVS.5404",
			http.StatusNotFound})
	}
	return s, nil
}

// snapshotView returns a snapshot: detailed as GET shows it, otherwise as lists and updates do.
func (r *request) snapshotView(s *snapshot, detailed bool) object {
	view := object{
		{"id", s.id}, {"created_at", momentOrNil(s.created)}, {"updated_at", momentOrNil(s.updated)},
		{"name", textOrNil(s.name)}, {"description", textOrNil(s.description)}, {"volume_id", s.volumeID},
		{"status", s.status}, {"size", s.size}, {"metadata", s.metadata},
	}
	since := func(minor int, m member) {
		if r.version.atLeast(3, minor) {
			view = append(view, m)
		}
	}
	since(14, member{"group_snapshot_id", nil})
	since(41, member{"user_id", s.userID})
	since(65, member{"consumes_quota", true})
	if detailed {
		progress := "0%"
		if s.taken {
			progress = "100%"
		}
		view = append(view, object{{"os-extended-snapshot-attributes:project_id", s.projectID},
			{"os-extended-snapshot-attributes:progress", progress}}...)
	}
	return view
}

func (c *Cloud) showSnapshot(r *request) *response {
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"snapshot", r.snapshotView(s, true)}})
}

func (c *Cloud) updateSnapshot(r *request) *response {
	some := func(name string) schema { return schema{required: []string{name}} }
	body, refused := r.checkedVolumeBody(schema{types: []string{"object"}, closed: true, required: []string{"snapshot"},
		properties: []property{
			{"snapshot", schema{types: []string{"object"}, closed: true, properties: []property{
				{"name", optionalText}, {"description", optionalText}, {"display_name", optionalText},
				{"display_description", optionalText},
			}, anyOf: []schema{some("name"), some("description"), some("display_name"), some("display_description")}}},
		}})
	if refused != nil {
		return refused
	}
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	rename(body, "snapshot", &s.name, &s.description)
	s.updated = r.start
	return r.json(http.StatusOK, object{{"snapshot", r.snapshotView(s, false)}})
}

func (c *Cloud) deleteSnapshot(r *request) *response {
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	if s.status != "available" && s.status != "error" {
		return r.badRequest("Invalid snapshot: Snapshot status must be available or error and must not be part of a group.")
	}
	c.endSnapshot(s, r.start)
	return r.empty(http.StatusAccepted, "text/html; charset=UTF-8")
}

// endSnapshot starts to delete a snapshot.
func (c *Cloud) endSnapshot(s *snapshot, now time.Time) {
	s.status, s.updated, s.until, s.then = "deleting", now, now.Add(c.options.DeleteTime), statusGone
	c.watch(s)
}
