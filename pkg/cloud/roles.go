package cloud

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// roleProjectsPath is documented at https://docs.openstack.org/api-ref/identity/v3/#get-available-project-scopes
const roleProjectsPath = "auth/projects"

const (
	// rolesTTL is how long the list of projects is valid. After roleMissTTL it is read again for a project that it lacks,
	// because a role may have been granted since.
	rolesTTL    = 10 * time.Minute
	roleMissTTL = time.Minute
	// maxRoleProjects bounds the list.
	maxRoleProjects = 50_000
)

// roleProjects are the projects in which the credentials have a role.
type roleProjects struct {
	cloud *Cloud
	sem   *semaphore.Weighted // admits one reader at a time; the others wait for its result

	mu    sync.Mutex
	names map[string]string // by id
	read  time.Time
}

func newRoleProjects(c *Cloud) *roleProjects {
	return &roleProjects{cloud: c, sem: semaphore.NewWeighted(1)}
}

// find returns the name of a project, and whether the credentials have a role in it.
func (r *roleProjects) find(ctx context.Context, id string) (name string, found bool, err error) {
	if name, found, fresh := r.known(id); fresh {
		return name, found, nil
	}
	if r.sem.Acquire(ctx, 1) != nil {
		return "", false, fmt.Errorf("wait for the list of projects: %w", context.Cause(ctx))
	}
	defer r.sem.Release(1)
	name, found, fresh := r.known(id)
	if fresh {
		return name, found, nil
	}
	if err := r.load(ctx); err != nil {
		if found {
			return name, true, nil // the list is stale, but the login fails if the role is gone
		}
		return "", false, fmt.Errorf("list the projects that the credentials have a role in: %w", err)
	}
	name, found, _ = r.known(id)
	return name, found, nil
}

// known looks a project up in the list and reports whether the result is fresh enough.
func (r *roleProjects) known(id string) (name string, found, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, found = r.names[id]
	age := rolesTTL
	if !found {
		age = roleMissTTL
	}
	return name, found, r.names != nil && time.Since(r.read) < age
}

func (r *roleProjects) load(ctx context.Context) error {
	var list struct {
		Projects []struct {
			ID      string `json:"id"`
			Name    string `json:"name"`
			Enabled *bool  `json:"enabled"`
		} `json:"projects"`
	}
	own, err := r.cloud.Login(ctx)
	if err != nil {
		return err
	}
	if err := r.cloud.readIdentity(ctx, own, roleProjectsPath, &list); err != nil {
		return err
	}
	if len(list.Projects) > maxRoleProjects {
		return refusedf("Keystone lists %d projects, the limit is %d: name ids in TAGGER_PROJECTS",
			len(list.Projects), maxRoleProjects)
	}
	names := make(map[string]string, len(list.Projects))
	for _, p := range list.Projects {
		if p.Enabled == nil || *p.Enabled {
			names[p.ID] = p.Name
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names, r.read = names, time.Now()
	return nil
}

// RoleProjects returns the names of the projects in which the credentials have a role, by id.
func (c *Cloud) RoleProjects(ctx context.Context) (map[string]string, error) {
	if _, _, err := c.roles.find(ctx, ""); err != nil {
		return nil, err
	}
	c.roles.mu.Lock()
	defer c.roles.mu.Unlock()
	return maps.Clone(c.roles.names), nil
}

// RoleProjectNames returns the sorted names of the projects that TAGGER_PROJECTS=roles covers now: those in which the
// credentials have a role, except the service project.
func (c *Cloud) RoleProjectNames(ctx context.Context) ([]string, error) {
	if err := c.roles.load(ctx); err != nil {
		return nil, fmt.Errorf("list the projects that the credentials have a role in: %w", err)
	}
	c.roles.mu.Lock()
	defer c.roles.mu.Unlock()
	var names []string
	for _, name := range c.roles.names {
		if !isServiceProject(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
