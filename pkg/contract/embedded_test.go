package contract_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// embedded is the embedded cloud.
type embedded struct {
	cloud    *simcloud.Cloud
	client   *http.Client
	endpoint string
}

// newCloud creates an embedded cloud with the table's users.
func newCloud() *simcloud.Cloud {
	users := simcloud.DefaultUsers()
	for i, u := range users {
		switch u.Name {
		case "demo":
			users[i].Roles[listsName] = "member"
		case "admin":
			users[i].Roles[listsName], users[i].DomainRole = "admin", "admin"
		case "reader":
			users[i].DomainRole = "reader"
		}
	}
	return simcloud.New(simcloud.Options{
		Users: users,
		Projects: []simcloud.Project{{Name: "demo"}, {Name: "admin"}, {Name: "other"}, {
			Name: listsName, Description: "made by the contract suite", Tags: []string{"contract", "no-bill"},
			Extra: map[string]string{"cost_center": "CC-17"},
		}},
		Flavors: []simcloud.Flavor{
			{ID: "42", Name: "m1.nano", VCPUs: 1, RAM: 64, Disk: 1},
			{ID: "84", Name: "m1.micro", VCPUs: 1, RAM: 128, Disk: 1},
		},
		ApplicationCredentials: []simcloud.ApplicationCredential{
			{Name: "tagger", Secret: "application-secret", User: "demo", Project: "demo"},
		},
	})
}

const listsName = "contract-lists"

// newEmbedded serves a new cloud on a socket, or in memory.
func newEmbedded(t *testing.T, socket bool) *embedded {
	e := &embedded{cloud: newCloud(), endpoint: simcloud.DefaultEndpoint}
	e.client = &http.Client{Transport: e.cloud.Transport()}
	if socket {
		server := httptest.NewServer(e.cloud)
		t.Cleanup(server.Close)
		e.client, e.endpoint = server.Client(), server.URL
	}
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return e
}

func (e *embedded) http() (*http.Client, string) { return e.client, e.endpoint + "/identity/v3" }

func (e *embedded) password(user string) (name, password string) {
	if user == "member" {
		user = "demo"
	}
	return user, "secret"
}

func (e *embedded) flavors() (small, large string) { return "42", "84" }

func (e *embedded) image() string {
	image, _ := e.cloud.Image("cirros")
	return image.ID
}

func (e *embedded) hold(k knob) (release func(), err error) {
	set := func(d time.Duration) {
		e.cloud.Tune(func(o *simcloud.Options) {
			switch k {
			case builds:
				o.BuildTime = d
			case stops:
				o.ActionTime = d
			case deletions, snapshotRemovals, volumeRemovals:
				o.DeleteTime = d
			case snapshots:
				o.SnapshotTime = d
			case volumes:
				o.VolumeTime = d
			case attaching, detaching:
				o.AttachTime = d
			case extending, uploading:
				o.VolumeActionTime = d
			case overlap:
				o.LostUpdates, o.Latency = d > 0, min(d, 5*time.Millisecond)
			}
		})
	}
	set(time.Hour)
	return func() { set(0) }, nil
}

func (e *embedded) building(ctx context.Context, s *session) (string, error) {
	id, err := s.createServer(ctx, "", kept)
	if err == nil && !e.cloud.SetServerState(id, "building", "spawning") {
		err = fmt.Errorf("server %s is not there", id)
	}
	return id, err
}

func (e *embedded) unbuilt(_ context.Context, s *session) (string, error) {
	demo, _ := e.cloud.Project("demo")
	id := e.cloud.PutServer(simcloud.Server{Name: "contract", ProjectID: demo.ID, VMState: "building", Metadata: kept})
	e.cloud.FinishBuild(id, 0, true)
	return id, nil
}

func (e *embedded) expired(ctx context.Context, s *session) (string, error) {
	e.cloud.Tune(func(o *simcloud.Options) { o.TokenLifetime = -time.Second })
	defer e.cloud.Tune(func(o *simcloud.Options) { o.TokenLifetime = time.Hour })
	credential, _ := e.cloud.ApplicationCredential("tagger")
	return s.authenticate(ctx, withApplicationCredential(credential.ID, string(credential.Secret)), &struct{}{})
}

func (e *embedded) setSnapshotStatus(_ context.Context, _ *session, id, status string) error {
	if !e.cloud.SetSnapshotStatus(id, status) {
		return fmt.Errorf("snapshot %s is not there", id)
	}
	return nil
}

// withApplicationCredential returns the auth request for an application credential.
func withApplicationCredential(id, secret string) any {
	return map[string]any{"identity": map[string]any{
		"methods":                []string{"application_credential"},
		"application_credential": map[string]string{"id": id, "secret": secret},
	}}
}

func (e *embedded) setVolumeStatus(_ context.Context, _ *session, id, status string) error {
	if !e.cloud.SetVolumeStatus(id, status) {
		return fmt.Errorf("volume %s is not there", id)
	}
	return nil
}

func (e *embedded) newProject(context.Context, *session) (string, error) { return listsName, nil }
