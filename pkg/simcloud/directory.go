package simcloud

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// directory holds Keystone's users, projects and credentials. It is immutable after New.
type directory struct {
	projects    []Project
	users       []User
	credentials []ApplicationCredential
	accessKeys  []AccessKey
	flavors     []Flavor
	images      []Image
}

// The only domain.
const (
	domainID   = "default"
	domainName = "Default"
)

func newDirectory(o Options) directory {
	d := directory{
		projects: slices.Clone(o.Projects), users: slices.Clone(o.Users), credentials: slices.Clone(o.ApplicationCredentials),
		accessKeys: slices.Clone(o.AccessKeys), flavors: slices.Clone(o.Flavors), images: slices.Clone(o.Images),
	}
	for i, p := range d.projects {
		d.projects[i].ID = cmp.Or(p.ID, stableID("project", p.Name))
	}
	for i, u := range d.users {
		d.users[i].ID = cmp.Or(u.ID, stableID("user", u.Name))
	}
	for i, a := range d.credentials {
		d.credentials[i].ID = cmp.Or(a.ID, stableID("application credential", a.Name))
	}
	for i, m := range d.images {
		d.images[i].ID = cmp.Or(m.ID, stableUUID("image", m.Name))
	}
	return d
}

// find returns the first element that matches.
func find[T any](list []T, fits func(T) bool) (T, bool) {
	if i := slices.IndexFunc(list, fits); i >= 0 {
		return list[i], true
	}
	var none T
	return none, false
}

// project finds a project by id or name. Keystone's database ignores the case of names.
func (d directory) project(id, name string) (Project, bool) {
	return find(d.projects, func(p Project) bool { return p.ID == id || id == "" && strings.EqualFold(p.Name, name) })
}

// user finds a user by id or name, as project does.
func (d directory) user(id, name string) (User, bool) {
	return find(d.users, func(u User) bool { return u.ID == id || id == "" && strings.EqualFold(u.Name, name) })
}

func (d directory) flavor(id string) (Flavor, bool) {
	return find(d.flavors, func(f Flavor) bool { return f.ID == id })
}

func (d directory) image(id string) (Image, bool) {
	return find(d.images, func(m Image) bool { return m.ID == id })
}

// rolesIn returns a user's roles in a project, including implied ones; none if the user is not a member.
func (u User) rolesIn(p Project) []string {
	return implied(u.Roles[p.Name])
}

// implied returns a role and those that it implies.
func implied(role string) []string {
	switch role {
	case "admin":
		return []string{"reader", "member", "admin"}
	case "member":
		return []string{"reader", "member"}
	case "reader":
		return []string{"reader"}
	}
	return nil
}

// identity is the user and project of a request.
type identity struct {
	user    User
	project Project // zero when unscoped
	domain  bool    // scoped to the domain
	roles   []string
	// token is nil for a request signed with AK/SK.
	token *token
}

func (i *identity) admin() bool { return slices.Contains(i.roles, "admin") }

// sees reports whether a project's resources are visible to these credentials.
func (i *identity) sees(project string) bool {
	return i.admin() || i.project.ID != "" && i.project.ID == project
}

// token is an issued token.
type token struct {
	id        string
	methods   []string
	user      User
	project   Project // zero when unscoped
	domain    bool    // scoped to the domain
	roles     []string
	auditIDs  []string
	issued    time.Time
	expires   time.Time
	revoked   bool
	appCredID string
}

// Env returns the environment variables, as NAME=value, with which an OpenStack client uses the cloud as its first
// user. endpoint is the cloud's base URL, such as http://127.0.0.1:5000; if empty, it is Options.Endpoint or else
// [DefaultEndpoint]. With Options.HuaweiCloud and an access key, the variables for signed requests are included.
func (c *Cloud) Env(endpoint string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	endpoint = strings.TrimSuffix(cmp.Or(endpoint, c.options.Endpoint, DefaultEndpoint), "/")
	lines := []string{
		"OS_AUTH_URL=" + endpoint + "/identity/v3",
		"OS_IDENTITY_API_VERSION=3",
		"OS_REGION_NAME=" + c.options.Region,
		"OS_INTERFACE=public",
	}
	if len(c.directory.users) == 0 {
		return lines
	}
	u := c.directory.users[0]
	p, found := find(c.directory.projects, func(p Project) bool { return u.rolesIn(p) != nil })
	lines = append(lines,
		"OS_USERNAME="+u.Name,
		"OS_PASSWORD="+string(u.Password),
		"OS_USER_DOMAIN_NAME="+domainName,
	)
	if !found {
		return lines
	}
	lines = append(lines, "OS_PROJECT_NAME="+p.Name, "OS_PROJECT_DOMAIN_NAME="+domainName, "OS_PROJECT_ID="+p.ID)
	k, found := find(c.directory.accessKeys, func(k AccessKey) bool { return k.User == u.Name })
	if c.options.HuaweiCloud && found {
		lines = append(lines,
			"HUAWEICLOUD_SDK_AK="+k.AccessKey,
			"HUAWEICLOUD_SDK_SK="+string(k.SecretKey),
			"HUAWEICLOUD_SDK_PROJECT_ID="+p.ID,
		)
	}
	return lines
}

// Project returns a project by its name.
func (c *Cloud) Project(name string) (Project, bool) { return c.directory.project("", name) }

// User returns a user by name, without the password.
func (c *Cloud) User(name string) (User, bool) {
	u, ok := c.directory.user("", name)
	u.Password = ""
	return u, ok
}

// Image returns an image by its name.
func (c *Cloud) Image(name string) (Image, bool) {
	return find(c.directory.images, func(m Image) bool { return m.Name == name })
}

// ApplicationCredential returns an application credential by its name, including the secret, for tests.
func (c *Cloud) ApplicationCredential(name string) (ApplicationCredential, bool) {
	return find(c.directory.credentials, func(a ApplicationCredential) bool { return a.Name == name })
}

// RevokeTokens revokes every token that has been issued.
func (c *Cloud) RevokeTokens() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tokens {
		t.revoked = true
	}
}
