package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
)

// ErrNoBounds is wrapped by the error for an administrator's credentials without TAGGER_PROJECTS.
var ErrNoBounds = errors.New("TAGGER_PROJECTS is not set")

// OutOfBoundsError reports a project that TAGGER_PROJECTS does not include.
type OutOfBoundsError struct {
	// Project is the project asked for, Own that of the credentials.
	Project, Own string
	// Why is the reason and the remedy, for operators.
	Why string
}

func (e *OutOfBoundsError) Error() string {
	return fmt.Sprintf("project %s is out of bounds: %s", e.Project, e.Why)
}

// serviceProjects are the usual names of the project of OpenStack's own services. Its resources (servers of load
// balancers, for instance) belong to those services, so the project is within bounds only if named by its id.
var serviceProjects = []string{"service", "services"}

func isServiceProject(name string) bool {
	return slices.ContainsFunc(serviceProjects, func(s string) bool { return strings.EqualFold(s, name) })
}

// Login returns a session in the credentials' own project, whatever the bounds. It logs in only if there is no token
// yet. The error is a [*RefusedError] if an operator has to fix something.
func (c *Cloud) Login(ctx context.Context) (*Session, error) { return c.open(ctx, "") }

// startTimeout bounds the login at start.
const startTimeout = 5 * time.Second

// CheckBounds lets a process log in before its first event. It returns [ErrNoBounds] if the credentials are an
// administrator's and there are no bounds. A failed login is only logged, because it may succeed later.
func (c *Cloud) CheckBounds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := c.Bounded(ctx)
	if errors.Is(err, ErrNoBounds) {
		return err
	}
	if err != nil && c.options.Log != nil {
		c.options.Log.Warn("login at start failed; retried with the first event", "error", err.Error())
	}
	return nil
}

// Bounded returns the session of [Cloud.Login] if the credentials are within bounds: an administrator's without
// [Options].Projects are a [*RefusedError] that wraps [ErrNoBounds]. The own project need not be within bounds itself.
func (c *Cloud) Bounded(ctx context.Context) (*Session, error) {
	own, err := c.Login(ctx)
	if err == nil && own.Admin() && len(c.options.Projects) == 0 {
		return nil, &RefusedError{Err: fmt.Errorf("log in at %s as %s: %w, and the role admin reaches every project: "+
			"set it to own, to project ids, to domain:NAME or to *; better, use a user with the role member and set it to roles",
			own.Cloud, own.User, ErrNoBounds)}
	}
	return own, err
}

// Session returns a session that can act on the given project's resources; "" stands for the credentials' own project.
// If the token may see more than the project (see [Session.Wide]), the caller must check a resource's project before it
// writes.
//
// A project outside [Options].Projects is an [*OutOfBoundsError]. An administrator without bounds is a [*RefusedError]
// that wraps [ErrNoBounds]. Other errors are those of [Cloud.Login].
func (c *Cloud) Session(ctx context.Context, project string) (*Session, error) {
	own, err := c.Bounded(ctx)
	if err != nil {
		return nil, err
	}
	p := c.options.Projects
	switch {
	case project == "" || project == own.Project:
		project = own.Project
		if len(p) > 0 && len(p.IDs()) == 0 && !p.Own() && isServiceProject(own.ProjectName) {
			return nil, outOfBoundsf(own, project,
				"the project %s is allowed only if TAGGER_PROJECTS has its id, or own",
				own.ProjectName)
		}
		return own, nil
	case p.Listed(project) && own.Admin():
		return own, nil
	case p.Listed(project) && own.Method != config.Password:
		return nil, projectScoped(refusedf(
			"act in project %s: it is in TAGGER_PROJECTS, but %s cannot leave its project (%s): "+
				"remove it from the list, or use a user and password", project, methodName(own.Method), own.Project))
	case p.Listed(project):
		return c.openListed(ctx, project)
	case p.Roles() || len(p.Domains()) > 0 && !own.Admin():
		s, err := c.byRole(ctx, own, project)
		if _, out := errors.AsType[*OutOfBoundsError](err); !out || !p.Any() && (len(p.Domains()) == 0 || !own.Admin()) {
			return s, err
		}
	}
	switch {
	case p.Any() && !own.Admin():
		return own, nil // its token reaches its own project only
	case own.Admin() && (p.Any() || len(p.Domains()) > 0):
		return c.byDirectory(ctx, own, project)
	}
	return nil, outOfBoundsf(own, project,
		"it is neither that of the credentials (%s) nor in TAGGER_PROJECTS: list it in TAGGER_PROJECTS, "+
			"or set that to roles for every project that they have a role in", own.Project)
}

func (c *Cloud) openListed(ctx context.Context, project string) (*Session, error) {
	s, err := c.open(ctx, project)
	if err != nil {
		return nil, projectScoped(err)
	}
	return s, nil
}

// byRole returns a session in a project that the credentials have a role in.
func (c *Cloud) byRole(ctx context.Context, own *Session, project string) (*Session, error) {
	p := c.options.Projects
	if own.Method != config.Password && !own.Admin() {
		return nil, outOfBoundsf(own, project, "%s cannot leave its project (%s): use a user and password",
			methodName(own.Method), own.Project)
	}
	name, found, err := c.roles.find(ctx, project)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, outOfBoundsf(own, project, "the credentials have no role in it (TAGGER_PROJECTS)")
	case isServiceProject(name):
		return nil, outOfBoundsf(own, project, "the project %s is allowed only if TAGGER_PROJECTS has its id", name)
	case own.Method != config.Password:
		return own, nil
	}
	s, err := c.openListed(ctx, project)
	if err == nil && !p.Roles() && !inDomain(p, s.grant.domain, s.grant.domainName) {
		return nil, outOfBoundsf(own, project, "it is in domain %s, which TAGGER_PROJECTS does not name", s.grant.domainName)
	}
	return s, err
}

// byDirectory returns an administrator's own session for a project that is within bounds by its name or domain.
func (c *Cloud) byDirectory(ctx context.Context, own *Session, project string) (*Session, error) {
	p := c.options.Projects
	found, err := c.Project(ctx, project)
	if unknown, ok := errors.AsType[*UnknownError](err); ok {
		if unknown.Missing || !p.Any() {
			return nil, outOfBoundsf(own, project, "%s", err)
		}
		return own, nil // Keystone shows these credentials no details; * allows the project anyway
	}
	switch {
	case err != nil:
		return nil, err
	case isServiceProject(found.Name):
		return nil, outOfBoundsf(own, project, "the project %s is allowed only if TAGGER_PROJECTS has its id", found.Name)
	case p.Any(), inDomain(p, found.DomainID, ""):
		return own, nil
	}
	domain, err := c.directory.domain(ctx, found.DomainID)
	if _, ok := errors.AsType[*UnknownError](err); err != nil && !ok {
		return nil, err
	}
	if !inDomain(p, found.DomainID, domain.Name) {
		return nil, outOfBoundsf(own, project, "it is in domain %s, which TAGGER_PROJECTS does not name",
			cmp.Or(domain.Name, found.DomainID))
	}
	return own, nil
}

// outOfBoundsf returns the error for a project that is out of bounds.
func outOfBoundsf(own *Session, project, why string, args ...any) error {
	return &OutOfBoundsError{Project: project, Own: own.Project, Why: fmt.Sprintf(why, args...)}
}

// inDomain reports whether the bounds name a domain. Keystone ignores the case of names.
func inDomain(p config.Projects, id, name string) bool {
	return slices.ContainsFunc(p.Domains(), func(domain string) bool {
		return domain == id || name != "" && strings.EqualFold(domain, name)
	})
}
