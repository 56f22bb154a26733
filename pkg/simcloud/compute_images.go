package simcloud

import (
	"net/http"
	"strings"
)

// Below microversion 2.36, Nova proxies Glance's images. The SDKs' compute.find_image uses it.
// Source: nova/api/openstack/compute/images.py and views/images.py, and answers of Nova 26.2.

func (c *Cloud) computeImageView(r *request, m Image, detailed bool) object {
	const made = "2026-01-01T00:00:00Z"
	view := object{{"id", m.ID}, {"name", m.Name}}
	if detailed {
		view = append(view, object{
			{"minRam", 0}, {"minDisk", 0}, {"metadata", object{}}, {"created", made}, {"updated", made}, {"status", "ACTIVE"},
			{"progress", 100}, {"OS-EXT-IMG-SIZE:size", 1024},
		}...)
	}
	links := append(r.links("compute", "images/"+m.ID), object{
		{"rel", "alternate"}, {"type", "application/vnd.openstack.image"}, {"href", r.base + "/image/images/" + m.ID},
	})
	return append(view, member{"links", links})
}

// noImages is the response for microversions without images.
func (r *request) noImages() *response {
	if r.version.atLeast(2, 36) {
		return r.notFound("The resource could not be found.")
	}
	return nil
}

func (c *Cloud) listComputeImages(r *request) *response {
	if refused := r.noImages(); refused != nil {
		return refused
	}
	views := []object{}
	for _, m := range c.directory.images {
		if name := r.query.Get("name"); (name == "" || name == m.Name) && r.query.Get("marker") == "" {
			views = append(views, c.computeImageView(r, m, strings.HasSuffix(r.path, "/detail")))
		}
	}
	return r.json(http.StatusOK, object{{"images", views}})
}

func (c *Cloud) showComputeImage(r *request) *response {
	if refused := r.noImages(); refused != nil {
		return refused
	}
	m, found := c.directory.image(r.vars["id"])
	if !found {
		return r.notFound("Image not found.")
	}
	return r.json(http.StatusOK, object{{"image", c.computeImageView(r, m, true)}})
}
