package simcloud

import (
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxServiceBody is the largest body that Compute and Block Storage accept, in bytes: max_request_body_size of
// oslo.middleware.
const maxServiceBody = 114688

// computeRoutes are the operations of Nova. Source: https://docs.openstack.org/api-ref/compute/
func computeRoutes() routes {
	return routes{
		{"GET", "servers", (*Cloud).listServers},
		{"GET", "servers/detail", (*Cloud).listServers},
		{"POST", "servers", (*Cloud).createServer},
		{"GET", "servers/{id}", (*Cloud).showServer},
		{"PUT", "servers/{id}", (*Cloud).updateServer},
		{"DELETE", "servers/{id}", (*Cloud).deleteServer},
		{"POST", "servers/{id}/action", (*Cloud).actOnServer},
		{"GET", "servers/{id}/metadata", (*Cloud).listServerMetadata},
		{"POST", "servers/{id}/metadata", (*Cloud).mergeServerMetadata},
		{"PUT", "servers/{id}/metadata", (*Cloud).replaceServerMetadata},
		{"GET", "servers/{id}/metadata/{key}", (*Cloud).showServerMetadata},
		{"PUT", "servers/{id}/metadata/{key}", (*Cloud).setServerMetadata},
		{"DELETE", "servers/{id}/metadata/{key}", (*Cloud).deleteServerMetadata},
		{"GET", "servers/{id}/os-volume_attachments", (*Cloud).listAttachments},
		{"POST", "servers/{id}/os-volume_attachments", (*Cloud).createAttachment},
		{"GET", "servers/{id}/os-volume_attachments/{volume}", (*Cloud).showAttachment},
		{"PUT", "servers/{id}/os-volume_attachments/{volume}", (*Cloud).updateAttachment},
		{"DELETE", "servers/{id}/os-volume_attachments/{volume}", (*Cloud).deleteAttachment},
		{"GET", "servers/{id}/os-interface", (*Cloud).listInterfaces},
		{"GET", "servers/{id}/os-security-groups", (*Cloud).listServerSecurityGroups},
		{"GET", "flavors", (*Cloud).listFlavors},
		{"GET", "flavors/detail", (*Cloud).listFlavors},
		{"GET", "flavors/{id}", (*Cloud).showFlavor},
		{"GET", "flavors/{id}/os-extra_specs", (*Cloud).listExtraSpecs},
		{"GET", "images", (*Cloud).listComputeImages},
		{"GET", "images/detail", (*Cloud).listComputeImages},
		{"GET", "images/{id}", (*Cloud).showComputeImage},
		{"GET", "limits", (*Cloud).showComputeLimits},
		{"GET", "os-availability-zone", (*Cloud).listZones},
		{"GET", "os-availability-zone/detail", (*Cloud).listZones},
		{"GET", "os-keypairs", (*Cloud).listKeypairs},
		{"GET", "extensions", (*Cloud).listExtensions},
	}
}

// compute serves Nova's API. The caller holds c.mu.
func (c *Cloud) compute(r *request) *response {
	root, rest, below := strings.Cut(strings.TrimPrefix(r.path, "/"), "/")
	if r.method == http.MethodOptions && root != "" {
		return r.crossOrigin()
	}
	switch root {
	case "":
		return r.plainJSON(http.StatusOK,
			object{{"versions", []object{r.computeVersion("v2.0", false), r.computeVersion("v2.1", false)}}})
	case "v2.1":
	case "v2": // as v2.1, without microversions
		r.header = r.header.Clone()
		r.header.Del("OpenStack-API-Version")
		r.header.Del("X-OpenStack-Nova-API-Version")
	default:
		return r.plainJSON(http.StatusMultipleChoices,
			object{{"choices", []object{r.computeChoice("v2.0"), r.computeChoice("v2.1")}}})
	}
	if len(r.body) > maxServiceBody {
		return r.tooLarge()
	}
	if !below || rest == "" {
		return c.computeRoot(r, root)
	}
	if refused := c.authorize(r); refused != nil {
		return refused
	}
	r.projectInURL, rest = c.cutProject(rest)
	r.linkPrefix = r.base + "/compute/" + root
	if r.projectInURL != "" {
		r.linkPrefix += "/" + r.projectInURL
		if rest == "" {
			return c.computeRoot(r, root)
		}
	}
	// The routes' patterns end in $, which in Python also matches before a trailing newline.
	handle, vars := c.routes[serviceCompute].match(r.method, strings.TrimSuffix(rest, "\n"))
	if handle == nil {
		return r.webError(http.StatusNotFound, "The resource could not be found.")
	}
	r.vars = vars
	if refused := r.negotiateCompute(); refused != nil {
		return refused
	}
	if root == "v2" {
		r.versioned = false
	}
	if t := r.header.Get("Content-Type"); t != "" {
		if !slices.Contains([]string{"application/json", "application/vnd.openstack.compute+json", "text/plain"},
			mediaType(t)) {
			return r.refuse(refusal{status: http.StatusUnsupportedMediaType, message: "Unsupported Content-Type"})
		}
	}
	if refused := r.decodeComputeBody(); refused != nil {
		return refused
	}
	if own := r.who.project.ID; r.projectInURL != "" && r.projectInURL != own {
		return r.refuse(refusal{http.StatusBadRequest, "Malformed request URL: URL's project_id '" + r.projectInURL +
			"' doesn't match Context's project_id '" + own + "'", "Common.0018", http.StatusBadRequest})
	}
	return handle(c, r)
}

// mediaType returns the media type of a Content-Type, "" if it cannot be parsed. The services compare it by case.
func mediaType(contentType string) string {
	if _, _, err := mime.ParseMediaType(contentType); err != nil {
		return ""
	}
	media, _, _ := strings.Cut(contentType, ";")
	return strings.TrimSpace(media)
}

// crossOrigin answers OPTIONS, which the CORS middleware handles before any routing.
func (r *request) crossOrigin() *response {
	res := r.empty(http.StatusOK, "")
	if r.service == serviceCompute {
		clear(res.header)
	}
	return res
}

// authorize authenticates a request to a service that requires it.
func (c *Cloud) authorize(r *request) *response {
	if c.options.HuaweiCloud && strings.HasPrefix(r.header.Get("Authorization"), signatureAlgorithm) {
		return c.authorizeSigned(r)
	}
	r.who = c.authenticated(r)
	if r.who == nil {
		return r.serviceUnauthorized()
	}
	return nil
}

// tooLarge is the response to a body over the limit.
func (r *request) tooLarge() *response {
	return r.webError(http.StatusRequestEntityTooLarge,
		"Request is too large. Larger than max_request_body_size (114688).")
}

// decodeComputeBody reads the body as Nova does: only for methods that may have one, whatever its type, and not without
// a length.
func (r *request) decodeComputeBody() *response {
	if r.method != http.MethodPost && r.method != http.MethodPut || r.chunked || len(r.body) == 0 {
		return nil
	}
	if !utf8.Valid(r.body) {
		return r.internalError("")
	}
	v, err := decodeJSON(r.body)
	if err != nil {
		return r.badRequest("Malformed request body")
	}
	r.decoded = v
	return nil
}

// checkedBody returns the body if it matches the schema, or an error response.
func (r *request) checkedBody(s schema) (object, *response) {
	if message := s.validate(r.decoded); message != "" {
		return nil, r.badRequest("%s", message)
	}
	return r.decoded.(object), nil // all body schemas require an object
}

// plainJSON is the response of version documents, which have no request id.
func (r *request) plainJSON(status int, v any) *response {
	res := r.json(status, v)
	res.header.Del("X-Openstack-Request-Id")
	res.header.Del("X-Compute-Request-Id")
	return res
}

func (r *request) computeVersion(id string, detailed bool) object {
	path, media, status, updated := "v2.1", "2.1", "CURRENT", "2013-07-23T11:33:21Z"
	lowest, highest := computeMin.String(), computeMax.String()
	if id == "v2.0" {
		path, media, status, updated, lowest, highest = "v2", "2", "SUPPORTED", "2011-01-21T11:33:21Z", "", ""
	}
	links := []object{{{"rel", "self"}, {"href", r.base + "/compute/" + path + "/"}}}
	if detailed {
		links = append(links, object{{"rel", "describedby"}, {"type", "text/html"}, {"href", "http://docs.openstack.org/"}})
	}
	view := object{{"id", id}, {"status", status}, {"version", highest}, {"min_version", lowest}, {"updated", updated},
		{"links", links}}
	if detailed {
		view = append(view, member{"media-types", computeMedia(media)})
	}
	return view
}

func computeMedia(version string) []object {
	return []object{{{"base", "application/json"}, {"type", "application/vnd.openstack.compute+json;version=" + version}}}
}

func (r *request) computeChoice(id string) object {
	path, media, status := "v2.1", "2.1", "CURRENT"
	if id == "v2.0" {
		path, media, status = "v2", "2", "SUPPORTED"
	}
	return object{
		{"id", id}, {"status", status},
		{"links", []object{{{"rel", "self"}, {"href", r.base + "/compute/" + path + r.path}}}},
		{"media-types", computeMedia(media)},
	}
}

// computeRoot is the version document at /v2.1/ and /v2/, which needs no token.
func (c *Cloud) computeRoot(r *request, root string) *response {
	if root == "v2" {
		return r.json(http.StatusOK, object{{"version", r.computeVersion("v2.0", true)}})
	}
	if refused := r.negotiateCompute(); refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"version", r.computeVersion("v2.1", true)}})
}
