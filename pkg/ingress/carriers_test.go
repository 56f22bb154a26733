package ingress_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

// carriers are the ways in which a document (a structured CloudEvent, an oslo.messaging envelope, a trace) reaches a
// function.
var carriers = []struct {
	name    string
	carrier ingress.Carrier
	deliver func(t *testing.T, document string) ingress.Batch
}{
	{"direct", ingress.Direct, func(t *testing.T, d string) ingress.Batch { return ingress.Decode([]byte(d)) }},
	{"direct with a byte order mark", ingress.Direct, func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte("\uFEFF" + d))
	}},
	{"JSON batch", ingress.Direct, func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte("[" + d + "]"))
	}},
	{"JSON in a string", ingress.Direct, func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte(quote(t, d)))
	}},
	{"EventGrid batch", ingress.Direct, func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte(`{"events":[` + d + `]}`))
	}},
	{"EventBridge", ingress.Direct, func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte(eventBridge(d)))
	}},
	{"SQS", ingress.SQS, func(t *testing.T, d string) ingress.Batch { return sqs(t, d) }},
	{"SQS from SNS", ingress.SQS, func(t *testing.T, d string) ingress.Batch { return sqs(t, sns(t, d)) }},
	{"SQS from EventBridge", ingress.SQS, func(t *testing.T, d string) ingress.Batch { return sqs(t, eventBridge(d)) }},
	{"SQS from SNS from EventBridge", ingress.SQS, func(t *testing.T, d string) ingress.Batch {
		return sqs(t, sns(t, eventBridge(d)))
	}},
	{"function URL", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return functionURL(t, map[string]string{"content-type": "application/cloudevents+json; charset=utf-8"}, d, false)
	}},
	{"function URL, base64", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return functionURL(t, map[string]string{"content-type": "application/json"}, d, true)
	}},
	{"function URL, batch", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return functionURL(t, map[string]string{"content-type": "application/cloudevents-batch+json; charset=utf-8"},
			"["+d+"]", true)
	}},
	{"HTTP, structured", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return ingress.DecodeHTTP(http.Header{"Content-Type": {"Application/CloudEvents+JSON; charset=UTF-8"}}, []byte(d))
	}},
	{"HTTP, application/json", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return ingress.DecodeHTTP(http.Header{"Content-Type": {"application/json"}}, []byte(d))
	}},
	{"HTTP, no content type", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return ingress.DecodeHTTP(nil, []byte(d))
	}},
	{"HTTP, batch", ingress.HTTP, func(t *testing.T, d string) ingress.Batch {
		return ingress.DecodeHTTP(http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, []byte("["+d+"]"))
	}},
}

// bridges carry other documents in the data of a CloudEvent.
var bridges = []struct {
	name    string
	deliver func(t *testing.T, document string) ingress.Batch
}{
	{"Knative RabbitMQ source, structured", func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte(
			`{"specversion":"1.0","id":"e1","source":"/apis/v1/namespaces/a/rabbitmqsources/b#nova",` +
				`"type":"dev.knative.rabbitmq.event","subject":"e1","data":` + d + `}`))
	}},
	{"Knative RabbitMQ source, binary", func(t *testing.T, d string) ingress.Batch {
		return ingress.DecodeHTTP(http.Header{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"e1"}, "Ce-Source": {"/apis/v1/namespaces/a/rabbitmqsources/b#nova"},
			"Ce-Type": {"dev.knative.rabbitmq.event"}, "Ce-Subject": {"e1"}, "Content-Type": {"application/json"},
		}, []byte(d))
	}},
	{"data in base64", func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"x","data_base64":"` +
			base64.StdEncoding.EncodeToString([]byte(d)) + `"}`))
	}},
	{"data in a string", func(t *testing.T, d string) ingress.Batch {
		return ingress.Decode([]byte(
			`{"specversion":"1.0","id":"e1","source":"/s","type":"x","datacontenttype":"text/plain","data":` + quote(t, d) +
				`}`))
	}},
	{"EventBridge pipe with SNS", func(t *testing.T, d string) ingress.Batch {
		return sqs(t, sns(t, eventBridge(`{"specversion":"1.0","id":"e1","source":"/s","type":"x","data":`+d+`}`)))
	}},
}

// TestCarriers checks that every carrier yields the same event.
func TestCarriers(t *testing.T) {
	for _, file := range []string{
		"server-created", "snapshot-created", "baremetal-created", "server-stopped",
		"nova-server-created", "nova-versioned-server-created", "cinder-snapshot-created", "cts-server-created",
	} {
		document := string(readFile(t, "../../events/"+file+".json"))
		want := onlyEvent(t, ingress.Decode([]byte(document)), ingress.Direct)
		for _, c := range carriers {
			t.Run(file+" by "+c.name, func(t *testing.T) {
				if diff := cmp.Diff(want, onlyEvent(t, c.deliver(t, document), c.carrier)); diff != "" {
					t.Errorf("-direct +%s:\n%s", c.name, diff)
				}
			})
		}
		if strings.Contains(document, "specversion") {
			continue
		}
		for _, b := range bridges {
			t.Run(file+" by "+b.name, func(t *testing.T) {
				if diff := cmp.Diff(want, onlyEvent(t, b.deliver(t, document), "")); diff != "" {
					t.Errorf("-direct +%s:\n%s", b.name, diff)
				}
			})
		}
	}
}

