package metadata_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// pages answers each request with the next page, and records the requests and their microversions.
type pages struct {
	bodies []string
	sent   []string
}

func (p *pages) RoundTrip(r *http.Request) (*http.Response, error) {
	p.sent = append(p.sent, r.URL.RequestURI()+" "+r.Header.Get("OpenStack-API-Version"))
	status, body := 500, "{}"
	if len(p.bodies) > 0 {
		status, body, p.bodies = 200, p.bodies[0], p.bodies[1:]
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func serverJSON(n int) string {
	return fmt.Sprintf(`{"id": "s%d", "name": "web", "tenant_id": "p", "user_id": "u", "created": "2026-11-20T09:15:04Z", "locked": true,
		"OS-EXT-STS:vm_state": "active", "flavor": {"id": "f1"}, "metadata": {"a": "1"}}`, n)
}

func TestList(t *testing.T) {
	for _, tt := range []struct {
		name   string
		kind   metadata.Kind
		o      metadata.ListOptions
		bodies []string
		sent   []string
		ids    []string
		fails  bool
	}{
		{
			name: "one page of the own project", kind: metadata.Server, bodies: []string{`{"servers": [` + serverJSON(1) + `]}`},
			sent: []string{"/v2.1/servers/detail compute 2.9"}, ids: []string{"s1"},
		},
		{
			// The host of a link is not followed.
			name: "pages of all projects", kind: metadata.Server, o: metadata.ListOptions{AllProjects: true, Project: "p",
				PageSize: 2},
			bodies: []string{
				`{"servers": [` + serverJSON(1) + "," + serverJSON(2) +
					`], "servers_links": [{"rel": "next", "href": "http://evil/x?limit=2&marker=s2"}]}`,
				`{"servers": [` + serverJSON(3) + `]}`,
			},
			sent: []string{
				"/v2.1/servers/detail?all_tenants=1&limit=2&project_id=p compute 2.9",
				"/v2.1/servers/detail?all_tenants=1&limit=2&marker=s2&project_id=p compute 2.9",
			},
			ids: []string{"s1", "s2", "s3"},
		},
		{
			name: "snapshots", kind: metadata.Snapshot,
			bodies: []string{`{"snapshots": [{"id": "n1", "status": "available", "volume_id": "v", "created_at": ` +
				`"2026-11-20T09:15:04.000000", "metadata": {}}]}`},
			sent: []string{"/v2.1/snapshots/detail volume 3.41"}, ids: []string{"n1"},
		},
		{
			name: "a page that fails ends the list with an error", kind: metadata.Server,
			bodies: []string{`{"servers": [` + serverJSON(1) + `], "servers_links": [{"rel": "next", "href": "/?marker=s1"}]}`},
			sent:   []string{"/v2.1/servers/detail compute 2.9", "/v2.1/servers/detail?marker=s1 compute 2.9"},
			ids:    []string{"s1"}, fails: true,
		},
		{
			name: "a server without its state is not the API's answer", kind: metadata.Server,
			bodies: []string{`{"servers": [{"id": "s1"}]}`},
			sent:   []string{"/v2.1/servers/detail compute 2.9"}, fails: true,
		},
		{
			name: "no list at all", kind: metadata.Snapshot, bodies: []string{`{}`},
			sent: []string{"/v2.1/snapshots/detail volume 3.41"}, fails: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &pages{bodies: tt.bodies}
			var ids []string
			var failed error
			for v, err := range metadata.List(t.Context(), service(p, "http://c/v2.1/"), tt.kind, tt.o) {
				if err != nil {
					failed = err
					continue
				}
				ids = append(ids, v.ID)
				if v.Metadata == nil || v.Created.IsZero() || v.State == "" {
					t.Errorf("view %+v", v)
				}
			}
			if diff := cmp.Diff(tt.sent, p.sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.ids, ids); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
			if (failed != nil) != tt.fails || failed != nil && !metadata.IsClass(failed, metadata.Unavailable) {
				t.Errorf("error %v", failed)
			}
		})
	}
}

// answers gives each request the next status and body.
type answers struct {
	all []struct {
		status int
		body   string
	}
	sent []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.sent = append(a.sent, r.URL.RequestURI()+" "+r.Header.Get("OpenStack-API-Version"))
	next := a.all[0]
	a.all = a.all[1:]
	return &http.Response{StatusCode: next.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(next.body)),
		Request: r}, nil
}

// A server whose cell is down is listed with unknown values. An older cloud is listed without the microversion.
func TestListDownCells(t *testing.T) {
	type answer = struct {
		status int
		body   string
	}
	down := `{"id": "s2", "tenant_id": "p", "created": "2026-11-20T09:15:04Z", "status": "UNKNOWN"}`
	page := answer{200, `{"servers": [` + serverJSON(1) + "," + down + `]}`}
	for _, tt := range []struct {
		name    string
		answers []answer
		sent    []string
		older   bool
	}{
		{"at once", []answer{page}, []string{"/v2.1/servers/detail?limit=40 compute 2.69"}, false},
		{"an older cloud", []answer{{406, "{}"}, page}, []string{"/v2.1/servers/detail?limit=40 compute 2.69",
			"/v2.1/servers/detail?limit=40 compute 2.9"}, true},
		{
			"smaller pages", []answer{{504, ""}, {504, ""}, page},
			[]string{"/v2.1/servers/detail?limit=40 compute 2.69", "/v2.1/servers/detail?limit=20 compute 2.69",
				"/v2.1/servers/detail?limit=10 compute 2.69"},
			false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, older := &answers{all: tt.answers}, false
			o := metadata.ListOptions{PageSize: 40, DownCells: true, Older: func() { older = true }}
			var states []string
			for v, err := range metadata.List(t.Context(), service(a, "http://c/v2.1/"), metadata.Server, o) {
				if err != nil {
					t.Fatal(err)
				}
				states = append(states, v.State)
			}
			if diff := cmp.Diff([]string{"active", metadata.Unread}, states); diff != "" || older != tt.older {
				t.Errorf("older %v, states (-want +got):\n%s", older, diff)
			}
			if diff := cmp.Diff(tt.sent, a.sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}
