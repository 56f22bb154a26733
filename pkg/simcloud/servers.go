package simcloud

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metadataSchema is parameter_types.metadata of nova/api/validation/parameter_types.py.
var metadataSchema = schema{
	types: []string{"object"}, keys: newLazyRegexp(`^[a-zA-Z0-9-_:. ]{1,255}$`),
	values: &schema{types: []string{"string"}, maxLength: 255}, closed: true,
}

// novaBooleans are the booleans that Nova accepts.
var novaBooleans = []any{
	true,
	"True",
	"TRUE",
	"true",
	"1",
	"ON",
	"On",
	"on",
	"YES",
	"Yes",
	"yes",
	false,
	"False",
	"FALSE",
	"false",
	"0",
	"OFF",
	"Off",
	"off",
	"NO",
	"No",
	"no",
}

// hostnameSchema is parameter_types.hostname of nova/api/validation/parameter_types.py.
var hostnameSchema = schema{
	types:     []string{"string"},
	minLength: 2,
	maxLength: 63,
	pattern:   newLazyRegexp(`^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$`),
}

// parseBool converts a value to a boolean as the services do.
func parseBool(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return slices.Contains([]string{"1", "t", "true", "on", "y", "yes"}, strings.ToLower(v))
	}
	return false
}

// createServerSchema returns the schema of a new server at a microversion, of
// nova/api/openstack/compute/schemas/servers.py.
func createServerSchema(v microversion) schema {
	name := schema{types: []string{"string"}, minLength: 1, maxLength: 255, format: checkName}
	list := schema{types: []string{"array"}}
	text := schema{types: []string{"string"}}
	flag := schema{enum: novaBooleans}
	count := schema{types: []string{"integer", "string"}, minimum: 1, minLength: 1}
	s := schema{types: []string{"object"}, closed: true, required: []string{"name", "flavorRef"}, properties: []property{
		{"name", name},
		{"imageRef", schema{anyOf: []schema{{types: []string{"string"}, format: checkUUID}, {enum: []any{""}}}}},
		{"flavorRef", schema{types: []string{"string", "integer"}, minLength: 1}},
		{"adminPass", text}, {"metadata", metadataSchema}, {"networks", list}, {"OS-DCF:diskConfig", text},
		{"accessIPv4", text}, {"accessIPv6", text}, {"availability_zone", name}, {"block_device_mapping", list},
		{"block_device_mapping_v2", list}, {"config_drive", flag}, {"key_name", name}, {"min_count", count},
		{"max_count", count}, {"return_reservation_id", flag}, {"security_groups", list}, {"user_data", text},
	}}
	if !v.atLeast(2, 57) {
		s.properties = append(s.properties, property{"personality", list})
	}
	if v.atLeast(2, 19) {
		s.properties = append(s.properties,
			property{"description", schema{types: []string{"string", "null"}, maxLength: 255}})
	}
	if v.atLeast(2, 37) {
		s.required = append(s.required, "networks")
		i := slices.IndexFunc(s.properties, func(p property) bool { return p.name == "networks" })
		s.properties[i].schema = schema{anyOf: []schema{list, {enum: []any{"none", "auto"}}}}
	}
	if v.atLeast(2, 52) {
		s.properties = append(s.properties, property{"tags", list})
	}
	if v.atLeast(2, 63) {
		s.properties = append(s.properties, property{"trusted_image_certificates", schema{types: []string{"array", "null"}}})
	}
	if v.atLeast(2, 74) {
		s.properties = append(s.properties, property{"host", text}, property{"hypervisor_hostname", text})
	}
	if v.atLeast(2, 90) {
		s.properties = append(s.properties, property{"hostname", hostnameSchema})
	}
	hints := schema{types: []string{"object"}}
	return schema{types: []string{"object"}, closed: true, required: []string{"server"}, properties: []property{
		{"server", s}, {"os:scheduler_hints", hints}, {"OS-SCH-HNT:scheduler_hints", hints},
	}}
}

