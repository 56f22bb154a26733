package cloud

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// Session acts as one user in one project. It is cheap, and safe for concurrent use.
type Session struct {
	// Project is the id of the project that the issued token is for, whatever was asked for; with an access key, the
	// configured one.
	Project string
	// ProjectName is the project's name, "" when unknown.
	ProjectName string
	// User is who acts, for people to read: the user's name, or "access key …".
	User string
	// UserID is the user's id, "" with an access key.
	UserID string
	// Roles are the names of the token's roles, none with an access key.
	Roles []string
	// Cloud is the host of the Identity API, or with an access key that of the compute or volume endpoint; "" when
	// unknown.
	Cloud string
	// Region is the configured region, "" when there is none.
	Region string
	// Method is how the session logs in.
	Method config.Method

	cloud     *Cloud
	grant     *grant
	transport http.RoundTripper
}

// Admin reports that the token has the role admin, with which Nova's and Cinder's default policies let it act on every
// project's resources, whatever project it is for. Policies compare the names of roles regardless of case. No other
// role of a token for a project reaches beyond it; those that do (reader, manager) need a token for the system.
func (s *Session) Admin() bool {
	return slices.ContainsFunc(s.Roles, func(role string) bool { return strings.EqualFold(role, "admin") })
}

// CloudName names the cloud: the host of its Identity API, and the region.
func (s *Session) CloudName() string {
	if s.Region == "" {
		return s.Cloud
	}
	return s.Cloud + " " + s.Region
}

// Breaker is what all calls of the process ask before they are sent.
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
	return s
}

// Compute returns a client for the compute API. It is the caller's own: setting its fields affects nobody else. An
// error is a [*RefusedError]: there is no endpoint.
func (s *Session) Compute() (*gophercloud.ServiceClient, error) {
	return s.client(computeService(s.cloud.options.ComputeEndpoint))
}

// Volume returns a client for the volume API (Cinder, EVS), in the version of its endpoint; otherwise as Compute.
func (s *Session) Volume() (*gophercloud.ServiceClient, error) {
	return s.client(volumeService(s.cloud.options.VolumeEndpoint))
}

// Service returns the client for a service by the name that its endpoint setting has: "compute" or "volume".
func (s *Session) Service(name string) (*gophercloud.ServiceClient, error) {
	switch name {
	case "compute":
		return s.Compute()
	case "volume":
		return s.Volume()
	}
	return nil, refusedf("connect to the %s service: there is no such service here", name)
}

func (s *Session) client(svc service) (*gophercloud.ServiceClient, error) {
	endpoint, err := svc.endpoint(s.grant)
	if err != nil {
		return nil, &RefusedError{Err: err, Scope: fault.Project} // another project's catalog may have it
	}
	return &gophercloud.ServiceClient{
		ProviderClient: newProviderClient(s.transport, s.cloud.options.UserAgent),
		Endpoint:       endpoint,
		Type:           svc.types[0], // decides which headers a microversion goes into
	}, nil
}

// newProviderClient returns a client without a token: adding it is the transport's business, which also keeps it out
// of the client's fields.
func newProviderClient(transport http.RoundTripper, userAgent string) *gophercloud.ProviderClient {
	p := &gophercloud.ProviderClient{HTTPClient: httpClient(transport)}
	if userAgent != "" {
		p.UserAgent.Prepend(userAgent)
	}
	return p
}
