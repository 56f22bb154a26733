package simcloud

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// identityRoutes are the operations of Keystone that clients use. Source:
// https://docs.openstack.org/api-ref/identity/v3/
func identityRoutes() routes {
	return routes{
		{"POST", "auth/tokens", (*Cloud).createToken},
		{"GET", "auth/tokens", (*Cloud).showToken},
		{"HEAD", "auth/tokens", (*Cloud).showToken},
		{"DELETE", "auth/tokens", (*Cloud).revokeToken},
		{"GET", "auth/catalog", (*Cloud).showCatalog},
		{"GET", "auth/projects", (*Cloud).listOwnProjects},
		{"GET", "projects", (*Cloud).listProjects},
		{"GET", "auth/domains", (*Cloud).listOwnDomains},
		{"GET", "projects/{id}", (*Cloud).showProject},
		{"GET", "projects/{id}/tags", (*Cloud).listProjectTags},
		{"GET", "projects/{id}/tags/{tag}", (*Cloud).showProjectTag},
		{"GET", "users", (*Cloud).listUsers},
		{"GET", "users/{id}", (*Cloud).showUser},
		{"GET", "users/{id}/projects", (*Cloud).listUserProjects},
		{"GET", "domains", (*Cloud).listDomains},
		{"GET", "domains/{id}", (*Cloud).showDomain},
		{"GET", "regions", (*Cloud).listRegions},
	}
}

// identity serves Keystone's API. The caller holds c.mu.
func (c *Cloud) identity(r *request) *response {
	switch r.path {
	case "", "/":
		res := r.identityJSON(http.StatusMultipleChoices,
			object{{"versions", object{{"values", []object{r.identityVersion()}}}}})
		res.header.Set("Location", r.base+"/identity/v3/")
		return res
	case "/v3", "/v3/":
		return r.identityJSON(http.StatusOK, object{{"version", r.identityVersion()}})
	}
	path, found := strings.CutPrefix(r.path, "/v3/")
	handle, vars := c.routes[serviceIdentity].match(r.method, path)
	if found && handle != nil {
		r.vars = vars
		return handle(c, r)
	}
	if methods := c.routes[serviceIdentity].methods(path); found && len(methods) > 0 {
		res := r.identityRespond(http.StatusMethodNotAllowed, "application/json",
			append(dumps(object{{"message", "The method is not allowed for the requested URL."}}), '\n'))
		res.header.Set("Allow", strings.Join(append(methods, "OPTIONS"), ", "))
		return res
	}
	return r.identityRespond(http.StatusNotFound, "text/html; charset=utf-8",
		[]byte("<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n"+
			"<h1>Not Found</h1>\n<p>The requested URL was not found on the server. If you entered the URL manually please "+
			"check your spelling and try again.</p>\n"))
}

func (r *request) identityVersion() object {
	return object{
		{"id", "v3.14"}, {"status", "stable"}, {"updated", "2020-04-07T00:00:00Z"},
		{"links", []object{{{"rel", "self"}, {"href", r.base + "/identity/v3/"}}}},
		{"media-types", []object{{{"base", "application/json"}, {"type", "application/vnd.openstack.identity-v3+json"}}}},
	}
}

func (r *request) identityJSON(status int, v any) *response {
	return r.identityRespond(status, "application/json", dumps(v))
}

func (r *request) identityRespond(status int, contentType string, body []byte) *response {
	res := r.respond(status, contentType, body)
	res.header.Set("Vary", "X-Auth-Token")
	return res
}

// identityError is an error response of Keystone. Unlike its other responses, errors are compact JSON.
func (r *request) identityError(status int, message string) *response {
	res := r.identityRespond(status, "application/json", append(dumpsCompact(object{
		{"error", object{{"code", status}, {"message", message}, {"title", http.StatusText(status)}}},
	}), '\n'))
	if status == http.StatusUnauthorized {
		res.header.Set("WWW-Authenticate", `Keystone uri="`+r.base+`/identity/v3"`)
	}
	return res
}

const unauthorizedMessage = "The request you have made requires authentication."

func (r *request) identityUnauthorized() *response {
	return r.identityError(http.StatusUnauthorized, unauthorizedMessage)
}

func (r *request) identityForbidden(action string) *response {
	return r.identityError(http.StatusForbidden,
		"You are not authorized to perform the requested action: identity:"+action+".")
}

