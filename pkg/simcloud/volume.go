package simcloud

import (
	"net/http"
	"strings"
)

// volumeRoutes are the operations of Cinder. Source: https://docs.openstack.org/api-ref/block-storage/v3/
func volumeRoutes() routes {
	return routes{
		{"GET", "volumes", (*Cloud).listVolumes},
		{"GET", "volumes/detail", (*Cloud).listVolumes},
		{"POST", "volumes", (*Cloud).createVolume},
		{"GET", "volumes/{id}", (*Cloud).showVolume},
		{"PUT", "volumes/{id}", (*Cloud).updateVolume},
		{"DELETE", "volumes/{id}", (*Cloud).deleteVolume},
		{"POST", "volumes/{id}/action", (*Cloud).actOnVolume},
		{"GET", "volumes/{id}/metadata", (*Cloud).listVolumeMetadata},
		{"POST", "volumes/{id}/metadata", (*Cloud).mergeVolumeMetadata},
		{"PUT", "volumes/{id}/metadata", (*Cloud).replaceVolumeMetadata},
		{"GET", "volumes/{id}/metadata/{key}", (*Cloud).showVolumeMetadata},
		{"PUT", "volumes/{id}/metadata/{key}", (*Cloud).setVolumeMetadata},
		{"DELETE", "volumes/{id}/metadata/{key}", (*Cloud).deleteVolumeMetadata},
		{"GET", "snapshots", (*Cloud).listSnapshots},
		{"GET", "snapshots/detail", (*Cloud).listSnapshots},
		{"POST", "snapshots", (*Cloud).createSnapshot},
		{"GET", "snapshots/{id}", (*Cloud).showSnapshot},
		{"PUT", "snapshots/{id}", (*Cloud).updateSnapshot},
		{"DELETE", "snapshots/{id}", (*Cloud).deleteSnapshot},
		{"POST", "snapshots/{id}/action", (*Cloud).actOnSnapshot},
		{"GET", "snapshots/{id}/metadata", (*Cloud).listSnapshotMetadata},
		{"POST", "snapshots/{id}/metadata", (*Cloud).mergeSnapshotMetadata},
		{"PUT", "snapshots/{id}/metadata", (*Cloud).replaceSnapshotMetadata},
		{"GET", "snapshots/{id}/metadata/{key}", (*Cloud).showSnapshotMetadata},
		{"PUT", "snapshots/{id}/metadata/{key}", (*Cloud).setSnapshotMetadata},
		{"DELETE", "snapshots/{id}/metadata/{key}", (*Cloud).deleteSnapshotMetadata},
		{"GET", "os-volume-transfer", (*Cloud).listTransfers},
		{"GET", "os-volume-transfer/detail", (*Cloud).listTransfers},
		{"POST", "os-volume-transfer", (*Cloud).createTransfer},
		{"GET", "os-volume-transfer/{id}", (*Cloud).showTransfer},
		{"DELETE", "os-volume-transfer/{id}", (*Cloud).deleteTransfer},
		{"POST", "os-volume-transfer/{id}/accept", (*Cloud).acceptTransfer},
		{"GET", "volume-transfers", (*Cloud).listTransfers},
		{"GET", "volume-transfers/detail", (*Cloud).listTransfers},
		{"POST", "volume-transfers", (*Cloud).createTransfer},
		{"GET", "volume-transfers/{id}", (*Cloud).showTransfer},
		{"DELETE", "volume-transfers/{id}", (*Cloud).deleteTransfer},
		{"POST", "volume-transfers/{id}/accept", (*Cloud).acceptTransfer},
		{"GET", "types", (*Cloud).listVolumeTypes},
		{"GET", "types/{id}", (*Cloud).showVolumeType},
		{"GET", "limits", (*Cloud).showVolumeLimits},
		{"GET", "extensions", (*Cloud).listExtensions},
		{"GET", "os-availability-zone", (*Cloud).listVolumeZones},
	}
}

