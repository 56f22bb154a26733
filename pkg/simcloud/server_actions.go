package simcloud

import (
	"net/http"
	"slices"
)

// action is one of the actions of POST /servers/{id}/action.
type action struct {
	// label is its name in error messages.
	label string
	// from are the vm_states that allow it, nil for all.
	from []string
	// anyTask allows it during a task, unlaunched before the server first ran.
	anyTask, unlaunched bool
	// needsHost refuses it as "not ready" without a host.
	needsHost bool
	// anyLock allows it on a locked server.
	anyLock bool
	// policy is the rule that requires an administrator, "" if members may.
	policy string
	// task is the task_state during the action, to the vm_state afterwards.
	task, to string
	status   int
	// perform replaces the default behaviour. A non-nil response is returned.
	perform func(c *Cloud, r *request, s *server, argument any) *response
}

// serverAction returns an action by its name in the request.
// Source: the decorators in nova/compute/api.py, and the controllers in nova/api/openstack/compute.
func serverAction(name string) (action, bool) {
	running := []string{vmActive, vmStopped, vmPaused, vmSuspended}
	a, ok := map[string]action{
		"os-start": {label: "start", from: []string{vmStopped}, needsHost: true, task: "powering-on", to: vmActive},
		"os-stop":  {label: "stop", from: []string{vmActive, vmError}, needsHost: true, task: "powering-off", to: vmStopped},
		"pause":    {label: "pause", from: []string{vmActive}, task: "pausing", to: vmPaused},
		"unpause":  {label: "unpause", from: []string{vmPaused}, task: "unpausing", to: vmActive},
		"suspend":  {label: "suspend", from: []string{vmActive}, task: "suspending", to: vmSuspended},
		"resume":   {label: "resume", from: []string{vmSuspended}, task: "resuming", to: vmActive},
		"rescue": {label: "rescue", from: []string{vmActive, vmStopped, vmError}, task: "rescuing", to: vmRescued,
			status:  http.StatusOK,
			perform: (*Cloud).rescue},
		"unrescue": {label: "unrescue", from: []string{vmRescued}, task: "unrescuing", to: vmActive},
		"shelve":   {label: "shelve", from: running, perform: (*Cloud).shelve},
		"shelveOffload": {label: "shelveOffload", from: []string{vmShelved},
			policy: "os_compute_api:os-shelve:shelve_offload",
			task:   "shelving_offloading", to: vmShelvedOffloaded},
		"unshelve": {label: "unshelve", from: []string{vmShelved, vmShelvedOffloaded}, task: "unshelving", to: vmActive},
		"resize":   {label: "resize", from: []string{vmActive, vmStopped}, perform: (*Cloud).resize},
		"confirmResize": {label: "confirmResize", from: []string{vmResized}, status: http.StatusNoContent,
			perform: (*Cloud).confirmResize},
		"revertResize": {label: "revertResize", from: []string{vmResized}, perform: (*Cloud).revertResize},
		"reboot":       {label: "reboot", anyTask: true, unlaunched: true, perform: (*Cloud).reboot},
		"rebuild":      {label: "rebuild", from: []string{vmActive, vmStopped, vmError}, perform: (*Cloud).rebuild},
		"lock":         {anyTask: true, unlaunched: true, anyLock: true, perform: (*Cloud).lock},
		"unlock":       {anyTask: true, unlaunched: true, anyLock: true, perform: (*Cloud).unlock},
		"restore":      {label: "restore", from: []string{vmSoftDeleted}, task: "restoring", to: vmActive},
		"forceDelete":  {label: "delete", anyTask: true, unlaunched: true, perform: (*Cloud).forceDelete},
		"os-resetState": {anyTask: true, unlaunched: true, anyLock: true,
			policy:  "os_compute_api:os-admin-actions:reset_state",
			perform: (*Cloud).resetState},
	}[name]
	return a, ok
}

