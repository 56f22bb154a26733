package simcloud_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// reach returns the two ways to reach a cloud: in memory and over a socket.
func reach(t *testing.T, c *simcloud.Cloud) map[string]struct {
	url       string
	transport http.RoundTripper
} {
	t.Helper()
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	type way = struct {
		url       string
		transport http.RoundTripper
	}
	return map[string]way{
		"in memory": {simcloud.DefaultEndpoint, c.Transport()},
		"socket":    {s.URL, s.Client().Transport},
	}
}

// authenticate logs a gophercloud client in.
func authenticate(
	t *testing.T, url string, transport http.RoundTripper, o gophercloud.AuthOptions,
) (*gophercloud.ProviderClient, error) {
	t.Helper()
	o.IdentityEndpoint = url + "/identity/v3"
	p, err := openstack.NewClient(o.IdentityEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	p.HTTPClient = http.Client{Transport: transport}
	return p, openstack.Authenticate(t.Context(), p, o)
}

var passwordOptions = gophercloud.AuthOptions{
	Username: "demo", Password: "secret", DomainName: "Default", AllowReauth: true,
	Scope: &gophercloud.AuthScope{ProjectName: "demo", DomainName: "Default"},
}

func TestGophercloudAuthenticates(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	credential, _ := c.ApplicationCredential("tagger")
	user, _ := c.User("demo")
	options := map[string]gophercloud.AuthOptions{
		"password":               passwordOptions,
		"user and project by id": {UserID: user.ID, Password: "secret", TenantID: demo(t, c)},
		"application credential by id": {ApplicationCredentialID: credential.ID,
			ApplicationCredentialSecret: string(credential.Secret)},
		"application credential by name": {ApplicationCredentialName: "tagger",
			ApplicationCredentialSecret: string(credential.Secret), Username: "demo", DomainName: "Default"},
		"token":                           {TokenID: tokenFor(t, c, "demo", ""), Scope: passwordOptions.Scope},
		"token that was scoped elsewhere": {TokenID: tokenFor(t, c, "admin", "admin"), Scope: passwordOptions.Scope},
	}
	for how, way := range reach(t, c) {
		for name, o := range options {
			t.Run(how+"/"+name, func(t *testing.T) {
				p, err := authenticate(t, way.url, way.transport, o)
				if err != nil {
					t.Fatal(err)
				}
				for service, make := range map[string]func(*gophercloud.ProviderClient,
					gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error){
					"/compute/v2.1/": openstack.NewComputeV2, "/volume/v3/" + demo(t, c) + "/": openstack.NewBlockStorageV3,
					"/image/v2/": openstack.NewImageV2,
				} {
					client, err := make(p, gophercloud.EndpointOpts{Region: "RegionOne"})
					if err != nil {
						t.Fatal(err)
					}
					if got := client.ResourceBaseURL(); got != way.url+service {
						t.Errorf("got the endpoint %s, want %s", got, way.url+service)
					}
				}
			})
		}
		t.Run(how+"/wrong password", func(t *testing.T) {
			o := passwordOptions
			o.Password = "guess"
			if _, err := authenticate(t, way.url, way.transport, o); !gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) {
				t.Errorf("got %v, want a 401", err)
			}
		})
	}
}

func TestGophercloudServers(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	for how, way := range reach(t, c) {
		t.Run(how, func(t *testing.T) {
			ctx := t.Context()
			p, err := authenticate(t, way.url, way.transport, passwordOptions)
			if err != nil {
				t.Fatal(err)
			}
			compute, err := openstack.NewComputeV2(p, gophercloud.EndpointOpts{Region: "RegionOne"})
			if err != nil {
				t.Fatal(err)
			}
			glance, err := openstack.NewImageV2(p, gophercloud.EndpointOpts{})
			if err != nil {
				t.Fatal(err)
			}
			imagePages, err := images.List(glance, images.ListOpts{}).AllPages(ctx)
			if err != nil {
				t.Fatal(err)
			}
			image, err := images.ExtractImages(imagePages)
			if err != nil || len(image) != 1 {
				t.Fatalf("got images %v, %v", image, err)
			}
			flavorPages, err := flavors.ListDetail(compute, flavors.ListOpts{}).AllPages(ctx)
			if err != nil {
				t.Fatal(err)
			}
			flavor, err := flavors.ExtractFlavors(flavorPages)
			if err != nil || len(flavor) != 2 {
				t.Fatalf("got flavors %v, %v", flavor, err)
			}

			compute.Microversion = "2.93"
			made, err := servers.Create(ctx, compute, servers.CreateOpts{
				Name: "web", ImageRef: image[0].ID, FlavorRef: flavor[0].ID, Networks: "none",
				Metadata: map[string]string{"from": "create"},
			}, nil).Extract()
			if err != nil {
				t.Fatal(err)
			}
			if made.AdminPass == "" {
				t.Error("the response has no adminPass")
			}
			got, err := servers.Get(ctx, compute, made.ID).Extract()
			if err != nil {
				t.Fatal(err)
			}
			if got.LaunchedAt.IsZero() {
				t.Error("the server has no launched_at")
			}
			shown := []any{got.Name, got.Status, got.VmState, *got.Locked, got.TenantID}
			if diff := cmp.Diff([]any{"web", "ACTIVE", "active", false, demo(t, c)}, shown); diff != "" {
				t.Errorf("server (-want +got):\n%s", diff)
			}
			pages, err := servers.List(compute, servers.ListOpts{Name: "web"}).AllPages(ctx)
			if err != nil {
				t.Fatal(err)
			}
			list, err := servers.ExtractServers(pages)
			if err != nil || len(list) != 1 || list[0].ID != made.ID {
				t.Errorf("got the list %v, %v", list, err)
			}

			merged, err := servers.UpdateMetadata(ctx, compute, made.ID, servers.MetadataOpts{"env": "dev"}).Extract()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"from": "create", "env": "dev"}, merged); diff != "" {
				t.Errorf("merged metadata (-want +got):\n%s", diff)
			}
			env := servers.MetadatumOpts{"env": "prod"}
			if _, err := servers.CreateMetadatum(ctx, compute, made.ID, env).Extract(); err != nil {
				t.Error(err)
			}
			one, err := servers.Metadatum(ctx, compute, made.ID, "env").Extract()
			if err != nil || one["env"] != "prod" {
				t.Errorf("got %v, %v", one, err)
			}
			if err := servers.DeleteMetadatum(ctx, compute, made.ID, "from").ExtractErr(); err != nil {
				t.Error(err)
			}
			_, err = servers.Metadatum(ctx, compute, made.ID, "from").Extract()
			if !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
				t.Errorf("got %v, want a 404", err)
			}
			reset, err := servers.ResetMetadata(ctx, compute, made.ID, servers.MetadataOpts{"only": "one"}).Extract()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"only": "one"}, reset); diff != "" {
				t.Errorf("replaced metadata (-want +got):\n%s", diff)
			}
			if err := servers.Stop(ctx, compute, made.ID).ExtractErr(); err != nil {
				t.Error(err)
			}
			if s, _ := c.Server(made.ID); s.VMState != "stopped" {
				t.Errorf("after stop the vm_state is %s", s.VMState)
			}
			if err := servers.Delete(ctx, compute, made.ID).ExtractErr(); err != nil {
				t.Error(err)
			}
			if _, err := servers.Get(ctx, compute, made.ID).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
				t.Errorf("got %v, want a 404", err)
			}
		})
	}
}

