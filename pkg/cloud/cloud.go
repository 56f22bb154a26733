// Package cloud provides authenticated clients for the compute and volume APIs of one cloud.
//
// It logs in when a client is first needed, keeps the token between invocations, and logs in again when the cloud
// rejects it. With a Huawei Cloud access key it signs requests instead. It is safe for concurrent use: concurrent
// callers share one login, and no caller's cancelled context fails another's.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/config"
)

// Options configure a Cloud.
type Options struct {
	// Credentials are used unless Source is set.
	Credentials config.Credentials
	// Source returns the credentials. It is called before each login, and with an access key before each signature,
	// with the context of the request. It must be fast and safe for concurrent use. The credentials may change.
	Source func(context.Context) (config.Credentials, error)
	// Refused, if set, is called when the cloud answers 401 to the credentials of Source, so that a caching Source can
	// reload them. If Source then returns others, those are tried at once.
	Refused func()

	// ComputeEndpoint and VolumeEndpoint, if set, replace the catalog's endpoints. They include the version, and may
	// contain {project_id} or $(project_id)s.
	ComputeEndpoint, VolumeEndpoint string
	// Projects are the bounds: the projects that sessions may be opened for. Empty means the credentials' own project,
	// and is an error with an administrator's credentials.
	Projects config.Projects
	// WriteRate limits the writes per second to one service in the long run; 0 is no limit. See package breaker.
	WriteRate float64
	// Log, if not nil, gets a record when calls to a service pause, and when the rate of writes changes.
	Log *slog.Logger

	// Transport sends the requests. Nil means a default for these APIs that trusts OS_CACERT; any other ignores
	// OS_CACERT.
	Transport http.RoundTripper
	// UserAgent comes first in the User-Agent header.
	UserAgent string
}

// Cloud opens sessions. Create one and keep it: it holds the tokens and the state of the circuit breaker.
type Cloud struct {
	options   Options
	breaker   *breaker.Breaker
	roles     *roleProjects
	directory *directory

	mu         sync.Mutex
	logins     map[string]*login     // by the project asked for; "" for the credentials' own
	keys       map[string]*accessKey // by access key ID
	transports map[string]*guard     // by OS_CACERT
}

// New returns a Cloud. It sends nothing: faults in the options surface with the first session.
func New(options Options) *Cloud {
	if options.Source == nil {
		credentials := options.Credentials
		options.Source = func(context.Context) (config.Credentials, error) { return credentials, nil }
	}
	c := &Cloud{
		options:    options,
		breaker:    breaker.New(breaker.Options{WriteRate: options.WriteRate, Log: options.Log}),
		logins:     make(map[string]*login),
		keys:       make(map[string]*accessKey),
		transports: make(map[string]*guard),
	}
	c.roles, c.directory = newRoleProjects(c), newDirectory(c)
	return c
}

func (c *Cloud) open(ctx context.Context, project string) (*Session, error) {
	l := c.login(project)
	g, err := l.grant(ctx, nil)
	if err == nil && c.outdated(ctx, g) {
		g, err = l.grant(ctx, g)
	}
	if err != nil {
		return nil, err
	}
	g.open.Do(func() { g.session = c.newSession(l, g) })
	return g.session, nil
}

// outdated reports whether an access key's grant no longer matches the credentials. A token's grant ends with its
// token.
func (c *Cloud) outdated(ctx context.Context, g *grant) bool {
	if g.login.Method != config.AccessKey {
		return false
	}
	credentials, err := c.credentials(ctx)
	if err != nil {
		return false // signing the next request returns this error
	}
	l, err := credentials.Resolve()
	return err == nil && (l.Method != config.AccessKey || l.AccessKeyProjectID != g.project)
}

// maxLogins is how many logins are kept, one per project.
const maxLogins = 500

// login returns the one login for a project, which must be within bounds.
func (c *Cloud) login(project string) *login {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.logins[project]
	if l == nil {
		if len(c.logins) >= maxLogins {
			c.evictLogin()
		}
		l = &login{issue: func(ctx context.Context) (*grant, error) { return c.issue(ctx, project) }}
		c.logins[project] = l
	}
	l.used = time.Now()
	return l
}

