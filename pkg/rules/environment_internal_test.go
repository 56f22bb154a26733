package rules

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/expr-lang/expr/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// Rules are checked against the types, and run with the values. Each name with a type has a value if everything is
// known, and no other name has one.
func TestValuesHaveTypes(t *testing.T) {
	words := map[string]string{"k": "v"}
	c := lifecycle.Change{
		Action: lifecycle.SnapshotCreated, Time: time.Unix(1, 0), Data: words,
		Resource: lifecycle.Resource{
			Kind: lifecycle.Snapshot, ID: "i", Name: "n", Project: "p", ProjectName: "p", Region: "r", Flavor: "f",
			FlavorID: "f", Image: "i", Zone: "z", Volume: "v", Created: time.Unix(1, 0), Metadata: words,
		},
		Actor:  lifecycle.Actor{ID: "a", Name: "a", Kind: lifecycle.User},
		Parent: lifecycle.Parent{Kind: lifecycle.Volume, ID: "v", Name: "v", Metadata: words},
	}
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("t")
	e.SetSubject("s")
	e.SetExtension("x", "y")
	readings := Readings{Project: &Project{Name: "p", Description: "d", Tags: []string{"t"}}}
	values := environment(c, e, nil)
	readings.addTo(values, c, true)
	delete(values, unknownVariable) // no expression can contain it

	wanted := environmentTypes(scope{}, types.String)
	if diff := cmp.Diff(memberNames(wanted), memberNames(values)); diff != "" {
		t.Fatalf("(-types +values):\n%s", diff)
	}
	for name, of := range wanted {
		members, ok := of.(types.Map)
		if !ok || name == "tables" {
			continue
		}
		delete(members, types.Extra)
		object, _ := values[name].(map[string]any)
		if diff := cmp.Diff(memberNames(members), memberNames(object)); diff != "" {
			t.Errorf("%s (-types +values):\n%s", name, diff)
		}
	}
}

func memberNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
