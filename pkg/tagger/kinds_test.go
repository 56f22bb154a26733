package tagger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// The kinds of events and the kinds with metadata are two tables; a kind must be in both.
func TestKindTablesAgree(t *testing.T) {
	var events, apis []string
	for _, k := range lifecycle.Kinds() {
		events = append(events, string(k))
	}
	for _, k := range metadata.Kinds() {
		apis = append(apis, string(k))
		if k.Service() == "" || k.Family(metadata.OpenStack) == "" || k.Family(metadata.HuaweiCloud) == "" {
			t.Errorf("%s: service %q, families %q and %q", k, k.Service(), k.Family(metadata.OpenStack),
				k.Family(metadata.HuaweiCloud))
		}
	}
	slices.Sort(events)
	slices.Sort(apis)
	if diff := cmp.Diff(events, apis); diff != "" {
		t.Errorf("(-lifecycle +metadata):\n%s", diff)
	}
}

// A parent that the resource's own fields name has the kind that the API's table has.
func TestKindTablesAgreeOnParents(t *testing.T) {
	const parent = "0a1b2c3d-0000-4000-8000-000000000001"
	found := 0
	for _, kind := range lifecycle.Kinds() {
		set := lifecycle.Change{Resource: lifecycle.Resource{Kind: kind}}
		set.SetParent(lifecycle.Parent{Kind: lifecycle.Kind(metadata.Kind(kind).Parent()), ID: parent})
		batch := ingress.Decode(fmt.Appendf(nil, `{"specversion": "1.0", "id": "e", "source": "//t", "subject": %q,
			"type": "io.github.cloudtagger.%s", "data": {"resource": {"kind": %q, "volume": %q}}}`,
			id, kind.Creation(), kind, set.Resource.Volume))
		reading, err := lifecycle.New(lifecycle.Options{}).Read(batch.Records[0].Events[0])
		if err != nil || len(reading.Changes) != 1 {
			t.Fatalf("%s: %+v, %v", kind, reading, err)
		}
		got, want := reading.Changes[0].Parent, lifecycle.Parent{}
		if set.Resource.Volume != "" {
			want, found = set.Parent, found+1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: parent (-want +got):\n%s", kind, diff)
		}
	}
	if found == 0 {
		t.Error("no kind has a field with its parent's id")
	}
}

// A plan shows byte for byte what a run sends, for every kind and every action that can be followed by a write.
func TestPlanShowsWhatARunSends(t *testing.T) {
	for _, kind := range lifecycle.Kinds() {
		for _, action := range lifecycle.Actions() {
			if !slices.Contains(action.Kinds(), kind) || !action.Writable() {
				continue
			}
			for _, keys := range []string{`set: {env: dev, "b:c": x}`, `add: {owner: alice}`, `add: {owner: alice, team: red}`,
				`set: {env: dev}, remove: [old, older]`, `set: {env: dev}, rename: {old: new}, remove: ["olde*"]`} {
				t.Run(fmt.Sprintf("%s/%s/%s", kind, action, keys), func(t *testing.T) {
					planIsWhatIsSent(t, kind, action, keys)
				})
			}
		}
	}
}

func planIsWhatIsSent(t *testing.T, kind lifecycle.Kind, action lifecycle.Action, keys string) {
	t.Helper()
	sim := simcloud.New(simcloud.Options{})
	demo, _ := sim.Project("demo")
	sim.Put(simcloud.Resource{Kind: string(kind), ID: id, ProjectID: demo.ID, State: action.State()})
	if strings.Contains(keys, "remove") {
		sim.SetMetadata(string(kind), id, map[string]string{"old": "1", "older": "2"})
	}
	set, err := tagger.Compile(settings(),
		rules.Source{Name: "R", Text: fmt.Appendf(nil, "rules:\n- {name: r, on: %s, %s}\n", action, keys)})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings(), set, tagger.Parts{Cloud: login(sim, "secret")})
	if err != nil {
		t.Fatal(err)
	}
	batch := ingress.Decode(fmt.Appendf(nil,
		`{"specversion": "1.0", "id": "e", "source": "//t", "type": "io.github.cloudtagger.%s", "subject": %q,
		"time": "2026-11-20T09:15:04Z", "data": {"resource": {"kind": %q, "project": %q}}}`, action, id, kind, demo.ID))
	e := batch.Records[0].Events[0]
	planned := tg.Plan(t.Context(), e)
	if len(planned) != 1 || !planned[0].Pending() {
		t.Fatalf("planned %+v", planned)
	}
	var predicted []string
	for _, r := range tg.Preview(t.Context(), tagger.Delivery{Event: e})[0].Requests {
		predicted = append(predicted, r.Method+" "+r.Path+" "+string(r.Body))
	}
	sim.ForgetRequests()
	done := tg.Handle(t.Context(), tagger.Delivery{Event: e})
	if len(done) != 1 || done[0].Outcome != apply.Tagged {
		t.Fatalf("%+v", done)
	}
	var shown, sent []string
	pages := metadata.Kind(kind).PagePath(demo.ID)
	for _, r := range tg.Requests(planned[0]).Requests {
		path, ok := strings.CutPrefix(r.Path, pages)
		if !ok {
			t.Errorf("the plan shows %s, want a path under %s", r.Path, pages)
		}
		shown = append(shown, r.Method+" "+path+" "+string(r.Body))
	}
	for _, r := range done[0].Requests {
		sent = append(sent, r.Method+" "+r.Path+" "+string(r.Body))
	}
	var received []string
	for _, r := range sim.Requests() {
		if r.Service != "identity" {
			received = append(received, r.Method+" "+r.Path+" "+r.Body)
		}
	}
	if diff := cmp.Diff(received, sent); diff != "" {
		t.Errorf("(-received +reported):\n%s", diff)
	}
	if diff := cmp.Diff(predicted, received); diff != "" {
		t.Errorf("with the resource read (-predicted +received):\n%s", diff)
	}
	if strings.Contains(keys, "rename") { // whose value only the cloud knows
		return
	}
	if len(shown) != len(received) {
		t.Fatalf("shown %d requests, sent %d:\n%s\n%s", len(shown), len(received), strings.Join(shown, "\n"),
			strings.Join(received, "\n"))
	}
	for i := range shown {
		method, rest, _ := strings.Cut(shown[i], " ")
		if !strings.HasPrefix(received[i], method+" ") || !strings.HasSuffix(received[i], "/"+rest) {
			t.Errorf("request %d: shown %s, sent %s", i+1, shown[i], received[i])
		}
	}
}
