package simcloud

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// The metadata of servers: nova/api/openstack/compute/server_metadata.py.

// metadataBody returns the schema of a body with one member for metadata.
func metadataBody(name string, s schema) schema {
	return schema{types: []string{"object"}, closed: true, required: []string{name}, properties: []property{{name, s}}}
}

func (c *Cloud) listServerMetadata(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"metadata", s.metadata}})
}

func (c *Cloud) showServerMetadata(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	value, found := s.metadata[r.vars["key"]]
	if !found {
		return r.notFound("Metadata item was not found")
	}
	return r.json(http.StatusOK, object{{"meta", object{{r.vars["key"], value}}}})
}

// mergeServerMetadata handles POST /servers/{id}/metadata. The response is the whole map.
func (c *Cloud) mergeServerMetadata(r *request) *response {
	return c.writeServerMetadata(r, false)
}

// replaceServerMetadata handles PUT /servers/{id}/metadata, which deletes all other keys.
func (c *Cloud) replaceServerMetadata(r *request) *response {
	return c.writeServerMetadata(r, true)
}

func (c *Cloud) writeServerMetadata(r *request, replace bool) *response {
	body, refused := r.checkedBody(metadataBody("metadata", metadataSchema))
	if refused != nil {
		return refused
	}
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	saved, refused := c.saveServerMetadata(r, s, textMap(body.at("metadata")), replace)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"metadata", saved}})
}

// setServerMetadata handles PUT /servers/{id}/metadata/{key}. The response has only that key.
func (c *Cloud) setServerMetadata(r *request) *response {
	one := metadataSchema
	one.minProperties, one.maxProperties = 1, 1
	body, refused := r.checkedBody(metadataBody("meta", one))
	if refused != nil {
		return refused
	}
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	meta := textMap(body.at("meta"))
	if _, ok := meta[r.vars["key"]]; !ok {
		return r.badRequest("Request body and URI mismatch")
	}
	if _, refused := c.saveServerMetadata(r, s, meta, false); refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"meta", meta}})
}

// saveServerMetadata does Nova's checks in their order, and returns the map as this writer saved it.
func (c *Cloud) saveServerMetadata(
	r *request, s *server, changes map[string]string, replace bool,
) (map[string]string, *response) {
	if refused := r.metadataAllowed(s, "update metadata"); refused != nil {
		return nil, refused
	}
	merged := changes
	if !replace {
		merged = maps.Clone(s.metadata)
		maps.Copy(merged, changes)
	}
	if refused := c.checkMetadataQuota(r, merged); refused != nil {
		return nil, refused
	}
	for _, value := range changes {
		if !storable(value) {
			return nil, r.internalError("oslo_db.exception.DBError")
		}
	}
	r.pause()
	s.metadata = merged
	s.updated = r.start
	return maps.Clone(merged), nil
}

func (c *Cloud) deleteServerMetadata(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	// Nova looks up the key first: a missing one is 404 even if writes are refused with 409.
	if _, found := s.metadata[r.vars["key"]]; !found {
		return r.notFound("Metadata item was not found")
	}
	if refused := r.metadataAllowed(s, "delete metadata"); refused != nil {
		return refused
	}
	s.metadata = maps.Clone(s.metadata)
	maps.DeleteFunc(s.metadata, func(key, _ string) bool { return sameInDatabase(key, r.vars["key"]) })
	s.updated = r.start
	if r.huawei {
		return r.empty(http.StatusOK, "application/json") // one of the two that its table of return values allows
	}
	return r.empty(http.StatusNoContent, "application/json")
}

// metadataAllowed refuses writes to locked servers and in vm_states other than these four. The task_state does not
// matter.
func (r *request) metadataAllowed(s *server, label string) *response {
	return r.allowed(s, action{label: label, from: []string{vmActive, vmPaused, vmSuspended, vmStopped}, anyTask: true})
}

// checkMetadataQuota refuses a merge that would exceed the quota.
func (c *Cloud) checkMetadataQuota(r *request, metadata map[string]string) *response {
	if limit := c.options.MaxMetadataItems; limit >= 0 && len(metadata) > limit {
		return r.forbidden("Maximum number of metadata items exceeds %d", limit)
	}
	return nil
}

// sameInDatabase reports whether MySQL and MariaDB treat two keys as equal: their default three-byte collations ignore
// case and trailing spaces. The services' own maps distinguish them.
func sameInDatabase(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, " "), strings.TrimRight(b, " "))
}

// storable reports whether the services' databases can store a text: their columns have three bytes per character.
func storable(s string) bool {
	return !slices.ContainsFunc([]rune(s), func(r rune) bool { return r > 0xffff })
}
