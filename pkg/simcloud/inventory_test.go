package simcloud_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func TestPutServer(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	given := map[string]string{"a": "b"}
	c.PutServer(simcloud.Server{ID: serverID, Name: "web", VMState: "stopped", Metadata: given})
	given["a"] = "changed"
	s, found := c.Server(serverID)
	if !found || s.Launched.IsZero() {
		t.Fatalf("got %+v, %t, want a launched server", s, found)
	}
	if diff := cmp.Diff([]string{"web", "stopped", demo(t, c)}, []string{s.Name, s.VMState, s.ProjectID}); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "b"}, s.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	s.Metadata["a"] = "changed"
	if again, _ := c.Server(serverID); again.Metadata["a"] != "b" {
		t.Error("the cloud's map was handed out")
	}
	if !c.SetServerState(serverID, "rescued", "") || !c.SetServerMetadata(serverID, map[string]string{"x": "y"}) ||
		!c.SetServerLocked(serverID, true) {
		t.Error("the server was not found")
	}
	s, _ = c.Server(serverID)
	if s.VMState != "rescued" || !s.Locked || s.Metadata["x"] != "y" {
		t.Errorf("got %+v", s)
	}
	if !c.DeleteServer(serverID) || c.DeleteServer(serverID) {
		t.Error("the server was not deleted once")
	}
	if c.SetServerState(serverID, "active", "") || c.SetServerMetadata(serverID, nil) ||
		c.SetServerLocked(serverID, true) {
		t.Error("a deleted server was found")
	}
}

func TestPutServerThatStaysBuilding(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID, VMState: "building"})
	if s, _ := c.Server(serverID); s.VMState != "building" || s.TaskState != "spawning" {
		t.Errorf("got %+v", s)
	}
	if !c.FinishBuild(serverID, 0, false) {
		t.Error("the server is not building")
	}
	if s, _ := c.Server(serverID); s.VMState != "active" || s.Launched.IsZero() {
		t.Errorf("got %+v", s)
	}
}

// Project ids in other forms than Keystone's work in URLs, too.
func TestProjectWithAnyID(t *testing.T) {
	c := simcloud.New(simcloud.Options{
		Projects: []simcloud.Project{{ID: "p-1", Name: "demo"}},
		Users:    []simcloud.User{{Name: "demo", Password: "secret", Roles: map[string]string{"demo": "member"}}},
	})
	c.PutServer(simcloud.Server{ID: serverID})
	c.PutSnapshot(simcloud.Snapshot{ID: snapshotID})
	token := tokenFor(t, c, "demo", "demo")
	wantStatus(t, "server", call(t, c, "GET", "/compute/v2.1/p-1/servers/"+serverID, nil, "X-Auth-Token", token),
		http.StatusOK)
	wantStatus(t, "snapshot", call(t, c, "GET", "/volume/v3/p-1/snapshots/"+snapshotID, nil, "X-Auth-Token", token),
		http.StatusOK)
	wantStatus(t, "unknown project", call(t, c, "GET", "/volume/v3/p-2/snapshots/"+snapshotID, nil, "X-Auth-Token", token),
		http.StatusNotFound)
}

func TestPutSnapshot(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	other, _ := c.Project("other")
	id := c.PutSnapshot(simcloud.Snapshot{Name: "nightly", ProjectID: other.ID, Metadata: map[string]string{"a": "b"}})
	s, found := c.Snapshot(id)
	if !found || s.VolumeID == "" {
		t.Fatalf("got %+v, %t, want a snapshot of a volume", s, found)
	}
	if s.Name != "nightly" || s.Status != "available" {
		t.Errorf("got %+v", s)
	}
	path := "/volume/v3/snapshots/" + id
	wantStatus(t, "its owner", call(t, c, "GET", path, nil, "X-Auth-Token", tokenFor(t, c, "stranger", "other")),
		http.StatusOK)
	wantStatus(t, "another project", call(t, c, "GET", path, nil, "X-Auth-Token", tokenFor(t, c, "demo", "demo")),
		http.StatusNotFound)
	if !c.SetSnapshotStatus(id, "error_deleting") {
		t.Error("the snapshot was not found")
	}
	if s, _ := c.Snapshot(id); s.Status != "error_deleting" {
		t.Errorf("got %+v", s)
	}
	if got := len(c.Snapshots()); got != 1 {
		t.Errorf("got %d snapshots, want 1", got)
	}
	if !c.DeleteSnapshot(id) || c.DeleteSnapshot(id) || c.SetSnapshotStatus(id, "available") {
		t.Error("the snapshot was not deleted once")
	}
}