// volume serves Cinder's API. The caller holds c.mu.
func (c *Cloud) volume(r *request) *response {
	root, rest, below := strings.Cut(strings.TrimPrefix(r.path, "/"), "/")
	switch {
	case r.method == http.MethodOptions && root != "":
		return r.crossOrigin()
	case root == "":
		r.version, r.versioned = volumeMin, true
		return r.json(http.StatusMultipleChoices, object{{"versions", []object{r.volumeVersion()}}})
	case root != "v3" && (root != "v2" || !c.options.HuaweiCloud):
		return r.webError(http.StatusNotFound, "The resource could not be found.")
	case len(r.body) > maxServiceBody:
		return r.tooLarge()
	}
	if refused := c.authorize(r); refused != nil {
		return refused
	}
	switch {
	case !below:
		res := r.empty(http.StatusFound, "text/plain; charset=utf8")
		res.header.Set("Location", r.base+"/volume/"+root+"/")
		return res
	case rest == "":
		if refused := r.negotiateVolume(); refused != nil {
			return refused
		}
		return r.json(http.StatusOK, object{{"versions", []object{r.volumeVersion()}}})
	}
	r.projectInURL, rest = c.cutProject(rest)
	r.linkPrefix = r.base + "/volume/" + root
	if r.projectInURL != "" {
		r.linkPrefix += "/" + r.projectInURL
	}
	handle, vars := c.routes[serviceVolume].match(r.method, cutFormat(rest))
	if handle == nil {
		return r.webError(http.StatusNotFound, "The resource could not be found.")
	}
	r.vars = vars
	if root == "v3" {
		if refused := r.negotiateVolume(); refused != nil {
			return refused
		}
	}
	if refused := r.decodeVolumeBody(); refused != nil {
		return refused
	}
	if r.projectInURL != "" && r.projectInURL != r.who.project.ID {
		return r.badRequest("Malformed request url")
	}
	if r.who.project.ID == "" {
		return r.forbidden("Not authorized.")
	}
	if r.hasBody && (r.method == http.MethodGet || r.method == http.MethodDelete) {
		return r.malformed()
	}
	return handle(c, r)
}

// cutFormat removes the format from a path: every route of Cinder may end in .json.
func cutFormat(path string) string {
	if cut, found := strings.CutSuffix(path, ".json"); found && !strings.HasSuffix(cut, "/") {
		return cut
	}
	return path
}

// isJSON reports whether the request's content type is JSON.
func (r *request) isJSON() bool {
	media := mediaType(r.header.Get("Content-Type"))
	return media == "application/json" || media == "application/vnd.openstack.volume+json"
}

// decodeVolumeBody reads the body as Cinder does: it requires the type (WSGI defaults to text/plain), and ignores a
// body without a length.
func (r *request) decodeVolumeBody() *response {
	if r.chunked || len(r.body) == 0 {
		return nil
	}
	if !r.isJSON() {
		return r.refuse(refusal{status: http.StatusUnsupportedMediaType, message: "Unsupported Content-Type"})
	}
	v, err := decodeJSON(r.body)
	if err != nil {
		return r.badRequest("Malformed request body")
	}
	r.decoded, r.hasBody = v, true
	return nil
}

// checkedVolumeBody returns the body if it matches the schema, or an error response.
func (r *request) checkedVolumeBody(s schema) (object, *response) {
	if !r.hasBody {
		return nil, r.internalError("")
	}
	if message := s.validate(r.decoded); message != "" {
		return nil, r.badRequest("%s", message)
	}
	return r.decoded.(object), nil // all body schemas require an object
}

func (r *request) volumeVersion() object {
	return object{
		{"id", "v3.0"}, {"status", "CURRENT"}, {"version", volumeMax.String()}, {"min_version", volumeMin.String()},
		{"updated", "2022-08-31T00:00:00Z"},
		{"links", []object{
			{{"rel", "describedby"}, {"type", "text/html"}, {"href", "https://docs.openstack.org/"}},
			{{"rel", "self"}, {"href", r.base + "/volume/v3/"}},
		}},
		{"media-types", []object{{{"base", "application/json"},
			{"type", "application/vnd.openstack.volume+json;version=3"}}}},
	}
}

func volumeTypeView() object {
	return object{
		{"id", stableUUID("volume type", "default")}, {"name", defaultVolumeType}, {"is_public", true},
		{"description", "Default Volume Type"}, {"extra_specs", object{}}, {"os-volume-type-access:is_public", true},
	}
}

func (c *Cloud) listVolumeTypes(r *request) *response {
	return r.json(http.StatusOK, object{{"volume_types", []object{volumeTypeView()}}})
}

func (c *Cloud) showVolumeType(r *request) *response {
	view := volumeTypeView()
	if id := r.vars["id"]; id != view.text("id") && id != "default" {
		return r.notFound("Volume type %s could not be found.", id)
	}
	return r.json(http.StatusOK, object{{"volume_type", view}})
}

func (c *Cloud) showVolumeLimits(r *request) *response {
	return r.json(http.StatusOK, object{{"limits", object{{"rate", []string{}}, {"absolute", object{
		{"maxTotalVolumes", -1}, {"maxTotalSnapshots", -1}, {"maxTotalVolumeGigabytes", -1}, {"maxTotalBackups", 10},
		{"maxTotalBackupGigabytes", 1000}, {"totalVolumesUsed", len(c.volumes.byID)},
		{"totalSnapshotsUsed", len(c.snapshots.byID)},
	}}}}})
}

func (c *Cloud) listVolumeZones(r *request) *response {
	return r.json(http.StatusOK,
		object{{"availabilityZoneInfo", []object{{{"zoneName", "nova"}, {"zoneState", object{{"available", true}}}}}}})
}
