package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// Project is a project as Keystone describes it.
type Project struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	DomainID    string   `json:"domain_id"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	// Extra has the other members whose values are strings: what the cloud's operators added.
	Extra map[string]string `json:"-"`
}

// User is a user as Keystone describes it.
type User struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DomainID    string `json:"domain_id"`
	Description string `json:"description"`
	// Extra is as in [Project]; it has the email address.
	Extra map[string]string `json:"-"`
}

// UnknownError reports a user, project or domain that Keystone does not show.
type UnknownError struct {
	// Kind is "user", "project" or "domain".
	Kind string
	ID   string
	// Missing reports that no such id exists (404). Otherwise the credentials may not read it: Keystone answered 403, or
	// they are an access key, which Keystone does not accept.
	Missing bool
}

func (e *UnknownError) Error() string {
	if e.Missing {
		return fmt.Sprintf("Keystone has no %s %.64q", e.Kind, e.ID)
	}
	return fmt.Sprintf("Keystone does not let the credentials read %s %.64q", e.Kind, e.ID)
}

const (
	// directoryTTL is how long a result is valid, also a refusal. A stale one still serves while Keystone fails.
	directoryTTL = 10 * time.Minute
	// maxDirectoryEntries is how many results are kept of each kind.
	maxDirectoryEntries = 10_000
	// lookupsPerSecond and lookupBurst limit the rate of look-ups, maxLookupWait the wait for it.
	lookupsPerSecond = 10
	lookupBurst      = 50
	maxLookupWait    = 5 * time.Second
)

// directory looks up users, projects and domains in Keystone and caches them.
type directory struct {
	users    cache[User]
	projects cache[Project]
	domains  cache[Project]
}

func newDirectory(c *Cloud) *directory {
	limiter := rate.NewLimiter(lookupsPerSecond, lookupBurst)
	return &directory{
		users:    newCache[User](c, c.ownSession, limiter, "user", "users"),
		projects: newCache[Project](c, c.projectSession, limiter, "project", "projects"),
		domains:  newCache[Project](c, c.ownSession, limiter, "domain", "domains"),
	}
}

func (d *directory) domain(ctx context.Context, id string) (Project, error) {
	return d.domains.find(ctx, id)
}

// User returns a user, cached for ten minutes. An [*UnknownError] means that Keystone does not show the user; other
// errors are temporary, or those of [Cloud.Login].
func (c *Cloud) User(ctx context.Context, id string) (User, error) {
	u, err := c.directory.users.find(ctx, id)
	u.Extra = maps.Clone(u.Extra)
	return u, err
}

// Project returns a project, with the caching and errors of [Cloud.User].
func (c *Cloud) Project(ctx context.Context, id string) (Project, error) {
	p, err := c.directory.projects.find(ctx, id)
	p.Extra = maps.Clone(p.Extra)
	return p, err
}

// cache holds the results for one kind.
type cache[T any] struct {
	cloud            *Cloud
	session          sessionFunc
	limiter          *rate.Limiter
	kind, collection string
	sem              *semaphore.Weighted // one look-up at a time

	mu    *sync.Mutex
	known map[string]cacheEntry[T]
}

type cacheEntry[T any] struct {
	value T
	err   error // an *UnknownError, or nil
	read  time.Time
}

// sessionFunc opens the session to read the resource with an id.
type sessionFunc func(ctx context.Context, id string) (*Session, error)

func newCache[T any](c *Cloud, session sessionFunc, limiter *rate.Limiter, kind, collection string) cache[T] {
	return cache[T]{
		cloud: c, session: session, limiter: limiter, kind: kind, collection: collection, sem: semaphore.NewWeighted(1),
		mu: &sync.Mutex{}, known: map[string]cacheEntry[T]{},
	}
}

func (c *cache[T]) cached(id string) (a cacheEntry[T], found, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, found = c.known[id]
	return a, found, found && time.Since(a.read) < directoryTTL
}

func (c *cache[T]) find(ctx context.Context, id string) (T, error) {
	var none T
	if id == "" || len(id) > maxIDLength {
		return none, &UnknownError{Kind: c.kind, ID: id, Missing: true}
	}
	if a, _, fresh := c.cached(id); fresh {
		return a.value, a.err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, loginTimeout, fmt.Errorf("no response within %s", loginTimeout))
	defer cancel()
	if c.sem.Acquire(ctx, 1) != nil {
		return none, fmt.Errorf("look up %s %s: %w", c.kind, id, context.Cause(ctx))
	}
	defer c.sem.Release(1)
	old, found, fresh := c.cached(id)
	if fresh {
		return old.value, old.err
	}
	a, err := c.read(ctx, id)
	if err != nil {
		if found {
			return old.value, old.err
		}
		return none, fmt.Errorf("look up %s %s: %w", c.kind, id, err)
	}
	c.store(id, a)
	return a.value, a.err
}

// maxIDLength is the length of Keystone's id columns.
const maxIDLength = 64

func (c *cache[T]) read(ctx context.Context, id string) (cacheEntry[T], error) {
	waiting, cancel := context.WithTimeout(ctx, maxLookupWait)
	defer cancel()
	if err := c.limiter.Wait(waiting); err != nil {
		return cacheEntry[T]{}, fmt.Errorf("more than %d look-ups a second: %w", lookupsPerSecond, err)
	}
	session, err := c.session(ctx, id)
	if err != nil {
		return cacheEntry[T]{}, err
	}
	if session.Method == config.AccessKey { // Keystone takes tokens only
		return cacheEntry[T]{read: time.Now(), err: &UnknownError{Kind: c.kind, ID: id}}, nil
	}
	var text map[string]json.RawMessage
	err = c.cloud.readIdentity(ctx, session, c.collection+"/"+url.PathEscape(id), &text)
	a := cacheEntry[T]{read: time.Now()}
	switch {
	case gophercloud.ResponseCodeIs(err, http.StatusNotFound):
		a.err = &UnknownError{Kind: c.kind, ID: id, Missing: true}
		return a, nil
	case gophercloud.ResponseCodeIs(err, http.StatusForbidden):
		a.err = &UnknownError{Kind: c.kind, ID: id}
		return a, nil
	case err != nil:
		return cacheEntry[T]{}, err
	}
	if err := json.Unmarshal(text[c.kind], &a.value); err != nil {
		return cacheEntry[T]{}, fmt.Errorf("the response is not the %s that the API documents", c.kind)
	}
	var members map[string]any
	_ = json.Unmarshal(text[c.kind], &members) // cannot fail: the same text was decoded above
	extra := extraOf(members)
	switch v := any(&a.value).(type) {
	case *User:
		v.Extra = extra
	case *Project:
		v.Extra = extra
	}
	return a, nil
}

// extraOf returns the string members that are not part of the API.
func extraOf(members map[string]any) map[string]string {
	extra := map[string]string{}
	for name, v := range members {
		switch name {
		case "id", "name", "domain_id", "description", "parent_id", "default_project_id", "password_expires_at":
		default:
			if s, ok := v.(string); ok {
				extra[name] = s
			}
		}
	}
	return extra
}

// store adds a result. A full cache evicts stale results first, then any.
func (c *cache[T]) store(id string, a cacheEntry[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.known[id]; !found && len(c.known) >= maxDirectoryEntries {
		maps.DeleteFunc(c.known, func(_ string, a cacheEntry[T]) bool { return time.Since(a.read) >= directoryTTL })
		for other := range c.known {
			if len(c.known) < maxDirectoryEntries*9/10 {
				break
			}
			delete(c.known, other)
		}
	}
	c.known[id] = a
}

func (c *Cloud) ownSession(ctx context.Context, _ string) (*Session, error) { return c.Login(ctx) }

// projectSession returns a session in the project itself if possible: by default, only an administrator may read a
// project that the token is not scoped to.
func (c *Cloud) projectSession(ctx context.Context, id string) (*Session, error) {
	own, err := c.Login(ctx)
	if err != nil || own.Admin() {
		return own, err
	}
	s, err := c.Session(ctx, id)
	if fault.ScopeOf(err) == fault.Project {
		return own, nil
	}
	if _, outOfBounds := errors.AsType[*OutOfBoundsError](err); outOfBounds {
		return own, nil
	}
	return s, err
}

// identityTimeout is how long one read from the Identity API may take.
const identityTimeout = time.Minute

// readIdentity reads from the Identity API with the session's token.
func (c *Cloud) readIdentity(ctx context.Context, session *Session, path string, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, identityTimeout, fmt.Errorf("no response within %s", identityTimeout))
	defer cancel()
	call := breaker.Call{Endpoint: session.grant.login.AuthURL}
	if err := c.breaker.Allow(ctx, call); err != nil {
		return err
	}
	client := &gophercloud.ServiceClient{
		ProviderClient: newProviderClient(&idempotent{session.transport}, c.options.UserAgent),
		Endpoint:       session.grant.login.AuthURL, Type: "identity",
	}
	start := time.Now()
	_, err := client.Get(ctx, client.ServiceURL(path), out, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	if response, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); ok {
		status := response.Actual
		text := fmt.Sprintf("%s: %d %s %s", session.Cloud, status, http.StatusText(status), message(response.Body))
		err = newResponseError(text, response.Method, response.URL, response.Actual, response.ResponseHeader)
	}
	c.recordIdentity(ctx, call, start, err)
	return err
}
