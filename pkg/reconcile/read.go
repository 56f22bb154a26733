package reconcile

import (
	"context"
	"errors"
	"slices"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// read calls each with every resource of a listing, and returns the error that ended it. A failed page or a resource of
// another project makes the list incomplete.
func (o Options) read(ctx context.Context, l cloud.Listing, kind metadata.Kind, called func(metadata.Call),
	older func(), each func(metadata.View) error,
) error {
	service, err := l.Session.Service(string(kind.Service()))
	if err != nil {
		return err
	}
	list := metadata.ListOptions{
		Options: metadata.Options{
			Family: kind.Family(o.API), Observe: called, Breaker: l.Session.Breaker(), Project: l.Session.Project,
		},
		AllProjects: l.All, Project: l.Project, PageSize: pageSize, Retries: pageRetries,
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

// within reports whether a project is in the scope and within the bounds. It caches the answers in known.
func (o Options) within(ctx context.Context, project string, known map[string]State) (State, error) {
	if state, ok := known[project]; ok {
		return state, nil
	}
	for _, c := range []struct {
		cloud *cloud.Cloud
		out   State
	}{{o.Cloud, outOfScope}, {o.Bounds, OutOfBounds}} {
		_, err := c.cloud.Session(ctx, project)
		if _, outside := errors.AsType[*cloud.OutOfBoundsError](err); outside {
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

// outOfScope marks a resource that was not requested, so it is not among [States].
const outOfScope State = "out of scope"

// index caches resources that others can belong to.
type index map[string]metadata.View

func (x index) add(kind metadata.Kind, v metadata.View) {
	if len(x) < maxIndex {
		x[string(kind)+"/"+v.ID] = metadata.View{
			ID: v.ID, Name: v.Name, Project: v.Project, Created: v.Created, Metadata: v.Metadata,
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
