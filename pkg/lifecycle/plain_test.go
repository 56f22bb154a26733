package lifecycle_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

const (
	serverID  = "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"
	projectID = "5f705ac7cdcc4c3a9ad67dcba5a7f5a1"
)

// readEvent reads a payload with one event in any format that ingress reads.
func readEvent(t testing.TB, o lifecycle.Options, payload string) (lifecycle.Reading, error) {
	t.Helper()
	b := ingress.Decode([]byte(payload))
	if len(b.Records) != 1 || len(b.Records[0].Events) != 1 {
		t.Fatalf("%s: %v", payload, b.Records[0].Err)
	}
	return lifecycle.New(o).Read(b.Records[0].Events[0])
}

func plainEvent(typ, members string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"io.github.cloudtagger.` + typ + `"` + members + `}`
}

func TestPlain(t *testing.T) {
	payload := plainEvent("server.resized", `,"subject":"`+serverID+`","time":"2026-11-20T10:15:04+01:00","data":{
		"resource":{"kind":"baremetal","name":"n","project":"`+projectID+`","project_name":"shop","region":"elsewhere",
			"flavor":"f","image":"i","zone":"z","volume":"v","created":"2026-11-20T09:14:47Z"},
		"actor":{"id":"u","name":"alice","kind":"agency"},
		"n":1,"f":1.5,"big":12345678901234567890,"whole":2.0,"list":[3]}`)
	reading, err := readEvent(t, lifecycle.Options{Region: "eu-de"}, payload)
	if err != nil {
		t.Fatal(err)
	}
	want := lifecycle.Reading{Dialect: "plain", Known: true, Changes: []lifecycle.Change{{
		Action: lifecycle.ServerResized,
		Resource: lifecycle.Resource{
			Kind: lifecycle.BareMetal, ID: serverID, Name: "n", Project: projectID, ProjectName: "shop", Region: "eu-de",
			Flavor: "f", Image: "i", Zone: "z", Volume: "v", Created: time.Date(2026, 11, 20, 9, 14, 47, 0, time.UTC),
		},
		Actor: lifecycle.Actor{ID: "u", Name: "alice", Kind: lifecycle.Agency},
		Time:  time.Date(2026, 11, 20, 9, 15, 4, 0, time.UTC),
		Data: map[string]any{
			"resource": map[string]any{
				"kind": "baremetal", "name": "n", "project": projectID, "project_name": "shop",
				"region": "elsewhere", "flavor": "f", "image": "i", "zone": "z", "volume": "v",
				"created": "2026-11-20T09:14:47Z",
			},
			"actor": map[string]any{"id": "u", "name": "alice", "kind": "agency"},
			"n":     int64(1), "f": 1.5, "big": "12345678901234567890", "whole": int64(2), "list": []any{int64(3)},
		},
	}}}
	if diff := cmp.Diff(want, reading); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// plainWith returns a plain event of a valid resource with the given data.
func plainWith(typ, data string) string {
	return plainEvent(typ, `,"subject":"`+serverID+`","data":`+data)
}

// plainSubject returns a plain event with the given subject.
func plainSubject(subject string) string {
	return plainEvent("server.created", `,"subject":"`+subject+`"`)
}

// plainEvents are events with the expected error, "" for a valid one. The schema must agree.
var plainEvents = map[string]string{
	plainSubject(serverID): "",
	plainEvent("server.created", `,"subject":"`+strings.ToUpper(serverID)+`","data":null`): "",
	plainEvent("server.rebuilt", `,"subject":"`+serverID+`"`):                              "",
	plainWith("snapshot.deleted", `{"resource":null,"actor":{},"x":[]}`):                   "",
	plainWith("server.stopped", `{"resource":{"kind":"","created":""}}`):                   "",
	plainWith("volume.attached", `{"resource":{"kind":"volume"}}`):                         "",
	plainWith("server.created", `{"resource":{"kind":"baremetal","zone":null}}`):           "",

	plainWith("volume.created", `{"resource":{"kind":"snapshot"}}`): wrongKind("snapshot", "volume"),
	plainWith("snapshot.created", `{"resource":{"kind":"server"}}`): wrongKind("server", "snapshot"),
	plainWith("server.created", `{"resource":{"kind":"snapshot"}}`): wrongKind("snapshot", "server or baremetal"),
	plainWith("server.rebuilt", `{"resource":{"kind":"volume"}}`):   wrongKind("volume", "server or baremetal"),

	plainEvent("server.created", ""):                     "subject: is missing; want the resource's UUID",
	plainSubject(strings.Repeat("é", 70)):                notUUID(strings.Repeat("é", 60)),
	plainSubject("../../x"):                              notUUID("../../x"),
	plainSubject("8c1f0a6e5b0d4a3e9f527f1c2d9b6a10"):     notUUID("8c1f0a6e5b0d4a3e9f527f1c2d9b6a10"),
	plainSubject("8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a1g"): notUUID("8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a1g"),
	plainSubject("8c1f0a6e-5b0d-4a3e-9f52+7f1c2d9b6a10"): notUUID("8c1f0a6e-5b0d-4a3e-9f52+7f1c2d9b6a10"),

	plainWith("server.created", `[]`):                              "data: is not an object",
	plainWith("server.created", `{"resource":5}`):                  "data.resource: is not an object",
	plainWith("server.created", `{"actor":"alice"}`):               "data.actor: is not an object",
	plainWith("server.created", `{"resource":{"name":5}}`):         "data.resource.name: is not a string",
	plainWith("server.created", `{"resource":{"region":{}}}`):      "data.resource.region: is not a string",
	plainWith("server.created", `{"resource":{"project":"../x"}}`): `data.resource.project: "../x" is not a project id`,
	plainWith("server.created", `{"resource":{"created":"soon"}}`): "data.resource.created: is not a timestamp (RFC 3339)",
	plainWith("server.created", `{"actor":{"name":["x"]}}`):        "data.actor.name: is not a string",

	plainWith("server.created", `{"actor":{"kind":"robot"}}`):       `data.actor.kind: "robot"` + wrongActor,
	plainWith("server.created", `{"actor":{"kind":"\n\u001b[2J"}}`): `data.actor.kind: "\n\x1b[2J"` + wrongActor,
}

const wrongActor = " is not user, service, agency or unknown"

func wrongKind(got, want string) string {
	return fmt.Sprintf("data.resource.kind: %q does not fit the event's type; want %s", got, want)
}

func notUUID(subject string) string {
	return `subject: "` + subject + `" is not a UUID; want 8-4-4-4-12 hexadecimal digits`
}

func TestPlainMistakes(t *testing.T) {
	for _, payload := range slices.Sorted(maps.Keys(plainEvents)) {
		problem := plainEvents[payload]
		reading, err := readEvent(t, lifecycle.Options{}, payload)
		got := ""
		if err != nil {
			malformed, ok := err.(*lifecycle.MalformedError)
			if !ok || malformed.Dialect != "plain" || !strings.HasPrefix(malformed.Type, "io.github.cloudtagger.") {
				t.Fatalf("%s: %#v", payload, err)
			}
			got = malformed.Place + ": " + malformed.Problem
		}
		if got != problem || (problem == "") != (len(reading.Changes) == 1) {
			t.Errorf("%s\n%d changes, %q, want %q", payload, len(reading.Changes), got, problem)
		}
	}
}

// TestPlainSchema: docs/plain-event.schema.json accepts and rejects the same events as the dialect.
func TestPlainSchema(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("../../docs/plain-event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(document string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	samples := 0
	files, err := filepath.Glob("../../events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var attributes struct{ Type string }
		if json.Unmarshal(b, &attributes) == nil && strings.HasPrefix(attributes.Type, "io.github.cloudtagger.") {
			samples++
			if err := validate(string(b)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if samples < 4 {
		t.Errorf("%d samples of the plain schema, want at least 4", samples)
	}
	for _, payload := range slices.Sorted(maps.Keys(plainEvents)) {
		if err := validate(payload); (err == nil) != (plainEvents[payload] == "") {
			t.Errorf("%s\ndialect says %q, schema says %v", payload, plainEvents[payload], err)
		}
	}
	if validate(plainEvent("server.creatd", `,"subject":"`+serverID+`"`)) == nil {
		t.Error("the schema accepts an unknown type")
	}
}
