package ingress_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

// TestTolerance checks that a bad optional attribute drops the attribute, not the event.
func TestTolerance(t *testing.T) {
	base := func(more map[string]any) map[string]any {
		m := map[string]any{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
		for name, value := range more {
			m[name] = value
		}
		return m
	}
	for _, c := range []struct {
		name, members string
		want          map[string]any
	}{
		{"EventGrid's empty strings", `"dataschema":"","subject":"","datacontenttype":"","ttl":"4000"`,
			base(map[string]any{"ttl": "4000"})},
		{"underscore in a name", `"my_ext":"x","other":"y"`, base(map[string]any{"other": "y"})},
		{"capitals in a name", `"MyExt":"x"`, base(map[string]any{"myext": "x"})},
		{"object as a value", `"ext":{"a":1},"list":[1],"none":null`, base(nil)},
		{"integer", `"ext":5`, base(map[string]any{"ext": 5.0})},
		{"large integer and fraction", `"ext":123456789012345678901,"half":1.5`,
			base(map[string]any{"ext": "123456789012345678901", "half": "1.5"})},
		{"boolean", `"ext":true,"no":false`, base(map[string]any{"ext": true, "no": false})},
		{"control character in an extension", `"ext":"a\nb"`, base(nil)},
		{"time in nanoseconds", `"time":"2026-09-30T03:24:43.167931174Z"`,
			base(map[string]any{"time": "2026-09-30T03:24:43.167931174Z"})},
		{"time with a zone", `"time":"2018-04-05T17:31:00+02:00"`, base(map[string]any{"time": "2018-04-05T15:31:00Z"})},
		{"time with a space", `"time":"2018-04-05 17:31:00"`, base(map[string]any{"time": "2018-04-05T17:31:00Z"})},
		{"time in seconds", `"time":1529996047`, base(map[string]any{"time": "2018-06-26T06:54:07Z"})},
		{"time in milliseconds", `"time":1529996047123`, base(map[string]any{"time": "2018-06-26T06:54:07.123Z"})},
		{"time as digits", `"time":"1529996047123"`, base(map[string]any{"time": "2018-06-26T06:54:07.123Z"})},
		{"time in fractions of a second", `"time":1529996047.5`, base(map[string]any{"time": "2018-06-26T06:54:07.5Z"})},
		{"no time", `"time":" "`, base(nil)},
		{"null as time", `"time":null`, base(nil)},
		{"relative dataschema", `"dataschema":"schema.json"`, base(nil)},
		{"dataschema", `"dataschema":"https://example.com/s"`, base(map[string]any{"dataschema": "https://example.com/s"})},
		{"numeric id", `"id":42`, base(map[string]any{"id": "42"})},
		{"data and no type", `"data":{"a":[1,2.50,"x"]}`,
			base(map[string]any{"datacontenttype": "application/json", "data": map[string]any{"a": []any{1.0, 2.5, "x"}}})},
		{"data of a JSON type", `"datacontenttype":"application/vnd.x+json","data":{}`,
			base(map[string]any{"datacontenttype": "application/json", "data": map[string]any{}})},
		{"data_base64", `"data_base64":"eyJhIjoxfQ=="`,
			base(map[string]any{"datacontenttype": "application/json", "data": map[string]any{"a": 1.0}})},
		{"data_base64 and data null", `"data":null,"data_base64":"eyJhIjoxfQ=="`,
			base(map[string]any{"datacontenttype": "application/json", "data": map[string]any{"a": 1.0}})},
		{"data that is no JSON", `"datacontenttype":"text/plain","data_base64":"aGVsbG8="`, base(nil)},
		{"specversion of a patch release", `"specversion":"1.0.2"`, base(nil)},
		{"numeric specversion", `"specversion":1.0`, base(nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := `{"specversion":"1.0","id":"1","source":"/s","type":"t",` + c.members + `}`
			if diff := cmp.Diff(c.want, onlyEvent(t, ingress.Decode([]byte(payload)), ingress.Direct)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestErrors checks that each error is one line without values.
func TestErrors(t *testing.T) {
	const secret = "s3cret"
	const atTime = "CloudEvent: time is not a timestamp (RFC 3339, such as 2026-11-20T09:15:04Z); leave it out if " +
		"there is none"
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	wrapped := event1
	for range 5 {
		wrapped = `{"detail-type":"x","detail":` + wrapped + `}`
	}
	for _, c := range []struct{ name, payload, want string }{
		{"nothing", "", "is empty"},
		{"spaces", " \n", "is empty"},
		{"null", "null", "is neither a JSON object nor an array"},
		{"number", "5", "is neither a JSON object nor an array"},
		{"no JSON", secret, "is not JSON (line 1, column 1)"},
		{"cut off", `{"specversion":"` + secret, "is not JSON (line 1, column 22: it ends too early)"},
		{"two documents", event1 + event1,
			"contains a second document (line 1, column 56); put them into [ ], separated by commas"},
		{"JSON Lines", event1 + "\n\n" + event1 + "\n",
			"contains a second document (line 3, column 1); put them into [ ], separated by commas"},
		{"two arrays", "[][]", "contains a second document (line 1, column 3); put them into [ ], separated by commas"},
		{"text after a document", event1 + secret, "is not JSON (line 1, column 56)"},
		{"text in a string", `"s3cret"`, "is a JSON string without an event"},
		{"the empty string", `""`, "is a JSON string without an event"},
		{"half a document in a string", `"{\"specversion\":"`, "JSON string: is not JSON (line 1, column 15: it " +
			"ends too early)"},
		{"UTF-16, little end first", "\xff\xfe{\x00}\x00", "is UTF-16; want UTF-8"},
		{"UTF-16, big end first", "\xfe\xff\x00{\x00}", "is UTF-16; want UTF-8"},
		{"UTF-16 without a mark", "{\x00}\x00", "is UTF-16; want UTF-8"},
		{"too large", strings.Repeat(" ", 6<<20) + event1, "has more than 6291456 bytes"},
		{"too deep", deep, "has more than 64 levels of nesting"},
		{"too many envelopes", wrapped,
			"EventBridge event: detail: EventBridge event: detail: EventBridge event: detail: EventBridge event: detail: " +
				"EventBridge event: detail: has more than 4 envelopes around it"},
		{"too many events", "[" + strings.Repeat(event1+",", 2_000) + event1 + "]", "has more than 2000 events"},
		{"too many members", "{" + strings.Repeat(`"a`+`":1,`, 1) + manyMembers(1000) + `"z":1}`,
			"has more than 1000 members"},
		{"array in an array", "[[" + event1 + "]]", "event 1 of 1: is an array within an array"},
		{"empty object", "{}", "is not a CloudEvent, OpenStack notification, CTS trace or an envelope around one"},
		{"no specversion", `{"id":"s3cret","source":"s3cret","type":"s3cret"}`, "CloudEvent: specversion is missing"},
		{"other version", `{"specversion":"0.3","id":"s3cret","source":"/s","type":"t"}`,
			`CloudEvent: specversion "0.3" is not 1.0`},
		{"no attributes", `{"specversion":"1.0"}`, "CloudEvent: id, source and type are missing"},
		{"empty attributes", `{"specversion":"1.0","id":" ","source":"","type":"s3cret"}`,
			"CloudEvent: id and source are missing"},
		{"number as type", `{"specversion":"1.0","id":"1","source":"/s","type":5}`, "CloudEvent: type is not a string"},
		{"boolean as type", `{"specversion":"1.0","id":"1","source":"/s","type":true}`, "CloudEvent: type is not a string"},
		{"word as time", `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"yesterday"}`, atTime},
		{"time out of range", `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"9999-12-31T23:59:59-23:00"}`,
			atTime},
		{"boolean as time", `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":true}`, atTime},
		{"object as time", `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":{}}`, atTime},
		{"object as id", `{"specversion":"1.0","id":{},"source":"/s","type":"s3cret"}`, "CloudEvent: id is missing"},
		{"source", `{"specversion":"1.0","id":"1","source":"%zz s3cret","type":"t"}`, "CloudEvent: source is not valid"},
		{"control character", `{"specversion":"1.0","id":"1\u0000s3cret","source":"/s","type":"t"}`,
			"CloudEvent: id contains a control character"},
		{"data twice", `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"s3cret","data_base64":"eA=="}`,
			"CloudEvent: data and data_base64 exclude each other"},
		{"no base64", `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"s3cret!"}`,
			"CloudEvent: data_base64 is not base64"},
		{"base64 of another kind", `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":5}`,
			"CloudEvent: data_base64 is not base64"},
		{"base64 of no JSON", `{"specversion":"1.0","id":"1","source":"/s","type":"t",` +
			`"datacontenttype":"application/json","data_base64":"czNjcmV0"}`, "CloudEvent: data: is not JSON (line " +
			"1, column 1)"},
		{"SNS confirmation", `{"Type":"SubscriptionConfirmation","TopicArn":"a","Message":"s3cret","Token":"s3cret"}`,
			"SNS message: is not a Notification; confirm the subscription by hand"},
		{"SNS with text", `{"Type":"Notification","TopicArn":"a","Message":"s3cret"}`,
			"SNS message: is not JSON (line 1, column 1)"},
		{"EventBridge without an id",
			`{"detail-type":"EC2 Instance State-change Notification","detail":{"instance-id":"i-1"}}`,
			"EventBridge event: CloudEvent: id and source are missing"},
		{"EventBridge with half a CloudEvent", eventBridge(`{"specversion":"1.0","type":"s3cret"}`),
			"EventBridge event: detail: CloudEvent: id and source are missing"},
		{"events that are none", `{"events":{}}`, "EventGrid batch: events is not an array"},
		{"oslo.messaging with text", `{"oslo.version":"2.0","oslo.message":"s3cret"}`,
			"oslo.messaging envelope: oslo.message: is not JSON (line 1, column 1)"},
		{"oslo.messaging with a list", `{"oslo.version":"2.0","oslo.message":"[]"}`,
			"oslo.messaging envelope: oslo.message: is not an object"},
		{"an RPC call", `{"oslo.version":"2.0","oslo.message":"{\"method\":\"s3cret\",\"args\":{}}"}`,
			"oslo.messaging envelope: oslo.message: is not a notification (event_type, publisher_id or payload is missing; an " +
				"RPC message?)"},
		{"trace without a service", `{"cts":{"trace_name":"s3cret","trace_id":"1"}}`, "CTS trace: service_type is missing"},
		{"trace without a name", `{"cts":{"service_type":"ECS","trace_id":"1"}}`, "CTS trace: trace_name is missing"},
		{"notification with a control character", `{"event_type":"a\u0007","publisher_id":"p","payload":{}}`,
			"OpenStack notification: CloudEvent: type contains a control character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := ingress.Decode([]byte(c.payload))
			got := fmt.Sprint(b.Records[0].Err)
			if len(b.Records) != 1 || got != "read payload: "+c.want {
				t.Errorf("%d records, error\n%s, want\nread payload: %s", len(b.Records), got, c.want)
			}
			if strings.Contains(got, secret) || strings.ContainsAny(got, "\r\n") {
				t.Errorf("the error holds a value or a line break: %q", got)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":1,`, i)
	}
	return b.String()
}

// TestNoMessageID checks that a notification without an id, such as Nova's samples, always becomes the same event.
func TestNoMessageID(t *testing.T) {
	const notification = `{"event_type":"instance.create.end","publisher_id":"nova-compute:a b/c",` +
		`"payload":{"x":1},"priority":"INFO"}`
	first := onlyEvent(t, ingress.Decode([]byte(notification)), "")
	again := onlyEvent(t, sqs(t, strings.ReplaceAll(notification, ",", ", ")), "")
	other := onlyEvent(t, ingress.Decode([]byte(strings.Replace(notification, "1", "2", 1))), "")
	if first["id"] != again["id"] || first["id"] == other["id"] {
		t.Errorf("ids %v, %v, %v; want the first two to be one", first["id"], again["id"], other["id"])
	}
	if want := "openstack:nova-compute:a%20b%2Fc"; first["source"] != want {
		t.Errorf("source %v, want %s", first["source"], want)
	}
}

// TestOuterAttributes checks that a notification replaces the bridge's event around it but keeps its tracing
// attributes.
func TestOuterAttributes(t *testing.T) {
	got := onlyEvent(t, ingress.Decode(
		[]byte(`{"specversion":"1.0","id":"e1","source":"/bridge","type":"x","subject":"s","time":"2026-11-20T09:15:04Z",
		"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"data":{"event_type":"instance.create.end","publisher_id":"p","message_id":"m1","payload":{}}}`)), "")
	want := map[string]any{
		"specversion": "1.0", "id": "m1", "source": "openstack:p", "type": "org.openstack.instance.create.end",
		"time":        "2026-11-20T09:15:04Z",
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "datacontenttype": "application/json",
		"data": map[string]any{"event_type": "instance.create.end", "publisher_id": "p", "message_id": "m1",
			"payload": map[string]any{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestOwnData checks that a plain event may carry a notification as its own data.
func TestOwnData(t *testing.T) {
	got := onlyEvent(t, ingress.Decode(
		[]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"io.github.cloudtagger.server.created",
		"data":{"event_type":"x","publisher_id":"p","payload":{}}}`)), "")
	if got["id"] != "e1" || got["type"] != "io.github.cloudtagger.server.created" {
		t.Errorf("id %v, type %v; want the producer's own", got["id"], got["type"])
	}
}
