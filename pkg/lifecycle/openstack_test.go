package lifecycle_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func notification(eventType, payload, context string) string {
	return `{"publisher_id":"p","message_id":"m","priority":"INFO","timestamp":"2026-11-20 09:15:04.5",` +
		context + `"event_type":"` + eventType + `","payload":` + payload + `}`
}

// TestUpdates: an update reports a change only if the state went from active to stopped or back. Each write of metadata
// also causes an update.
func TestUpdates(t *testing.T) {
	states := []string{
		"active", "stopped", "building", "resized", "paused", "suspended", "rescued", "shelved_offloaded", "error",
		"deleted", "",
	}
	for _, before := range states {
		for _, after := range states {
			var want lifecycle.Action
			switch before + " " + after {
			case "active stopped":
				want = lifecycle.ServerStopped
			case "stopped active":
				want = lifecycle.ServerStarted
			}
			legacy := fmt.Sprintf(`{"instance_id":"%s","old_state":"%s","state":"%s"}`, serverID, before, after)
			update := fmt.Sprintf(`{"nova_object.data":{"old_state":"%s","state":"%s"}}`, before, after)
			versioned := fmt.Sprintf(`{"nova_object.data":{"uuid":"%s","state":"%s","state_update":%s}}`, serverID, after,
				update)
			for _, payload := range []string{
				notification("compute.instance.update", legacy, ""), notification("instance.update", versioned, ""),
			} {
				reading, err := readEvent(t, lifecycle.Options{}, payload)
				if err != nil {
					t.Fatal(err)
				}
				var got lifecycle.Action
				if len(reading.Changes) == 1 {
					got = reading.Changes[0].Action
				}
				if got != want || !reading.Known || (reading.Why == "") != (want != "") {
					t.Errorf("%s to %s: %q (%s), want %q", before, after, got, reading.Why, want)
				}
			}
		}
	}
}

func TestOpenStackActors(t *testing.T) {
	const created, stopped = "compute.instance.create.end", "compute.instance.power_off.end"
	for _, c := range []struct {
		name, eventType, context, user string
		want                           lifecycle.Actor
	}{
		{
			"a user", stopped, `"_context_user_id":"u1","_context_user_name":"alice",`,
			"owner", lifecycle.Actor{ID: "u1", Name: "alice", Kind: lifecycle.User},
		},
		{
			"an old context", stopped, `"_context_user":"u1",`,
			"owner", lifecycle.Actor{ID: "u1", Kind: lifecycle.User},
		},
		{
			"elevated to admin", stopped,
			`"_context_user_id":"u1","_context_is_admin":true,"_context_roles":["member","admin"],`,
			"owner", lifecycle.Actor{ID: "u1", Kind: lifecycle.User},
		},
		{
			"a service's role", created,
			`"_context_user_id":"u1","_context_user_name":"heat","_context_roles":["admin","service"],`,
			"u1", lifecycle.Actor{ID: "u1", Name: "heat", Kind: lifecycle.Service},
		},
		{
			"a service's project", created,
			`"_context_user_id":"u1","_context_user_name":"nova","_context_project_name":"services",`,
			"u1", lifecycle.Actor{ID: "u1", Name: "nova", Kind: lifecycle.Service},
		},
		{
			"Nova itself", stopped, `"_context_user_id":null,"_context_is_admin":true,`,
			"owner", lifecycle.Actor{Kind: lifecycle.Service},
		},
		{"no context, stopped", stopped, ``, "owner", lifecycle.Actor{Kind: lifecycle.UnknownActor}},
		{"no context, created", created, ``, "owner", lifecycle.Actor{ID: "owner", Kind: lifecycle.User}},
		{"no context, no owner", created, ``, "", lifecycle.Actor{Kind: lifecycle.UnknownActor}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reading, err := readEvent(t, lifecycle.Options{},
				notification(c.eventType, `{"instance_id":"`+serverID+`","user_id":"`+c.user+`"}`, c.context))
			if err != nil || len(reading.Changes) != 1 || reading.Changes[0].Actor != c.want {
				t.Errorf("%+v, %v, want %+v", reading.Changes, err, c.want)
			}
		})
	}
	// The initiator of a versioned notification has a name only if the context is the same user's.
	for context, name := range map[string]string{
		`"_context_user_id":"u1","_context_user_name":"alice",`: "alice",
		`"_context_user_id":"u2","_context_user_name":"bob",`:   "",
	} {
		reading, err := readEvent(t, lifecycle.Options{}, notification("instance.power_off.end",
			`{"nova_object.data":{"uuid":"`+serverID+`","user_id":"owner","action_initiator_user":"u1"}}`, context))
		want := lifecycle.Actor{ID: "u1", Name: name, Kind: lifecycle.User}
		if err != nil || reading.Changes[0].Actor != want {
			t.Errorf("%s: %+v, %v, want %+v", context, reading.Changes, err, want)
		}
	}
}

