package tagger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// owner is a program that owns all metadata of its volumes. It sends the same requests as the real program.
type owner interface {
	// create makes the volume and returns its id.
	create(t *testing.T) string
	// converge applies the program's configuration to the volume, and reports whether it replaced the metadata.
	converge(t *testing.T) bool
	// rename gives the volume another name.
	rename(t *testing.T)
}

// terraform is openstack_blockstorage_volume_v3 of terraform-provider-openstack 3.4.0, which sends its requests with
// gophercloud too. If the configuration has a map, a plan compares all of it with the response to GET: the argument is
// optional and computed. PUT /volumes/{id} sends name and description, and the whole map if it differs.
type terraform struct {
	client        *gophercloud.ServiceClient
	id            string
	configured    map[string]string // nil where the configuration has no metadata
	ignoreChanges []string          // keys of lifecycle { ignore_changes = [metadata["…"]] }
}

func (p *terraform) create(t *testing.T) string {
	t.Helper()
	v, err := volumes.Create(t.Context(), p.client, volumes.CreateOpts{Name: "data", Size: 1, Metadata: p.configured},
		nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	p.id = v.ID
	return v.ID
}

// plan returns the metadata that an apply sends, nil for none.
func (p *terraform) plan(t *testing.T) map[string]string {
	t.Helper()
	v, err := volumes.Get(t.Context(), p.client, p.id).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if p.configured == nil {
		return nil
	}
	planned := maps.Clone(p.configured)
	for _, key := range p.ignoreChanges {
		if value, there := v.Metadata[key]; there {
			planned[key] = value
		}
	}
	if maps.Equal(planned, v.Metadata) {
		return nil
	}
	return planned
}

func (p *terraform) converge(t *testing.T) bool {
	t.Helper()
	planned := p.plan(t)
	if planned != nil {
		p.put(t, "data", planned)
	}
	return planned != nil
}

func (p *terraform) rename(t *testing.T) {
	t.Helper()
	p.put(t, "other", p.plan(t))
}

func (p *terraform) put(t *testing.T, name string, planned map[string]string) {
	t.Helper()
	description := ""
	o := volumes.UpdateOpts{Name: &name, Description: &description, Metadata: planned}
	if _, err := volumes.Update(t.Context(), p.client, p.id, o).Extract(); err != nil {
		t.Fatal(err)
	}
}

// heat is Heat's OS::Cinder::Volume, which sends its requests with cinderclient. An update of the stack does not read
// the volume: it sends the template's map if that has changed.
type heat struct {
	client         *gophercloud.ServiceClient
	id             string
	template, sent map[string]string // template is never nil: the property's default is an empty map
}

func (h *heat) create(t *testing.T) string {
	t.Helper()
	var made struct{ Volume struct{ ID string } }
	h.send(t, http.MethodPost, "volumes", map[string]any{"volume": map[string]any{
		"size": 1, "consistencygroup_id": nil, "snapshot_id": nil, "name": "data", "description": nil, "volume_type": nil,
		"availability_zone": nil, "metadata": h.template, "imageRef": nil, "source_volid": nil, "backup_id": nil,
	}}, &made)
	h.id, h.sent = made.Volume.ID, h.template
	return h.id
}

func (h *heat) converge(t *testing.T) bool {
	t.Helper()
	if maps.Equal(h.template, h.sent) {
		return false
	}
	h.send(t, http.MethodGet, "volumes/"+h.id, nil, nil)
	h.send(t, http.MethodPut, "volumes/"+h.id+"/metadata", map[string]any{"metadata": h.template}, nil)
	h.sent = h.template
	return true
}

func (h *heat) rename(t *testing.T) {
	t.Helper()
	h.send(t, http.MethodGet, "volumes/"+h.id, nil, nil)
	h.send(t, http.MethodPut, "volumes/"+h.id,
		map[string]any{"volume": map[string]any{"name": "other", "description": nil}}, nil)
}

func (h *heat) send(t *testing.T, method, path string, body, into any) {
	t.Helper()
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	o := gophercloud.RequestOpts{OkCodes: []int{http.StatusOK, http.StatusAccepted}, JSONResponse: into}
	if body != nil {
		o.RawBody = &text
		o.MoreHeaders = map[string]string{"Content-Type": "application/json"}
	}
	response, err := h.client.Request(t.Context(), method, h.client.ServiceURL(strings.Split(path, "/")...), &o)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if into == nil {
		_ = response.Body.Close()
	}
}

const volumeRules = `rules:
- {name: owner, on: [volume.created, volume.attached], add: {owner: "${actor.name}"}}
volumes: {write: %s}
`

// Tagger does not fight a program that owns all metadata of its volumes: after the first round, neither writes again.
// The table is what docs/volumes.md promises.
func TestVolumesBesideTheirOwners(t *testing.T) {
	type keys = map[string]string
	app, ours := keys{"app": "shop"}, keys{"owner": "alice"}
	both := keys{"app": "shop", "owner": "alice"}
	for _, tt := range []struct {
		name    string
		write   string
		writer  func(*gophercloud.ServiceClient) owner
		outcome apply.Outcome
		// tagged is the metadata after the volume's creation event, rounds how often the program replaced it in the
		// three rounds after that, and left the metadata at the end.
		tagged keys
		rounds int
		left   keys
	}{
		{"Terraform without metadata", "unmanaged", plainTerraform, apply.Tagged, ours, 0, ours},
		{"Terraform with metadata", "unmanaged", terraformWith(app), apply.Ignored, app, 0, app},
		{"Heat without metadata", "unmanaged", heatWith(keys{}), apply.Tagged, ours, 0, ours},
		{"Heat with metadata", "unmanaged", heatWith(app), apply.Ignored, app, 0, app},

		{"Terraform without metadata", "never", plainTerraform, apply.Ignored, nil, 0, nil},
		{"Terraform with metadata", "never", terraformWith(app), apply.Ignored, app, 0, app},
		{"Heat without metadata", "never", heatWith(keys{}), apply.Ignored, nil, 0, nil},
		{"Heat with metadata", "never", heatWith(app), apply.Ignored, app, 0, app},

		{"Terraform without metadata", "all", plainTerraform, apply.Tagged, ours, 0, ours},
		// One drift and one apply that removes our key, then no more: no rule acts on volume.update.end.
		{"Terraform with metadata", "all", terraformWith(app), apply.Tagged, both, 1, app},
		{"Terraform with ignore_changes", "all", terraformWith(app, "owner"), apply.Tagged, both, 0, both},
		{"Heat without metadata", "all", heatWith(keys{}), apply.Tagged, ours, 0, ours},
		{"Heat with metadata", "all", heatWith(app), apply.Tagged, both, 0, both},
	} {
		t.Run(tt.write+"/"+tt.name, func(t *testing.T) {
			sim, tg, client := ownedVolumes(t, tt.write)
			w := tt.writer(client)
			id := w.create(t)
			got := handled(t, tg, "volume.created", id)
			if got.Outcome != tt.outcome {
				t.Errorf("%s, want %s", got.Decision, tt.outcome)
			}
			if tt.outcome == apply.Ignored && len(got.Written) > 0 {
				t.Errorf("ignored, and wrote %v", got.Written)
			}
			wantMetadata(t, sim, id, tt.tagged)

			rounds := 0
			for range 3 {
				if w.converge(t) {
					rounds++
				}
				updated(t, sim, tg, id)
			}
			if rounds != tt.rounds {
				t.Errorf("the program replaced the metadata %d times, want %d", rounds, tt.rounds)
			}
			wantMetadata(t, sim, id, tt.left)
			w.rename(t) // which leaves the metadata alone
			updated(t, sim, tg, id)
			wantMetadata(t, sim, id, tt.left)
		})
	}
}

// A program that sets its own metadata on a tagged volume replaces the map. With unmanaged, Tagger leaves the volume
// alone from then on, whatever events follow.
func TestVolumeTakenOver(t *testing.T) {
	app := map[string]string{"app": "shop"}
	takeovers := map[string]func(client *gophercloud.ServiceClient) (w owner, take func()){
		"Terraform": func(client *gophercloud.ServiceClient) (owner, func()) {
			p := &terraform{client: client}
			return p, func() { p.configured = app }
		},
		"Heat": func(client *gophercloud.ServiceClient) (owner, func()) {
			h := &heat{client: client, template: map[string]string{}}
			return h, func() { h.template = app }
		},
	}
	for name, make := range takeovers {
		for _, tt := range []struct {
			write   string
			outcome apply.Outcome
			left    map[string]string
		}{
			{"unmanaged", apply.Ignored, app},
			// The next event with a matching rule writes again: Terraform's next plan shows it, and Heat does not read
			// it.
			{"all", apply.Tagged, map[string]string{"app": "shop", "owner": "alice"}},
		} {
			t.Run(name+"/"+tt.write, func(t *testing.T) {
				sim, tg, client := ownedVolumes(t, tt.write)
				w, take := make(client)
				id := w.create(t)
				if got := handled(t, tg, "volume.created", id); got.Outcome != apply.Tagged {
					t.Fatalf("%s", got.Decision)
				}
				take()
				if !w.converge(t) {
					t.Fatal("the program did not replace the metadata")
				}
				wantMetadata(t, sim, id, app)
				updated(t, sim, tg, id)
				wantMetadata(t, sim, id, app)

				got := handled(t, tg, "volume.attached", id)
				if got.Outcome != tt.outcome {
					t.Errorf("%s, want %s", got.Decision, tt.outcome)
				}
				if tt.outcome == apply.Ignored && !strings.Contains(got.Reason, `no rule sets key "app"`) {
					t.Errorf("the reason does not name the key: %s", got.Reason)
				}
				wantMetadata(t, sim, id, tt.left)
				if terraform, ok := w.(*terraform); ok && (terraform.plan(t) != nil) != (tt.write == "all") {
					t.Errorf("Terraform's next plan sends %v", terraform.plan(t))
				}
			})
		}
	}
}

func plainTerraform(client *gophercloud.ServiceClient) owner { return &terraform{client: client} }

func terraformWith(configured map[string]string, ignoreChanges ...string) func(*gophercloud.ServiceClient) owner {
	return func(client *gophercloud.ServiceClient) owner {
		return &terraform{client: client, configured: configured, ignoreChanges: ignoreChanges}
	}
}

func heatWith(template map[string]string) func(*gophercloud.ServiceClient) owner {
	return func(client *gophercloud.ServiceClient) owner { return &heat{client: client, template: template} }
}

// ownedVolumes returns a cloud, a Tagger with volumes: {write: …}, and another program's client.
func ownedVolumes(t *testing.T, write string) (*simcloud.Cloud, *tagger.Tagger, *gophercloud.ServiceClient) {
	t.Helper()
	sim, tg := family(t, fmt.Sprintf(volumeRules, write), time.Now())
	provider, err := openstack.NewClient(simcloud.DefaultEndpoint + "/identity/v3")
	if err != nil {
		t.Fatal(err)
	}
	provider.HTTPClient = http.Client{Transport: sim.Transport()}
	err = openstack.Authenticate(t.Context(), provider, gophercloud.AuthOptions{
		IdentityEndpoint: provider.IdentityBase + "v3", Username: "demo", Password: "secret", DomainName: "Default",
		Scope: &gophercloud.AuthScope{ProjectName: "demo", DomainName: "Default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewBlockStorageV3(provider, gophercloud.EndpointOpts{})
	if err != nil {
		t.Fatal(err)
	}
	return sim, tg, client
}

func handled(t *testing.T, tg *tagger.Tagger, action, id string) *tagger.Result {
	t.Helper()
	return tg.Handle(t.Context(), tagger.Delivery{Event: change(t, action, id, "alice", time.Now(), "")})[0]
}

// updated passes Tagger the notification after PUT /volumes/{id}, as captured from Cinder. It causes no write.
func updated(t *testing.T, sim *simcloud.Cloud, tg *tagger.Tagger, id string) {
	t.Helper()
	text, err := os.ReadFile("../lifecycle/testdata/zed/volume.update.end.json")
	if err != nil {
		t.Fatal(err)
	}
	demo, _ := sim.Project("demo")
	sent := strings.NewReplacer("5242010f-5dd2-4138-95aa-424f41d49da9", id, "f330ba3d3b034dac9052ce72483d0d2e", demo.ID)
	before := len(sim.Requests())
	batch := ingress.Decode([]byte(sent.Replace(string(text))))
	if err := batch.Records[0].Err; err != nil {
		t.Fatal(err)
	}
	got := tg.Handle(t.Context(), tagger.Delivery{Event: batch.Records[0].Events[0]})[0]
	if got.Outcome != apply.Ignored || len(sim.Requests()) != before {
		t.Errorf("volume.update.end: %s, %d requests", got.Decision, len(sim.Requests())-before)
	}
}

func wantMetadata(t *testing.T, sim *simcloud.Cloud, id string, want map[string]string) {
	t.Helper()
	if got := sim.Metadata("volume", id); !maps.Equal(want, got) {
		t.Errorf("the volume has %v, want %v", got, want)
	}
}
