package simcloud

import (
	"net/http"
	"strings"
)

// imageRoutes are the operations of Glance that clients need to name an image. Source:
// https://docs.openstack.org/api-ref/image/v2/
func imageRoutes() routes {
	return routes{
		{"GET", "images", (*Cloud).listImages},
		{"GET", "images/{id}", (*Cloud).showImage},
	}
}

// image serves Glance's API. The caller holds c.mu.
func (c *Cloud) image(r *request) *response {
	if r.path == "" || r.path == "/" || r.path == "/versions" {
		return r.plainJSON(http.StatusMultipleChoices, object{{"versions", []object{
			{{"id", "v2.15"}, {"status", "CURRENT"}, {"links", []object{{{"rel", "self"}, {"href", r.base + "/image/v2/"}}}}},
			{{"id", "v2.0"}, {"status", "SUPPORTED"}, {"links", []object{{{"rel", "self"}, {"href", r.base + "/image/v2/"}}}}},
		}}})
	}
	return c.serveStub(r, "/v2/", func(r *request) *response {
		return r.webError(http.StatusNotFound, "The resource could not be found.")
	})
}

// serveStub routes a request to a service with few operations.
func (c *Cloud) serveStub(r *request, prefix string, missing func(*request) *response) *response {
	if refused := c.authorize(r); refused != nil {
		return refused
	}
	path, found := strings.CutPrefix(r.path, prefix)
	handle, vars := c.routes[r.service].match(r.method, path)
	if !found || handle == nil {
		return missing(r)
	}
	r.vars = vars
	return handle(c, r)
}

func imageView(m Image) object {
	return object{
		{"name", m.Name}, {"disk_format", "raw"}, {"container_format", "bare"}, {"visibility", "public"}, {"size", 1024},
		{"virtual_size", 1024}, {"status", "active"}, {"checksum", "0f343b0931126a20f133d67c2b018a3b"},
		{"protected", false}, {"min_ram", 0}, {"min_disk", 0}, {"owner", stableID("project", "admin")},
		{"os_hidden", false}, {"id", m.ID}, {"created_at", "2026-01-01T00:00:00Z"}, {"updated_at", "2026-01-01T00:00:00Z"},
		{"tags", []string{}}, {"self", "/v2/images/" + m.ID}, {"file", "/v2/images/" + m.ID + "/file"},
		{"schema", "/v2/schemas/image"},
	}
}

func (c *Cloud) listImages(r *request) *response {
	views := []object{}
	for _, m := range c.directory.images {
		if name := r.query.Get("name"); (name == "" || name == m.Name) && r.query.Get("marker") == "" {
			views = append(views, imageView(m))
		}
	}
	return r.json(http.StatusOK, object{{"images", views}, {"first", "/v2/images"}, {"schema", "/v2/schemas/images"}})
}

func (c *Cloud) showImage(r *request) *response {
	m, found := c.directory.image(r.vars["id"])
	if !found {
		return r.webError(http.StatusNotFound, "No image found with ID "+r.vars["id"])
	}
	return r.json(http.StatusOK, imageView(m))
}
