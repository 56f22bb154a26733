package lifecycle_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// rawEvent returns an event with data that ingress might not produce.
func rawEvent(typ, data string) event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType(typ)
	e.SetSubject(serverID)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(data)
	return e
}

func ids(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%08x-0000-4000-8000-000000000000"`, i)
	}
	return b.String()
}

const (
	plainType = "io.github.cloudtagger.server.created"
	novaType  = "org.openstack.compute.instance.create.end"
	ecsType   = "ECS:CloudTrace:ApiCall"
)

// TestLimits: an event that exceeds a limit is malformed, and the error wraps the limit.
func TestLimits(t *testing.T) {
	limits := lifecycle.Limits{Bytes: 4000, Values: 20, Changes: 3, Text: 50}
	values := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n-1), ",") + "]" } // n with itself
	nova := func(members string) string { return notification("compute.instance.create.end", members, "") }
	server := `"instance_id":"` + serverID + `"`
	batch := func(n int) string {
		return `{"trace_name":"createServer","service_type":"ECS","response":{"serverIds":[` + ids(n) + `]}}`
	}
	trace := func(members string) string {
		return `{"trace_name":"createServer","service_type":"ECS","resource_id":"` + serverID + `",` + members + `}`
	}
	pythonMetadata := `{"snapshot_id":"` + serverID + `","metadata":"{` +
		strings.TrimSuffix(strings.Repeat(`'a': 'b',`, 30), ",") + `}"}`
	longUser := `"_context_user_id":"u","_context_user_name":"` + strings.Repeat("x", 51) + `",`
	const (
		tooManyValues = "has more than 20 JSON values"
		tooLong       = "has more than 50 bytes"
	)
	for _, c := range []struct{ name, typ, data, place, problem string }{
		{"bytes", plainType, `{"a":"` + strings.Repeat("x", 3992) + `"}`, "", ""},
		{"one byte more", plainType, `{"a":"` + strings.Repeat("x", 3993) + `"}`, "data", "has more than 4000 bytes"},
		{"values", plainType, `{"a":` + values(19) + `}`, "", ""},
		{"one value more", plainType, `{"a":` + values(20) + `}`, "data", tooManyValues},
		{"objects", plainType, `{"a":[{}` + strings.Repeat(`,{"":0}`, 9) + `]}`, "data", tooManyValues},
		{"empty containers", plainType, `{"a":[` + strings.TrimSuffix(strings.Repeat(`{ },[ ],`, 9), ",") + `]}`, "", ""},
		{"commas and brackets in strings", plainType, `{"a":"` + strings.Repeat(`,[{\"`, 100) + `"}`, "", ""},
		{"values in a notification", novaType, nova(`{` + server + `,"a":` + values(20) + `}`), "data", tooManyValues},
		{"values in a JSON string", ecsType, trace(`"request":"` + values(18) + `"`), "data.request", tooManyValues},
		{
			"values in two JSON strings", ecsType, trace(`"request":"` + values(9) + `","response":"` + values(9) + `"`),
			"data.response", tooManyValues,
		},
		{
			"values in Python", "org.openstack.snapshot.create.end", notification("snapshot.create.end", pythonMetadata, ""),
			"data.payload.metadata", tooManyValues,
		},
		{"resources", ecsType, batch(3), "", ""},
		{"one resource more", ecsType, batch(4), "data.response.serverIds", "has more than 3 resources"},
		{"a long name", plainType, `{"resource":{"name":"` + strings.Repeat("x", 51) + `"}}`, "resource.name", tooLong},
		{
			"a long name of an actor", novaType, notification("compute.instance.create.end", `{`+server+`}`, longUser),
			"actor.name", tooLong,
		},
		{
			"a long project", plainType, `{"resource":{"project_name":"` + strings.Repeat("é", 26) + `"}}`,
			"resource.project_name", tooLong,
		},
		{
			"a long request id", novaType, nova(`{` + server + `,"request_id":"` + strings.Repeat("r", 51) + `"}`),
			"the request's id", tooLong,
		},
		{
			"a long job id", ecsType, trace(`"response":{"job_id":"` + strings.Repeat("j", 51) + `"}`),
			"the request's id", tooLong,
		},
		{"a long value that rules do not see by name", plainType, `{"note":"` + strings.Repeat("x", 500) + `"}`, "", ""},
		// Data of events that report no change is not decoded.
		{"a large notification without a change", "org.openstack.scheduler.select_destinations.end", values(1000), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			reading, err := lifecycle.New(lifecycle.Options{Limits: limits}).Read(rawEvent(c.typ, c.data))
			if c.problem == "" {
				if err != nil || !reading.Known {
					t.Errorf("%+v, %v", reading, err)
				}
				return
			}
			malformed, ok := errors.AsType[*lifecycle.MalformedError](err)
			if !ok || malformed.Place != c.place || malformed.Problem != c.problem {
				t.Fatalf("error %v, want %s: %s", err, c.place, c.problem)
			}
			if len(reading.Changes) != 0 {
				t.Errorf("%d changes besides the error", len(reading.Changes))
			}
			if limit, ok := errors.AsType[*document.LimitError](err); !ok || limit.Error() != c.problem {
				t.Errorf("%v wraps no LimitError", err)
			}
		})
	}
}

