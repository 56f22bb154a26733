//go:build sqs

package functions_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// sqsRules write the same two keys to each server, with set or with add.
const sqsRules = `rules:
- {name: set, on: server.created, when: 'not (resource.name endsWith "-add")', set: {env: dev, origin: "${resource.name}"}}
- {name: add, on: server.created, when: 'resource.name endsWith "-add"', add: {env: dev, origin: "${resource.name}"}}
`

// The possible results of an event. The first five are outcomes in the function's log; the others are states of queues.
const (
	isTagged       = "tagged"
	isUnchanged    = "unchanged"
	isGone         = "gone"
	isIgnored      = "ignored"
	isUnrecognised = "unrecognised"
	isDead         = "dead letter"
	isHandedBack   = "handed back"
)

// sent is one distinct event: a body that is sent once or more often.
type sent struct {
	kind, name string
	body       string
	id         string // of the event; "" if it cannot be read: the body identifies it then
	copies     int

	server  string // its server, if that is in the cloud
	planned map[string]string

	want  []string // the possible results
	later string   // the expected result after the operator's fix; "" for the same
	why   string   // a part of the reason in the dead-letter queue
	// receives is the minimum number of deliveries.
	receives int
	// crash ends during the function's first request about its server. The test then kills the process.
	crash context.Context
}

func serverOf(i int) string { return fmt.Sprintf("5e4b7c00-0000-4000-8000-%012d", i) }

func cloudEvent(id, kind, subject, name string, at time.Time) string {
	return marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "//inventory.example.com", "type": kind, "subject": subject,
		"time": at.UTC().Format(time.RFC3339Nano), "data": map[string]any{"resource": map[string]any{"name": name}},
	})
}

// notifications returns the notifications of one creation in both of Nova's formats.
func notifications(id, subject, name, project string, at time.Time) (legacy, versioned string) {
	envelope := func(publisher, eventType, id string, payload map[string]any) string {
		return marshal(map[string]any{"oslo.version": "2.0", "oslo.message": marshal(map[string]any{
			"message_id": id, "publisher_id": publisher, "event_type": eventType, "priority": "INFO", "payload": payload,
			"timestamp": at.UTC().Format("2006-01-02 15:04:05.000000"), "_context_request_id": "req-" + subject,
			"_context_user_name": "alice",
		})})
	}
	legacy = envelope("compute.node-1", "compute.instance.create.end", id+"-legacy", map[string]any{
		"instance_id": subject, "tenant_id": project, "display_name": name, "state": "active", "message": "Success",
	})
	versioned = envelope("nova-compute:node-1", "instance.create.end", id+"-versioned", map[string]any{
		"nova_object.name": "InstanceCreatePayload", "nova_object.namespace": "nova", "nova_object.version": "1.12",
		"nova_object.data": map[string]any{"uuid": subject, "tenant_id": project, "display_name": name, "state": "active",
			"task_state": nil},
	})
	return legacy, versioned
}

