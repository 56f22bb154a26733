package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Listing is one list request.
type Listing struct {
	Session *Session
	// All lists the resources of all projects, or of Project if that is set. Otherwise only the session's own project is
	// listed.
	All     bool
	Project string
}

// ProjectID returns the id of the listed project, "" for all projects.
func (l Listing) ProjectID() string {
	if l.All {
		return l.Project
	}
	return l.Session.Project
}

// ProjectError reports a project whose resources cannot be listed.
type ProjectError struct {
	Project string
	Err     error
}

func (u ProjectError) Error() string { return fmt.Sprintf("open project %s: %s", u.Project, u.Err) }

func (u ProjectError) Unwrap() error { return u.Err }

// Listings returns the lists that together contain all resources of [Options].Projects, or of the own project if that
// is empty. A list of all projects contains others too: check with [Cloud.Session] or [Cloud.Covers]. failed are the
// projects that could not be opened.
func (c *Cloud) Listings(ctx context.Context) (all []Listing, failed []ProjectError, err error) {
	own, err := c.Login(ctx)
	if err != nil {
		return nil, nil, err
	}
	s := c.options.Projects
	withOwn := s.Own() || len(s) == 0
	if own.Admin() {
		if s.Any() || s.Roles() || len(s.Domains()) > 0 {
			return []Listing{{Session: own, All: true}}, nil, nil
		}
		ids := s.IDs()
		if withOwn {
			ids = append(ids, own.Project)
		}
		for i, id := range ids {
			if !slices.Contains(ids[:i], id) {
				all = append(all, Listing{Session: own, All: true, Project: id})
			}
		}
		return all, nil, nil
	}
	projects := map[string]bool{} // id → whether being out of bounds is an error
	if s.Roles() || len(s.Domains()) > 0 {
		byRole, err := c.RoleProjects(ctx)
		if err != nil {
			return nil, nil, err
		}
		for id, name := range byRole {
			if id == own.Project && !s.Roles() { // Session opens it whatever its domain
				in, err := c.Covers(ctx, Project{ID: id, Name: name})
				if err != nil {
					return nil, nil, err
				}
				if !in {
					continue
				}
			}
			projects[id] = false
		}
	}
	if withOwn || s.Any() {
		projects[own.Project] = true
	}
	for _, id := range s.IDs() {
		projects[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(projects)) {
		session, err := c.Session(ctx, id)
		_, outOfBounds := errors.AsType[*OutOfBoundsError](err)
		switch {
		case outOfBounds && !projects[id]: // in another domain, or the service project
		case err != nil:
			failed = append(failed, ProjectError{id, err})
		default:
			all = append(all, Listing{Session: session})
		}
	}
	return all, failed, nil
}
