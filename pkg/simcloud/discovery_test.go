package simcloud_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func TestVersionDocuments(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	for _, test := range []struct {
		path, token string
		status      int
		answer      string // a part of it
	}{
		{"/identity", "", 300, `{"versions": {"values": [{"id": "v3.14"`},
		{"/identity/", "", 300, `"href": "http://simcloud.invalid/identity/v3/"`},
		{"/identity/v3", "", 200, `{"version": {"id": "v3.14"`},
		{"/identity/v3/", "", 200, `{"version": {"id": "v3.14"`},
		{"/identity/v2.0", "", 404, "The requested URL was not found"},
		{"/compute", "", 200, `{"versions": [{"id": "v2.0"`},
		{"/compute/", "", 200, `"version": "2.93", "min_version": "2.1"`},
		{"/compute/v2.1", "", 200, `{"version": {"id": "v2.1", "status": "CURRENT"`},
		{"/compute/v2.1/", "", 200, `"href": "http://simcloud.invalid/compute/v2.1/"`},
		{"/compute/v2/", "", 200, `{"version": {"id": "v2.0"`},
		{"/compute/v9/x", "", 300, `{"choices": [`},
		{"/compute/v2.1/nope", "", 401, unauthorized401},
		{"/compute/v2.1/nope", token, 404, "404 Not Found\n\nThe resource could not be found."},
		{"/volume", "", 300, `{"versions": [{"id": "v3.0"`},
		{"/volume/", "", 300, `"href": "http://simcloud.invalid/volume/v3/"`},
		{"/volume/v3/", "", 401, unauthorized401},
		{"/volume/v3", token, 302, ""},
		{"/volume/v3/", token, 200, `{"versions": [{"id": "v3.0"`},
		{"/volume/v2/snapshots", token, 404, "The resource could not be found."},
		{"/image", "", 300, `{"versions": [{"id": "v2.15"`},
		{"/image/v2/images", "", 401, "This server could not verify"},
		{"/network/", "", 200, `{"versions": [{"id": "v2.0"`},
		{"/network/v2.0/networks", token, 200, `{"networks": []}`},
		{"/network/v2.0/networks/none", token, 404, `{"NeutronError": {"type": "NetworkNotFound"`},
		{"/", "", 404, "The resource could not be found."},
		{"/nope/v1", "", 404, "The resource could not be found."},
	} {
		t.Run(test.path, func(t *testing.T) {
			a := call(t, c, "GET", test.path, nil, "X-Auth-Token", test.token)
			wantStatus(t, test.path, a, test.status)
			if !strings.Contains(a.body, test.answer) {
				t.Errorf("got %s, want %s in it", a.body, test.answer)
			}
		})
	}
}

const unauthorized401 = `{"error": {"code": 401, "title": "Unauthorized", ` +
	`"message": "The request you have made requires authentication."}}`

// An error from below the API follows the Accept header. Its JSON resembles an API's error.
func TestErrorsBelowTheAPI(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token := tokenFor(t, c, "demo", "demo")
	const (
		html = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The " +
			"resource could not be found.<br /><br />\n\n\n\n </body>\n</html>"
		text = "404 Not Found\n\nThe resource could not be found.\n\n   "
		json = `{"message": "The resource could not be found.<br /><br />\n\n\n", ` +
			`"code": "404 Not Found", "title": "Not Found"}`
	)
	for _, test := range []struct{ accept, contentType, body string }{
		{"", "text/plain; charset=UTF-8", text},
		{"*/*", "text/html; charset=UTF-8", html},
		{"text/html", "text/html; charset=UTF-8", html},
		{"application/json", "application/json", json},
		{"application/json, */*", "text/html; charset=UTF-8", html},
		{"text/html;q=0.5, application/json", "application/json", json},
		{"application/xml", "text/plain; charset=UTF-8", text},
	} {
		for _, path := range []string{"/compute/v2.1/nope", "/volume/v2/" + demo(t, c) + "/snapshots"} {
			a := call(t, c, "GET", path, nil, "X-Auth-Token", token, "Accept", test.accept)
			wantStatus(t, path, a, http.StatusNotFound)
			if got := a.header.Get("Content-Type"); got != test.contentType {
				t.Errorf("%s, Accept %q: got the type %q, want %q", path, test.accept, got, test.contentType)
			}
			if a.body != test.body {
				t.Errorf("%s, Accept %q: got %s, want %s", path, test.accept, a.body, test.body)
			}
		}
	}
}

