package lifecycle_test

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func TestEventTypes(t *testing.T) {
	options := lifecycle.Options{EventTypes: map[string]lifecycle.Action{
		"compute.instance.unshelve.end":     lifecycle.ServerStarted,
		"compute.instance.update":           lifecycle.ServerResized,
		"org.openstack.volume.snapshot.new": lifecycle.SnapshotCreated,
		"EVS:makeSnapshot":                  lifecycle.SnapshotCreated,
		"startServerV3":                     lifecycle.ServerStarted,
		"ECS:createServer":                  lifecycle.ServerStopped,
		"com.example.vm.born":               lifecycle.ServerCreated,
	}}
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	trace := func(service, name string) string {
		return `{"trace_id":"t","trace_type":"ApiCall","service_type":"` + service + `","trace_name":"` + name +
			`","resource_id":"` + serverID + `"}`
	}
	notification := func(eventType, idName string) string {
		return `{"event_type":"` + eventType + `","publisher_id":"p","message_id":"m",` +
			`"payload":{"` + idName + `":"` + serverID + `"}}`
	}
	cloudEvent := `{"specversion":"1.0","id":"1","source":"/s","type":"com.example.vm.born","subject":"` + serverID + `"}`
	for _, c := range []struct {
		payload string
		action  lifecycle.Action
		kind    lifecycle.Kind
	}{
		{notification("compute.instance.unshelve.end", "instance_id"), lifecycle.ServerStarted, lifecycle.Server},
		{notification("compute.instance.update", "instance_id"), lifecycle.ServerResized, lifecycle.Server},
		{notification("volume.snapshot.new", "snapshot_id"), lifecycle.SnapshotCreated, lifecycle.Snapshot},
		{trace("EVS", "makeSnapshot"), lifecycle.SnapshotCreated, lifecycle.Snapshot},
		{trace("ecs", "startServerV3"), lifecycle.ServerStarted, lifecycle.Server},
		{trace("BMS", "startServerV3"), lifecycle.ServerStarted, lifecycle.BareMetal},
		{trace("ECS", "createServer"), lifecycle.ServerStopped, lifecycle.Server},
		{cloudEvent, lifecycle.ServerCreated, lifecycle.Server},
	} {
		reading, err := readEvent(t, options, c.payload)
		if err != nil || len(reading.Changes) != 1 {
			t.Errorf("%s\n%+v, %v", c.payload, reading, err)
			continue
		}
		got := reading.Changes[0]
		if got.Action != c.action || got.Resource.Kind != c.kind {
			t.Errorf("%s\n%s of a %s, want %s of a %s", c.payload, got.Action, got.Resource.Kind, c.action, c.kind)
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	types := map[string]lifecycle.Action{"b": "server.created", "a": "server.born"}
	err := lifecycle.Options{EventTypes: types}.Validate()
	if want := `map event type "a": "server.born" is not an action`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	err = lifecycle.Options{EventTypes: map[string]lifecycle.Action{"a": "server.create"}}.Validate()
	if want := `"server.create" is not an action; did you mean server.created?`; err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestIgnoreActors(t *testing.T) {
	const actor = `{"id":"3d9a1b7f6c4e4d0f","name":"acme/as-agency","kind":"agency"}`
	payload := plainEvent("server.created", `,"subject":"`+serverID+`","data":{"actor":`+actor+`}`)
	for pattern, ignored := range map[string]bool{
		"acme/as-agency": true, "acme/*": true, "*agency": true, "*": true, "**": true, "a*/*-a*y": true,
		"3d9a*": true, "????/as-agency": true,
		"acme": false, "acme/?": false, "": false, "*/bs*": false, "ACME/*": false, "acme/as-agency?": false,
		"[a-z]*": false,
	} {
		reading, err := readEvent(t, lifecycle.Options{IgnoreActors: []string{"other", pattern}}, payload)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(reading.Changes) == 0; got != ignored || !reading.Known || (reading.Why != "") != ignored {
			t.Errorf("%q: ignored %t, want %t (%+v)", pattern, got, ignored, reading)
		}
	}
	// No pattern matches an unknown actor.
	reading, err := readEvent(t, lifecycle.Options{IgnoreActors: []string{"*"}},
		plainEvent("server.created", `,"subject":"`+serverID+`"`))
	if err != nil || len(reading.Changes) != 1 {
		t.Errorf("%+v, %v", reading, err)
	}
}

func TestAuthContext(t *testing.T) {
	for members, want := range map[string]lifecycle.Actor{
		`,"authtype":"user","authid":"u1"`:             {ID: "u1", Kind: lifecycle.User},
		`,"authtype":"app_user"`:                       {Kind: lifecycle.User},
		`,"authtype":"service_account","authid":"svc"`: {ID: "svc", Kind: lifecycle.Service},
		`,"authtype":"system"`:                         {Kind: lifecycle.Service},
		`,"authid":"x"`:                                {ID: "x", Kind: lifecycle.UnknownActor},
		`,"authtype":"unauthenticated"`:                {Kind: lifecycle.UnknownActor},
		`,"authid":5`:                                  {Kind: lifecycle.UnknownActor},
		``:                                             {Kind: lifecycle.UnknownActor},
		`,"authid":"x","data":{"actor":{"name":"al"}}`: {Name: "al", Kind: lifecycle.UnknownActor},
	} {
		reading, err := readEvent(t, lifecycle.Options{}, plainEvent("server.created", `,"subject":"`+serverID+`"`+members))
		if err != nil || reading.Changes[0].Actor != want {
			t.Errorf("%s: %+v, %v, want %+v", members, reading.Changes, err, want)
		}
	}
}

// TestUnknown: an event that no dialect reads is not an error, and the reason is one line whatever the type contains.
func TestUnknown(t *testing.T) {
	registry := lifecycle.New(lifecycle.Options{})
	if reading, err := registry.Read(event.Event{}); err != nil || reading.Known || reading.Why == "" {
		t.Errorf("%+v, %v", reading, err)
	}
	const way = " is not recognised: map it to an action with TAGGER_EVENT_TYPES (docs/events.md)"
	const actions = way + "; the actions are server.created, server.started, "
	for typ, why := range map[string]string{
		"com.example.x":          "type com.example.x" + actions,
		"server.create":          "type server.create" + way + "; did you mean io.github.cloudtagger.server.created?",
		"a\nb\x1b":               "type a?b?" + actions,
		strings.Repeat("x", 500): "type " + strings.Repeat("x", 120) + "…" + actions,
		"\xff":                   "type ?" + actions,
	} {
		e := event.New()
		e.SetType(typ)
		reading, err := registry.Read(e)
		if err != nil || reading.Known || reading.Dialect != "" {
			t.Errorf("%q: %+v, %v", typ, reading, err)
		}
		if !strings.HasPrefix(reading.Why, why) {
			t.Errorf("%q: %q, want %q", typ, reading.Why, why)
		}
	}
}

// TestMismatchedData reads events whose type a dialect claims, but whose data it cannot read.
func TestMismatchedData(t *testing.T) {
	for typ, want := range map[string]string{
		novaType: "read openstack event of type org.openstack.compute.instance.create.end: " +
			"data.event_type: is missing; want the notification as data",
		ecsType: "read huaweicloud event of type ECS:CloudTrace:ApiCall: " +
			"data: is not a CTS trace; want trace_name and service_type",
	} {
		for _, data := range []string{``, `,"data":{}`, `,"data":[1]`, `,"data":"x"`} {
			payload := `{"specversion":"1.0","id":"1","source":"/s","type":"` + typ + `"` + data + `}`
			_, err := readEvent(t, lifecycle.Options{}, payload)
			if err == nil || err.Error() != want {
				t.Errorf("%s: error %v, want %s", data, err, want)
			}
		}
	}
	other := rawEvent("org.openstack.snapshot.create.end", `{"event_type":"snapshot.delete.end","payload":{}}`)
	want := "data.event_type: does not match the event's type"
	if _, err := lifecycle.New(lifecycle.Options{}).Read(other); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	e := event.New()
	e.SetType("org.openstack.snapshot.create.end")
	e.DataEncoded = []byte(`{"a":1} x`)
	want = "read openstack event of type org.openstack.snapshot.create.end: data: is not JSON"
	if _, err := lifecycle.New(lifecycle.Options{}).Read(e); err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}
