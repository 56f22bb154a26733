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
	batch := ingress.Decode(fmt.Appendf(nil,
		`{"specversion": "1.0", "id": %q, "source": "//t", "type": "io.github.cloudtagger.%s", "subject": %q,
		"time": %q, "data": {"resource": {%s}, "actor": {"name": %q, "kind": "user"}}}`, action+id, action, id,
		at.Format(time.RFC3339), data, actor))
	if batch.Records[0].Err != nil {
		t.Fatal(batch.Records[0].Err)
	}
	return batch.Records[0].Events[0]
}

// The values do not depend on the order of the events or on their actors: a child waits for a young parent that has yet
// to get an inherited key.
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
			apply.Rejected, "does not exist", nil, []string{"GET volumes"}, "does not exist",
		},
		{
			"a volume that cannot be read now is waited for", inheritance, snapshot,
			func(sim *simcloud.Cloud) {
				sim.Inject(simcloud.Fault{Method: "GET", Path: "/volumes/", Answer: simcloud.ServerError()})
			},
			apply.Deferred, "500", nil, []string{"GET volumes"}, "",
		},
		{
			"the resource's own metadata decides",
			`rules: [{name: r, on: server.created, when: 'resource.metadata.env == "prod"', set: {tier: "1"}}]`,
			func(t *testing.T) event.Event { return change(t, "server.created", serverID, "alice", time.Now(), "") },
			func(sim *simcloud.Cloud) { sim.SetMetadata("server", serverID, map[string]string{"env": "prod"}) },
			apply.Tagged, "", map[string]string{"tier": "1"}, []string{"GET servers"}, "",
		},
		{
			"it does not match after all",
			`rules: [{name: r, on: server.created, when: 'resource.metadata.env == "prod"', set: {tier: "1"}}]`,
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
			"unless a rule for volumes renames it",
			`rules: [{name: r, on: volume.created, rename: {Owner: owner}}, {name: s, on: volume.attached, set: {env: dev}}]`,
			func(t *testing.T) event.Event { return change(t, "volume.attached", volumeID, "alice", time.Now(), "") },
			func(sim *simcloud.Cloud) { sim.SetMetadata("volume", volumeID, map[string]string{"Owner": "x"}) },
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

// A plan without a cloud names what it would have to read.
func TestPlanSaysWhatItNeeds(t *testing.T) {
	_, tg := family(t, inheritance, time.Now())
	p := tg.Plan(t.Context(), change(t, "snapshot.created", snapshotID, "carol", time.Now(), `"volume": "`+volumeID+
		`"`))[0]
	if !p.Pending() || len(p.Needs) != 1 || p.Needs[0] != "parent" {
		t.Errorf("pending %t, needs %q", p.Pending(), p.Needs)
	}
}

// A snapshot does not wait for a key that its young volume will never get.
func TestSnapshotOfAnotherProgramsVolume(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		policy  string
		on      map[string]string
		outcome apply.Outcome
	}{
		{"", nil, apply.Deferred},
		{"", map[string]string{"billing-code": "7"}, apply.Deferred}, // a key that is inherited
		{"", map[string]string{"terraform": "x"}, apply.Tagged},
		{"volumes: {write: all}\n", map[string]string{"terraform": "x"}, apply.Deferred},
		{"volumes: {write: never}\n", nil, apply.Tagged},
	} {
		sim, tg := family(t, tt.policy+inheritance+
			"- {name: creator, on: snapshot.created, add: {owner: \"${actor.name}\"}}\n", now)
		sim.SetMetadata("volume", volumeID, tt.on)
		e := change(t, "snapshot.created", snapshotID, "carol", now, `"volume": "`+volumeID+`"`)
		if got := tg.Handle(t.Context(), tagger.Delivery{Event: e})[0]; got.Outcome != tt.outcome {
			t.Errorf("%q, %v: %s, want %s", tt.policy, tt.on, got.Decision, tt.outcome)
		}
	}
}

