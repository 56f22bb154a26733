package simcloud

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// transfer is an offer of a volume to another project: cinder/api/v3/volume_transfer.py.
type transfer struct {
	id, name, volumeID string
	key                string
	projectID          string // of the offering project
	created            time.Time
	withoutSnapshots   bool
	accepted           bool
	takenBy            string // the project that accepted it
}

func transferBody(r *request) schema {
	s := schema{types: []string{"object"}, closed: true, required: []string{"volume_id"}, properties: []property{
		{"volume_id", schema{types: []string{"string"}, format: checkUUID}}, {"name", optionalText},
	}}
	if strings.Contains(r.path, "/volume-transfers") && r.version.atLeast(3, 55) {
		s.properties = append(s.properties, property{"no_snapshots", schema{enum: cinderBooleans}})
	}
	return schema{
		types:      []string{"object"},
		closed:     true,
		required:   []string{"transfer"},
		properties: []property{{"transfer", s}},
	}
}

func (c *Cloud) createTransfer(r *request) *response {
	body, refused := r.checkedVolumeBody(transferBody(r))
	if refused != nil {
		return refused
	}
	id := body.text("transfer", "volume_id")
	v := c.volumes.get(strings.ToLower(id))
	if v == nil || !r.who.sees(v.projectID) {
		return r.notFound("Volume %s could not be found.", id)
	}
	if v.status != "available" {
		return r.badRequest("Invalid volume: status must be available")
	}
	t := &transfer{
		id:               c.newUUID(),
		name:             strings.TrimSpace(body.text("transfer", "name")),
		volumeID:         v.id,
		key:              stableID("transfer", c.newUUID())[:16],
		projectID:        v.projectID,
		created:          r.start,
		withoutSnapshots: parseBool(body.at("transfer", "no_snapshots")),
	}
	v.become(r.start, 0, "awaiting-transfer", "awaiting-transfer", nil)
	c.transfers[t.id] = t
	view := r.transferView(t)
	at := slices.IndexFunc(view, func(m member) bool { return m.name == "links" })
	return r.json(http.StatusAccepted, object{{"transfer", slices.Insert(view, at, member{"auth_key", t.key})}})
}

// transferView returns a transfer's members at the request's microversion.
func (r *request) transferView(t *transfer) object {
	view := object{
		{
			"id",
			t.id,
		},
		{"created_at", t.created.UTC().Format("2006-01-02T15:04:05.000000")},
		{"name", textOrNil(t.name)},
		{"volume_id", t.volumeID},
		{"links", r.links("volume", "os-volume-transfer/"+t.id)},
	}
	if !strings.Contains(r.path, "/volume-transfers") {
		return view
	}
	if r.version.atLeast(3, 55) {
		view = append(view, member{"no_snapshots", t.withoutSnapshots})
	}
	if r.version.atLeast(3, 57) {
		view = append(view, object{
			{
				"source_project_id",
				t.projectID,
			},
			{"destination_project_id", textOrNil(t.takenBy)},
			{"accepted", t.accepted},
		}...)
	}
	return view
}

// transferOf returns the transfer that the request's URL names, or an error response. Only the offering project and
// administrators see it.
func (c *Cloud) transferOf(r *request) (*transfer, *response) {
	t := c.transfers[strings.ToLower(r.vars["id"])]
	if t == nil || t.accepted || !r.who.sees(t.projectID) {
		return nil, r.notFound("Transfer %s could not be found.", r.vars["id"])
	}
	return t, nil
}

func (c *Cloud) showTransfer(r *request) *response {
	t, refused := c.transferOf(r)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"transfer", r.transferView(t)}})
}

func (c *Cloud) listTransfers(r *request) *response {
	all := r.trueParameter("all_tenants") && r.who.admin()
	var list []*transfer
	for _, t := range c.transfers {
		if !t.accepted && (all || t.projectID == r.who.project.ID) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *transfer) int { return b.created.Compare(a.created) })
	views := []object{}
	for _, t := range list {
		view := r.transferView(t)
		if !strings.HasSuffix(cutFormat(r.path), "/detail") {
			view = slices.DeleteFunc(
				view,
				func(m member) bool { return !slices.Contains([]string{"id", "volume_id", "name", "links"}, m.name) },
			)
		}
		views = append(views, view)
	}
	return r.json(http.StatusOK, object{{"transfers", views}})
}

// acceptTransfer handles POST …/{id}/accept, allowed with the key.
func (c *Cloud) acceptTransfer(r *request) *response {
	body, refused := r.checkedVolumeBody(
		schema{types: []string{"object"}, closed: true, required: []string{"accept"}, properties: []property{
			{
				"accept",
				schema{
					types:      []string{"object"},
					closed:     true,
					required:   []string{"auth_key"},
					properties: []property{{"auth_key", schema{types: []string{"string"}, minLength: 1}}},
				},
			},
		}},
	)
	if refused != nil {
		return refused
	}
	t := c.transfers[strings.ToLower(r.vars["id"])]
	if t == nil || t.accepted {
		return r.notFound("Transfer %s could not be found.", r.vars["id"])
	}
	if body.text("accept", "auth_key") != t.key {
		return r.badRequest("Invalid auth key: Attempt to transfer %s with invalid auth key.", t.id)
	}
	v := c.volumes.get(t.volumeID)
	if v == nil {
		return r.notFound("Volume %s could not be found.", t.volumeID)
	}
	c.reassign(v, r.who.project.ID, r.who.user.ID, !t.withoutSnapshots)
	v.become(r.start, 0, "available", "available", nil)
	t.accepted, t.takenBy = true, r.who.project.ID
	view := r.transferView(t)[:0]
	return r.json(http.StatusAccepted, object{{"transfer", append(view, object{
		{
			"id",
			t.id,
		},
		{"volume_id", t.volumeID},
		{"name", textOrNil(t.name)},
		{"links", r.links("volume", "os-volume-transfer/"+t.id)},
	}...)}})
}

// reassign moves a volume to another project and user, with its snapshots if requested.
func (c *Cloud) reassign(v *volume, project, user string, withSnapshots bool) {
	if withSnapshots {
		for _, s := range c.snapshotsOf(v) {
			c.snapshots.move(s, func() { s.projectID, s.userID = project, user })
		}
	}
	c.volumes.move(v, func() { v.projectID, v.userID = project, user })
}

func (c *Cloud) deleteTransfer(r *request) *response {
	t, refused := c.transferOf(r)
	if refused != nil {
		return refused
	}
	if v := c.volumes.get(t.volumeID); v != nil && v.status == "awaiting-transfer" {
		v.become(r.start, 0, "available", "available", nil)
	}
	delete(c.transfers, t.id)
	return r.empty(http.StatusAccepted, "text/html; charset=UTF-8")
}
