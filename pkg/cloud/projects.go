package cloud

import (
	"context"
	"encoding/json"
	"fmt"
)

// pathOfProjects is that of https://docs.openstack.org/api-ref/identity/v3/#list-projects
const pathOfProjects = "projects"

// Projects returns, by id, the projects that Keystone lists: all of them for an administrator, otherwise those in which
// the credentials have a role. It is for names only: a project that is missing can still be there.
func (c *Cloud) Projects(ctx context.Context) (map[string]Project, error) {
	own, err := c.Login(ctx)
	if err != nil {
		return nil, err
	}
	path := pathOfRoleProjects
	if own.Admin() {
		path = pathOfProjects
	}
	var list struct {
		Projects []json.RawMessage `json:"projects"`
	}
	if err := c.readIdentity(ctx, own, path, &list); err != nil {
		return nil, fmt.Errorf("list the projects: %w", err)
	}
	if len(list.Projects) > maxRoleProjects {
		return nil, fmt.Errorf("list the projects: Keystone has %d of them, and %d are the most", len(list.Projects), maxRoleProjects)
	}
	all := make(map[string]Project, len(list.Projects))
	for _, text := range list.Projects {
		var p Project
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("list the projects: %w", err)
		}
		var members map[string]any
		_ = json.Unmarshal(text, &members) // as above
		p.Extra = extraOf(members)
		all[p.ID] = p
	}
	return all, nil
}
