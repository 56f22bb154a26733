package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Listing is one list of resources that the API gives.
type Listing struct {
	Session *Session
	// All lists every project's resources, or those of Project where that is not "". Otherwise the list is that of the
	// session's own project.
	All     bool
	Project string
}

// Of returns the project whose resources the list has, "" for every project's.
func (l Listing) ProjectID() string {
	if l.All {
		return l.Project
	}
	return l.Session.Project
}

// ProjectError is a project whose resources cannot be listed.
type ProjectError struct {
	Project string
	Err     error
}

func (u ProjectError) Error() string { return fmt.Sprintf("open project %s: %s", u.Project, u.Err) }

func (u ProjectError) Unwrap() error { return u.Err }

// Listings returns the lists that together have every resource of [Options].Projects; the own project's where that is
// empty. A list of every project has others too: ask [Cloud.Session], or [Cloud.Covers]. Failed are the projects that
// could not be opened.
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
	projects := map[string]bool{} // the value says that it must be open to us
	if s.Roles() || len(s.Domains()) > 0 {
		byRole, err := c.RoleProjects(ctx)
		if err != nil {
			return nil, nil, err
		}
		for id, name := range byRole {
			if id == own.Project && !s.Roles() { // which Session opens whatever its domain
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
		case outOfBounds && !projects[id]: // another domain's, or the project service
		case err != nil:
			failed = append(failed, ProjectError{id, err})
		default:
			all = append(all, Listing{Session: session})
		}
	}
	return all, failed, nil
}
