//go:build openstack

// Package openstackdev_test checks that the development OpenStack works as its README describes, because other tests
// depend on it.
package openstackdev_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// stand is the development OpenStack, as the user tagger of the project demo sees it.
type stand struct {
	state   string // directory
	compute *gophercloud.ServiceClient
	volume  *gophercloud.ServiceClient
	glance  *gophercloud.ServiceClient
	flavor  string
	image   string
}

func open(t *testing.T) *stand {
	t.Helper()
	s := &stand{state: os.Getenv("OPENSTACK_DEV_STATE")}
	text, err := os.ReadFile(filepath.Join(s.state, "creds.json"))
	if err != nil {
		t.Fatalf("OPENSTACK_DEV_STATE is not the state directory of a development OpenStack (run make test-openstack): %v",
			err)
	}
	var credentials struct {
		AuthURL  string `json:"auth_url"`
		Region   string `json:"region"`
		Password string `json:"password"`
		Project  string `json:"demo_project_id"`
		Flavor   string `json:"flavor"`
		Image    string `json:"image"`
	}
	if err := json.Unmarshal(text, &credentials); err != nil {
		t.Fatalf("read creds.json: %v", err)
	}
	s.flavor, s.image = credentials.Flavor, credentials.Image
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: credentials.AuthURL, Username: "tagger", Password: credentials.Password, DomainID: "default",
		TenantID: credentials.Project,
	})
	if err != nil {
		t.Fatalf("log in at %s: %v", credentials.AuthURL, err)
	}
	at := gophercloud.EndpointOpts{Region: credentials.Region}
	if s.compute, err = openstack.NewComputeV2(provider, at); err != nil {
		t.Fatal(err)
	}
	if s.volume, err = openstack.NewBlockStorageV3(provider, at); err != nil {
		t.Fatal(err)
	}
	if s.glance, err = openstack.NewImageV2(provider, at); err != nil {
		t.Fatal(err)
	}
	s.compute.Microversion = "2.37" // the first that can create servers without a network
	return s
}

// turn sets a knob until release is called, or the test ends.
func (s *stand) turn(t *testing.T, knob, value string) (release func()) {
	t.Helper()
	file := filepath.Join(s.state, "knobs", knob)
	if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
	release = func() { _ = os.Remove(file) }
	t.Cleanup(release)
	return release
}

// server creates a server, which is deleted when the test ends.
func (s *stand) server(t *testing.T, name string) string {
	t.Helper()
	server, err := servers.Create(t.Context(), s.compute, servers.CreateOpts{
		Name: name, FlavorRef: s.flavor, ImageRef: s.image, Networks: "none",
	}, nil).Extract()
	if err != nil {
		t.Fatalf("create server %s: %v", name, err)
	}
	t.Cleanup(func() { _ = servers.Delete(context.WithoutCancel(t.Context()), s.compute, server.ID).ExtractErr() })
	return server.ID
}

func (s *stand) serverStatus(t *testing.T, id string) func() string {
	return func() string {
		server, err := servers.Get(t.Context(), s.compute, id).Extract()
		if err != nil {
			t.Fatalf("get server %s: %v", id, err)
		}
		return server.Status + " " + server.TaskState
	}
}

// await calls ask until it returns want, for up to half a minute.
func await(t *testing.T, ask func() string, want string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var got string
	for range 150 {
		if got = ask(); got == want {
			return
		}
		<-tick.C
	}
	t.Fatalf("is %q after half a minute, want %q", got, want)
}

func TestServerKnobs(t *testing.T) {
	s := open(t)

	release := s.turn(t, "spawn_delay", "300 600")
	id := s.server(t, "stand-slow")
	status := s.serverStatus(t, id)
	await(t, status, "BUILD spawning")
	release()
	await(t, status, "ACTIVE ")

	release = s.turn(t, "power_off_delay", "300")
	if err := servers.Stop(t.Context(), s.compute, id).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	await(t, status, "ACTIVE powering-off")
	release()
	await(t, status, "SHUTOFF ")

	release = s.turn(t, "destroy_delay", "300")
	if err := servers.Delete(t.Context(), s.compute, id).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	await(t, status, "SHUTOFF deleting")
	release()

	release = s.turn(t, "spawn_fail", "")
	await(t, s.serverStatus(t, s.server(t, "stand-broken")), "ERROR ")
	release()
}

