package simcloud_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const volumeID = "5f0a1a2b-3c4d-4e5f-8a9b-0c1d2e3f4a5b"

// volumePath is a path below the volume.
func volumePath(c *simcloud.Cloud, rest string) string {
	demo, _ := c.Project("demo")
	return "/volume/v3/" + demo.ID + "/volumes/" + volumeID + rest
}

// statusOf returns the volume's status as GET shows it, "" if it does not exist.
func statusOf(t *testing.T, c *simcloud.Cloud, token string) string {
	t.Helper()
	a := call(t, c, "GET", volumePath(c, ""), nil, "X-Auth-Token", token)
	var answer struct{ Volume struct{ Status string } }
	if a.status == http.StatusOK {
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer.Volume.Status
}

// A volume's statuses last as long as the options say.
func TestVolumeStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simcloud.New(simcloud.Options{
			AttachTime:       5 * time.Second,
			VolumeActionTime: 3 * time.Second,
			DeleteTime:       time.Second,
			TokenLifetime:    time.Hour,
		})
		c.PutServer(simcloud.Server{ID: serverID})
		c.PutVolume(simcloud.Volume{ID: volumeID, Size: 2, Metadata: map[string]string{"owner": "alice"}})
		token := tokenFor(t, c, "demo", "demo")
		attachments := "/compute/v2.1/servers/" + serverID + "/os-volume_attachments"
		attach := fmt.Sprintf(`{"volumeAttachment": {"volumeId": %q}}`, volumeID)
		for _, step := range []struct {
			method, path, body   string
			meanwhile, afterward string
			takes                time.Duration
		}{
			{"POST", attachments, attach, "attaching", "in-use", 5 * time.Second},
			{"DELETE", attachments + "/" + volumeID, "", "detaching", "available", 5 * time.Second},
			{"POST", volumePath(c, "/action"), `{"os-extend": {"new_size": 3}}`, "extending", "available", 3 * time.Second},
			{
				"POST", volumePath(c, "/action"), `{"os-volume_upload_image": {"image_name": "x"}}`, "uploading", "available",
				3 * time.Second,
			},
			{"DELETE", volumePath(c, ""), "", "deleting", "", time.Second},
		} {
			var body any
			if step.body != "" {
				body = step.body
			}
			if a := call(t, c, step.method, step.path, body, "X-Auth-Token", token); a.status >= 300 {
				t.Fatalf("%s %s: %d %s", step.method, step.path, a.status, a.body)
			}
			time.Sleep(step.takes - time.Nanosecond)
			if got := statusOf(t, c, token); got != step.meanwhile {
				t.Errorf(
					"%s %s: the status is %q until it is done, want %q",
					step.method,
					step.path,
					got,
					step.meanwhile,
				)
			}
			time.Sleep(time.Nanosecond)
			if got := statusOf(t, c, token); got != step.afterward {
				t.Errorf("%s %s: the status is %q afterwards, want %q", step.method, step.path, got, step.afterward)
			}
		}
	})
}

// Deleting a server releases its volumes, or deletes those with delete_on_termination.
func TestVolumesOfDeletedServer(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	stays := c.PutVolume(simcloud.Volume{ServerID: serverID, Metadata: map[string]string{"owner": "alice"}})
	ends := c.PutVolume(simcloud.Volume{ServerID: serverID, Boot: true, DeleteOnTermination: true})
	token := tokenFor(t, c, "demo", "demo")
	server, _ := c.Server(serverID)
	if diff := cmp.Diff([]string{stays, ends}, server.Volumes); diff != "" {
		t.Errorf("the server's volumes (-put +got):\n%s", diff)
	}
	a := call(t, c, "DELETE", "/compute/v2.1/servers/"+serverID, nil, "X-Auth-Token", token)
	if a.status != http.StatusNoContent {
		t.Fatalf("DELETE: %d %s", a.status, a.body)
	}
	v, found := c.Volume(stays)
	if !found || v.Metadata["owner"] != "alice" {
		t.Errorf("the volume that stays is %+v (%t)", v, found)
	}
	if v.Status != "available" || v.ServerID != "" {
		t.Errorf("the volume that stays is still attached: %+v", v)
	}
	if v, found := c.Volume(ends); found {
		t.Errorf("the volume that ends with the server is %+v", v)
	}
}

// A volume is read back as it was put.
func TestPutVolume(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	demo, _ := c.Project("demo")
	user, _ := c.User("demo")
	want := simcloud.Volume{
		ID:                  volumeID,
		Name:                "data",
		Description:         "of alice",
		ProjectID:           demo.ID,
		UserID:              user.ID,
		Status:              "in-use",
		Size:                7,
		ServerID:            serverID,
		Device:              "/dev/sdc",
		DeleteOnTermination: true,
		Metadata:            map[string]string{"a/b": "1"},
		Created:             time.Unix(1_700_000_000, 0).UTC(),
	}
	c.PutVolume(want)
	got, _ := c.Volume(volumeID)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-put +got):\n%s", diff)
	}
	if !c.SetVolumeStatus(volumeID, "maintenance") || !c.SetVolumeMetadata(volumeID, nil) {
		t.Error("the volume is not there")
	}
	if list := c.Volumes(); len(list) != 1 || list[0].Status != "maintenance" || len(list[0].Metadata) != 0 {
		t.Errorf("the volumes are %+v", list)
	}
	if !c.DeleteVolume(volumeID) {
		t.Error("the volume was not deleted")
	}
	if c.DeleteVolume(volumeID) || c.SetVolumeStatus(volumeID, "error") || c.SetVolumeMetadata(volumeID, nil) {
		t.Error("a deleted volume still exists")
	}
	if s, _ := c.Server(serverID); len(s.Volumes) != 0 {
		t.Errorf("the server still has %v", s.Volumes)
	}
}

// Keystone shows the details of projects and users that the options have.
func TestProjectsAndUsersHaveMore(t *testing.T) {
	c := simcloud.New(simcloud.Options{
		Projects: []simcloud.Project{
			{
				Name:        "demo",
				Description: "web shop",
				Tags:        []string{"prod"},
				Extra:       map[string]string{"cost_center": "CC-17"},
			},
		},
		Users: []simcloud.User{
			{
				Name:     "demo",
				Password: "secret",
				Roles:    map[string]string{"demo": "member"},
				Extra:    map[string]string{"email": "demo@example.org"},
			},
		},
	})
	token := tokenFor(t, c, "demo", "demo")
	demo, _ := c.Project("demo")
	user, _ := c.User("demo")
	for path, want := range map[string]map[string]any{
		"projects/" + demo.ID: {"description": "web shop", "tags": []any{"prod"}, "cost_center": "CC-17"},
		"users/" + user.ID:    {"email": "demo@example.org", "name": "demo"},
	} {
		a := call(t, c, "GET", "/identity/v3/"+path, nil, "X-Auth-Token", token)
		var answer map[string]map[string]any
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
			t.Fatalf("GET %s: %d %s: %v", path, a.status, a.body, err)
		}
		for _, got := range answer {
			for name, value := range want {
				if diff := cmp.Diff(value, got[name]); diff != "" {
					t.Errorf("GET %s: %s (-want +got):\n%s", path, name, diff)
				}
			}
		}
	}
}
