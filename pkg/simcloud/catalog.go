package simcloud

import "net/http"

// catalog lists the services for a project, each with the interfaces that clients choose from.
func (c *Cloud) catalog(r *request, p Project) []object {
	entry := func(kind, name, path string) object {
		endpoints := []object{}
		for _, i := range []string{"public", "internal", "admin"} {
			endpoints = append(endpoints, object{
				{"id", stableID("endpoint", kind+i)}, {"interface", i}, {"region_id", c.options.Region}, {"url", r.base + path},
				{"region", c.options.Region},
			})
		}
		return object{{"endpoints", endpoints}, {"id", stableID("service", kind)}, {"type", kind}, {"name", name}}
	}
	list := []object{
		entry("identity", "keystone", "/identity/v3"),
		entry("image", "glance", "/image"),
		entry("network", "neutron", "/network"),
	}
	if c.options.HuaweiCloud {
		return append(list,
			entry("compute", "nova", "/compute/v2.1/"+p.ID),
			entry("volumev2", "cinderv2", "/volume/v2/"+p.ID),
			entry("volumev3", "cinderv3", "/volume/v3/"+p.ID),
		)
	}
	return append(list,
		entry("compute", "nova", "/compute/v2.1"),
		entry("compute_legacy", "nova_legacy", "/compute/v2/"+p.ID),
		entry("block-storage", "cinder", "/volume/v3/"+p.ID),
		entry("volumev3", "cinderv3", "/volume/v3/"+p.ID),
	)
}

func (c *Cloud) showCatalog(r *request) *response {
	who := c.authenticated(r)
	switch {
	case who == nil:
		return r.identityUnauthorized()
	case who.project.ID == "":
		return r.identityForbidden("get_auth_catalog")
	}
	return r.resource(object{{"catalog", c.catalog(r, who.project)}, {"links", object{
		{"next", nil}, {"self", r.base + "/identity/v3/auth/catalog"}, {"previous", nil},
	}}})
}

// serviceUnauthorized is the services' response to a missing or invalid token.
func (r *request) serviceUnauthorized() *response {
	if r.huawei && r.service != serviceImage && r.service != serviceNetwork {
		return r.gatewayUnauthorized("Incorrect IAM authentication information: decrypt token fail")
	}
	res := r.webError(http.StatusUnauthorized,
		"This server could not verify that you are authorized to access the document you requested. Either you "+
			"supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the "+
			"credentials required.")
	if r.service != serviceImage {
		res = r.json(http.StatusUnauthorized, object{{"error", object{
			{"code", http.StatusUnauthorized}, {"title", http.StatusText(http.StatusUnauthorized)},
			{"message", unauthorizedMessage},
		}}})
		r.stripAPIHeaders(res)
	}
	res.header.Set("WWW-Authenticate", `Keystone uri="`+r.base+`/identity"`)
	return res
}