func TestVolumeKnobs(t *testing.T) {
	s := open(t)

	release := s.turn(t, "volume_delay", "300")
	volume, err := volumes.Create(t.Context(), s.volume, volumes.CreateOpts{Name: "stand", Size: 1}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = volumes.Delete(context.WithoutCancel(t.Context()), s.volume, volume.ID,
			volumes.DeleteOpts{Cascade: true}).ExtractErr()
	})
	volumeStatus := func() string {
		v, err := volumes.Get(t.Context(), s.volume, volume.ID).Extract()
		if err != nil {
			t.Fatal(err)
		}
		return v.Status
	}
	await(t, volumeStatus, "creating")
	release()
	await(t, volumeStatus, "available")

	snapshot := func(name string) (id string, status func() string) {
		made, err := snapshots.Create(t.Context(), s.volume, snapshots.CreateOpts{Name: name, VolumeID: volume.ID}).Extract()
		if err != nil {
			t.Fatal(err)
		}
		return made.ID, func() string {
			v, err := snapshots.Get(t.Context(), s.volume, made.ID).Extract()
			if gophercloud.ResponseCodeIs(err, 404) {
				return "gone"
			}
			if err != nil {
				t.Fatal(err)
			}
			return v.Status
		}
	}
	release = s.turn(t, "snapshot_delay", "300")
	id, status := snapshot("stand-slow")
	await(t, status, "creating")
	release()
	await(t, status, "available")

	release = s.turn(t, "snapshot_delete_delay", "300")
	if err := snapshots.Delete(t.Context(), s.volume, id).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	await(t, status, "deleting")
	release()
	await(t, status, "gone")

	release = s.turn(t, "snapshot_fail", "")
	_, status = snapshot("stand-broken")
	await(t, status, "error")
	release()
}

// A volume can be extended, attached, detached, uploaded and deleted, and each of these can be delayed.
func TestVolumeLife(t *testing.T) {
	s := open(t)
	server := s.server(t, "stand-with-volume")
	await(t, s.serverStatus(t, server), "ACTIVE ")
	volume, err := volumes.Create(t.Context(), s.volume, volumes.CreateOpts{Name: "stand-life", Size: 1}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	status := func() string {
		v, err := volumes.Get(t.Context(), s.volume, volume.ID).Extract()
		if gophercloud.ResponseCodeIs(err, 404) {
			return "gone"
		}
		if err != nil {
			t.Fatal(err)
		}
		return v.Status
	}
	await(t, status, "available")
	for _, step := range []struct {
		knob, meanwhile, afterwards string
		do                          func() error
	}{
		{"extend_delay", "extending", "available", func() error {
			return volumes.ExtendSize(t.Context(), s.volume, volume.ID, volumes.ExtendSizeOpts{NewSize: 2}).ExtractErr()
		}},
		{"attach_delay", "attaching", "in-use", func() error {
			_, err := volumeattach.Create(t.Context(), s.compute, server, volumeattach.CreateOpts{VolumeID: volume.ID}).Extract()
			return err
		}},
		{"detach_delay", "detaching", "available", func() error {
			return volumeattach.Delete(t.Context(), s.compute, server, volume.ID).ExtractErr()
		}},
		{"upload_delay", "uploading", "available", func() error {
			image, err := volumes.UploadImage(t.Context(), s.volume, volume.ID, volumes.UploadImageOpts{
				ImageName: "stand-life", DiskFormat: "raw", ContainerFormat: "bare",
			}).Extract()
			if err == nil {
				t.Cleanup(func() { _ = images.Delete(context.WithoutCancel(t.Context()), s.glance, image.ImageID).ExtractErr() })
			}
			return err
		}},
		{"volume_delete_delay", "deleting", "gone", func() error {
			return volumes.Delete(t.Context(), s.volume, volume.ID, nil).ExtractErr()
		}},
	} {
		release := s.turn(t, step.knob, "300")
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.meanwhile, err)
		}
		await(t, status, step.meanwhile)
		release()
		await(t, status, step.afterwards)
	}
}

// A server boots from a volume that Nova lets Cinder make from an image.
func TestBootFromVolume(t *testing.T) {
	s := open(t)
	server, err := servers.Create(t.Context(), s.compute, servers.CreateOpts{
		Name: "stand-from-volume", FlavorRef: s.flavor, Networks: "none", BlockDevice: []servers.BlockDevice{
			{
				UUID:                s.image,
				SourceType:          servers.SourceImage,
				DestinationType:     servers.DestinationVolume,
				VolumeSize:          1,
				DeleteOnTermination: true,
			},
		},
	}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = servers.Delete(context.WithoutCancel(t.Context()), s.compute, server.ID).ExtractErr() })
	await(t, s.serverStatus(t, server.ID), "ACTIVE ")
	server, err = servers.Get(t.Context(), s.compute, server.ID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if len(server.AttachedVolumes) != 1 {
		t.Errorf("the server has the volumes %v, want one", server.AttachedVolumes)
	}
}

// The services declare these queues themselves. They have no consumer.
func TestNotificationQueuesAreBounded(t *testing.T) {
	s := open(t)
	await(t, s.serverStatus(t, s.server(t, "stand-notified")), "ACTIVE ")
	out, err := exec.CommandContext(t.Context(), "./rabbitmqctl", "--quiet", "list_queues", "--no-table-headers", "name",
		"policy").Output()
	if err != nil {
		t.Fatalf("list the broker's queues: %v", err)
	}
	queues := strings.Split(string(out), "\n")
	for _, name := range []string{"notifications.info", "versioned_notifications.info"} {
		if want := name + "\tbounded-notifications"; !slices.Contains(queues, want) {
			t.Errorf("no queue %q in:\n%s", want, out)
		}
	}
}