// actOnServer handles POST /servers/{id}/action.
func (c *Cloud) actOnServer(r *request) *response {
	o, isObject := r.decoded.(object)
	if list, isList := r.decoded.([]any); !isObject && (!isList || len(list) == 1) && r.decoded != nil {
		return r.notFound("The resource could not be found.")
	}
	if len(o) != 1 {
		return r.badRequest("Malformed request body")
	}
	name, argument := o[0].name, o[0].value
	a, ok := serverAction(name)
	if !ok {
		return r.badRequest("There is no such action: %s", name)
	}
	if message := actionSchema(name, r.version).validate(o); message != "" {
		return r.badRequest("%s", message)
	}
	s, refused := c.server(r)
	if refused != nil && a.needsHost && !r.huawei {
		return r.notFound("Instance %s has no mapping to a cell.", r.vars["id"]) // these look up the host first
	}
	if refused != nil {
		return refused
	}
	if a.policy != "" && !r.who.admin() {
		return r.forbidden("Policy doesn't allow %s to be performed.", a.policy)
	}
	if refused := r.allowed(s, a); refused != nil {
		return refused
	}
	if a.perform != nil {
		if res := a.perform(c, r, s, argument); res != nil {
			return res
		}
	} else {
		s.become(r.start, c.options.ActionTime, a.task, a.to, nil)
	}
	c.watch(s)
	if a.status == http.StatusNoContent {
		return r.empty(a.status, "application/json")
	}
	return r.empty(http.StatusAccepted, "application/json")
}

// actionSchema returns the schema of an action's argument.
func actionSchema(name string, v microversion) schema {
	argument := schema{}
	switch name {
	case "reboot":
		kinds := []any{"HARD", "Hard", "hard", "SOFT", "Soft", "soft"}
		argument = schema{types: []string{"object"}, closed: true, required: []string{"type"},
			properties: []property{{"type", schema{enum: kinds}}}}
	case "resize":
		argument = schema{types: []string{"object"}, closed: true, required: []string{"flavorRef"}, properties: []property{
			{"flavorRef", schema{types: []string{"string", "integer"}, minLength: 1}},
			{"OS-DCF:diskConfig", schema{types: []string{"string"}}},
		}}
	case "lock":
		if v.atLeast(2, 73) {
			argument = schema{types: []string{"object", "null"}, closed: true, properties: []property{
				{"locked_reason", schema{types: []string{"string"}, minLength: 1, maxLength: 255}},
			}}
		}
	case "rebuild":
		argument = schema{types: []string{"object"}, required: []string{"imageRef"}, properties: []property{
			{
				"imageRef",
				schema{types: []string{"string"}},
			},
			{"metadata", metadataSchema},
			{"name", schema{types: []string{"string"}, minLength: 1, maxLength: 255}},
		}}
	case "os-resetState":
		argument = schema{types: []string{"object"}, closed: true, required: []string{"state"}, properties: []property{
			{"state", schema{types: []string{"string"}, enum: []any{"active", "error"}}},
		}}
	}
	return schema{types: []string{"object"}, properties: []property{{name, argument}}}
}

// allowed checks in Nova's order: the lock, the host, the vm_state, the task_state, and whether the server ever ran.
func (r *request) allowed(s *server, a action) *response {
	switch {
	case s.locked && !a.anyLock && !r.who.admin():
		return r.locked(s)
	case a.needsHost && !s.hasHost():
		return r.conflict("Instance %s is not ready", s.id)
	case a.from != nil && !slices.Contains(a.from, s.vmState):
		return r.wrongState(s, a.label, "vm_state", s.vmState)
	case !a.anyTask && s.taskState != "":
		return r.wrongState(s, a.label, "task_state", s.taskState)
	case !a.unlaunched && s.launched.IsZero():
		return r.conflict("Instance %s is in an invalid state for '%s'", s.id, a.label)
	}
	return nil
}

// wrongState is the response to an action that a state does not allow.
func (r *request) wrongState(s *server, action, attribute, state string) *response {
	return r.conflict("Cannot '%s' instance %s while it is in %s %s", action, s.id, attribute, state)
}

// locked is the response to an action on a locked server.
func (r *request) locked(s *server) *response {
	return r.refuse(refusal{http.StatusConflict, "Instance " + s.id + " is locked", "Ecs.0605", http.StatusBadRequest})
}

func (c *Cloud) rescue(r *request, s *server, argument any) *response {
	s.become(r.start, c.options.ActionTime, "rescuing", vmRescued, nil)
	password := ""
	if o, ok := argument.(object); ok {
		password = o.text("adminPass")
	}
	if password == "" {
		password = c.randomText(9)
	}
	return r.json(http.StatusOK, object{{"adminPass", password}})
}

