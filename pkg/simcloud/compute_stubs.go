package simcloud

import (
	"net/http"
	"strings"
)

// Minimal responses for what clients read from Compute beside servers.

func (c *Cloud) flavorView(r *request, f Flavor) object {
	view := object{
		{"id", f.ID}, {"name", f.Name}, {"ram", f.RAM}, {"disk", f.Disk}, {"swap", ""}, {"OS-FLV-EXT-DATA:ephemeral", 0},
		{"OS-FLV-DISABLED:disabled", false}, {"vcpus", f.VCPUs}, {"os-flavor-access:is_public", true}, {"rxtx_factor", 1.0},
		{"links", r.links("compute", "flavors/"+f.ID)},
	}
	if r.version.atLeast(2, 55) {
		view = append(view, member{"description", nil})
	}
	if r.version.atLeast(2, 61) {
		view = append(view, member{"extra_specs", object{}})
	}
	return view
}

func (c *Cloud) listFlavors(r *request) *response {
	views := []object{}
	for _, f := range c.directory.flavors {
		if strings.HasSuffix(r.path, "/detail") {
			views = append(views, c.flavorView(r, f))
		} else {
			views = append(views, object{{"id", f.ID}, {"name", f.Name}, {"links", r.links("compute", "flavors/"+f.ID)}})
		}
	}
	return r.json(http.StatusOK, object{{"flavors", views}})
}

func (c *Cloud) showFlavor(r *request) *response {
	f, found := c.directory.flavor(r.vars["id"])
	if !found {
		return r.notFound("Flavor %s could not be found.", r.vars["id"])
	}
	return r.json(http.StatusOK, object{{"flavor", c.flavorView(r, f)}})
}

func (c *Cloud) listExtraSpecs(r *request) *response {
	if _, found := c.directory.flavor(r.vars["id"]); !found {
		return r.notFound("Flavor %s could not be found.", r.vars["id"])
	}
	return r.json(http.StatusOK, object{{"extra_specs", object{}}})
}

func (c *Cloud) showComputeLimits(r *request) *response {
	used := len(c.servers.in(r.who.project.ID, false).list)
	return r.json(http.StatusOK, object{{"limits", object{{"rate", []string{}}, {"absolute", object{
		{"maxTotalInstances", -1}, {"maxTotalCores", -1}, {"maxTotalRAMSize", -1},
		{"maxServerMeta", c.options.MaxMetadataItems}, {"maxTotalKeypairs", 100}, {"maxServerGroups", 10},
		{"maxServerGroupMembers", 10}, {"totalInstancesUsed", used},
	}}}}})
}

func (c *Cloud) listZones(r *request) *response {
	if strings.HasSuffix(r.path, "/detail") && !r.who.admin() {
		return r.forbidden("Policy doesn't allow os_compute_api:os-availability-zone:detail to be performed.")
	}
	return r.json(http.StatusOK, object{{"availabilityZoneInfo", []object{
		{{"zoneName", "nova"}, {"zoneState", object{{"available", true}}}, {"hosts", nil}},
	}}})
}

func (c *Cloud) listKeypairs(r *request) *response {
	return r.json(http.StatusOK, object{{"keypairs", []string{}}})
}

func (c *Cloud) listExtensions(r *request) *response {
	return r.json(http.StatusOK, object{{"extensions", []string{}}})
}

// serverList answers a list below a server.
func (c *Cloud) serverList(r *request, name string, list any) *response {
	if _, refused := c.server(r); refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{name, list}})
}

func (c *Cloud) listInterfaces(r *request) *response {
	return c.serverList(r, "interfaceAttachments", []string{})
}

func (c *Cloud) listServerSecurityGroups(r *request) *response {
	return c.serverList(r, "security_groups", []string{})
}
