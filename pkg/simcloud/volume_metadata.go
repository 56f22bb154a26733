package simcloud

import (
	"crypto/md5"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// The metadata of snapshots (cinder/api/v3/snapshot_metadata.py) and of volumes (cinder/api/v3/volume_metadata.py).
// The APIs look alike, but snapshots have hand-written checks where volumes have a schema.

// showMetadata answers GET of a map.
func (r *request) showMetadata(metadata map[string]string) *response {
	return r.json(http.StatusOK, object{{"metadata", metadata}})
}

// showMetadataKey answers GET of one key.
func (r *request) showMetadataKey(kind string, metadata map[string]string) *response {
	value, found := metadata[r.vars["key"]]
	if !found {
		return r.keyNotFound(kind)
	}
	return r.json(http.StatusOK, object{{"meta", object{{r.vars["key"], value}}}})
}

func (r *request) keyNotFound(kind string) *response {
	return r.notFound("%s %s has no metadata with key %s.", kind, r.vars["id"], r.vars["key"])
}

// metadataDeleted answers DELETE of a key.
func (r *request) metadataDeleted() *response {
	if r.huawei {
		return r.empty(http.StatusNoContent, "") // either status is allowed
	}
	return r.empty(http.StatusOK, "text/html; charset=UTF-8")
}

func (c *Cloud) listSnapshotMetadata(r *request) *response {
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	return r.showMetadata(s.metadata)
}

func (c *Cloud) showSnapshotMetadata(r *request) *response {
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	return r.showMetadataKey("Snapshot", s.metadata)
}

// snapshotMetadataBody returns the object in the named member of a body, or an error response.
func (r *request) snapshotMetadataBody(name string) (object, *response) {
	if !r.hasBody {
		return nil, r.malformed()
	}
	body, isObject := r.decoded.(object)
	list, isList := r.decoded.([]any)
	text, isText := r.decoded.(string)
	// In Python, "in" also finds the name in a string, which then has no members.
	lacks := r.decoded == nil || isList && len(list) == 0 || isText && !strings.Contains(text, name)
	if !isObject && !lacks {
		return nil, r.malformed()
	}
	o, ok := body.at(name).(object)
	if !ok {
		return nil, r.badRequest("Missing required element '%s' in request body.", name)
	}
	return o, nil
}

func (c *Cloud) mergeSnapshotMetadata(r *request) *response {
	return c.writeSnapshotMetadata(r, false)
}

func (c *Cloud) replaceSnapshotMetadata(r *request) *response {
	return c.writeSnapshotMetadata(r, true)
}

func (c *Cloud) writeSnapshotMetadata(r *request, replace bool) *response {
	changes, refused := r.snapshotMetadataBody("metadata")
	if refused != nil {
		return refused
	}
	saved, refused := c.saveSnapshotMetadata(r, changes, replace)
	if refused != nil {
		return refused
	}
	return r.showMetadata(saved)
}

func (c *Cloud) setSnapshotMetadata(r *request) *response {
	meta, refused := r.snapshotMetadataBody("meta")
	if refused != nil {
		return refused
	}
	if refused := r.onlyKeyOf(meta); refused != nil {
		return refused
	}
	if _, refused := c.saveSnapshotMetadata(r, meta, false); refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"meta", meta}})
}

// onlyKeyOf refuses a body with another key than the URL's, or more than one.
func (r *request) onlyKeyOf(meta object) *response {
	if _, ok := meta.get(r.vars["key"]); !ok {
		return r.badRequest("Request body and URI mismatch")
	}
	if len(meta) > 1 {
		return r.badRequest("Request body contains too many items")
	}
	return nil
}

// saveSnapshotMetadata saves the map and returns it as this writer saved it. The snapshot's status does not matter.
func (c *Cloud) saveSnapshotMetadata(r *request, changes object, replace bool) (map[string]string, *response) {
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return nil, refused
	}
	if refused := r.checkSnapshotMetadata(changes); refused != nil {
		return nil, refused
	}
	merged := map[string]string{}
	if !replace {
		merged = maps.Clone(s.metadata)
	}
	// Keys are written one by one to the row that the database finds, which for Owner is that of owner.
	for _, m := range changes {
		row := m.name
		for key := range merged {
			if sameInDatabase(key, m.name) {
				row = key
			}
		}
		merged[row], _ = m.value.(string)
	}
	r.pause()
	s.metadata = merged
	s.updated = r.start
	return maps.Clone(merged), nil
}

// checkSnapshotMetadata is check_metadata_properties of cinder/utils.py.
func (r *request) checkSnapshotMetadata(metadata object) *response {
	tooLong := func(what string) *response {
		return r.refuse(refusal{status: http.StatusRequestEntityTooLarge,
			message: "Invalid metadata size: Metadata property key " + what + " greater than 255 characters."})
	}
	stored := true
	for _, m := range metadata {
		value, isText := m.value.(string)
		switch {
		case m.name == "":
			return r.badRequest("Invalid metadata: Invalid input received: Metadata key:  has 0 characters, less than 1.")
		case !isText:
			return r.badRequest("Invalid metadata: Invalid input received: "+
				"Value for metadata key: %s is not a string or unicode", m.name)
		case utf8.RuneCountInString(m.name) > 255:
			return tooLong(m.name)
		case utf8.RuneCountInString(value) > 255:
			return tooLong(m.name + " value")
		}
		stored = stored && storable(m.name) && storable(value)
	}
	if !stored {
		return r.internalError("")
	}
	return nil
}