// TestBareNotification checks the v1 messaging driver, which sends the content of messagingv2's envelope.
func TestBareNotification(t *testing.T) {
	document := readFile(t, "../../events/nova-server-created.json")
	var envelope struct {
		Message string `json:"oslo.message"`
	}
	if err := json.Unmarshal(document, &envelope); err != nil {
		t.Fatal(err)
	}
	want, got := onlyEvent(t, ingress.Decode(document), ""), onlyEvent(t, ingress.Decode([]byte(envelope.Message)), "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-v2 +v1:\n%s", diff)
	}
}

// TestEventGridTrace checks that EventGrid's event equals that of a bare trace, except for what EventGrid adds. The
// time is the trace's own.
func TestEventGridTrace(t *testing.T) {
	var wrapped struct{ Events []json.RawMessage }
	if err := json.Unmarshal(readFile(t, "../../events/eventgrid-server-created.json"), &wrapped); err != nil {
		t.Fatal(err)
	}
	var bare struct{ Data json.RawMessage }
	if err := json.Unmarshal(wrapped.Events[0], &bare); err != nil {
		t.Fatal(err)
	}
	want := onlyEvent(t, ingress.Decode(bare.Data), "")
	want["ttl"] = "4000"
	for name, payload := range map[string]string{
		"bare":   string(wrapped.Events[0]),
		"events": `{"events":[` + string(wrapped.Events[0]) + `]}`,
		"array":  `[` + string(wrapped.Events[0]) + `]`,
		"CTS inside EG": `{"specversion":"1.0","id":"e1","source":"HC.ECS","type":"x","ttl":"4000","data":{"cts":` +
			string(bare.Data) + `}}`,
		"trace as string": `{"specversion":"1.0","id":"e1","source":"HC.ECS","type":"x","ttl":"4000","data":` +
			quote(t, string(bare.Data)) + `}`,
	} {
		got := onlyEvent(t, ingress.Decode([]byte(payload)), "")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-bare trace +EventGrid):\n%s", name, diff)
		}
	}
}

// onlyEvent returns a batch's single event in its JSON form, and checks what holds for every batch.
func onlyEvent(t *testing.T, b ingress.Batch, carrier ingress.Carrier) map[string]any {
	t.Helper()
	if len(b.Records) != 1 || len(b.Records[0].Events) != 1 || b.Records[0].Err != nil {
		t.Fatalf("%d records, %d events, err %v; want one event", len(b.Records), len(b.Records[0].Events), b.Records[0].Err)
	}
	if carrier != "" && b.Carrier != carrier {
		t.Errorf("carrier %q, want %q", b.Carrier, carrier)
	}
	e := b.Records[0].Events[0]
	if err := e.Validate(); err != nil {
		t.Errorf("event is not valid: %v", err)
	}
	return jsonForm(t, e)
}

func jsonForm(t *testing.T, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func sqs(t *testing.T, bodies ...string) ingress.Batch {
	t.Helper()
	return ingress.Decode([]byte(sqsPayload(t, bodies...)))
}

func sqsPayload(t testing.TB, bodies ...string) string {
	t.Helper()
	records := make([]string, len(bodies))
	for i, body := range bodies {
		records[i] = `{"messageId":"m` + string(rune('1'+i)) + `","receiptHandle":"r` + string(rune('1'+i)) + `","body":` +
			quote(t, body) +
			`,"attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"1795166105123"},"eventSource":"aws:sqs",` +
			`"eventSourceARN":"arn:aws:sqs:eu-central-1:123456789012:q"}`
	}
	return `{"Records":[` + strings.Join(records, ",") + `]}`
}

func sns(t testing.TB, message string) string {
	return `{"Type":"Notification","MessageId":"x","TopicArn":"arn:aws:sns:eu-central-1:123456789012:t","Message":` +
		quote(t, message) + `,"Timestamp":"2026-11-20T09:15:05.123Z"}`
}

func eventBridge(detail string) string {
	return `{"version":"0","id":"x","detail-type":"tagger","source":"bridge","account":"123456789012",` +
		`"time":"2026-11-20T09:15:05Z","region":"eu-central-1","resources":[],"detail":` + detail + `}`
}

func functionURL(t testing.TB, headers map[string]string, body string, encode bool) ingress.Batch {
	t.Helper()
	return ingress.Decode(functionURLPayload(t, headers, body, encode))
}

func functionURLPayload(t testing.TB, headers map[string]string, body string, encode bool) []byte {
	t.Helper()
	if encode {
		body = base64.StdEncoding.EncodeToString([]byte(body))
	}
	payload, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": "/", "headers": headers, "body": body, "isBase64Encoded": encode,
		"requestContext": map[string]any{"http": map[string]any{"method": "POST"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func quote(t testing.TB, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