func TestBodies(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	c.PutSnapshot(simcloud.Snapshot{ID: snapshotID})
	token := tokenFor(t, c, "demo", "demo")
	long := `{"metadata": {"a": "` + strings.Repeat("x", 114_688) + `"}}`
	for _, test := range []struct {
		name, path, body string
		chunked          bool
		status           int
		answer           string
	}{
		{"Nova, too long", metadataPath(""), long, false, 413,
			"Request is too large. Larger than max_request_body_size (114688)."},
		{"Cinder, too long", snapshotPath(t, c, "/metadata"), long, false, 413,
			"Request is too large. Larger than max_request_body_size (114688)."},
		{"Nova, chunked", metadataPath(""), `{"metadata": {"a": "b"}}`, true, 400,
			`{"badRequest": {"code": 400, "message": "None is not of type 'object'"}}`},
		{"Cinder, chunked", snapshotPath(t, c, "/metadata"), `{"metadata": {"a": "b"}}`, true, 400,
			"The server could not comply with the request"},
		{"Keystone, chunked", "/identity/v3/auth/tokens", `{"auth": {}}`, true, 400,
			"Expecting to find auth in request body."},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, simcloud.DefaultEndpoint+test.path,
				strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.chunked {
				r.ContentLength = -1
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Auth-Token", token)
			a := send(t, c, r)
			wantStatus(t, test.name, a, test.status)
			if !strings.Contains(a.body, test.answer) {
				t.Errorf("got %s, want %s in it", a.body, test.answer)
			}
		})
	}
}

func TestFieldsByMicroversion(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID, Name: "Web 1", Description: "front", Locked: true})
	token := tokenFor(t, c, "demo", "demo")
	for _, test := range []struct{ version, has, hasNot string }{
		{"2.8", `"flavor": {"id": "42", "links":`, `"locked"`},
		{"2.9", `"locked": true`, `"description"`},
		{"2.19", `"description": "front"`, `"tags"`},
		{"2.26", `"tags": []`, `"original_name"`},
		{"2.47", `"flavor": {"vcpus": 1, "ram": 128, "disk": 1, "ephemeral": 0, "swap": 0, ` +
			`"original_name": "m1.nano", "extra_specs": {}}`, `"trusted_image`},
		{"2.63", `"trusted_image_certificates": null`, `"server_groups"`},
		{"2.71", `"server_groups": []`, `"locked_reason"`},
		{"2.73", `"locked_reason": null`, `"OS-EXT-SRV-ATTR:hostname"`},
		{"2.93", `"OS-EXT-SRV-ATTR:hostname": "web-1"`, `"OS-EXT-SRV-ATTR:host"`},
		{"latest", `"OS-EXT-SRV-ATTR:hostname": "web-1"`, `"nothing"`},
	} {
		a := call(t, c, "GET", "/compute/v2.1/servers/"+serverID, nil, "X-Auth-Token", token, "OpenStack-API-Version",
			"compute "+test.version)
		wantStatus(t, test.version, a, http.StatusOK)
		if !strings.Contains(a.body, test.has) {
			t.Errorf("%s: %s is missing: %s", test.version, test.has, a.body)
		}
		if strings.Contains(a.body, test.hasNot+":") {
			t.Errorf("%s: %s is there: %s", test.version, test.hasNot, a.body)
		}
	}
}
