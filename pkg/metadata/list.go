package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// ListOptions configure a list.
type ListOptions struct {
	Options
	// AllProjects lists every project's resources, which requires an administrator's token. Project then selects one.
	AllProjects bool
	Project     string
	// PageSize is how many resources a page has at most; 0 is the service's default. It is halved whenever the service
	// does not answer in time (504), down to 10.
	PageSize int
	// Name is part of the names of the resources, "" for any. Nova reads it as a regular expression.
	Name string
	// DownCells requests the microversion that also lists the servers of a cell that is down, with the state [Unread] and
	// without metadata: 2.69 (Nova's API history). Below it, Nova silently leaves them out of lists. If the cloud lacks
	// the microversion (406), List retries without it and calls Older, if not nil.
	DownCells bool
	Older     func()
	// Retries is how often a page is requested again if the service is unavailable or throttles.
	Retries int
	// NoMicroversion requests the service's default. Huawei Cloud does not support microversions.
	NoMicroversion bool
}

// Owner returns the project of a resource that the list has. A list that is not of all projects may leave it out. It
// returns an error for a resource of another project than requested, because such a list is not reliable.
func (o ListOptions) Owner(kind Kind, v View) (string, error) {
	switch {
	case v.Project == "" && o.AllProjects:
		return "", fmt.Errorf("%s %s: the list does not say which project it belongs to", kind, v.ID)
	case v.Project == "":
		return o.Options.Project, nil
	case !o.AllProjects && v.Project != o.Options.Project, o.Project != "" && v.Project != o.Project:
		return "", fmt.Errorf("%s %s is of project %s, which was not requested", kind, v.ID, v.Project)
	}
	return v.Project, nil
}

// Unread is the state of a server whose cell is down: only its id, project and time of creation are known.
const Unread = "unread"

const (
	// minPageSize is the smallest page size after halving.
	minPageSize = 10
	// maxPageSize is the services' default (osapi_max_limit).
	maxPageSize = 1000
)

// List reads the resources of a kind page by page, in the microversion in which the view is complete. An error is the
// last element and means that the list is incomplete.
func List(ctx context.Context, service *gophercloud.ServiceClient, kind Kind, o ListOptions) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		row := kind.row()
		s := client{Options: o.Options, service: service}
		query := url.Values{}
		if o.AllProjects {
			query.Set("all_tenants", "1")
			if o.Project != "" {
				query.Set("project_id", o.Project)
			}
		}
		if o.PageSize > 0 {
			query.Set("limit", strconv.Itoa(min(o.PageSize, maxPageSize)))
		}
		if o.Name != "" {
			query.Set("name", o.Name)
		}
		version := row.apiVersion()
		down := o.DownCells && row.downCells != "" && !o.NoMicroversion
		switch {
		case o.NoMicroversion:
			version = ""
		case down:
			version = string(row.service) + " " + row.downCells
		}
		size, retries := min(o.PageSize, maxPageSize), 0
		for marker := ""; ; {
			views, next, err := readPage(ctx, s, row, version, query, marker)
			if e, ok := errors.AsType[*Error](err); ok {
				switch {
				case e.Status == http.StatusNotAcceptable && down && marker == "":
					down, version = false, row.apiVersion()
					if o.Older != nil {
						o.Older()
					}
					continue
				case e.Status == http.StatusGatewayTimeout && size > minPageSize:
					size = max(size/2, minPageSize)
					query.Set("limit", strconv.Itoa(size))
					continue
				case retries < o.Retries && (e.Class == Unavailable && e.Status != http.StatusOK || e.Class == Throttled):
					retries++
					if backoff.Sleep(ctx, max(e.RetryAfter, time.Second<<retries)) {
						continue
					}
				}
			}
			if err != nil {
				yield(View{}, err)
				return
			}
			retries = 0
			for _, v := range views {
				if !yield(v, nil) {
					return
				}
			}
			if next == "" || next == marker {
				return
			}
			marker = next
		}
	}
}

// readPage reads one page, and the marker of the next one, "" after the last. Of the link to the next page only the
// marker is used: a response does not decide where requests go.
func readPage(ctx context.Context, s sender, row *row, version string, query url.Values, marker string,
) (views []View, next string, err error) {
	if marker != "" {
		query.Set("marker", marker)
	}
	r := Request{Method: http.MethodGet, Path: row.collection + "/detail", Microversion: version}
	if len(query) > 0 {
		r.Path += "?" + query.Encode()
	}
	var response map[string]json.RawMessage
	if err := s.do(ctx, r, &response, http.StatusOK); err != nil {
		return nil, "", err
	}
	malformed := func(err error) error {
		return &Error{Request: r, Status: http.StatusOK, Class: Unavailable,
			Message: "the response is not the list that the API documents", err: err}
	}
	var resources []json.RawMessage
	if err := json.Unmarshal(orNull(response[row.collection]), &resources); err != nil || resources == nil {
		return nil, "", malformed(err)
	}
	for _, text := range resources {
		v, err := row.decode(text)
		if unread, ok := undecodable(row, text); err != nil && ok {
			v, err = unread, nil
		}
		if err != nil {
			return nil, "", malformed(err)
		}
		v.Size = row.size(text)
		views = append(views, v)
	}
	var links []struct{ Rel, Href string }
	if text := response[row.collection+"_links"]; text != nil {
		if err := json.Unmarshal(text, &links); err != nil {
			return nil, "", malformed(err)
		}
	}
	for _, link := range links {
		if u, err := url.Parse(link.Href); err == nil && link.Rel == "next" {
			next = u.Query().Get("marker")
		}
	}
	return views, next, nil
}

// undecodable returns the view of a server whose cell is down. Source:
// https://docs.openstack.org/api-guide/compute/down_cells.html
func undecodable(row *row, text []byte) (View, bool) {
	var b struct {
		ID, Status, Created string
		Project             string `json:"tenant_id"`
	}
	if row.downCells == "" || json.Unmarshal(text, &b) != nil || b.Status != "UNKNOWN" || b.ID == "" {
		return View{}, false
	}
	created, _ := time.Parse(time.RFC3339, b.Created)
	return View{ID: b.ID, Project: b.Project, Created: created, State: Unread}, true
}
