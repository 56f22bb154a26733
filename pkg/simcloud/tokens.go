package simcloud

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"time"
)

// maxTokens limits the stored tokens: at this number, expired ones are removed.
const maxTokens = 10_000

// createToken handles POST /v3/auth/tokens: by password, application credential or token, unscoped or for a project.
func (c *Cloud) createToken(r *request) *response {
	body := object{}
	if len(r.body) > 0 && !r.chunked { // uwsgi drops a body without a length
		v, err := decodeJSON(r.body)
		o, ok := v.(object)
		if err != nil || !ok {
			return r.identityMalformed("valid JSON", "request body")
		}
		body = o
	}
	if refused := r.checkAuth(body); refused != nil {
		return refused
	}
	methods := listOf(body.at("auth", "identity", "methods"))
	t := &token{issued: r.start.Truncate(time.Second)}
	t.expires = t.issued.Add(c.options.TokenLifetime)
	for _, m := range methods {
		method, _ := m.(string)
		if _, ok := body.at("auth", "identity", method).(object); !ok {
			return r.identityMalformed(method, "identity")
		}
		if refused := c.authenticate(r, body, method, t); refused != nil {
			return refused
		}
	}
	if len(methods) == 0 {
		return r.identityUnauthorized()
	}
	if refused := c.scope(r, body, t); refused != nil {
		return refused
	}
	t.id = c.newTokenID()
	t.auditIDs = append([]string{c.randomText(16)}, t.auditIDs...)
	if len(c.tokens) >= maxTokens {
		for id, old := range c.tokens {
			if !old.expires.After(r.start) {
				delete(c.tokens, id)
			}
		}
	}
	c.tokens[t.id] = t
	return c.tokenResponse(r, http.StatusCreated, t)
}

// checkAuth validates a body as Keystone's schema does. Keystone's messages continue with a dump of the schema.
func (r *request) checkAuth(body object) *response {
	invalid := func(format string, args ...any) *response {
		return r.identityError(http.StatusBadRequest, fmt.Sprintf(format, args...))
	}
	auth, found := body.get("auth")
	if !found || auth == nil {
		return r.identityMalformed("auth", "request body")
	}
	if _, ok := auth.(object); !ok {
		return invalid("%s is not of type 'object'", pythonRepr(auth))
	}
	if _, ok := body.at("auth", "identity").(object); !ok {
		return invalid("'identity' is a required property")
	}
	methods := body.at("auth", "identity", "methods")
	if methods == nil {
		return invalid("Invalid input for field 'identity': 'methods' is a required property")
	}
	if _, ok := methods.([]any); !ok {
		return invalid("Invalid input for field 'identity/methods': %s is not of type 'array'", pythonRepr(methods))
	}
	if token, ok := body.at("auth", "identity", "token").(object); ok && token.text("id") == "" {
		return invalid("Invalid input for field 'identity/token': 'id' is a required property")
	}
	return nil
}

// authenticate authenticates the user by one method.
func (c *Cloud) authenticate(r *request, o object, method string, t *token) *response {
	credentials := func(path ...string) string { return o.text(append([]string{"auth", "identity", method}, path...)...) }
	t.methods = append(t.methods, method)
	switch method {
	case "password":
		if _, ok := o.at("auth", "identity", method, "user").(object); !ok {
			return r.identityMalformed("user", "None") // as Keystone writes it
		}
		if credentials("user", "id") == "" && credentials("user", "name") == "" {
			return r.identityError(http.StatusBadRequest,
				"Invalid input for field identity/password/user: id or name must be present.")
		}
		user, refused := c.namedUser(r, o, "auth", "identity", method, "user")
		if refused != nil {
			return refused
		}
		if user.ID == "" || !sameSecret(user.Password, credentials("user", "password")) {
			return r.identityUnauthorized()
		}
		t.user = user
	case "application_credential":
		id := credentials("id")
		var owner User
		switch _, hasUser := o.at("auth", "identity", method, "user").(object); {
		case id == "" && credentials("name") == "":
			return r.identityMalformed("name or ID", "application credential")
		case id == "" && !hasUser:
			return r.identityMalformed("user", "application credential")
		case id == "":
			var refused *response
			if owner, refused = c.namedUser(r, o, "auth", "identity", method, "user"); refused != nil {
				return refused
			}
		}
		a, found := find(c.directory.credentials, func(a ApplicationCredential) bool {
			return a.ID == id || id == "" && a.Name == credentials("name") && a.User == owner.Name
		})
		switch {
		case !found && id != "":
			return r.identityError(http.StatusNotFound, "Could not find Application Credential: "+id+".")
		case !found, !sameSecret(a.Secret, credentials("secret")):
			return r.identityUnauthorized()
		}
		t.user, _ = c.directory.user("", a.User)
		t.project, _ = c.directory.project("", a.Project)
		t.roles = []string{t.user.Roles[t.project.Name]} // an application credential has no implied roles
		t.appCredID = a.ID
	case "token":
		old := c.tokens[credentials("id")]
		switch {
		case old == nil:
			return r.identityError(http.StatusNotFound, "Could not recognize Fernet token")
		case old.revoked || !old.expires.After(r.start):
			return r.identityError(http.StatusNotFound, "Failed to validate token")
		}
		t.user, t.expires, t.auditIDs = old.user, old.expires, old.auditIDs[len(old.auditIDs)-1:]
		for _, m := range old.methods {
			if m != "token" {
				t.methods = append(t.methods, m)
			}
		}
	default:
		return r.identityUnauthorized()
	}
	return nil
}