// TestRequestIDs: "null", "None" and the like are no request id, so that changes with them are not taken for one
// change.
func TestRequestIDs(t *testing.T) {
	server := func(members string) string { return `{"instance_id":"` + serverID + `"` + members + `}` }
	trace := func(members string) string {
		return `{"trace_name":"createServer","service_type":"ECS","trace_id":"1","resource_id":"` + serverID + `",` +
			members +
			`"code":"200"}`
	}
	for payload, want := range map[string]string{
		notification("compute.instance.create.end", server(""), `"_context_request_id":"req-1",`):                 "req-1",
		notification("compute.instance.create.end", server(""), `"_context_request_id":"null",`):                  "",
		notification("compute.instance.create.end", server(""), `"_context_request_id":"None",`):                  "",
		notification("compute.instance.create.end", server(""), `"_context_request_id":null,`):                    "",
		notification("compute.instance.create.end", server(""), `"_context_request_id":"",`):                      "",
		notification("compute.instance.create.end", server(`,"request_id":"null"`), ""):                           "",
		notification("compute.instance.create.end", server(`,"request_id":"None"`), `"_context_request_id":"r",`): "r",
		notification("volume.create.end", `{"volume_id":"`+serverID+`"}`,
			`"_context_global_request_id":"None","_context_request_id":"req-2",`): "req-2",
		notification("volume.create.end", `{"volume_id":"`+serverID+`"}`, `"_context_global_request_id":"null",`): "",
		trace(`"request_id":"null",`):                                      "",
		trace(`"request_id":"None",`):                                      "",
		trace(`"request_id":"x",`):                                         "x",
		trace(`"request_id":"null","response":{"job_id":"j"},`):            "j",
		trace(`"request_id":"x","response":{"job_id":"null"},`):            "x",
		trace(`"request_id":"None","response":{"request_id":"null"},`):     "",
		trace(`"request_id":null,"response":"{\"request_id\":\"None\"}",`): "",
	} {
		reading, err := readEvent(t, lifecycle.Options{}, payload)
		if err != nil || len(reading.Changes) != 1 {
			t.Errorf("%s: %+v, %v", payload, reading, err)
			continue
		}
		if c := reading.Changes[0]; c.Request != want || (c.Key() == "") != (want == "") {
			t.Errorf("%s: request %q, key %q; want %q", payload, c.Request, c.Key(), want)
		}
	}
	amqp1 := `{"request":` + notification("compute.instance.create.end", server(""), "") +
		`,"context":{"request_id":"null"}}`
	if reading, err := readEvent(t, lifecycle.Options{}, amqp1); err != nil || reading.Changes[0].Request != "" {
		t.Errorf("AMQP 1.0: %+v, %v", reading, err)
	}
}

