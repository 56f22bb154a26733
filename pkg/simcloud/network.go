package simcloud

import "net/http"

// networkRoutes are the operations of Neutron that clients use for servers. There are no networks.
// Source: https://docs.openstack.org/api-ref/network/v2/
func networkRoutes() routes {
	none := func(name string) handler {
		return func(_ *Cloud, r *request) *response { return r.json(http.StatusOK, object{{name, []string{}}}) }
	}
	return routes{
		{"GET", "networks", none("networks")},
		{"GET", "networks/{id}", (*Cloud).showNetwork},
		{"GET", "subnets", none("subnets")},
		{"GET", "ports", none("ports")},
		{"GET", "floatingips", none("floatingips")},
		{"GET", "security-groups", none("security_groups")},
		{"GET", "extensions", none("extensions")},
		{"GET", "availability_zones", none("availability_zones")},
	}
}

// network serves Neutron's API. The caller holds c.mu.
func (c *Cloud) network(r *request) *response {
	if r.path == "" || r.path == "/" {
		return r.plainJSON(http.StatusOK, object{{"versions", []object{
			{{"id", "v2.0"}, {"status", "CURRENT"}, {"links", []object{{{"rel", "self"}, {"href", r.base + "/network/v2.0/"}}}}},
		}}})
	}
	return c.serveStub(r, "/v2.0/", func(r *request) *response {
		return r.networkError("HTTPNotFound", "The resource could not be found.")
	})
}

func (r *request) networkError(kind, message string) *response {
	return r.json(http.StatusNotFound,
		object{{"NeutronError", object{{"type", kind}, {"message", message}, {"detail", ""}}}})
}

func (c *Cloud) showNetwork(r *request) *response {
	return r.networkError("NetworkNotFound", "Network "+r.vars["id"]+" could not be found.")
}
