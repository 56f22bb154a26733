package cloud

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// Session acts as one user in one project. It is shared by all who open it, and safe for concurrent use.
type Session struct {
	// Project is the id of the token's project; with an access key, the configured one.
	Project string
	// ProjectName is the project's name, "" when unknown.
	ProjectName string
	// User is the user's name or "access key …", for messages.
	User string
	// UserID is the user's id, "" with an access key.
	UserID string
	// Roles are the names of the token's roles, none with an access key.
	Roles []string
	// Cloud is the host of the Identity API; with an access key, the host of the compute or volume endpoint; "" when
	// unknown.
	Cloud string
	// Region is the configured region, "" when there is none.
	Region string
	// Method is how the session logs in.
	Method config.Method

	cloud     *Cloud
	grant     *grant
	transport http.RoundTripper
	// services has the clients by the names of the services. A client is made when it is first needed.
	services map[string]func() (gophercloud.ServiceClient, error)
}

// Admin reports whether the token has the role admin. By the default policies of Nova and Cinder, it can then act on
// the resources of every project, whatever its own. Policies ignore the case of role names. No other role of a
// project-scoped token reaches beyond its project; reader and manager would need a system-scoped one.
func (s *Session) Admin() bool {
	return slices.ContainsFunc(s.Roles, func(role string) bool { return strings.EqualFold(role, "admin") })
}

// Wide reports whether the token may see more than its project: an administrator's does, and any does if
// TAGGER_PROJECTS is * for a role with equivalent rights.
func (s *Session) Wide() bool { return s.Admin() || s.cloud.options.Projects.Any() }

// CloudName names the cloud: the host of its Identity API, and the region.
func (s *Session) CloudName() string {
	if s.Region == "" {
		return s.Cloud
	}
	return s.Cloud + " " + s.Region
}

// Breaker returns the process's circuit breaker, which every call must ask before it is sent.
func (s *Session) Breaker() *breaker.Breaker { return s.cloud.breaker }

func (c *Cloud) newSession(l *login, g *grant) *Session {
	s := &Session{
		Project: g.project, ProjectName: g.projectName,
		User: g.user, UserID: g.userID, Roles: g.roles,
		Cloud: host(g.login.AuthURL), Region: g.login.RegionName, Method: g.login.Method,
		cloud: c, grant: g,
	}
	if s.Method == config.AccessKey {
		s.User = actor(g.login)
		s.Cloud = cmp.Or(host(c.options.ComputeEndpoint), host(c.options.VolumeEndpoint))
		s.transport = &signingTransport{cloud: c, project: g.project}
	} else {
		s.transport = &tokenTransport{login: l, project: g.project}
	}
	s.services = map[string]func() (gophercloud.ServiceClient, error){}
	provider := newProviderClient(s.transport, c.options.UserAgent)
	for _, svc := range c.options.services() {
		s.services[svc.name] = sync.OnceValues(func() (gophercloud.ServiceClient, error) { return svc.client(g, provider) })
	}
	return s
}

// Compute returns the client for the compute API; see [Session.Service].
func (s *Session) Compute() (*gophercloud.ServiceClient, error) { return s.Service("compute") }

// Volume returns the client for the volume API (Cinder, EVS) in the version of its endpoint; see [Session.Service].
func (s *Session) Volume() (*gophercloud.ServiceClient, error) { return s.Service("volume") }

// Service returns a new client for a service by its name, such as "compute" or "volume". The caller may set its fields,
// but not those of its ProviderClient, which all clients of the session share. The error is a [*RefusedError]: no
// endpoint was found.
func (s *Session) Service(name string) (*gophercloud.ServiceClient, error) {
	made, ok := s.services[name]
	if !ok {
		return nil, refusedf("connect to the %s service: unknown service", name)
	}
	client, err := made()
	if err != nil {
		return nil, err
	}
	return &client, nil
}

func (s service) client(g *grant, provider *gophercloud.ProviderClient) (gophercloud.ServiceClient, error) {
	endpoint, err := s.endpoint(g)
	if err != nil { // another project's catalog may have it
		return gophercloud.ServiceClient{}, &RefusedError{Err: err, Scope: fault.Project}
	}
	return gophercloud.ServiceClient{
		ProviderClient: provider,
		Endpoint:       endpoint,
		Type:           s.types[0], // decides which headers a microversion goes into
	}, nil
}

// newProviderClient returns a client without a token. The transport adds it, which keeps it out of the client's fields.
func newProviderClient(transport http.RoundTripper, userAgent string) *gophercloud.ProviderClient {
	p := &gophercloud.ProviderClient{HTTPClient: httpClient(transport)}
	if userAgent != "" {
		p.UserAgent.Prepend(userAgent)
	}
	return p
}
