package lifecycle_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// table returns the cells of the table in docs/events.md whose first column has this heading.
func table(t *testing.T, heading string) [][]string {
	t.Helper()
	var rows [][]string
	in := false
	for line := range strings.Lines(string(readFile(t, "../../docs/events.md"))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			in = false
		case cells[0] == heading:
			in = true
		case in && cells[0] != "---":
			rows = append(rows, cells)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("the table of %q has %d rows", heading, len(rows))
	}
	return rows
}

var quotedName = regexp.MustCompile("`([^`]+)`")

// names returns the inline code in a cell.
func names(cell string) []string {
	var all []string
	for _, m := range quotedName.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestDocumentedEventTypes compares the table of event types and actions with the code.
func TestDocumentedEventTypes(t *testing.T) {
	openstack, traces := map[string]lifecycle.Action{}, map[string]lifecycle.Action{}
	var actions []lifecycle.Action
	for _, row := range table(t, "action") {
		action := lifecycle.Action(names(row[0])[0])
		actions = append(actions, action)
		if got := names(row[1]); len(got) != 1 || got[0] != string(action) {
			t.Errorf("%s: the plain column has %q", action, got)
		}
		for i, versioned := range []bool{false, true} {
			for _, name := range names(row[2+i]) {
				if strings.HasPrefix(name, "instance.") != versioned {
					t.Errorf("%s stands in the wrong column", name)
				}
				if !slices.Contains(lifecycle.OpenStackUpdates, name) {
					openstack[name] = action
				} else if action != lifecycle.ServerStarted && action != lifecycle.ServerStopped {
					t.Errorf("%s is listed for %s", name, action)
				}
			}
		}
		for i, service := range []string{"ECS:", "BMS:", "EVS:"} {
			for _, name := range names(row[4+i]) {
				traces[service+name] = action
			}
		}
	}
	if diff := cmp.Diff(lifecycle.Actions(), actions); diff != "" {
		t.Errorf("actions (-code +docs):\n%s", diff)
	}
	if diff := cmp.Diff(lifecycle.OpenStackActions, openstack); diff != "" {
		t.Errorf("OpenStack event types (-code +docs):\n%s", diff)
	}
	if diff := cmp.Diff(lifecycle.TraceActions, traces); diff != "" {
		t.Errorf("traces (-code +docs):\n%s", diff)
	}
}

// TestDocumentedNonChanges compares the tables of events that are ignored, and their reasons, with the code.
func TestDocumentedNonChanges(t *testing.T) {
	openstack, traces := map[string]string{}, map[string][]string{}
	registry := lifecycle.New(lifecycle.Options{})
	for _, row := range table(t, "OpenStack event type") {
		for _, name := range names(row[0]) {
			openstack[name] = row[1]
			reading, err := registry.Read(rawEvent("org.openstack."+name, notification(name, `{}`, "")))
			if err != nil || !reading.Known || reading.Why != name+" "+row[1] {
				t.Errorf("%s: %+v, %v", name, reading, err)
			}
		}
	}
	if diff := cmp.Diff(lifecycle.OpenStackNonChanges, openstack); diff != "" {
		t.Errorf("OpenStack event types (-code +docs):\n%s", diff)
	}
	for _, row := range table(t, "service") {
		traces[row[0]] = names(row[1])
		for _, name := range names(row[1]) {
			reading, err := registry.Read(rawEvent(ecsType, `{"trace_name":"`+name+`","service_type":"`+row[0]+
				`","resource_id":"`+serverID+`"}`))
			if err != nil || !reading.Known || len(reading.Changes) != 0 {
				t.Errorf("%s:%s: %+v, %v", row[0], name, reading, err)
			}
		}
	}
	if diff := cmp.Diff(lifecycle.TraceNonChanges, traces); diff != "" {
		t.Errorf("traces (-code +docs):\n%s", diff)
	}
}

// TestFieldsAreOneTable compares the fields that rules see in the code, docs/events.md, docs/rules-reference.md and the
// plain schema.
func TestFieldsAreOneTable(t *testing.T) {
	var all, inEvents []string
	members := map[string][]string{}
	for _, f := range lifecycle.Fields() {
		all = append(all, f.Path())
		members[f.Object] = append(members[f.Object], f.Name)
	}
	for _, row := range table(t, "field") {
		name := names(row[0])[0]
		inEvents = append(inEvents, name)
		if plain := names(row[1])[0]; strings.Contains(name, ".") && plain != name && plain != "subject" {
			t.Errorf("%s is data.%s of a plain event, want data.%s", name, plain, name)
		}
	}
	// The action has a table of its own; the region is configuration.
	notInEvents := []string{"action", "resource.region"}
	want := slices.DeleteFunc(slices.Clone(all), func(path string) bool { return slices.Contains(notInEvents, path) })
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(inEvents))); diff != "" {
		t.Errorf("docs/events.md (-code +docs):\n%s", diff)
	}

	rules := string(readFile(t, "../../docs/rules-reference.md"))
	for _, object := range []string{"resource", "actor"} {
		row := regexp.MustCompile("(?m)^\\| `" + object + "` \\| (.*) \\|$").FindStringSubmatch(rules)
		if row == nil {
			t.Fatalf("docs/rules-reference.md has no row of %s", object)
		}
		var got []string
		for _, name := range names(row[1]) {
			if member, ok := strings.CutPrefix(name, "."); ok {
				got = append(got, member)
			}
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(members[object])), slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("docs/rules-reference.md: %s (-code +docs):\n%s", object, diff)
		}
	}

	type definition struct {
		Properties map[string]struct{ Enum []any }
	}
	var schema struct {
		Properties struct{ Type struct{ Enum []string } }
		Defs       map[string]definition `json:"$defs"`
	}
	if err := json.Unmarshal(readFile(t, "../../docs/plain-event.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, action := range lifecycle.Actions() {
		types = append(types, "io.github.cloudtagger."+string(action))
	}
	if diff := cmp.Diff(types, schema.Properties.Type.Enum); diff != "" {
		t.Errorf("the schema's types (-code +schema):\n%s", diff)
	}
	for _, object := range []string{"resource", "actor"} {
		want := slices.DeleteFunc(slices.Clone(members[object]), func(name string) bool {
			return object+"."+name == "resource.id" // the event's subject
		})
		got := slices.Sorted(maps.Keys(schema.Defs[object].Properties))
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
			t.Errorf("the schema's %s (-code +schema):\n%s", object, diff)
		}
	}
	for _, f := range lifecycle.Fields() {
		if f.Values == nil || f.Object == "" {
			continue
		}
		var got []string
		for _, word := range schema.Defs[f.Object].Properties[f.Name].Enum {
			if s, ok := word.(string); ok && s != "" {
				got = append(got, s)
			}
		}
		if diff := cmp.Diff(f.Values, got); diff != "" {
			t.Errorf("the schema's values of %s (-code +schema):\n%s", f.Path(), diff)
		}
	}
}

