package simcloud_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// createServer creates a server through the API and returns its id.
func createServer(t *testing.T, c *simcloud.Cloud, token string) string {
	t.Helper()
	image, _ := c.Image("cirros")
	a := call(t, c, "POST", "/compute/v2.1/servers", map[string]any{"server": map[string]any{
		"name": "web", "imageRef": image.ID, "flavorRef": "42", "networks": "none",
	}}, "X-Auth-Token", token, "OpenStack-API-Version", "compute 2.37")
	wantStatus(t, "create", a, http.StatusAccepted)
	var made struct{ Server struct{ ID string } }
	if err := json.Unmarshal([]byte(a.body), &made); err != nil {
		t.Fatal(err)
	}
	want := simcloud.DefaultEndpoint + "/compute/v2.1/servers/" + made.Server.ID
	if got := a.header.Get("Location"); got != want {
		t.Errorf("got the location %q, want %q", got, want)
	}
	return made.Server.ID
}

// show is the part of a server that changes while it builds.
type show struct {
	Status   string
	VMState  string `json:"OS-EXT-STS:vm_state"`
	Task     string `json:"OS-EXT-STS:task_state"`
	Power    int    `json:"OS-EXT-STS:power_state"`
	Launched string `json:"OS-SRV-USG:launched_at"`
	Zone     string `json:"OS-EXT-AZ:availability_zone"`
}

func showServer(t *testing.T, c *simcloud.Cloud, id, token string) show {
	t.Helper()
	a := call(t, c, "GET", "/compute/v2.1/servers/"+id, nil, "X-Auth-Token", token)
	wantStatus(t, "show", a, http.StatusOK)
	var s struct{ Server show }
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatal(err)
	}
	return s.Server
}

func TestServerBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{BuildTime: 10 * time.Second})
		token := tokenFor(t, c, "demo", "demo")
		id := createServer(t, c, token)
		var got []show
		for range 11 {
			got = append(got, showServer(t, c, id, token))
			time.Sleep(time.Second)
		}
		building := func(task, zone string) show {
			return show{Status: "BUILD", VMState: "building", Task: task, Zone: zone}
		}
		want := []show{
			building("scheduling", ""), building("", "nova"), building("networking", "nova"), building("networking", "nova"),
			building("spawning", "nova"), building("spawning", "nova"), building("spawning", "nova"),
			building("spawning", "nova"), building("spawning", "nova"), building("spawning", "nova"),
			{Status: "ACTIVE", VMState: "active", Power: 1, Launched: "2000-01-01T00:00:10.000000", Zone: "nova"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("second by second (-want +got):\n%s", diff)
		}
	})
}

func TestServerBuildFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{BuildTime: time.Minute, BuildFails: true})
		token := tokenFor(t, c, "demo", "demo")
		id := createServer(t, c, token)
		time.Sleep(time.Minute)
		if got := showServer(t, c, id, token); got.Status != "ERROR" || got.VMState != "error" || got.Launched != "" {
			t.Errorf("got %+v", got)
		}
		a := call(t, c, "POST", "/compute/v2.1/servers/"+id+"/metadata", `{"metadata": {}}`, "X-Auth-Token", token)
		wantStatus(t, "metadata", a, http.StatusConflict)
	})
}

func TestFinishBuildOverridesTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{BuildTime: time.Hour})
		token := tokenFor(t, c, "demo", "demo")
		soon, failing, later := createServer(t, c, token), createServer(t, c, token), createServer(t, c, token)
		if !c.FinishBuild(soon, time.Second, false) || !c.FinishBuild(failing, 0, true) {
			t.Fatal("the servers are not building")
		}
		c.Tune(func(o *simcloud.Options) { o.BuildTime = 0 })
		atOnce := createServer(t, c, token)
		time.Sleep(time.Second)
		got := map[string]string{}
		for name, id := range map[string]string{"soon": soon, "failing": failing, "later": later, "at once": atOnce} {
			s, _ := c.Server(id)
			got[name] = s.VMState
		}
		want := map[string]string{"soon": "active", "failing": "error", "later": "building", "at once": "active"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("vm_states (-want +got):\n%s", diff)
		}
		if c.FinishBuild(soon, 0, false) || c.FinishBuild("nope", 0, false) {
			t.Error("a build was finished that did not go on")
		}
	})
}

func TestPutServerThatBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{})
		c.PutServer(simcloud.Server{ID: serverID, VMState: "building", BuildTime: 5 * time.Second})
		token := tokenFor(t, c, "demo", "demo")
		write := func() answer {
			return call(t, c, "POST", metadataPath(""), `{"metadata": {"a": "b"}}`, "X-Auth-Token", token)
		}
		a := write()
		wantStatus(t, "building", a, http.StatusConflict)
		want := "Cannot 'update metadata' instance " + serverID + " while it is in vm_state building"
		if got := message(t, a); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(5 * time.Second)
		wantStatus(t, "active", write(), http.StatusOK)
	})
}

func TestDeletedServerIsVisibleForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{DeleteTime: 3 * time.Second, DeletedVisible: 2 * time.Second})
		c.PutServer(simcloud.Server{ID: serverID})
		token := tokenFor(t, c, "demo", "demo")
		write := func() answer {
			return call(t, c, "POST", metadataPath(""), `{"metadata": {"a": "b"}}`, "X-Auth-Token", token)
		}
		wantStatus(t, "delete", call(t, c, "DELETE", "/compute/v2.1/servers/"+serverID, nil, "X-Auth-Token", token),
			http.StatusNoContent)
		if got := showServer(t, c, serverID, token); got.VMState != "active" || got.Task != "deleting" {
			t.Errorf("got %+v", got)
		}
		wantStatus(t, "deleting", write(), http.StatusOK)
		time.Sleep(3 * time.Second)
		a := write()
		wantStatus(t, "deleted", a, http.StatusConflict)
		if got := message(t, a); !strings.HasSuffix(got, "while it is in vm_state deleted") {
			t.Errorf("got %q", got)
		}
		time.Sleep(2 * time.Second)
		wantStatus(t, "gone", write(), http.StatusNotFound)
		if len(c.Servers()) != 0 {
			t.Errorf("servers are left: %v", c.Servers())
		}
	})
}

func TestSoftDelete(t *testing.T) {
	c := simcloud.New(simcloud.Options{SoftDelete: true})
	c.PutServer(simcloud.Server{ID: serverID})
	token := tokenFor(t, c, "demo", "demo")
	server := "/compute/v2.1/servers/" + serverID
	wantStatus(t, "delete", call(t, c, "DELETE", server, nil, "X-Auth-Token", token), http.StatusNoContent)
	a := call(t, c, "POST", metadataPath(""), `{"metadata": {}}`, "X-Auth-Token", token)
	if got := message(t, a); !strings.HasSuffix(got, "while it is in vm_state soft-delete") {
		t.Errorf("got %q", got)
	}
	wantStatus(t, "restore", call(t, c, "POST", server+"/action", `{"restore": null}`, "X-Auth-Token", token),
		http.StatusAccepted)
	wantStatus(t, "restored", call(t, c, "POST", metadataPath(""), `{"metadata": {}}`, "X-Auth-Token", token),
		http.StatusOK)
	wantStatus(t, "delete", call(t, c, "DELETE", server, nil, "X-Auth-Token", token), http.StatusNoContent)
	wantStatus(t, "forceDelete", call(t, c, "POST", server+"/action", `{"forceDelete": null}`, "X-Auth-Token", token),
		http.StatusAccepted)
	wantStatus(t, "gone", call(t, c, "GET", server, nil, "X-Auth-Token", token), http.StatusNotFound)
}

func TestSnapshotIsCreatingAndDeleting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{SnapshotTime: 10 * time.Second, DeleteTime: 5 * time.Second})
		c.PutSnapshot(simcloud.Snapshot{ID: snapshotID, Status: "creating"})
		status := func() string {
			s, found := c.Snapshot(snapshotID)
			if !found {
				return "gone"
			}
			return s.Status
		}
		token := tokenFor(t, c, "demo", "demo")
		got := []string{status()}
		time.Sleep(10 * time.Second)
		got = append(got, status())
		wantStatus(t, "delete", call(t, c, "DELETE", snapshotPath(t, c, ""), nil, "X-Auth-Token", token), http.StatusAccepted)
		got = append(got, status())
		time.Sleep(5 * time.Second)
		got = append(got, status())
		if diff := cmp.Diff([]string{"creating", "available", "deleting", "gone"}, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	})
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{TokenLifetime: time.Minute})
		token := tokenFor(t, c, "demo", "demo")
		list := func() answer { return call(t, c, "GET", "/compute/v2.1/servers", nil, "X-Auth-Token", token) }
		time.Sleep(time.Minute - time.Nanosecond)
		wantStatus(t, "just before", list(), http.StatusOK)
		time.Sleep(time.Nanosecond)
		a := list()
		wantStatus(t, "expired", a, http.StatusUnauthorized)
		want := `Keystone uri="` + simcloud.DefaultEndpoint + `/identity"`
		if got := a.header.Get("WWW-Authenticate"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		want = `{"error": {"code": 401, "title": "Unauthorized", ` +
			`"message": "The request you have made requires authentication."}}`
		if a.body != want {
			t.Errorf("got %s, want %s", a.body, want)
		}
	})
}

// Latency delays the response, not the effect, which does not depend on whether the client waits.
func TestLatencyKeepsToTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{Latency: time.Minute})
		c.PutServer(simcloud.Server{ID: serverID})
		begin := time.Now()
		token := tokenFor(t, c, "demo", "demo")
		if got := time.Since(begin); got != time.Minute {
			t.Errorf("a request took %v, want 1m", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, simcloud.DefaultEndpoint+metadataPath(""),
			strings.NewReader(`{"metadata": {"a": "b"}}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Auth-Token", token)
		begin = time.Now()
		if _, err := c.Transport().RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a deadline", err)
		}
		if got := time.Since(begin); got != time.Second {
			t.Errorf("gave up after %v, want 1s", got)
		}
		s, _ := c.Server(serverID)
		if diff := cmp.Diff(map[string]string{"a": "b"}, s.Metadata); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		last := c.Requests()[len(c.Requests())-1]
		if last.Status != 0 || last.Duration != time.Second {
			t.Errorf("the journal says %+v", last)
		}
	})
}
