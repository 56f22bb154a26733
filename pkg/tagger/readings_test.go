package tagger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const (
	serverID   = "11111111-5b0d-4a3e-9f52-7f1c2d9b6a10"
	volumeID   = "22222222-5b0d-4a3e-9f52-7f1c2d9b6a10"
	snapshotID = "33333333-5b0d-4a3e-9f52-7f1c2d9b6a10"

	inheritance = `rules:
- {name: owner, on: server.created, add: {owner: "${actor.name}"}}
- {name: handed down, on: [volume.attached, snapshot.created], inherit: [owner, "billing-*"]}
`
)

// family is a server with a volume and its snapshot, and a Tagger for them.
func family(t *testing.T, text string, created time.Time) (*simcloud.Cloud, *tagger.Tagger) {
	t.Helper()
	sim := simcloud.New(simcloud.Options{})
	demo, _ := sim.Project("demo")
	sim.PutServer(simcloud.Server{ID: serverID, ProjectID: demo.ID, Created: created})
	sim.PutVolume(simcloud.Volume{ID: volumeID, ProjectID: demo.ID, ServerID: serverID, Created: created})
	sim.PutSnapshot(simcloud.Snapshot{ID: snapshotID, ProjectID: demo.ID, VolumeID: volumeID, Created: created})
	set, err := tagger.Compile(settings(), rules.Source{Name: "R", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings(), set, tagger.Parts{Cloud: login(sim, "secret")})
	if err != nil {
		t.Fatal(err)
	}
	return sim, tg
}

func change(t *testing.T, action, id, actor string, at time.Time, data string) event.Event {
	t.Helper()
	batch := ingress.Decode(fmt.Appendf(nil, `{"specversion": "1.0", "id": %q, "source": "//t", "type": "io.github.cloudtagger.%s", "subject": %q,
		"time": %q, "data": {"resource": {%s}, "actor": {"name": %q, "kind": "user"}}}`, action+id, action, id, at.Format(time.RFC3339), data, actor))
	if batch.Records[0].Err != nil {
		t.Fatal(batch.Records[0].Err)
	}
	return batch.Records[0].Events[0]
}

// In whatever order the events come, and whoever their actors are, they end in the same values: a child waits for a young
// parent that is still to get what it hands down.
func TestInheritanceInEveryOrder(t *testing.T) {
	now := time.Now()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			sim, tg := family(t, inheritance, now)
			events := []event.Event{
				change(t, "server.created", serverID, "alice", now, ""),
				change(t, "volume.attached", volumeID, "bob", now, ""),
				change(t, "snapshot.created", snapshotID, "carol", now, `"volume": "`+volumeID+`"`),
			}
			queue := order
			for round := 0; len(queue) > 0; round++ {
				if round == 4 {
					t.Fatalf("%d events are deferred for good", len(queue))
				}
				var again []int
				for _, i := range queue {
					got := tg.Handle(t.Context(), tagger.Delivery{Event: events[i]})
					switch got[0].Outcome {
					case apply.Deferred:
						if !strings.Contains(got[0].Reason, "is new and lacks owner, which a rule can still give it") {
							t.Fatalf("event %d: %s", i, got[0].Reason)
						}
						again = append(again, i)
					case apply.Tagged:
					default:
						t.Fatalf("event %d: %s", i, got[0].Decision)
					}
				}
				queue = again
			}
			for kind, id := range map[string]string{"server": serverID, "volume": volumeID, "snapshot": snapshotID} {
				if got := sim.Metadata(kind, id)["owner"]; got != "alice" {
					t.Errorf("%s: owner %q, want that of the server", kind, got)
				}
			}
		})
	}
}