// TestSnapshotMetadata: Cinder sends a snapshot's metadata as the repr of a Python dictionary.
func TestSnapshotMetadata(t *testing.T) {
	for repr, want := range map[string]any{
		"":                          map[string]any{},
		"{}":                        map[string]any{},
		"{'a': 'b'}":                map[string]any{"a": "b"},
		` {'a':'b' , "c" : "d'e"} `: map[string]any{"a": "b", "c": "d'e"},
		"{u'a': u'b'}":              map[string]any{"a": "b"},

		`{'a b': 'c "d" \'e\'', 'k': 'é\n\t\\ \r\x41\u00e9\U0001f600'}`: map[string]any{
			"a b": `c "d" 'e'`, "k": "é\n\t\\ \rAé😀",
		},
		"{'n': None, 't': True, 'f': False, 'i': -3, 'x': 1.5}": map[string]any{
			"n": nil, "t": true, "f": false, "i": int64(-3), "x": 1.5,
		},
		// Anything else stays unchanged.
		"text":                     "text",
		"{'a': 'b'":                "{'a': 'b'",
		"{'a': 'b'} x":             "{'a': 'b'} x",
		"{'a': 'b', }":             "{'a': 'b', }",
		"{'a': ['b']}":             "{'a': ['b']}",
		"{'a': {}}":                "{'a': {}}",
		"{'a'}":                    "{'a'}",
		"{1: 'a'}":                 "{1: 'a'}",
		"{'a': 'b' 'c': 'd'}":      "{'a': 'b' 'c': 'd'}",
		`{'a': '\q'}`:              `{'a': '\q'}`,
		`{'a': '\x4'}`:             `{'a': '\x4'}`,
		`{'a': '\ud800'}`:          `{'a': '\ud800'}`,
		"{'a': nan}":               "{'a': nan}",
		"{'a': 0x10}":              "{'a': 0x10}",
		"{'a': '":                  "{'a': '",
		`{'a': '\`:                 `{'a': '\`,
		"{'a': 'b', 'a': 'second'": "{'a': 'b', 'a': 'second'",
		"{'a': 'b', 'a': 'c'}":     map[string]any{"a": "c"},
	} {
		quoted, err := json.Marshal(repr)
		if err != nil {
			t.Fatal(err)
		}
		reading, err := readEvent(t, lifecycle.Options{},
			notification("snapshot.create.end", `{"snapshot_id":"`+serverID+`","metadata":`+string(quoted)+`}`, ""))
		if err != nil || len(reading.Changes) != 1 {
			t.Fatalf("%s: %+v, %v", repr, reading, err)
		}
		payload := reading.Changes[0].Data.(map[string]any)["payload"].(map[string]any)
		if diff := cmp.Diff(want, payload["metadata"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", repr, diff)
		}
	}
}

// TestOtherPayloads covers payloads of wrong types and ids that are not valid.
func TestOtherPayloads(t *testing.T) {
	server := func(payload string) string { return notification("compute.instance.create.end", payload, "") }
	snapshot := func(payload string) string { return notification("snapshot.create.end", payload, "") }
	versioned := `{"nova_object.data":{"uuid":"` + serverID + `","tenant_id":[1]}}`
	for payload, want := range map[string]string{
		server(`[]`): "data.payload: is not an object",
		server(`{"instance_id":"` + serverID +
			`","tenant_id":"a/../b"}`): `data.payload.tenant_id: "a/../b" is not a project id`,
		server(`{"instance_id":"` + serverID + `","tenant_id":5}`):  "data.payload.tenant_id: is not a string",
		server(`{"instance_id":"` + serverID + `","tenant_id":{}}`): "data.payload.tenant_id: is not a string",

		notification("instance.create.end", versioned, ""): "data.payload.nova_object.data.tenant_id: is not a string",

		snapshot(`{"snapshot_id":5}`):      "data.payload.snapshot_id: is not a string",
		snapshot(`{"snapshot_id":null}`):   "data.payload.snapshot_id: is missing",
		snapshot(`{"snapshot_id":"None"}`): "data.payload.snapshot_id: is missing",
	} {
		_, err := readEvent(t, lifecycle.Options{}, payload)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", payload, err, want)
		}
	}
}

// TestNoTokenInReadings: credentials in a raw notification do not reach rules, logs or a dead letter's reason.
func TestNoTokenInReadings(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	withSecret := 0
	for _, file := range files {
		if strings.Contains(file, "golden") {
			continue
		}
		raw := string(readFile(t, file))
		raw = strings.Replace(raw, `\"_context_auth_token\": null`, `\"_context_auth_token\": \"s3cret\"`, 1)
		if strings.Contains(raw, "s3cret") {
			withSecret++
		}
		for _, e := range ingress.Decode([]byte(raw)).Records[0].Events {
			reading, err := lifecycle.New(lifecycle.Options{}).Read(e)
			encoded, jsonErr := json.Marshal(reading)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			printed := fmt.Sprintf("%+v %#v %v %s", reading, reading, err, encoded)
			if strings.Contains(printed, "s3cret") {
				t.Errorf("%s: the reading contains a secret", file)
			}
		}
	}
	if withSecret < 20 {
		t.Errorf("only %d files contain a secret", withSecret)
	}
}
