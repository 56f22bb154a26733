package metadata

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gophercloud/gophercloud/v2"
)

// ListOptions say what to list.
type ListOptions struct {
	Options
	// AllProjects lists every project's resources, which takes an administrator's token. Project then picks one.
	AllProjects bool
	Project     string
	// PageSize is how many resources a page has at most; 0 is the service's default.
	PageSize int
}

// List reads the resources of a kind page by page, in the microversion in which the view is complete. An error is the
// last element: what came before it is not the whole list.
func List(ctx context.Context, service *gophercloud.ServiceClient, kind Kind, o ListOptions) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		row := kind.row()
		s := client{Options: o.Options, service: service}
		query := url.Values{}
		if o.AllProjects {
			query.Set("all_tenants", "1")
			if o.Project != "" {
				query.Set(row.projectFilter, o.Project)
			}
		}
		if o.PageSize > 0 {
			query.Set("limit", strconv.Itoa(min(o.PageSize, row.pageSize)))
		}
		for marker := ""; ; {
			views, next, err := readPage(ctx, s, row, query, marker)
			if err != nil {
				yield(View{}, err)
				return
			}
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
// marker is used: an answer does not decide where requests go.
func readPage(ctx context.Context, s sender, row *row, query url.Values, marker string) (views []View, next string, err error) {
	if marker != "" {
		query.Set("marker", marker)
	}
	r := Request{Method: http.MethodGet, Path: row.list, Microversion: row.apiVersion()}
	if len(query) > 0 {
		r.Path += "?" + query.Encode()
	}
	var answer map[string]json.RawMessage
	if err := s.do(ctx, r, &answer, http.StatusOK); err != nil {
		return nil, "", err
	}
	malformed := func(err error) error {
		return &Error{Request: r, Status: http.StatusOK, Class: Unavailable, Message: "the answer is not the list that the API documents", err: err}
	}
	var resources []json.RawMessage
	if err := json.Unmarshal(orNull(answer[row.collection]), &resources); err != nil || resources == nil {
		return nil, "", malformed(err)
	}
	for _, text := range resources {
		v, err := row.decode(text)
		if err != nil {
			return nil, "", malformed(err)
		}
		views = append(views, v)
	}
	var links []struct{ Rel, Href string }
	if text := answer[row.nextLinks]; text != nil {
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