func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// storm creates servers and returns their events in the order to send them. watch returns a context that ends with the
// first request about a server.
func storm(sim *simcloud.Cloud, watch func(server string) context.Context) []*sent {
	var (
		all     []*sent
		now     = time.Now()
		project = "demo"
		n       int
	)
	if p, ok := sim.Project(project); ok {
		project = p.ID
	}
	const created = "io.github.cloudtagger.server.created"
	// server creates a server and its event. Every second one has metadata and a rule that only adds.
	server := func(kind string, v simcloud.Server, want ...string) *sent {
		n++
		s := &sent{kind: kind, name: fmt.Sprintf("%s-%d", kind, n), server: serverOf(n), copies: 1, want: want}
		s.planned = map[string]string{"env": "dev"}
		if n%2 == 0 {
			s.name += "-add"
			v.Metadata = map[string]string{"stage": "test"}
			s.planned["stage"] = "test"
		}
		s.planned["origin"] = s.name
		s.id = "event-" + s.name
		s.body = cloudEvent(s.id, created, s.server, s.name, now)
		v.ID, v.Name = s.server, s.name
		sim.PutServer(v)
		all = append(all, s)
		return s
	}
	other := func(kind, id, body string, want ...string) *sent {
		s := &sent{kind: kind, name: fmt.Sprintf("%s-%d", kind, len(all)), id: id, body: body, copies: 1, want: want}
		all = append(all, s)
		return s
	}

	// The slowest events come first. The crashes are in the first two batches, during the first request about the server:
	// one before the cloud acts, one after.
	crash := func(answer *simcloud.Answer) {
		s := server("crash", simcloud.Server{}, isTagged, isUnchanged)
		s.receives, s.crash = 2, watch(s.server)
		sim.Inject(simcloud.Fault{Path: s.server, Times: 1, Answer: answer})
	}
	crash(simcloud.Hang())
	for i, seconds := range []int{20, 18, 16, 14, 12, 10, 8, 6, 4, 3, 2, 1} {
		if i == 10 {
			crash(simcloud.HangServed())
		}
		s := server("building", simcloud.Server{VMState: "building", BuildTime: time.Duration(seconds) * time.Second},
			isTagged, isUnchanged)
		if seconds >= 16 {
			s.receives = 2 // a call waits 5 s
		}
	}
	unsent := other("poison", "unsent", cloudEvent("unsent", created, "not-a-uuid", "unsent", now), isDead)
	unsent.why, unsent.receives = "subject", 2 // sending it to the dead-letter queue fails at first

	for _, answer := range []*simcloud.Answer{
		simcloud.Throttled(time.Second), simcloud.ThrottledByGateway(), simcloud.Unavailable(time.Second),
		simcloud.UnavailableHTML(0),
		simcloud.ServerError(), simcloud.Drop(), simcloud.DropServed(),
	} {
		sim.Inject(simcloud.Fault{Path: server("faulty", simcloud.Server{}, isTagged, isUnchanged).server, Times: 1,
			Answer: answer})
	}
	for range 18 {
		server("ready", simcloud.Server{}, isTagged, isUnchanged)
	}
	for range 4 {
		server("twice", simcloud.Server{}, isTagged, isUnchanged).copies = 2
	}
	for range 4 {
		s := server("formats", simcloud.Server{}, isTagged, isUnchanged)
		versioned := *s
		s.body, versioned.body = notifications(s.name, s.server, s.name, project, now)
		s.id, versioned.id = s.name+"-legacy", s.name+"-versioned"
		versioned.name += " (versioned)"
		all = append(all, &versioned)
	}
	for _, state := range []string{"error", "error", "shelved_offloaded", "active", "active"} {
		server("stuck", simcloud.Server{VMState: state, Locked: state == "active"}, isHandedBack).later = isTagged
	}
	full := map[string]string{}
	for i := range 128 {
		full[fmt.Sprintf("key-%d", i)] = "x"
	}
	quota := server("quota", simcloud.Server{}, isDead)
	quota.later, quota.why = isTagged, "the resource has 128 of 128 items"
	sim.SetServerMetadata(quota.server, full)

	for _, state := range []string{"deleted", "soft-delete"} {
		server("deleted", simcloud.Server{VMState: state}, isGone)
	}
	for i := range 4 {
		id := fmt.Sprintf("deleted-long-ago-%d", i)
		other("deleted", id, cloudEvent(id, created, serverOf(900+i), id, now.Add(-time.Hour)), isGone)
	}
	for _, action := range []string{"snapshot.created", "server.stopped", "server.deleted"} {
		other("other action", action, cloudEvent(action, "io.github.cloudtagger."+action, serverOf(1), "x", now), isIgnored)
	}
	legacy, _ := notifications("update", serverOf(1), "x", project, now)
	other("other action", "update-legacy", strings.Replace(legacy, "compute.instance.create.end",
		"compute.instance.update", 1), isIgnored)
	for _, kind := range []string{"com.example.order.placed", "io.github.cloudtagger.server.rebooted"} {
		other("not known", kind, cloudEvent(kind, kind, serverOf(1), "x", now), isUnrecognised)
	}

	poison := func(id, body, why string) { other("poison", id, body, isDead).why = why }
	whole := cloudEvent("truncated", created, serverOf(1), "x", now)
	poison("", whole[:len(whole)-20], "body")
	poison("climbs", cloudEvent("climbs", created, "../../"+serverOf(1), "x", now), "subject")
	poison("", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00\xff garbage", 100))), "body")
	poison("large", cloudEvent("large", created, "", strings.Repeat("0123456789", 20<<10), now), "subject")
	// SQS takes no U+FFFE in an attribute
	poison("no\ufffecharacter", cloudEvent("no\ufffecharacter", created, "", "x", now), "subject")
	poison("", `{"specversion": "1.0", "id": "no-type", "source": "/x"}`, "body")
	return all
}

// badDay makes a fifth of all requests fail, until each fault has occurred a number of times.
func badDay(sim *simcloud.Cloud, times int) {
	ways := []simcloud.Fault{
		{Answer: simcloud.Throttled(time.Second)}, {Answer: simcloud.ThrottledByGateway()},
		{Answer: simcloud.Unavailable(time.Second)},
		{Answer: simcloud.UnavailableHTML(0)}, {Answer: simcloud.ServerError()}, {Answer: simcloud.Drop()},
		{Answer: simcloud.DropServed()},
		{Delay: 300 * time.Millisecond},
	}
	// The third login is by the process that replaces the first killed one.
	sim.Inject(simcloud.Fault{Service: "identity", Method: http.MethodPost, Skip: 2, Times: 1,
		Answer: simcloud.Unavailable(time.Second)})
	for _, f := range ways {
		f.Service, f.Times, f.Probability = "compute", times, 0.2/float64(len(ways))
		sim.Inject(f)
	}
}