func TestReadings(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	snapshot := func(t *testing.T) event.Event {
		return change(t, "snapshot.created", snapshotID, "carol", time.Now(), `"volume": "`+volumeID+`"`)
	}
	for _, tt := range []struct {
		name    string
		rules   string
		event   func(*testing.T) event.Event
		prepare func(*simcloud.Cloud)
		outcome apply.Outcome
		reason  string
		written map[string]string
		calls   []string // what was read, before anything was written
		problem string
	}{
		{
			"a pattern of keys comes from the volume", inheritance, snapshot,
			func(sim *simcloud.Cloud) {
				sim.SetMetadata("volume", volumeID, map[string]string{"owner": "alice", "billing-code": "7", "other": "x"})
			},
			apply.Tagged, "", map[string]string{"owner": "alice", "billing-code": "7"}, []string{"GET volumes"}, "",
		},
		{
			"a volume that is gone is absent", inheritance, snapshot,
			func(sim *simcloud.Cloud) { sim.DeleteVolume(volumeID) },
			apply.Rejected, "is not there", nil, []string{"GET volumes"}, "is not there",
		},
		{
			"a volume that cannot be read now is waited for", inheritance, snapshot,
			func(sim *simcloud.Cloud) {
				sim.Inject(simcloud.Fault{Method: "GET", Path: "/volumes/", Answer: simcloud.ServerError()})
			},
			apply.Deferred, "500", nil, []string{"GET volumes"}, "",
		},
		{
			"the resource's own metadata decides", `rules: [{name: r, on: server.created, when: 'resource.metadata.env == "prod"', set: {tier: "1"}}]`,
			func(t *testing.T) event.Event { return change(t, "server.created", serverID, "alice", time.Now(), "") },
			func(sim *simcloud.Cloud) { sim.SetMetadata("server", serverID, map[string]string{"env": "prod"}) },
			apply.Tagged, "", map[string]string{"tier": "1"}, []string{"GET servers"}, "",
		},
		{
			"it does not match after all", `rules: [{name: r, on: server.created, when: 'resource.metadata.env == "prod"', set: {tier: "1"}}]`,
			func(t *testing.T) event.Event { return change(t, "server.created", serverID, "alice", time.Now(), "") },
			nil, apply.Ignored, "no rule matches", nil, []string{"GET servers"}, "",
		},
		{
			"nothing is read where the event's action needs nothing", inheritance,
			func(t *testing.T) event.Event { return change(t, "server.created", serverID, "alice", time.Now(), "") },
			nil, apply.Tagged, "", map[string]string{"owner": "alice"}, nil, "",
		},
		{
			"another program's volume is left alone", `rules: [{name: r, on: volume.created, set: {env: dev}}]`,
			func(t *testing.T) event.Event { return change(t, "volume.created", volumeID, "alice", time.Now(), "") },
			func(sim *simcloud.Cloud) { sim.SetMetadata("volume", volumeID, map[string]string{"terraform": "x"}) },
			apply.Ignored, "another program may manage its metadata", nil, nil, "",
		},
		{
			"unless the rules say so", "volumes: {write: all}\nrules: [{name: r, on: volume.created, set: {env: dev}}]",
			func(t *testing.T) event.Event { return change(t, "volume.created", volumeID, "alice", time.Now(), "") },
			func(sim *simcloud.Cloud) { sim.SetMetadata("volume", volumeID, map[string]string{"terraform": "x"}) },
			apply.Tagged, "", map[string]string{"env": "dev"}, nil, "",
		},
		{
			"volumes are never written", "volumes: {write: never}\nrules: [{name: r, on: volume.created, set: {env: dev}}]",
			func(t *testing.T) event.Event { return change(t, "volume.created", volumeID, "alice", time.Now(), "") },
			nil, apply.Ignored, "volumes: {write: never}", nil, nil, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sim, tg := family(t, tt.rules, old)
			if tt.prepare != nil {
				tt.prepare(sim)
			}
			got := tg.Handle(t.Context(), tagger.Delivery{Event: tt.event(t), SentAt: time.Now(), Receives: 1})[0]
			if got.Outcome != tt.outcome || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("%s; want %s: …%s…", got.Decision, tt.outcome, tt.reason)
			}
			if diff := cmp.Diff(tt.written, got.Written); tt.written != nil && diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			var reads []string
			for _, r := range got.Requests {
				if strings.HasSuffix(r.Path, "/metadata") || r.Method != "GET" {
					break
				}
				path := strings.Split(r.Path, "/")
				reads = append(reads, r.Method+" "+path[len(path)-2])
			}
			if diff := cmp.Diff(tt.calls, reads); diff != "" {
				t.Errorf("reads (-want +got):\n%s", diff)
			}
			if text := fmt.Sprint(got.Problems); !strings.Contains(text, tt.problem) {
				t.Errorf("problems %s, want %s", text, tt.problem)
			}
		})
	}
}

// A plan without a cloud says what it would have to ask.
func TestPlanSaysWhatItNeeds(t *testing.T) {
	_, tg := family(t, inheritance, time.Now())
	p := tg.Plan(t.Context(), change(t, "snapshot.created", snapshotID, "carol", time.Now(), `"volume": "`+volumeID+`"`))[0]
	if !p.Pending() || len(p.Needs) != 1 || p.Needs[0] != "parent" {
		t.Errorf("pending %t, needs %q", p.Pending(), p.Needs)
	}
}