// evictLogin drops the least recently used login. Sessions that hold it keep it.
func (c *Cloud) evictLogin() {
	oldest := ""
	for project, l := range c.logins {
		if project != "" && (oldest == "" || l.used.Before(c.logins[oldest].used)) {
			oldest = project
		}
	}
	delete(c.logins, oldest)
}

// issue gets a grant for the project. If the credentials are refused and the source then returns others, it tries
// those.
func (c *Cloud) issue(ctx context.Context, project string) (*grant, error) {
	credentials, err := c.credentials(ctx)
	if err != nil {
		return nil, err
	}
	g, err := c.authenticate(ctx, credentials, project)
	if !unauthorized(err) || c.options.Refused == nil {
		return g, err
	}
	c.options.Refused()
	other, sourceErr := c.credentials(ctx)
	if sourceErr != nil || other == credentials {
		return nil, err
	}
	return c.authenticate(ctx, other, project)
}

func (c *Cloud) authenticate(ctx context.Context, credentials config.Credentials, project string) (*grant, error) {
	l, transport, err := c.resolve(credentials)
	if err != nil {
		return nil, err
	}
	if l.Method == config.AccessKey {
		return &grant{login: l, project: l.AccessKeyProjectID, send: transport}, nil
	}
	call := breaker.Call{Endpoint: l.AuthURL}
	if err := c.breaker.Allow(ctx, call); err != nil {
		return nil, fmt.Errorf("%s: %w", loginAction(l, project), err)
	}
	start := time.Now()
	g, err := issueToken(ctx, transport, l, project, c.options.UserAgent)
	c.recordIdentity(ctx, call, start, err)
	return g, err
}

// recordIdentity reports the result of a call to Keystone to the breaker.
func (c *Cloud) recordIdentity(ctx context.Context, call breaker.Call, start time.Time, err error) {
	if _, unsent := errors.AsType[noTokenError](err); unsent || errors.Is(ctx.Err(), context.Canceled) {
		return // not sent, or cancelled by the caller: no evidence about Keystone
	}
	r := breaker.Result{Kind: breaker.Success, Latency: time.Since(start), Err: err}
	response, answered := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err)
	if answered {
		r.RetryAfter = breaker.RetryAfter(response.ResponseHeader.Get("Retry-After"))
	}
	_, refused := errors.AsType[*RefusedError](err)
	switch {
	case err == nil, refused: // login remembers refusals itself
		r.RetryAfter = 0
	case answered && response.Actual == http.StatusTooManyRequests:
		r.Kind = breaker.Throttled
	case answered && response.Actual < 500 &&
		response.Actual != http.StatusRequestTimeout && response.Actual != http.StatusTooEarly:
		r.RetryAfter = 0
	default:
		r.Kind = breaker.Unavailable
	}
	c.breaker.Record(call, r)
}

// resolve returns the login that the credentials describe and the transport to send it with. It sends nothing.
func (c *Cloud) resolve(credentials config.Credentials) (config.Login, http.RoundTripper, error) {
	l, err := credentials.Resolve()
	if err != nil {
		return l, nil, &RefusedError{Err: err}
	}
	transport, err := c.transport(l.CACert)
	return l, transport, err
}

func (c *Cloud) credentials(ctx context.Context) (config.Credentials, error) {
	credentials, err := c.options.Source(ctx)
	if _, ok := errors.AsType[*RefusedError](err); ok {
		return credentials, err
	}
	if err != nil {
		return credentials, fmt.Errorf("get the credentials: %w", err)
	}
	return credentials, nil
}

// transport returns the guarded transport that trusts caCert. It is shared, so that connections are reused.
func (c *Cloud) transport(caCert string) (http.RoundTripper, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.transports[caCert]; g != nil {
		return g, nil
	}
	g := &guard{next: c.options.Transport}
	if g.next == nil {
		t, err := newTransport(caCert)
		if err != nil {
			return nil, err
		}
		g.next = t
	}
	c.transports[caCert] = g
	return g, nil
}