func (c *Cloud) createServer(r *request) *response {
	body, refused := r.checkedBody(createServerSchema(r.version))
	if refused != nil {
		return refused
	}
	flavor := pythonStr(body.at("server", "flavorRef"))
	if _, found := c.directory.flavor(flavor); !found {
		return r.badRequest("Flavor %s could not be found.", flavor)
	}
	image := body.text("server", "imageRef")
	if _, found := c.directory.image(image); !found && image != "" {
		return r.badRequest("Can not find requested image")
	}
	devices := listOf(body.at("server", "block_device_mapping_v2"))
	if image == "" && len(devices) == 0 {
		return r.badRequest("Missing imageRef attribute")
	}
	if refused := c.checkDevices(r, devices, image != ""); refused != nil {
		return refused
	}
	metadata := textMap(body.at("server", "metadata"))
	if refused := c.checkMetadataQuota(r, metadata); refused != nil {
		return refused
	}
	s := &server{
		id: c.newUUID(), name: body.text("server", "name"), description: body.text("server", "description"), image: image,
		flavor: flavor, projectID: r.who.project.ID, userID: r.who.user.ID, metadata: metadata, sequence: c.nextSequence(),
		created: r.start, updated: r.start, zone: cmp.Or(body.text("server", "availability_zone"), "nova"),
		hostName: body.text("server", "hostname"), userData: body.text("server", "user_data"),
		configDrive: parseBool(body.at("server", "config_drive")),
	}
	for _, tag := range listOf(body.at("server", "tags")) {
		s.tags = append(s.tags, pythonStr(tag))
	}
	c.attachDevices(r, s, devices)
	s.build(r.start, c.options.BuildTime, c.options.BuildFails)
	c.servers.put(s)
	c.watch(s)
	password := body.text("server", "adminPass")
	if password == "" {
		password = c.randomText(9)
	}
	links := r.serverLinks(s)
	res := r.json(http.StatusAccepted, object{{"server", object{
		{"id", s.id}, {"links", links}, {"OS-DCF:diskConfig", "MANUAL"},
		{"security_groups", []object{{{"name", "default"}}}}, {"adminPass", password},
	}}})
	res.header.Set("Location", links[0].text("href"))
	return res
}

// server returns the server that the request's URL names, or an error response.
func (c *Cloud) server(r *request) (*server, *response) {
	s := c.servers.get(strings.ToLower(r.vars["id"])) // the database ignores case
	if s != nil && r.who.project.ID == "" {
		return nil, r.internalError("nova.exception.NovaException") // Nova cannot target a cell without a project
	}
	if s == nil || !r.who.sees(s.projectID) {
		return nil, r.refuse(refusal{http.StatusNotFound, "Instance " + r.vars["id"] + " could not be found.", "Ecs.0114",
			http.StatusNotFound})
	}
	return s, nil
}

func (c *Cloud) showServer(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	return r.json(http.StatusOK, object{{"server", c.serverView(r, s, true)}})
}

func (c *Cloud) updateServer(r *request) *response {
	text := schema{types: []string{"string"}}
	s := schema{types: []string{"object"}, closed: true, properties: []property{
		{"name", schema{types: []string{"string"}, minLength: 1, maxLength: 255, format: checkName}},
		{"OS-DCF:diskConfig", text}, {"accessIPv4", text}, {"accessIPv6", text},
	}}
	if r.version.atLeast(2, 19) {
		s.properties = append(s.properties,
			property{"description", schema{types: []string{"string", "null"}, maxLength: 255}})
	}
	if r.version.atLeast(2, 90) {
		s.properties = append(s.properties, property{"hostname", hostnameSchema})
	}
	body, refused := r.checkedBody(schema{types: []string{"object"}, closed: true, required: []string{"server"},
		properties: []property{{"server", s}}})
	if refused != nil {
		return refused
	}
	target, refused := c.server(r)
	if refused != nil {
		return refused
	}
	if name := body.text("server", "name"); name != "" {
		target.name = name
	}
	if changes, _ := body.at("server").(object); changes != nil {
		if description, ok := changes.get("description"); ok {
			target.description, _ = description.(string)
		}
	}
	if name := body.text("server", "hostname"); name != "" {
		target.hostName = name
	}
	target.updated = r.start
	return r.json(http.StatusOK, object{{"server", c.serverView(r, target, r.version.atLeast(2, 75))}})
}

func (c *Cloud) deleteServer(r *request) *response {
	s, refused := c.server(r)
	if refused != nil {
		return refused
	}
	if s.locked && !r.who.admin() {
		return r.locked(s)
	}
	c.destroy(s, r.start, !c.options.SoftDelete || s.vmState == vmSoftDeleted)
	return r.empty(http.StatusNoContent, "application/json")
}

// destroy starts to delete a server.
func (c *Cloud) destroy(s *server, now time.Time, forGood bool) {
	if s.taskState == "deleting" || s.vmState == vmDeleted {
		return
	}
	s.plan = nil
	if !forGood {
		s.become(now, c.options.DeleteTime, "soft-deleting", vmSoftDeleted, nil)
		c.watch(s)
		return
	}
	visible := c.options.DeletedVisible
	s.become(now, c.options.DeleteTime, "deleting", vmDeleted, func(s *server) {
		s.terminated = s.updated
		c.releaseVolumes(s)
		s.schedule(s.updated.Add(visible), func(s *server) { s.gone = true })
	})
	s.settle(now)
	c.watch(s)
}

// textMap returns the string members of an object.
func textMap(v any) map[string]string {
	out := map[string]string{}
	o, _ := v.(object)
	for _, m := range o {
		if s, ok := m.value.(string); ok {
			out[m.name] = s
		}
	}
	return out
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

// intOf converts a number or a string of digits.
func intOf(v any) (int, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		return int(n), err == nil
	case string:
		n, err := strconv.Atoi(v)
		return n, err == nil
	}
	return 0, false
}
