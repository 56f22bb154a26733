package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// found is a resource that matches the requested name or id.
type found struct {
	session *cloud.Session
	kind    lifecycle.Kind
	view    metadata.View
}

// maxCandidates limits the listed resources of one name.
const maxCandidates = 20

// find returns the resources that match the requested name or id, and an error for each place it could not search.
func (e *explanation) find(ctx context.Context) (all []found, failed []error, err error) {
	sessions, failed := e.sessions(ctx)
	if len(sessions) == 0 {
		return nil, nil, errors.Join(failed...)
	}
	byID := metadata.CheckID(e.wanted) == nil
	for _, kind := range e.options.Kinds {
		for _, session := range sessions {
			service, err := session.Service(string(metadata.Kind(kind).Service()))
			if err != nil {
				failed = append(failed, fmt.Errorf("%ss: %w", kind, err))
				continue
			}
			if byID {
				v, err := e.get(ctx, service, session, metadata.Kind(kind))
				switch {
				case err == nil:
					return []found{{session, kind, v}}, nil, nil
				case !metadata.IsClass(err, metadata.Gone):
					failed = append(failed, err)
				}
				continue
			}
			for v, err := range metadata.List(ctx, service, metadata.Kind(kind), metadata.ListOptions{
				Options: e.api(session, metadata.Kind(kind)), AllProjects: session.Admin(), PageSize: 200, Name: e.wanted,
				Retries:   2,
				DownCells: true, NoMicroversion: e.options.API == metadata.HuaweiCloud,
			}) {
				if err != nil {
					failed = append(failed, fmt.Errorf("list %ss: %w", kind, err))
					break
				}
				if v.Name != e.wanted { // Nova also matches parts of names
					continue
				}
				v.Project = cmp.Or(v.Project, session.Project)
				if all = append(all, found{session, kind, v}); len(all) >= maxCandidates {
					return all, failed, nil
				}
			}
		}
	}
	return all, failed, nil
}

// sessions returns the sessions to search: that of the credentials and those of the projects within bounds.
func (e *explanation) sessions(ctx context.Context) (all []*cloud.Session, failed []error) {
	own := e.reconciler.session
	all = []*cloud.Session{own}
	if own.Admin() {
		return all, nil
	}
	listings, refused, err := e.options.Bounds.Listings(ctx)
	if err != nil {
		return all, []error{err}
	}
	for _, r := range refused {
		failed = append(failed, r.Err)
	}
	for _, l := range listings {
		if l.Session.Project != own.Project {
			all = append(all, l.Session)
		}
	}
	return all, failed
}

func (e *explanation) api(session *cloud.Session, kind metadata.Kind) metadata.Options {
	return metadata.Options{
		Family: kind.Family(e.options.API), Breaker: session.Breaker(), Project: session.Project,
		FullView: e.options.API != metadata.HuaweiCloud,
	}
}

func (e *explanation) get(
	ctx context.Context,
	service *gophercloud.ServiceClient,
	session *cloud.Session,
	kind metadata.Kind,
) (metadata.View, error) {
	o := e.api(session, kind)
	o.ListView = o.FullView
	for {
		resource, err := metadata.New(service, kind, e.wanted, o)
		if err != nil {
			return metadata.View{}, err
		}
		v, err := resource.Get(ctx)
		if failed, ok := errors.AsType[*metadata.Error](
			err,
		); ok && failed.Status == http.StatusNotAcceptable &&
			o.ListView {
			o.ListView = false // an older cloud
			continue
		}
		v.Project = cmp.Or(v.Project, session.Project)
		return v, err
	}
}

// ambiguous lists the resources that share a name.
func (e *explanation) ambiguous(candidates []found) error {
	answer := fmt.Sprintf("%s is the name of %d resources. Say which one, by its id:", e.wanted, len(candidates))
	view := func() explanationView {
		v := e.emptyView(outcomeAmbiguous, strings.TrimSuffix(answer, ":")+".")
		for _, c := range candidates {
			v.Candidates = append(v.Candidates, viewResource(c.kind, c.view))
		}
		return v
	}
	err := e.show(view, func() {
		fmt.Fprintln(e.out, visible.Line(answer, maxComplaint))
		w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		for _, c := range candidates {
			fmt.Fprintf(w, "  %s\t%s\tproject %s\t%s\tcreated %s\n",
				c.view.ID, c.kind, c.view.Project, c.view.State, c.view.Created.UTC().Format(time.RFC3339))
		}
		_ = w.Flush()
	})
	if err != nil {
		return err
	}
	return ended{status: exitUsage}
}

// notFound explains why a resource may not be visible.
func (e *explanation) notFound(ctx context.Context, failed []error) error {
	if len(failed) > 0 {
		return e.notRead(failed)
	}
	if metadata.CheckID(e.wanted) == nil {
		for _, kind := range e.options.Kinds {
			if actions := e.readActions(ctx, e.reconciler.session, kind, e.wanted); actions.deleted() {
				return e.deleted(actions)
			}
		}
	}
	if ctx.Err() != nil {
		return ended{exitUnread, e.stopped(ctx)}
	}
	answer := e.wanted + ": not found. Either it does not exist, or these credentials cannot see it."
	next := "check the id or the name, and the project that the credentials are for (openstack server show " + e.wanted +
		")"
	view := func() explanationView {
		v := e.emptyView(outcomeNotFound, answer)
		v.Next = next
		return v
	}
	err := e.show(view, func() {
		fmt.Fprintln(e.out, visible.Line(answer, maxComplaint))
		e.line("looked", "%s, as %s in project %s", strings.Join(words(e.options.Kinds), "s, ")+"s",
			e.reconciler.session.User, cmp.Or(e.reconciler.session.ProjectName, e.reconciler.session.Project))
		e.printLog(time.Time{})
		e.line("next", "%s", next)
	})
	if err != nil {
		return err
	}
	return undone{}
}

// notRead reports that the resource may be in one of the places that could not be searched.
func (e *explanation) notRead(failed []error) error {
	answer := e.wanted + " is unknown: not everything could be read."
	view := func() explanationView {
		v := e.emptyView(outcomeUnknown, answer)
		for _, err := range failed {
			v.Errors = append(v.Errors, err.Error())
		}
		return v
	}
	err := e.show(view, func() {
		fmt.Fprintln(e.out, visible.Line(answer, maxComplaint))
		for _, err := range failed {
			e.line("error", "%s", err)
		}
	})
	if err != nil {
		return err
	}
	return ended{status: exitUnread}
}

// deleted reports a resource that the cloud remembers only by its actions.
func (e *explanation) deleted(actions recordedActions) error {
	answer := e.wanted + " is deleted: nothing can be written on it any more."
	view := func() explanationView {
		v := e.emptyView(outcomeDeleted, answer)
		v.Actions = actions.all
		return v
	}
	err := e.show(view, func() {
		fmt.Fprintln(e.out, visible.Line(answer, maxComplaint))
		e.printActions(actions)
		e.printLog(time.Time{})
	})
	if err != nil {
		return err
	}
	return undone{}
}