// ids returns the ids in a list, and the URL of the next page.
func ids(t *testing.T, a answer, kind string) (list []string, next string) {
	t.Helper()
	wantStatus(t, "list", a, http.StatusOK)
	var body map[string][]struct{ ID, Rel, Href string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatal(err)
	}
	for _, e := range body[kind] {
		list = append(list, e.ID)
	}
	for _, l := range body[kind+"_links"] {
		next = l.Href
	}
	return list, next
}

func TestLists(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	other, _ := c.Project("other")
	c.PutServer(simcloud.Server{ID: "a", Name: "web-1"})
	c.PutServer(simcloud.Server{ID: "b", Name: "web-2", VMState: "stopped"})
	c.PutServer(simcloud.Server{ID: "c", Name: "db"})
	c.PutServer(simcloud.Server{ID: "x", Name: "web-x", ProjectID: other.ID})
	c.PutSnapshot(simcloud.Snapshot{ID: "s1", Name: "nightly"})
	c.PutSnapshot(simcloud.Snapshot{ID: "s2", Name: "weekly", Status: "error"})
	c.PutSnapshot(simcloud.Snapshot{ID: "sx", ProjectID: other.ID})
	token, admin := tokenFor(t, c, "demo", "demo"), tokenFor(t, c, "admin", "admin")
	for _, test := range []struct {
		path, who, kind string
		want            []string
	}{
		{"/compute/v2.1/servers", token, "servers", []string{"c", "b", "a"}},
		{"/compute/v2.1/servers/detail", token, "servers", []string{"c", "b", "a"}},
		{"/compute/v2.1/servers?name=web", token, "servers", []string{"b", "a"}},
		{"/compute/v2.1/servers?name=" + "%5Bbroken", token, "servers", nil},
		{"/compute/v2.1/servers?status=SHUTOFF", token, "servers", []string{"b"}},
		{"/compute/v2.1/servers?all_tenants=1", admin, "servers", []string{"x", "c", "b", "a"}},
		{"/compute/v2.1/servers", admin, "servers", nil},
		{"/volume/v3/snapshots", token, "snapshots", []string{"s2", "s1"}},
		{"/volume/v3/snapshots/detail", token, "snapshots", []string{"s2", "s1"}},
		{"/volume/v3/snapshots?name=nightly", token, "snapshots", []string{"s1"}},
		{"/volume/v3/snapshots?status=error", token, "snapshots", []string{"s2"}},
		{"/volume/v3/snapshots?volume_id=nope", token, "snapshots", nil},
		{"/volume/v3/snapshots/detail?all_tenants=1", admin, "snapshots", []string{"sx", "s2", "s1"}},
		{"/volume/v3/snapshots?all_tenants=1", token, "snapshots", []string{"s2", "s1"}},
	} {
		got, _ := ids(t, call(t, c, "GET", test.path, nil, "X-Auth-Token", test.who), test.kind)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.path, diff)
		}
	}
	for path, status := range map[string]int{
		"/compute/v2.1/servers?all_tenants=1": 403, "/compute/v2.1/servers?limit=x": 400,
		"/compute/v2.1/servers?marker=nope": 400, "/volume/v3/snapshots?limit=x": 400, "/volume/v3/snapshots?limit=-1": 400,
		"/volume/v3/snapshots?marker=nope": 404,
	} {
		wantStatus(t, path, call(t, c, "GET", path, nil, "X-Auth-Token", token), status)
	}
}

func TestPages(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		c.PutServer(simcloud.Server{ID: id})
		c.PutSnapshot(simcloud.Snapshot{ID: id})
	}
	token := tokenFor(t, c, "demo", "demo")
	for kind, path := range map[string]string{"servers": "/compute/v2.1/servers?limit=2",
		"snapshots": "/volume/v3/snapshots?limit=2"} {
		var got [][]string
		for path != "" {
			page, next := ids(t, call(t, c, "GET", path, nil, "X-Auth-Token", token), kind)
			got = append(got, page)
			path = strings.TrimPrefix(next, simcloud.DefaultEndpoint)
		}
		if diff := cmp.Diff([][]string{{"5", "4"}, {"3", "2"}, {"1"}}, got); diff != "" {
			t.Errorf("pages of %s (-want +got):\n%s", kind, diff)
		}
	}
}
