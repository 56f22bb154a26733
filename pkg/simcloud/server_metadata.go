package simcloud

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// The metadata of servers: nova/api/openstack/compute/server_metadata.py.

// metadataBody is the schema of a body with one member of metadata.
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

// mergeServerMetadata is POST /servers/{id}/metadata. The answer is the whole map.
func (c *Cloud) mergeServerMetadata(r *request) *response {
	return c.writeServerMetadata(r, false)
}

// replaceServerMetadata is PUT /servers/{id}/metadata, which deletes every key that it does not name.
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

// setServerMetadata is PUT /servers/{id}/metadata/{key}. The answer is the key alone.
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

// saveServerMetadata checks what Nova checks, in its order, and returns the map as this writer saw and saved it.
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
			return nil, r.brokenInside("oslo_db.exception.DBError")
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
	// Nova looks the key up first: a missing one is 404 even where a present one would be 409.
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

// metadataAllowed refuses writes to servers that are locked or in another vm_state than these four. The task_state does
// not matter.
func (r *request) metadataAllowed(s *server, label string) *response {
	return r.allowed(s, action{label: label, from: []string{vmActive, vmPaused, vmSuspended, vmStopped}, anyTask: true})
}

// checkMetadataQuota refuses a map that would have too many items after the merge.
func (c *Cloud) checkMetadataQuota(r *request, metadata map[string]string) *response {
	if limit := c.options.MaxMetadataItems; limit >= 0 && len(metadata) > limit {
		return r.forbidden("Maximum number of metadata items exceeds %d", limit)
	}
	return nil
}

// sameInDatabase reports whether MySQL and MariaDB take two keys for the same, in their usual collations for three
// bytes per character: neither case nor spaces at the end make a difference. The services' own maps do tell them apart.
func sameInDatabase(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, " "), strings.TrimRight(b, " "))
}

// storable reports whether the services' databases take a text: their columns hold three bytes per character.
func storable(s string) bool {
	return !slices.ContainsFunc([]rune(s), func(r rune) bool { return r > 0xffff })
}