func (r *request) identityMalformed(what, where string) *response {
	return r.identityError(http.StatusBadRequest, "Expecting to find "+what+" in "+where+". "+
		"The server could not comply with the request since "+
		"it is either malformed or otherwise incorrect. The client is assumed to be in error.")
}

// authenticated returns the identity of the token in X-Auth-Token, nil if it is not valid.
func (c *Cloud) authenticated(r *request) *identity {
	t := c.tokens[r.header.Get("X-Auth-Token")]
	if t == nil || t.revoked || !t.expires.After(r.start) {
		return nil
	}
	return &identity{user: t.user, project: t.project, domain: t.domain, roles: t.roles, token: t}
}

// resource is a response with a resource or a list, which Keystone ends with a newline.
func (r *request) resource(v any) *response {
	res := r.identityJSON(http.StatusOK, v)
	res.body = append(res.body, '\n')
	return res
}

func (r *request) collection(name string, list []object, path string) *response {
	return r.resource(object{{name, list},
		{"links", object{{"next", nil}, {"self", r.base + "/identity/v3/" + path}, {"previous", nil}}}})
}

func (r *request) projectView(p Project) object {
	view := object{
		{
			"id",
			p.ID,
		},
		{"name", p.Name},
		{"domain_id", domainID},
		{"description", p.Description},
		{"enabled", true},
		{"parent_id", domainID},
		{"is_domain", false},
		{"tags", p.Tags},
		{"options", object{}},
	}
	view = append(view, sortedObject(p.Extra)...)
	return append(view, member{"links", object{{"self", r.base + "/identity/v3/projects/" + p.ID}}})
}

func (r *request) userView(u User) object {
	view := object{
		{
			"id",
			u.ID,
		},
		{"name", u.Name},
		{"domain_id", domainID},
		{"enabled", true},
		{"password_expires_at", nil},
		{"options", object{}},
	}
	view = append(view, sortedObject(u.Extra)...)
	return append(view, member{"links", object{{"self", r.base + "/identity/v3/users/" + u.ID}}})
}

func (r *request) domainView() object {
	return object{
		{
			"id",
			domainID,
		},
		{"name", domainName},
		{"description", "The default domain"},
		{"enabled", true},
		{"tags", []string{}},
		{"options", object{}},
		{"links", object{{"self", r.base + "/identity/v3/domains/" + domainID}}},
	}
}

// readsDomain reports whether the token may read everything in the domain: an administrator's, or one scoped to the
// domain.
func (i *identity) readsDomain() bool {
	return i.admin() || i.domain && slices.Contains(i.roles, "reader")
}

// pathAndQuery returns the path and query of a list for its links.
func (r *request) pathAndQuery() string {
	path := strings.TrimPrefix(r.path, "/v3/")
	if r.rawQuery != "" {
		path += "?" + r.rawQuery
	}
	return path
}

func (c *Cloud) listOwnProjects(r *request) *response {
	who := c.authenticated(r)
	if who == nil {
		return r.identityUnauthorized()
	}
	return r.collection("projects", c.projectsOf(r, who.user), "auth/projects")
}

func (c *Cloud) listOwnDomains(r *request) *response {
	who := c.authenticated(r)
	if who == nil {
		return r.identityUnauthorized()
	}
	list := []object{}
	if who.user.DomainRole != "" {
		list = append(list, r.domainView())
	}
	return r.collection("domains", list, "auth/domains")
}

func (c *Cloud) projectsOf(r *request, u User) []object {
	list := []object{}
	for _, p := range c.directory.projects {
		if u.rolesIn(p) != nil {
			list = append(list, r.projectView(p))
		}
	}
	return list
}

func (c *Cloud) listUserProjects(r *request) *response {
	who := c.authenticated(r)
	switch {
	case who == nil:
		return r.identityUnauthorized()
	case who.user.ID != r.vars["id"] && !who.readsDomain():
		return r.identityForbidden("list_user_projects")
	}
	u, found := c.directory.user(r.vars["id"], "")
	if !found {
		return r.identityError(http.StatusNotFound, "Could not find user: "+r.vars["id"]+".")
	}
	return r.collection("projects", c.projectsOf(r, u), "users/"+u.ID+"/projects")
}

func (c *Cloud) listProjects(r *request) *response {
	who := c.authenticated(r)
	switch {
	case who == nil:
		return r.identityUnauthorized()
	case !who.readsDomain():
		return r.identityForbidden("list_projects")
	}
	list := []object{}
	for _, p := range c.directory.projects {
		fits := r.matchesName(p.Name) && r.matchesDomain()
		if tags := r.query.Get("tags"); tags != "" {
			for tag := range strings.SplitSeq(tags, ",") {
				fits = fits && slices.Contains(p.Tags, tag)
			}
		}
		if fits {
			list = append(list, r.projectView(p))
		}
	}
	return r.collection("projects", list, r.pathAndQuery())
}

