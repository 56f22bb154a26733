package lifecycle_test

import (
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func trace(members string) string {
	return `{"trace_id":"t1","trace_name":"createServer","service_type":"ECS","trace_type":"ApiCall","resource_id":"` +
		serverID + `",` + members + `"x":1}`
}

// TestTraceTimes covers the formats in documentation and samples.
func TestTraceTimes(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for members, want := range map[string]time.Time{
		`"time":1529996047,`:                         at("2018-06-26T06:54:07Z"),
		`"time":1529996047123,`:                      at("2018-06-26T06:54:07.123Z"),
		`"time":1529996047123000,`:                   at("2018-06-26T06:54:07.123Z"),
		`"time":"1529996047123",`:                    at("2018-06-26T06:54:07.123Z"),
		`"time":"2016/12/08 11:07:28 GMT+08:00",`:    at("2016-12-08T03:07:28Z"),
		`"time":"12/01/2016 11:07:28 GMT+08:00",`:    at("2016-12-01T03:07:28Z"),
		`"time":"Dec 8, 2016 11:24:04 GMT+08:00",`:   at("2016-12-08T03:24:04Z"),
		`"time":"2026-11-20T09:15:04.5Z",`:           at("2026-11-20T09:15:04.5Z"),
		`"time":"2026-11-20 09:15:04",`:              at("2026-11-20T09:15:04Z"),
		`"time":"","record_time":1529996047000,`:     at("2018-06-26T06:54:07Z"),
		`"time":null,"record_time":"1529996047000",`: at("2018-06-26T06:54:07Z"),
		`"time":{},`: {},
		`"time":0,`:  {},
		`"time":-5,`: {},
		`"time":"99/99/2016 11:07:28 GMT+08:00",`: {},
		``: {},
	} {
		reading, err := readEvent(t, lifecycle.Options{}, trace(members))
		if err != nil || len(reading.Changes) != 1 || !reading.Changes[0].Time.Equal(want) {
			t.Errorf("%s: %+v, %v, want %v", members, reading.Changes, err, want)
		}
	}
	// Without a time in the trace, EventGrid's time counts.
	e := rawEvent(ecsType, trace(`"time":"",`))
	e.SetTime(at("2026-11-20T09:15:04Z"))
	reading, err := lifecycle.New(lifecycle.Options{}).Read(e)
	if want := at("2026-11-20T09:15:04Z"); err != nil || !reading.Changes[0].Time.Equal(want) {
		t.Errorf("%+v, %v, want %v", reading.Changes, err, want)
	}
}

// TestTraceShapes covers all documented types of request and response, including those of failures.
func TestTraceShapes(t *testing.T) {
	batch := func(status, jobs string) string {
		return `"resource_id":"","response":{"status":"` + status + `","entities":{"sub_jobs":[` + jobs + `]}},`
	}
	succeeded := `{"status":"SUCCESS","entities":{"server_id":"` + serverID + `"}}`
	for members, changes := range map[string]int{
		`"request":"","response":"",`:                                1,
		`"request":null,"response":null,"code":null,"user":null,`:    1,
		`"request":{},"response":{},"code":204,`:                     1,
		`"request":[],"response":[],"code":"200",`:                   1,
		`"request":"cut off {","response":"{\"status\":",`:           1,
		`"trace_rating":"normal","trace_status":"normal",`:           1,
		`"trace_rating":"warning",`:                                  0,
		`"trace_status":"incident",`:                                 0,
		`"code":400,`:                                                0,
		`"code":"503",`:                                              0,
		`"code":"Ecs.0100",`:                                         1,
		`"response":{"status":"FAIL"},`:                              0,
		`"response":"{\"error_code\":\"Ecs.0001\"}",`:                0,
		`"response":{"error_code":null,"status":"SUCCESS"},`:         1,
		`"response":{"status":"INIT"},`:                              0,
		`"response":{"status":"PENDING_PAYMENT"},`:                   0,
		`"resource_id":"","response":{"id":"` + serverID + `"},`:     1,
		`"resource_id":"","response":{"id":"4010b39d58b855980158"},`: 0,
		`"resource_id":"","response":{"serverIds":["` + serverID + `","` + serverID[:35] + `1"]},`: 2,
		`"resource_id":"","response":{"server_id":"` + serverID + `"},`:                            1,
		`"resource_id":["x"],`: 0,
		batch("FAIL", succeeded+`,{"status":"FAIL","entities":{}}`): 1,
		batch("SUCCESS", `null,5,{"entities":null}`):                0,
	} {
		reading, err := readEvent(t, lifecycle.Options{}, trace(members))
		if err != nil || len(reading.Changes) != changes || !reading.Known {
			t.Errorf("%s: %d changes (%s), %v, want %d", members, len(reading.Changes), reading.Why, err, changes)
		}
	}
	for members, place := range map[string]string{
		`"resource_id":"../../x",`:                                       "data.resource_id",
		`"resource_id":"","response":{"entities":{"server_id":"../x"}},`: "data.response.entities.server_id",
		`"project_id":"a/b",`:                                            "data.project_id",
	} {
		_, err := readEvent(t, lifecycle.Options{}, trace(members))
		if malformed, ok := err.(*lifecycle.MalformedError); !ok || malformed.Place != place {
			t.Errorf("%s: error %v, want one at %s", members, err, place)
		}
	}
}

func TestHuaweiActors(t *testing.T) {
	const domain = `"domain":{"name":"acme","id":"d1"}`
	alice := lifecycle.Actor{ID: "u1", Name: "alice", Kind: lifecycle.User}
	assumed := lifecycle.Actor{ID: "a1:alice", Name: "acme/deploy", Kind: lifecycle.Agency}
	for user, want := range map[string]lifecycle.Actor{
		`{"type":"User","id":"u1","name":"alice",` + domain + `}`:     alice,
		`{"id":"u1","name":"alice",` + domain + `}`:                   alice, // Open Telekom Cloud
		`"{\"type\":\"User\",\"id\":\"u1\",\"user_name\":\"alice\"}"`: alice,
		// The account itself.
		`{"id":"u1","name":"acme",` + domain + `}`: {ID: "u1", Name: "acme", Kind: lifecycle.User},
		`{"type":"ExternalUser","principal_id":"idp:bob","name":"idp/bob"}`: {ID: "idp:bob", Name: "idp/bob",
			Kind: lifecycle.User},

		`{"id":"a1","name":"acme/op_service",` + domain + `}`: {ID: "a1", Name: "acme/op_service",
			Kind: lifecycle.Agency},
		`{"type":"AssumedAgency","id":"a1","name":"acme/deploy"}`: {ID: "a1",
			Name: "acme/deploy", Kind: lifecycle.Agency},
		`{"type":"AssumedAgency","id":"a1","principal_id":"a1:alice","name":"acme/deploy",` + domain + `}`: assumed,

		`{"type":"ServicePrincipal","id":"s","name":"as"}`: {ID: "s", Name: "as", Kind: lifecycle.Service},
		`{"type":"Martian","id":"m"}`:                      {ID: "m", Kind: lifecycle.UnknownActor},
		`null`:                                             {Kind: lifecycle.UnknownActor},
		`{}`:                                               {Kind: lifecycle.UnknownActor},
		`"system"`:                                         {Kind: lifecycle.UnknownActor},
		`[]`:                                               {Kind: lifecycle.UnknownActor},
	} {
		reading, err := readEvent(t, lifecycle.Options{}, trace(`"user":`+user+`,`))
		if err != nil || len(reading.Changes) != 1 || reading.Changes[0].Actor != want {
			t.Errorf("%s: %+v, %v, want %+v", user, reading.Changes, err, want)
		}
	}
	system := `{"trace_id":"t1","trace_name":"stopServer","service_type":"ECS","trace_type":"SystemAction",` +
		`"user":null,"resource_id":"` + serverID + `"}`
	reading, err := readEvent(t, lifecycle.Options{}, system)
	if want := (lifecycle.Actor{Kind: lifecycle.Service}); err != nil || reading.Changes[0].Actor != want {
		t.Errorf("system's action: %+v, %v, want %+v", reading.Changes, err, want)
	}
}

// TestTraceData: rules see request, response and user as objects even if the trace has them as strings.
func TestTraceData(t *testing.T) {
	reading, err := readEvent(t, lifecycle.Options{},
		trace(`"request":"{\"server\":{\"name\":\"n\",\"count\":1,\"adminPass\":\"s3cret\"}}",`))
	if err != nil {
		t.Fatal(err)
	}
	server := reading.Changes[0].Data.(map[string]any)["request"].(map[string]any)["server"].(map[string]any)
	if len(server) != 2 || server["name"] != "n" || server["count"] != int64(1) {
		t.Errorf("data.request.server is %v", server)
	}
}