// TestDefaultLimits: the defaults allow the largest events that clouds send, and rejecting a larger one is cheap.
func TestDefaultLimits(t *testing.T) {
	registry := lifecycle.New(lifecycle.Options{})
	objects := `{"a":[` + strings.TrimSuffix(strings.Repeat(`{"":0},`, 140_000), ",") + `]}` // 0.98 MB, decoded 70 MB
	twoMiB := `{"a":[` + strings.TrimSuffix(strings.Repeat(`{"":0},`, 300_000), ",") + `]}`
	inString := `{"trace_name":"createServer","service_type":"ECS","request":` + quoted(t, objects[:700_000]) + `}`
	longName := `{"resource":{"name":"` + strings.Repeat("x", 1_000_000) + `"}}`
	many := `{"trace_name":"createServer","service_type":"ECS","response":{"serverIds":[` + ids(20_000) + `]}}`
	for name, c := range map[string]struct{ typ, data, problem string }{
		"objects":                     {plainType, objects, "has more than 50000 JSON values"},
		"objects in a string":         {ecsType, inString, "has more than 50000 JSON values"},
		"two MiB of objects":          {plainType, twoMiB, "has more than 1048576 bytes"},
		"a trace of 20,000 servers":   {ecsType, many, "has more than 2000 resources"},
		"a name as long as the event": {plainType, longName, "has more than 1024 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			e := rawEvent(c.typ, c.data)
			if _, err := registry.Read(e); err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Fatalf("error %v, want %s", err, c.problem)
			}
			if !strings.Contains(name, "objects") {
				return
			}
			if n := testing.AllocsPerRun(1, func() { _, _ = registry.Read(e) }); n > 200 {
				t.Errorf("%.0f allocations", n)
			}
		})
	}
	// 1,000 servers are the most that one request to Huawei Cloud changes.
	job := `{"status":"SUCCESS","entities":{"server_id":%s},` +
		`"job_id":"ff8080825fd78fe9015fdae7a2b1001d","job_type":"createSingleServer",` +
		`"begin_time":"2026-11-20T09:15:04Z","end_time":"2026-11-20T09:16:04Z","error_code":null,"fail_reason":null}`
	var jobs []string
	for _, id := range strings.Split(ids(1000), ",") {
		jobs = append(jobs, fmt.Sprintf(job, id))
	}
	batch := `{"trace_name":"createServer","service_type":"ECS","response":{"entities":{"sub_jobs":[` +
		strings.Join(jobs, ",") + `]}}}`
	reading, err := registry.Read(rawEvent(ecsType, batch))
	if err != nil || len(reading.Changes) != 1000 {
		t.Fatalf("%d changes, %v", len(reading.Changes), err)
	}
	if last := reading.Changes[999].Resource.ID; last != "000003e7-0000-4000-8000-000000000000" {
		t.Errorf("the last change is of %s", last)
	}
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// BenchmarkManyResources shows that the time is linear in the number of resources: ns/resource is constant.
func BenchmarkManyResources(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		e := rawEvent(ecsType, `{"trace_name":"createServer","service_type":"ECS","response":{"serverIds":[`+ids(n)+`]}}`)
		unlimited := lifecycle.Limits{Bytes: 1 << 30, Values: 1 << 30, Changes: 1 << 30}
		registry := lifecycle.New(lifecycle.Options{Limits: unlimited})
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if reading, err := registry.Read(e); err != nil || len(reading.Changes) != n {
					b.Fatal(len(reading.Changes), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/resource")
		})
	}
}