func (c *Cloud) deleteSnapshotMetadata(r *request) *response {
	s, refused := c.snapshotOf(r)
	if refused != nil {
		return refused
	}
	if _, found := s.metadata[r.vars["key"]]; !found {
		return r.keyNotFound("Snapshot")
	}
	s.metadata = maps.Clone(s.metadata)
	delete(s.metadata, r.vars["key"])
	s.updated = r.start
	return r.metadataDeleted()
}

func (c *Cloud) listVolumeMetadata(r *request) *response {
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	res := r.showMetadata(v.metadata)
	if r.version.atLeast(3, 15) {
		res.header.Set("ETag", etag(v.metadata))
		res.header.Set("Content-Type", "text/html; charset=UTF-8")
		res.header.Del("X-Compute-Request-Id")
	}
	return res
}

// etag returns the hash of a volume's metadata, from microversion 3.15 on.
func etag(metadata map[string]string) string {
	sum := md5.Sum(dumps(object{{"metadata", metadata}}))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// checkETag refuses a PUT with an outdated ETag. POST and DELETE ignore it.
func (r *request) checkETag(v *volume) *response {
	asked := r.header.Get("If-Match")
	if asked == "" || asked == "*" || !r.version.atLeast(3, 15) || strings.Contains(asked, etag(v.metadata)) {
		return nil
	}
	return r.empty(http.StatusPreconditionFailed, "text/html; charset=UTF-8")
}

func (c *Cloud) showVolumeMetadata(r *request) *response {
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	return r.showMetadataKey("Volume", v.metadata)
}

func (c *Cloud) mergeVolumeMetadata(r *request) *response {
	return c.writeVolumeMetadata(r, false)
}

func (c *Cloud) replaceVolumeMetadata(r *request) *response {
	return c.writeVolumeMetadata(r, true)
}

func (c *Cloud) writeVolumeMetadata(r *request, replace bool) *response {
	s := resourceMetadataSchema
	s.types = []string{"object"}
	body, refused := r.checkedVolumeBody(metadataBody("metadata", s))
	if refused != nil {
		return refused
	}
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	if replace {
		if refused := r.checkETag(v); refused != nil {
			return refused
		}
	}
	return r.saveVolumeMetadata(v, textMap(body.at("metadata")), replace, func() *response {
		return r.showMetadata(v.metadata)
	})
}

func (c *Cloud) setVolumeMetadata(r *request) *response {
	s := resourceMetadataSchema
	s.types, s.minProperties, s.maxProperties = []string{"object"}, 1, 1
	body, refused := r.checkedVolumeBody(metadataBody("meta", s))
	if refused != nil {
		return refused
	}
	meta := body.at("meta").(object) // valid by the schema
	if refused := r.onlyKeyOf(meta); refused != nil {
		return refused
	}
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	if refused := r.checkETag(v); refused != nil {
		return refused
	}
	return r.saveVolumeMetadata(v, textMap(meta), false, func() *response {
		return r.json(http.StatusOK, object{{"meta", meta}})
	})
}

// volumeMetadataAllowed refuses writes in the two statuses that do not allow them.
func (r *request) volumeMetadataAllowed(v *volume, what string) *response {
	if v.status != "maintenance" && v.status != "uploading" {
		return nil
	}
	return r.badRequest("Invalid volume: %s volume metadata is not allowed for volumes in %s status.", what, v.status)
}

// saveVolumeMetadata saves atomically: for volumes, Cinder merges in the database.
func (r *request) saveVolumeMetadata(
	v *volume, changes map[string]string, replace bool, answer func() *response,
) *response {
	if refused := r.volumeMetadataAllowed(v, "Updating"); refused != nil {
		return refused
	}
	for _, value := range changes {
		if !storable(value) {
			return r.internalError("")
		}
	}
	merged := map[string]string{}
	for key, value := range v.metadata {
		// A PUT of the collection deletes all other keys. Cinder's database treats owner as Owner, so owner remains beside a
		// new Owner.
		if !replace ||
			slices.ContainsFunc(
				slices.Collect(maps.Keys(changes)),
				func(k string) bool { return sameInDatabase(k, key) },
			) {
			merged[key] = value
		}
	}
	maps.Copy(merged, changes)
	v.metadata = merged
	return answer()
}

func (c *Cloud) deleteVolumeMetadata(r *request) *response {
	v, refused := c.volumeOf(r)
	if refused != nil {
		return refused
	}
	if _, found := v.metadata[r.vars["key"]]; !found {
		return r.keyNotFound("Volume")
	}
	if refused := r.volumeMetadataAllowed(v, "Deleting"); refused != nil {
		return refused
	}
	v.metadata = maps.Clone(v.metadata)
	maps.DeleteFunc(v.metadata, func(key, _ string) bool { return sameInDatabase(key, r.vars["key"]) })
	return r.metadataDeleted()
}