// namedUser returns the user that an object names by id, or by name and domain. An unknown user is not an error here.
func (c *Cloud) namedUser(r *request, o object, path ...string) (User, *response) {
	at := func(more ...string) string { return o.text(append(append([]string{}, path...), more...)...) }
	if id := at("id"); id != "" {
		u, _ := c.directory.user(id, "")
		return u, nil
	}
	if at("domain", "id") == "" && at("domain", "name") == "" {
		return User{}, r.identityMalformed("domain", "user")
	}
	if !defaultDomain(at("domain", "id"), at("domain", "name")) {
		return User{}, nil
	}
	u, _ := c.directory.user("", at("name"))
	return u, nil
}

// scope sets the token's scope as requested.
func (c *Cloud) scope(r *request, o object, t *token) *response {
	requested := o.at("auth", "scope")
	if requested == nil || requested == "unscoped" {
		return nil
	}
	if t.appCredID != "" {
		res := r.identityUnauthorized()
		res.body = append(dumpsCompact(object{{"error", object{
			{"code", http.StatusUnauthorized}, {"identity", object{}},
			{"message", "Error authenticating with application credential: Application credentials cannot request a scope."},
			{"title", http.StatusText(http.StatusUnauthorized)},
		}}}), '\n')
		return res
	}
	if domain, ok := o.at("auth", "scope", "domain").(object); ok {
		roles := implied(t.user.DomainRole)
		if !defaultDomain(domain.text("id"), domain.text("name")) || roles == nil {
			return r.identityUnauthorized()
		}
		t.domain, t.roles = true, roles
		return nil
	}
	if _, ok := o.at("auth", "scope", "project").(object); !ok {
		return r.identityUnauthorized() // no user has a role on the system
	}
	id := o.text("auth", "scope", "project", "id")
	domain := o.text("auth", "scope", "project", "domain", "id")
	domainByName := o.text("auth", "scope", "project", "domain", "name")
	if id == "" && domain == "" && domainByName == "" {
		return r.identityMalformed("domain", "project")
	}
	p, found := c.directory.project(id, o.text("auth", "scope", "project", "name"))
	if !found || id == "" && !defaultDomain(domain, domainByName) || t.user.rolesIn(p) == nil {
		return r.identityUnauthorized()
	}
	t.project, t.roles = p, t.user.rolesIn(p)
	return nil
}

// defaultDomain reports whether an id or name is that of the cloud's domain.
func defaultDomain(id, name string) bool {
	return id == domainID || id == "" && (name == domainName || name == domainID)
}

func sameSecret(s Secret, given string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(given)) == 1
}

// subject returns the token in X-Subject-Token, or an error response.
func (c *Cloud) subject(r *request, action string) (*token, *response) {
	who := c.authenticated(r)
	if who == nil {
		return nil, r.identityUnauthorized()
	}
	id := r.header.Get("X-Subject-Token")
	t := c.tokens[id]
	switch {
	case id == "" && who.admin():
		return nil, r.identityError(http.StatusNotFound, "No token in the request")
	case id == "":
		return nil, r.identityForbidden(action)
	case t == nil:
		return nil, r.identityError(http.StatusNotFound, "Could not recognize Fernet token")
	case t.user.ID != who.user.ID && !who.admin():
		return nil, r.identityForbidden(action)
	case t.revoked || !t.expires.After(r.start):
		return nil, r.identityError(http.StatusNotFound, "Failed to validate token")
	}
	return t, nil
}

func (c *Cloud) showToken(r *request) *response {
	t, refused := c.subject(r, "validate_token")
	if refused != nil {
		return refused
	}
	return c.tokenResponse(r, http.StatusOK, t)
}

func (c *Cloud) revokeToken(r *request) *response {
	t, refused := c.subject(r, "revoke_token")
	if refused != nil {
		return refused
	}
	t.revoked = true
	return r.identityRespond(http.StatusNoContent, "", nil)
}

func (c *Cloud) tokenResponse(r *request, status int, t *token) *response {
	view := object{
		{"methods", t.methods},
		{"user", object{{"domain", domainView()}, {"id", t.user.ID}, {"name", t.user.Name}, {"password_expires_at", nil}}},
		{"audit_ids", t.auditIDs}, {"expires_at", identityTime(t.expires)}, {"issued_at", identityTime(t.issued)},
	}
	roles := []object{}
	for _, name := range t.roles {
		roles = append(roles, object{{"id", stableID("role", name)}, {"name", name}})
	}
	if t.domain {
		view = append(view, object{{"domain", domainView()}, {"roles", roles}}...)
		if _, without := r.query["nocatalog"]; !without {
			view = append(view, member{"catalog", c.catalog(r, t.project)})
		}
	}
	if t.project.ID != "" {
		view = append(view, object{
			{"project", object{{"domain", domainView()}, {"id", t.project.ID}, {"name", t.project.Name}}},
			{"is_domain", false}, {"roles", roles},
		}...)
		if _, without := r.query["nocatalog"]; !without {
			view = append(view, member{"catalog", c.catalog(r, t.project)})
		}
	}
	if t.appCredID != "" {
		a, _ := find(c.directory.credentials, func(a ApplicationCredential) bool { return a.ID == t.appCredID })
		view = append(view, member{"application_credential", object{{"id", a.ID}, {"name", a.Name}, {"restricted", true}}})
	}
	res := r.identityJSON(status, object{{"token", view}})
	res.header.Set("X-Subject-Token", t.id)
	return res
}

func domainView() object { return object{{"id", domainID}, {"name", domainName}} }

// newTokenID returns a token that looks like Keystone's Fernet tokens. The caller holds c.mu.
func (c *Cloud) newTokenID() string { return "gAAAAAB" + c.randomText(132) }

// randomText returns n random bytes as URL-safe text. The caller holds c.mu.
func (c *Cloud) randomText(n int) string {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, c.rand.Uint64())
	}
	return base64.RawURLEncoding.EncodeToString(b[:n])
}
