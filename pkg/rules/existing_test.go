package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Parts that depend on an event are left out, key by key, and named.
func TestForExisting(t *testing.T) {
	set, err := rules.Compile([]byte(`
rules:
- {name: base, on: server.created, add: {owner: "${resource.project}", tier: standard, env: dev}}
- {name: lease, on: server.created, add: {expires: "${date(time + days(14))}", class: lab}}
- {name: kept, on: server.created, reconcile: true, add: {born: "${date(time)}"}}
- {name: payload, on: server.created, when: data.size > 3, add: {tier: large}}
- {name: narrow, on: server.created, when: 'resource.name == "db" and event.type == "x"', add: {env: "production"}}
- {name: stopped, on: server.stopped, add: {stopped: "yes"}}
- {name: last, on: server.created, when: 'resource.name == "db"', set: {tier: database}}
`), rules.Options{Name: "r"})
	if err != nil {
		t.Fatal(err)
	}
	existing, left, err := set.ForExisting()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range left {
		names = append(names, l.String())
	}
	want := []string{"lease.expires", "payload", "narrow", "stopped"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		name      string
		add, set  map[string]string
		eventOnly []string
	}{
		{"web", map[string]string{"owner": "p1", "env": "dev", "class": "lab", "born": "2024-01-02"}, map[string]string{},
			[]string{"expires", "tier"}},
		{"db", map[string]string{"owner": "p1", "class": "lab", "born": "2024-01-02"}, map[string]string{"tier": "database"},
			[]string{"env", "expires"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := lifecycle.Change{
				Action: lifecycle.ServerCreated, Time: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
				Resource: lifecycle.Resource{Kind: lifecycle.Server, Name: tt.name, Project: "p1"},
			}
			p := existing.Plan(c, event.New(), rules.Readings{})
			if diff := cmp.Diff(tt.add, p.Add); diff != "" {
				t.Errorf("add (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.set, p.Set); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.eventOnly, p.EventOnly); diff != "" {
				t.Errorf("event only (-want +got):\n%s", diff)
			}
		})
	}
	// The set for events is unchanged.
	p := set.Plan(
		lifecycle.Change{
			Action:   lifecycle.ServerCreated,
			Time:     time.Now(),
			Resource: lifecycle.Resource{Kind: lifecycle.Server},
		},
		event.New(),
		rules.Readings{},
	)
	if p.Add["expires"] == "" || p.EventOnly != nil {
		t.Errorf("the plan for an event is %+v", p)
	}
}

func TestForExistingRefusesIgnoreThatNeedsAnEvent(t *testing.T) {
	set, err := rules.Compile(
		[]byte("ignore: data.kind == 'x'\nrules:\n- {on: server.created, add: {a: b}}\n"),
		rules.Options{Name: "r"},
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := set.ForExisting(); err == nil ||
		!strings.Contains(err.Error(), "ignore: data.kind == 'x' depends on data") {
		t.Errorf("error %v", err)
	}
}

// The hash covers the rules and the contents of their tables.
func TestHash(t *testing.T) {
	hash := func(text string) string {
		set, err := rules.Compile([]byte(text), rules.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return set.Hash()
	}
	a := hash("rules:\n- {on: server.created, add: {a: b}}\n")
	if a != hash("rules:\n- {on: server.created, add: {a: b}}\n") ||
		a == hash("rules:\n- {on: server.created, add: {a: c}}\n") ||
		len(a) != 64 {
		t.Errorf("hash %q", a)
	}
}
