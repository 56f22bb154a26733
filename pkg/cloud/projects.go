package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// projectsPath is documented at https://docs.openstack.org/api-ref/identity/v3/#list-projects
const projectsPath = "projects"

// Projects returns the projects that Keystone lists, by id: all of them for an administrator, otherwise those in which
// the credentials have a role. Use it for names only: a project that is not listed can still exist.
func (c *Cloud) Projects(ctx context.Context) (map[string]Project, error) {
	own, err := c.Login(ctx)
	if err != nil {
		return nil, err
	}
	path := roleProjectsPath
	if own.Admin() {
		path = projectsPath
	}
	var list struct {
		Projects []json.RawMessage `json:"projects"`
	}
	if err := c.readIdentity(ctx, own, path, &list); err != nil {
		return nil, fmt.Errorf("list the projects: %w", err)
	}
	if len(list.Projects) > maxRoleProjects {
		return nil, fmt.Errorf("list the projects: Keystone lists %d, the limit is %d", len(list.Projects), maxRoleProjects)
	}
	all := make(map[string]Project, len(list.Projects))
	for _, text := range list.Projects {
		var p Project
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("list the projects: %w", err)
		}
		var members map[string]any
		_ = json.Unmarshal(text, &members) // cannot fail: the same text was decoded above
		p.Extra = extraOf(members)
		all[p.ID] = p
	}
	return all, nil
}

// Covers reports whether [Options].Projects covers a listed project by its id, name or domain. Unlike [Cloud.Session],
// it looks up only the names of domains, and no roles.
func (c *Cloud) Covers(ctx context.Context, project Project) (bool, error) {
	own, err := c.Login(ctx)
	if err != nil {
		return false, err
	}
	p := c.options.Projects
	isOwn := project.ID == own.Project
	switch {
	case p.Listed(project.ID), isOwn && (p.Own() || len(p) == 0):
		return true, nil
	case isServiceProject(project.Name):
		return false, nil
	case p.Any(), inDomain(p, project.DomainID, ""):
		return true, nil
	case len(p.Domains()) == 0:
		return false, nil
	case isOwn:
		return inDomain(p, own.grant.domain, own.grant.domainName), nil
	}
	domain, err := c.directory.domain(ctx, project.DomainID)
	if _, unknown := errors.AsType[*UnknownError](err); err != nil && !unknown {
		return false, err
	}
	return inDomain(p, project.DomainID, domain.Name), nil
}