func (c *Cloud) shelve(r *request, s *server, _ any) *response {
	offload := c.options.ShelvedOffloadTime
	s.become(r.start, c.options.ActionTime, "shelving", vmShelved, func(s *server) {
		if offload >= 0 {
			s.schedule(s.updated.Add(offload), func(s *server) { s.vmState = vmShelvedOffloaded })
		}
	})
	return nil
}

func (c *Cloud) resize(r *request, s *server, argument any) *response {
	flavor := pythonStr(argument.(object).at("flavorRef")) // valid by the schema
	if _, found := c.directory.flavor(flavor); !found {
		return r.badRequest("Flavor %s could not be found.", flavor)
	}
	if flavor == s.flavor {
		return r.badRequest("When resizing, instances must change flavor!")
	}
	stopped := s.vmState == vmStopped
	s.become(r.start, c.options.ActionTime, "resize_prep", vmResized, func(s *server) {
		s.flavorBefore, s.flavor, s.stoppedBefore = s.flavor, flavor, stopped
	})
	return nil
}

// rebuild rebuilds a server from an image. Metadata in the request replaces the server's.
func (c *Cloud) rebuild(r *request, s *server, argument any) *response {
	o := argument.(object) // valid by the schema
	image := o.text("imageRef")
	if _, found := c.directory.image(image); !found {
		return r.badRequest("Cannot find image for rebuild")
	}
	if changes, ok := o.get("metadata"); ok {
		metadata := textMap(changes)
		if refused := c.checkMetadataQuota(r, metadata); refused != nil {
			return refused
		}
		s.metadata = metadata
	}
	if name := o.text("name"); name != "" {
		s.name = name
	}
	to := vmActive
	if s.vmState == vmStopped {
		to = vmStopped
	}
	s.taskState = "rebuilding"
	view := c.serverView(r, s, r.version.atLeast(2, 75))
	s.become(
		r.start,
		c.options.ActionTime,
		"rebuilding",
		to,
		func(s *server) { s.image, s.launched = image, s.updated },
	)
	c.watch(s)
	password := o.text("adminPass")
	if password == "" {
		password = c.randomText(9)
	}
	res := r.json(http.StatusAccepted, object{{"server", append(view, member{"adminPass", password})}})
	res.header.Set("Location", r.serverLinks(s)[0].text("href"))
	return res
}

// afterResize returns the state that follows vm_state resized.
func (s *server) afterResize() string {
	if s.stoppedBefore {
		return vmStopped
	}
	return vmActive
}

func (c *Cloud) confirmResize(r *request, s *server, _ any) *response {
	s.become(r.start, 0, "", s.afterResize(), nil)
	return nil
}

func (c *Cloud) revertResize(r *request, s *server, _ any) *response {
	s.become(r.start, c.options.ActionTime, "resize_reverting", s.afterResize(), func(s *server) {
		s.flavor = s.flavorBefore
	})
	return nil
}

func (c *Cloud) reboot(r *request, s *server, argument any) *response {
	soft := []string{"soft", "Soft", "SOFT"}
	from, task := []string{vmActive, vmStopped, vmPaused, vmSuspended, vmError}, "rebooting_hard"
	if slices.Contains(soft, argument.(object).text("type")) { // valid by the schema
		from, task = []string{vmActive}, "rebooting"
	}
	if refused := r.allowed(s, action{label: "reboot", from: from}); refused != nil {
		return refused
	}
	s.become(r.start, c.options.ActionTime, task, vmActive, nil)
	return nil
}

func (c *Cloud) lock(r *request, s *server, argument any) *response {
	s.locked, s.updated = true, r.start
	if o, ok := argument.(object); ok && r.version.atLeast(2, 73) {
		s.lockReason = o.text("locked_reason")
	}
	s.lockedByAdmin = r.who.admin()
	return nil
}

func (c *Cloud) unlock(r *request, s *server, _ any) *response {
	if s.lockedByAdmin && !r.who.admin() {
		return r.forbidden("Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.")
	}
	s.locked, s.lockedByAdmin, s.lockReason, s.updated = false, false, "", r.start
	return nil
}

func (c *Cloud) forceDelete(r *request, s *server, _ any) *response {
	s.taskState = ""
	c.destroy(s, r.start, true)
	return nil
}

func (c *Cloud) resetState(r *request, s *server, argument any) *response {
	// The schema has checked that the argument is an object with a state.
	s.vmState, s.taskState, s.plan, s.updated = argument.(object).text("state"), "", nil, r.start
	return nil
}