// TestDocumentedSources checks that docs/events.md names a source for exactly the fields that the samples of a dialect
// have.
func TestDocumentedSources(t *testing.T) {
	seen := map[string]map[string]bool{"plain": {}, "openstack": {}, "huaweicloud": {}}
	registry := lifecycle.New(lifecycle.Options{})
	for _, file := range samples(t) {
		for _, r := range ingress.Decode(readFile(t, file)).Records {
			for _, e := range r.Events {
				reading, err := registry.Read(e)
				if err != nil {
					continue
				}
				for _, c := range reading.Changes {
					for _, f := range lifecycle.Fields() {
						seen[reading.Dialect][f.Path()] = seen[reading.Dialect][f.Path()] || f.Value(&c) != nil
					}
				}
			}
		}
	}
	for _, row := range table(t, "field") {
		for i, dialect := range []string{"plain", "openstack", "huaweicloud"} {
			if name := names(row[0])[0]; (row[1+i] != "") != seen[dialect][name] {
				t.Errorf("%s of %s: documented as %q, seen: %t", name, dialect, row[1+i], seen[dialect][name])
			}
		}
	}
}

// TestDocumentedLimits compares the limits in docs/events.md with the defaults.
func TestDocumentedLimits(t *testing.T) {
	documented := map[string]string{}
	for _, row := range table(t, "limit") {
		documented[row[0]] = row[1]
	}
	l := lifecycle.DefaultLimits()
	for what, limit := range map[string]int{
		"bytes of an event's data": l.Bytes,
		"JSON values in an event's data, those in strings that are JSON included": l.Values,
		"resources that one event reports":                                        l.Changes,
		"bytes of a field that rules see by name, such as `resource.name`":        l.Text,
		"bytes of a request's id":                                                 l.Text,
	} {
		if documented[what] != strconv.Itoa(limit) {
			t.Errorf("%s: %q, the default is %d", what, documented[what], limit)
		}
	}
}