// A server's value replaces only what the creator rule gave a new volume, not what another writer or a table gave, nor
// what an old volume had when it was attached. So the order of the two events does not matter.
func TestAttachmentReplacesTheCreatorsValue(t *testing.T) {
	const creator = `rules:
- {name: creator, on: [volume.created, volume.attached], add: {owner: "%s"}}
- {name: handed down, on: [volume.created, volume.attached], inherit: [owner]}
tables: {owners: {%s: team-shop}}
`
	now := time.Now()
	for _, tt := range []struct {
		name    string
		value   string
		created time.Time
		on      map[string]string // on the volume before Tagger
		want    string
	}{
		{"the creator's", "${actor.id}", now, nil, "team-server"},
		{"an operator's name", "${actor.name}", now, nil, "team-server"},
		{"with words around it", "user ${actor.id}", now, nil, "team-server"},
		{"another writer's", "${actor.id}", now, map[string]string{"owner": "carol"}, "carol"},
		{"a table's", "${tables.owners[resource.project]}", now, nil, "team-shop"},
	} {
		for _, order := range [][]string{{"volume.created", "volume.attached"}, {"volume.attached", "volume.created"}} {
			t.Run(tt.name+"/"+order[0]+" first", func(t *testing.T) {
				probe := simcloud.New(simcloud.Options{})
				demo, _ := probe.Project("demo")
				sim, tg := family(t, fmt.Sprintf(creator, tt.value, demo.ID), tt.created)
				sim.SetMetadata("server", serverID, map[string]string{"owner": "team-server"})
				sim.SetMetadata("volume", volumeID, tt.on)
				for i, action := range order {
					if i == 0 && action == "volume.created" { // Cinder tells of it before there is an attachment
						v, _ := sim.Volume(volumeID)
						v.ServerID = ""
						sim.PutVolume(v)
						handledBy(t, tg, sim, action, tt.created)
						v.ServerID, v.Metadata = serverID, sim.Metadata("volume", volumeID)
						sim.PutVolume(v)
						continue
					}
					handledBy(t, tg, sim, action, tt.created)
				}
				if got := sim.Metadata("volume", volumeID)["owner"]; got != tt.want {
					t.Errorf("owner %q, want %q", got, tt.want)
				}
			})
		}
	}
	t.Run("an old volume", func(t *testing.T) {
		sim, tg := family(t, fmt.Sprintf(creator, "${actor.id}", "p"), now.Add(-time.Hour))
		user, _ := sim.User("demo")
		sim.SetMetadata("server", serverID, map[string]string{"owner": "team-server"})
		sim.SetMetadata("volume", volumeID, map[string]string{"owner": user.ID})
		handledBy(t, tg, sim, "volume.attached", now)
		if got := sim.Metadata("volume", volumeID)["owner"]; got != user.ID {
			t.Errorf("owner %q, want what was there", got)
		}
	})
}

// handledBy handles an event of the volume, with the user who created it.
func handledBy(t *testing.T, tg *tagger.Tagger, sim *simcloud.Cloud, action string, at time.Time) {
	t.Helper()
	user, _ := sim.User("demo")
	demo, _ := sim.Project("demo")
	batch := ingress.Decode(fmt.Appendf(nil,
		`{"specversion": "1.0", "id": %q, "source": "//t", "type": "io.github.cloudtagger.%s", "subject": %q,
		"time": %q, "data": {"resource": {"project": %q}, "actor": {"id": %q, "kind": "user"}}}`,
		action, action, volumeID, at.Format(time.RFC3339), demo.ID, user.ID))
	got := tg.Handle(t.Context(), tagger.Delivery{Event: batch.Records[0].Events[0]})[0]
	if got.Outcome != apply.Tagged && got.Outcome != apply.Unchanged {
		t.Fatalf("%s: %s", action, got.Decision)
	}
}
