package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// listing is one list of resources that the API gives.
type listing struct {
	session *cloud.Session
	// all lists every project, or one by its id.
	all     bool
	project string
}

// listings returns the lists that make up the scope. Projects of the scope that could not be opened are errors.
func (o Options) listings(ctx context.Context) (all []listing, failed []error, err error) {
	own, err := o.Cloud.Login(ctx)
	if err != nil {
		return nil, nil, err
	}
	s := o.Scope
	if own.Admin() {
		if s.Any() || s.Roles() || len(s.Domains()) > 0 {
			return []listing{{session: own, all: true}}, nil, nil
		}
		if s.Own() {
			all = append(all, listing{session: own, all: true, project: own.Project})
		}
		for _, id := range s.IDs() {
			all = append(all, listing{session: own, all: true, project: id})
		}
		return all, nil, nil
	}
	projects := map[string]bool{} // the value says that it must be open to us
	if s.Own() || s.Any() {
		projects[own.Project] = true
	}
	if s.Roles() || len(s.Domains()) > 0 {
		byRole, err := o.Cloud.RoleProjects(ctx)
		if err != nil {
			return nil, nil, err
		}
		for id := range byRole {
			projects[id] = false
		}
	}
	for _, id := range s.IDs() {
		projects[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(projects)) {
		session, err := o.Cloud.Session(ctx, id)
		_, foreign := errors.AsType[*cloud.ForeignError](err)
		switch {
		case foreign && !projects[id]: // another domain's, or the project service
		case err != nil:
			failed = append(failed, fmt.Errorf("project %s: %w", id, err))
		default:
			all = append(all, listing{session: session})
		}
	}
	return all, failed, nil
}

// read calls each with every resource of a listing, and returns the error that ended it. A page that fails, or a resource
// that should not be there, makes the list incomplete.
func (o Options) read(ctx context.Context, l listing, kind metadata.Kind, called func(metadata.Call), older func(),
	each func(metadata.View) error,
) error {
	service, err := l.session.Service(string(kind.Service()))
	if err != nil {
		return err
	}
	list := metadata.ListOptions{
		Options: metadata.Options{
			Family: kind.Family(o.API), Observe: called, Breaker: l.session.Breaker(), Project: l.session.Project,
		},
		AllProjects: l.all, Project: l.project, PageSize: pageSize, Retries: pageRetries,
		DownCells: true, Older: older, NoMicroversion: o.API == metadata.HuaweiCloud,
	}
	for v, err := range metadata.List(ctx, service, kind, list) {
		if err != nil {
			return err
		}
		if v.Project, err = list.Owner(kind, v); err != nil {
			return err
		}
		if err := each(v); err != nil {
			return err
		}
	}
	return nil
}

// within reports whether a project is in the scope and within the bounds. Answers are kept in known.
func (o Options) within(ctx context.Context, project string, known map[string]State) (State, error) {
	if state, ok := known[project]; ok {
		return state, nil
	}
	for _, c := range []struct {
		cloud *cloud.Cloud
		out   State
	}{{o.Cloud, outOfScope}, {o.Bounds, OutOfBounds}} {
		_, err := c.cloud.Session(ctx, project)
		if _, foreign := errors.AsType[*cloud.ForeignError](err); foreign {
			known[project] = c.out
			return c.out, nil
		}
		if err != nil {
			return "", err
		}
	}
	known[project] = Add
	return Add, nil
}

// outOfScope is no state of a resource: such a resource was not asked for.
const outOfScope State = "out of scope"

// index keeps some of the resources that others can belong to.
type index map[string]metadata.View

func (x index) add(kind metadata.Kind, v metadata.View) {
	if len(x) < maxIndex {
		x[string(kind)+"/"+v.ID] = metadata.View{
			ID:       v.ID,
			Name:     v.Name,
			Project:  v.Project,
			Created:  v.Created,
			Metadata: v.Metadata,
		}
	}
}

func (x index) find(kind metadata.Kind, id string) (metadata.View, bool) {
	v, ok := x[string(kind)+"/"+id]
	return v, ok
}

// parents reports whether resources of another kind that is listed can belong to the kind's.
func (o Options) parents(kind lifecycle.Kind) bool {
	return slices.ContainsFunc(o.Kinds, func(k lifecycle.Kind) bool {
		return metadata.Kind(k).Parent() == metadata.Kind(kind)
	})
}