// matchesName reports whether a list's name filter matches, or is absent.
func (r *request) matchesName(name string) bool {
	asked := r.query.Get("name")
	return asked == "" || strings.EqualFold(asked, name)
}

// matchesDomain reports whether a list's domain filter matches, or is absent.
func (r *request) matchesDomain() bool {
	asked := r.query.Get("domain_id")
	return asked == "" || asked == domainID
}

// projectOf returns the project that the request's URL names, or an error response. Members see their own projects,
// domain readers all.
func (c *Cloud) projectOf(r *request, action string) (Project, *response) {
	who := c.authenticated(r)
	if who == nil {
		return Project{}, r.identityUnauthorized()
	}
	p, found := c.directory.project(r.vars["id"], "")
	switch {
	case !who.admin() && (!found || who.project.ID != p.ID && !who.readsDomain()):
		return p, r.identityForbidden(action)
	case !found:
		return p, r.identityError(http.StatusNotFound, "Could not find project: "+r.vars["id"]+".")
	}
	return p, nil
}

func (c *Cloud) showProject(r *request) *response {
	p, refused := c.projectOf(r, "get_project")
	if refused != nil {
		return refused
	}
	return r.resource(object{{"project", r.projectView(p)}})
}

func (c *Cloud) listProjectTags(r *request) *response {
	p, refused := c.projectOf(r, "list_project_tags")
	if refused != nil {
		return refused
	}
	return r.resource(object{{"links", object{{"self", r.base + "/identity/v3"}}}, {"tags", p.Tags}})
}

func (c *Cloud) showProjectTag(r *request) *response {
	p, refused := c.projectOf(r, "get_project_tag")
	if refused != nil {
		return refused
	}
	if !slices.Contains(p.Tags, r.vars["tag"]) {
		return r.identityError(http.StatusNotFound, "Could not find project tag: "+r.vars["tag"]+".")
	}
	return r.identityRespond(http.StatusNoContent, "", nil)
}

func (c *Cloud) listUsers(r *request) *response {
	who := c.authenticated(r)
	switch {
	case who == nil:
		return r.identityUnauthorized()
	case !who.readsDomain():
		return r.identityForbidden("list_users")
	}
	list := []object{}
	for _, u := range c.directory.users {
		if r.matchesName(u.Name) && r.matchesDomain() {
			list = append(list, r.userView(u))
		}
	}
	return r.collection("users", list, r.pathAndQuery())
}

func (c *Cloud) showUser(r *request) *response {
	who := c.authenticated(r)
	if who == nil {
		return r.identityUnauthorized()
	}
	u, found := c.directory.user(r.vars["id"], "")
	switch {
	case !who.admin() && who.user.ID != r.vars["id"] && (!found || !who.readsDomain()):
		return r.identityForbidden("get_user")
	case !found:
		return r.identityError(http.StatusNotFound, "Could not find user: "+r.vars["id"]+".")
	}
	return r.resource(object{{"user", r.userView(u)}})
}

func (c *Cloud) listDomains(r *request) *response {
	who := c.authenticated(r)
	switch {
	case who == nil:
		return r.identityUnauthorized()
	case !who.admin():
		return r.identityForbidden("list_domains")
	}
	return r.collection("domains", []object{r.domainView()}, r.pathAndQuery())
}

func (c *Cloud) showDomain(r *request) *response {
	switch who := c.authenticated(r); {
	case who == nil:
		return r.identityUnauthorized()
	case r.vars["id"] != domainID && who.admin():
		return r.identityError(http.StatusNotFound, "Could not find domain: "+r.vars["id"]+".")
	case r.vars["id"] != domainID:
		return r.identityForbidden("get_domain")
	}
	return r.resource(object{{"domain", r.domainView()}})
}

func (c *Cloud) listRegions(r *request) *response {
	if c.authenticated(r) == nil {
		return r.identityUnauthorized()
	}
	return r.collection("regions", []object{{
		{"id", c.options.Region}, {"description", ""}, {"parent_region_id", nil},
		{"links", object{{"self", r.base + "/identity/v3/regions/" + c.options.Region}}},
	}}, "regions")
}

// identityTime is how Keystone writes times.
func identityTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