func TestGophercloudSnapshots(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	for how, way := range reach(t, c) {
		t.Run(how, func(t *testing.T) {
			ctx := t.Context()
			p, err := authenticate(t, way.url, way.transport, passwordOptions)
			if err != nil {
				t.Fatal(err)
			}
			client, err := openstack.NewBlockStorageV3(p, gophercloud.EndpointOpts{Region: "RegionOne"})
			if err != nil {
				t.Fatal(err)
			}
			v, err := volumes.Create(ctx, client, volumes.CreateOpts{Size: 2, Name: "data"}, nil).Extract()
			if err != nil {
				t.Fatal(err)
			}
			s, err := snapshots.Create(ctx, client, snapshots.CreateOpts{VolumeID: v.ID, Name: "nightly",
				Metadata: map[string]string{"from": "create"}}).Extract()
			if err != nil {
				t.Fatal(err)
			}
			if s.Status != "creating" || s.Size != 2 {
				t.Errorf("got %+v", s)
			}
			s, err = snapshots.Get(ctx, client, s.ID).Extract()
			if err != nil {
				t.Fatal(err)
			}
			if s.Status != "available" || s.Name != "nightly" || s.Metadata["from"] != "create" {
				t.Fatalf("got %+v", s)
			}
			pages, err := snapshots.List(client, snapshots.ListOpts{Name: "nightly"}).AllPages(ctx)
			if err != nil {
				t.Fatal(err)
			}
			list, err := snapshots.ExtractSnapshots(pages)
			if err != nil || len(list) != 1 || list[0].ID != s.ID {
				t.Errorf("got the list %v, %v", list, err)
			}
			if _, err := client.Put(ctx, client.ServiceURL("snapshots", s.ID, "metadata", "env"),
				map[string]any{"meta": map[string]string{"env": "dev"}}, nil,
				&gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}}); err != nil {
				t.Error(err)
			}
			got, _ := c.Snapshot(s.ID)
			if diff := cmp.Diff(map[string]string{"from": "create", "env": "dev"}, got.Metadata); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			// gophercloud's own call replaces the map, as Cinder's PUT does.
			if _, err := snapshots.UpdateMetadata(ctx, client, s.ID,
				snapshots.UpdateMetadataOpts{Metadata: map[string]any{"only": "one"}}).ExtractMetadata(); err != nil {
				t.Error(err)
			}
			got, _ = c.Snapshot(s.ID)
			if diff := cmp.Diff(map[string]string{"only": "one"}, got.Metadata); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			err = volumes.Delete(ctx, client, v.ID, nil).ExtractErr()
			if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
				t.Errorf("deleting a volume with a snapshot: got %v, want a 400", err)
			}
			if err := snapshots.Delete(ctx, client, s.ID).ExtractErr(); err != nil {
				t.Error(err)
			}
			if _, err := snapshots.Get(ctx, client, s.ID).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
				t.Errorf("got %v, want a 404", err)
			}
			if err := volumes.Delete(ctx, client, v.ID, nil).ExtractErr(); err != nil {
				t.Error(err)
			}
		})
	}
}

// gophercloud replaces a revoked token transparently, as with the real services.
func TestGophercloudAuthenticatesAgain(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	c.PutServer(simcloud.Server{ID: serverID})
	p, err := authenticate(t, simcloud.DefaultEndpoint, c.Transport(), passwordOptions)
	if err != nil {
		t.Fatal(err)
	}
	compute, err := openstack.NewComputeV2(p, gophercloud.EndpointOpts{})
	if err != nil {
		t.Fatal(err)
	}
	c.RevokeTokens()
	_, err = servers.UpdateMetadata(t.Context(), compute, serverID, servers.MetadataOpts{"a": "b"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	var statuses []int
	for _, r := range c.Requests() {
		if strings.HasSuffix(r.Path, "/metadata") {
			statuses = append(statuses, r.Status)
		}
	}
	if diff := cmp.Diff([]int{401, 200}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}
