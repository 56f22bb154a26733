package lifecycle_test

import (
	"encoding/json"
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

// readEvent reads one structured event, or anything else that ingress reads.
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
	reading, err := readEvent(t, lifecycle.Options{Region: "eu-de"},
		plainEvent("server.resized", `,"subject":"`+serverID+`","time":"2026-11-20T10:15:04+01:00","data":{
		"resource":{"kind":"baremetal","name":"n","project":"`+projectID+
			`","project_name":"shop","region":"elsewhere","flavor":"f","image":"i","zone":"z","volume":"v","created":"2026-11-20T09:14:47Z"},
		"actor":{"id":"u","name":"alice","kind":"agency"},"n":1,"f":1.5,"big":12345678901234567890,"whole":2.0,"list":[3]}`))
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
				"kind": "baremetal", "name": "n", "project": projectID, "project_name": "shop", "region": "elsewhere",
				"flavor": "f",
				"image":  "i", "zone": "z", "volume": "v", "created": "2026-11-20T09:14:47Z",
			},
			"actor": map[string]any{"id": "u", "name": "alice", "kind": "agency"},
			"n":     int64(1), "f": 1.5, "big": "12345678901234567890", "whole": int64(2), "list": []any{int64(3)},
		},
	}}}
	if diff := cmp.Diff(want, reading); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// plainEvents are events and what is wrong with them, "" for nothing. The schema has to agree.
var plainEvents = map[string]string{
	plainEvent("server.created", `,"subject":"`+serverID+`"`):                                              "",
	plainEvent("server.created", `,"subject":"`+strings.ToUpper(serverID)+`","data":null`):                 "",
	plainEvent("snapshot.deleted", `,"subject":"`+serverID+`","data":{"resource":null,"actor":{},"x":[]}`): "",
	plainEvent("server.stopped", `,"subject":"`+serverID+`","data":{"resource":{"kind":"","created":""}}`): "",
	plainEvent("server.rebuilt", `,"subject":"`+serverID+`"`):                                              "",
	plainEvent("volume.attached", `,"subject":"`+serverID+`","data":{"resource":{"kind":"volume"}}`):       "",
	plainEvent("volume.created", `,"subject":"`+serverID+
		`","data":{"resource":{"kind":"snapshot"}}`): `data.resource.kind: "snapshot" is not volume, as the type says`,
	plainEvent("server.rebuilt", `,"subject":"`+serverID+
		`","data":{"resource":{"kind":"volume"}}`): `data.resource.kind: "volume" is not server or baremetal, as the type says`,
	plainEvent("server.created",
		""): "subject: is missing; the resource's UUID is wanted",
	plainEvent("server.created", `,"subject":"`+strings.Repeat("é", 70)+
		`"`): `subject: "` + strings.Repeat("é", 60) + `" is not a UUID; want 8-4-4-4-12 hexadecimal digits`,
	plainEvent("server.created",
		`,"subject":"../../x"`): `subject: "../../x" is not a UUID; want 8-4-4-4-12 hexadecimal digits`,
	plainEvent("server.created",
		`,"subject":"8c1f0a6e5b0d4a3e9f527f1c2d9b6a10"`): `subject: "8c1f0a6e5b0d4a3e9f527f1c2d9b6a10" is not a UUID; want 8-4-4-4-12 hexadecimal digits`,
	plainEvent("server.created",
		`,"subject":"8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a1g"`): `subject: "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a1g" is not a UUID; want 8-4-4-4-12 hexadecimal digits`,
	plainEvent("server.created",
		`,"subject":"8c1f0a6e-5b0d-4a3e-9f52+7f1c2d9b6a10"`): `subject: "8c1f0a6e-5b0d-4a3e-9f52+7f1c2d9b6a10" is not a UUID; want 8-4-4-4-12 hexadecimal digits`,
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":[]`): "data: is not an object",
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"resource":5}`): "data.resource: is not an object",
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"actor":"alice"}`): "data.actor: is not an object",
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"resource":{"name":5}}`): "data.resource.name: is not a string",
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"resource":{"region":{}}}`): "data.resource.region: is not a string",
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"resource":{"project":"../x"}}`): `data.resource.project: "../x" is not a project id`,
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"resource":{"created":"soon"}}`): "data.resource.created: is not a timestamp (RFC 3339)",
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"resource":{"kind":"snapshot"}}`): `data.resource.kind: "snapshot" is not server or baremetal, as the type says`,
	plainEvent("snapshot.created", `,"subject":"`+serverID+
		`","data":{"resource":{"kind":"server"}}`): `data.resource.kind: "server" is not snapshot, as the type says`,
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"actor":{"kind":"\n\u001b[2J"}}`): `data.actor.kind: "\n\x1b[2J" is not user, service, agency or unknown`,
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"actor":{"kind":"robot"}}`): `data.actor.kind: "robot" is not user, service, agency or unknown`,
	plainEvent("server.created", `,"subject":"`+serverID+
		`","data":{"actor":{"name":["x"]}}`): "data.actor.name: is not a string",
	plainEvent("server.created", `,"subject":"`+serverID+`","data":{"resource":{"kind":"baremetal","zone":null}}`): "",
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

// TestPlainSchema: docs/plain-event.schema.json and the dialect say the same, of the samples and of every mistake.
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
		t.Error("the schema takes a type that there is not")
	}
}
