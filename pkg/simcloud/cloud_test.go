package simcloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// serverID is the id of the server that most tests put into the cloud, snapshotID that of the snapshot.
const (
	serverID   = "95bf2490-5428-432c-ad9b-5e3406f869dd"
	snapshotID = "b836dc3d-4e10-4ea4-a34c-8f6b0460a583"
)

// answer is the response to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request through the in-memory transport. headers are pairs of name and value; a body that is not a
// string is sent as JSON.
func call(t testing.TB, c *simcloud.Cloud, method, path string, body any, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, simcloud.DefaultEndpoint+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return send(t, c, r)
}

// send sends a prepared request.
func send(t testing.TB, c *simcloud.Cloud, r *http.Request) answer {
	t.Helper()
	res, err := c.Transport().RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return read(t, res)
}

func read(t testing.TB, res *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// tokenFor returns a token of a default user for a project, unscoped if that is "".
func tokenFor(t testing.TB, c *simcloud.Cloud, user, project string) string {
	t.Helper()
	scope := `"unscoped"`
	if project != "" {
		scope = fmt.Sprintf(`{"project": {"name": %q, "domain": {"id": "default"}}}`, project)
	}
	a := call(t, c, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(
		`{"auth": {"identity": {"methods": ["password"], "password": {"user": `+
			`{"name": %q, "domain": {"id": "default"}, "password": "secret"}}}, "scope": %s}}`,
		user, scope))
	if a.status != http.StatusCreated {
		t.Fatalf("token for %s: %d %s", user, a.status, a.body)
	}
	return a.header.Get("X-Subject-Token")
}

// demo returns the id of the project demo.
func demo(t *testing.T, c *simcloud.Cloud) string {
	t.Helper()
	p, found := c.Project("demo")
	if !found {
		t.Fatal("there is no project demo")
	}
	return p.ID
}

// message returns the message in an API's fault.
func message(t *testing.T, a answer) string {
	t.Helper()
	var fault map[string]struct{ Message string }
	if err := json.Unmarshal([]byte(a.body), &fault); err != nil {
		t.Fatalf("%d is no fault: %s", a.status, a.body)
	}
	for _, f := range fault {
		return f.Message
	}
	t.Fatalf("%d is no fault: %s", a.status, a.body)
	return ""
}

// wantStatus fails the test unless the response has that status.
func wantStatus(t *testing.T, what string, a answer, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s: got %d, want %d: %s", what, a.status, status, a.body)
	}
}

func metadataPath(key string) string {
	if key != "" {
		key = "/" + key
	}
	return "/compute/v2.1/servers/" + serverID + "/metadata" + key
}

func snapshotPath(t *testing.T, c *simcloud.Cloud, rest string) string {
	t.Helper()
	return "/volume/v3/" + demo(t, c) + "/snapshots/" + snapshotID + rest
}
