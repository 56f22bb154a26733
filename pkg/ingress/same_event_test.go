package ingress_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

const mark = "\uFEFF"

// TestByteOrderMark checks that a byte order mark at the start of any document is ignored.
func TestByteOrderMark(t *testing.T) {
	for _, file := range []string{"server-created", "nova-server-created", "cts-server-created"} {
		doc := string(readFile(t, "../../events/"+file+".json"))
		want := onlyEvent(t, ingress.Decode([]byte(doc)), "")
		marked := map[string]ingress.Batch{
			"direct":               ingress.Decode([]byte(mark + doc)),
			"JSON in a string":     ingress.Decode([]byte(quote(t, mark+doc))),
			"SQS":                  sqs(t, mark+doc),
			"SQS from SNS":         sqs(t, mark+sns(t, mark+doc)),
			"function URL":         functionURL(t, nil, mark+doc, false),
			"function URL, base64": functionURL(t, nil, mark+doc, true),
			"HTTP":                 ingress.DecodeHTTP(nil, []byte(mark+doc)),
			"HTTP, batch": ingress.DecodeHTTP(http.Header{"Content-Type": {"application/cloudevents-batch+json"}},
				[]byte(mark+"["+doc+"]")),
			"a mark before a function": ingress.Decode(append([]byte(mark), functionURLPayload(t, nil, mark+doc, false)...)),
		}
		if !strings.Contains(doc, "specversion") {
			for _, b := range bridges {
				if b.name != "Knative RabbitMQ source, structured" && !strings.Contains(b.name, "pipe") {
					marked[b.name] = b.deliver(t, mark+doc)
				}
			}
		}
		for name, batch := range marked {
			if diff := cmp.Diff(want, onlyEvent(t, batch, "")); diff != "" {
				t.Errorf("%s by %s (-without +with a mark):\n%s", file, name, diff)
			}
		}
	}
	// In base64 and in binary mode, it precedes the data.
	want := onlyEvent(t, ingress.Decode([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`)),
		"")
	for name, batch := range map[string]ingress.Batch{
		"data_base64": ingress.Decode([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"` +
			base64.StdEncoding.EncodeToString([]byte(mark+`{"a":1}`)) + `"}`)),
		"binary mode": ingress.DecodeHTTP(binary("application/json"), []byte(mark+`{"a":1}`)),
	} {
		if diff := cmp.Diff(want, onlyEvent(t, batch, "")); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	doc := `{"oslo.message":` + quote(t, mark+`{"event_type":"x","publisher_id":"p","message_id":"m","payload":{}}`) + `}`
	if got := onlyEvent(t, ingress.Decode([]byte(doc)), ""); got["id"] != "m" {
		t.Errorf("oslo.message: %v", got)
	}
}

func binary(contentType string) http.Header {
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return h
}

// TestNamesInOtherCase checks that of names that differ only in case, always the lower-case one counts.
func TestNamesInOtherCase(t *testing.T) {
	for names, want := range map[string]string{
		"subject SUBJECT Subject": "subject",
		"SUBJECT subject":         "subject",
		"Subject SUBJECT":         "SUBJECT", // without a lower-case one the first in the order of bytes
		"sUBJECT Subject":         "Subject",
		"SubjecT":                 "SubjecT",
	} {
		var members []string
		header, gateway := binary(""), map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s",
			"ce-type": "t"}
		for _, name := range strings.Fields(names) {
			members = append(members, fmt.Sprintf("%q:%q", name, name))
			header["ce-"+name] = []string{name}
			gateway["ce-"+name] = name
		}
		structured := `{"specversion":"1.0","id":"1","source":"/s","type":"t",` + strings.Join(members, ",") + `}`
		for range 30 { // maps have another order each time
			for mode, batch := range map[string]ingress.Batch{
				"structured":   ingress.Decode([]byte(structured)),
				"binary":       ingress.DecodeHTTP(header, nil),
				"function URL": functionURL(t, gateway, "", false),
			} {
				if got := onlyEvent(t, batch, "")["subject"]; got != want {
					t.Fatalf("%s of %s: subject %v, want %s", mode, names, got, want)
				}
			}
		}
	}
	for range 30 {
		got := onlyEvent(t, ingress.Decode(
			[]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","DATA":{"a":2},"data":{"a":1},"Ext":"2","ext":"1"}`)),
			"")
		if diff := cmp.Diff(map[string]any{"a": 1.0}, got["data"]); diff != "" || got["ext"] != "1" {
			t.Fatalf("data %v, ext %v", got["data"], got["ext"])
		}
	}
}

// TestEveryNameInOtherCase checks each attribute in capitals: alone it counts, beside the lower-case one it does not.
func TestEveryNameInOtherCase(t *testing.T) {
	attributes := map[string]string{
		"specversion": `"1.0"`, "id": `"1"`, "source": `"/s"`, "type": `"t"`, "subject": `"x"`, "ext": `"e"`,
		"time": `"2026-11-20T09:15:04Z"`, "datacontenttype": `"application/json"`, "dataschema": `"http://x/y"`,
		"data": `{"a":1}`,
	}
	event := func(upper, beside string) string {
		var members []string
		for name, value := range attributes {
			if name != upper || beside != "" {
				members = append(members, fmt.Sprintf("%q:%s", name, value))
			}
			if name == upper {
				written := value
				if beside != "" {
					written = beside
				}
				members = append(members, fmt.Sprintf("%q:%s", strings.ToUpper(name), written))
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	want := onlyEvent(t, ingress.Decode([]byte(event("", ""))), "")
	for name := range attributes {
		for _, c := range carriers {
			for what, doc := range map[string]string{"alone": event(name, ""), "beside": event(name, `"other"`)} {
				if diff := cmp.Diff(want, onlyEvent(t, c.deliver(t, doc), c.carrier)); diff != "" {
					t.Errorf("%s in capitals, %s, by %s (-want +got):\n%s", name, what, c.name, diff)
				}
			}
		}
	}
}

// TestModesAgreeOnData checks that data means the same in binary mode, as a JSON value and in base64.
func TestModesAgreeOnData(t *testing.T) {
	for _, c := range []struct {
		contentType, data string
		want              any    // nil for none
		problem           string // of an event that is refused
	}{
		{"text/plain", "hello", nil, ""},
		{"text/plain", `"hello"`, nil, ""},
		{"text/plain; charset=utf-8", "5", nil, ""},
		{"text/plain", "true", nil, ""},
		{"text/plain", `{"a":1}`, map[string]any{"a": 1.0}, ""},
		{"text/plain", mark + `[1]`, []any{1.0}, ""},
		{"text/plain", `{"a":`, nil, ""},
		{"application/xml", "<a/>", nil, ""},
		{"text/csv", "a,b\r\n", nil, ""},
		{"application/octet-stream", "\x00\x01", nil, ""},
		{"application/json", `{"a":1}`, map[string]any{"a": 1.0}, ""},
		{"application/json", `"hello"`, "hello", ""},
		{"application/json", "5", 5.0, ""},
		{"application/json", " ", nil, ""},
		{"application/vnd.x+json", `[1]`, []any{1.0}, ""},
	} {
		value := quote(t, c.data)
		if strings.Contains(c.contentType, "json") && strings.TrimSpace(c.data) != "" {
			value = c.data
		} else if strings.Contains(c.contentType, "json") {
			value = "null"
		}
		attributes := `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":` + quote(t, c.contentType)
		inBase64 := attributes + `,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(c.data)) + `"}`
		header := binary(c.contentType)
		gateway := map[string]string{"content-type": c.contentType}
		for name := range header {
			gateway[strings.ToLower(name)] = header.Get(name)
		}
		for mode, batch := range map[string]ingress.Batch{
			"structured": ingress.Decode([]byte(attributes + `,"data":` + value + `}`)),
			"structured by HTTP": ingress.DecodeHTTP(http.Header{"Content-Type": {"application/cloudevents+json"}},
				[]byte(attributes+`,"data":`+value+`}`)),
			"base64":       ingress.Decode([]byte(inBase64)),
			"binary":       ingress.DecodeHTTP(header, []byte(c.data)),
			"function URL": functionURL(t, gateway, c.data, true),
			"SQS":          sqs(t, inBase64),
		} {
			got := onlyEvent(t, batch, "")["data"]
			if value == "null" && strings.HasPrefix(mode, "structured") {
				got = nil // JSON's null is a value there
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s of %s %q (-want +got):\n%s", mode, c.contentType, c.data, diff)
			}
		}
	}
}

// TestEmptyBatch checks that a batch without events is not an error, with any carrier.
func TestEmptyBatch(t *testing.T) {
	for name, b := range map[string]ingress.Batch{
		"direct":           ingress.Decode([]byte("[]")),
		"with a mark":      ingress.Decode([]byte(mark + " [ ]\n")),
		"JSON in a string": ingress.Decode([]byte(`"[]"`)),
		"EventGrid":        ingress.Decode([]byte(`{"events":[]}`)),
		"EventBridge":      ingress.Decode([]byte(eventBridge("[]"))),
		"SQS":              sqs(t, "[]"),
		"SQS from SNS":     sqs(t, sns(t, "[]")),
		"no records":       ingress.Decode([]byte(`{"Records":[]}`)),
		"function URL": functionURL(t, map[string]string{"content-type": "application/cloudevents-batch+json"}, "[]",
			false),
		"HTTP": ingress.DecodeHTTP(http.Header{"Content-Type": {"application/cloudevents-batch+json"}},
			[]byte("[]")),
		"HTTP, JSON": ingress.DecodeHTTP(http.Header{"Content-Type": {"application/json"}}, []byte("[]")),
	} {
		if len(b.Records) != 1 || b.Records[0].Err != nil || len(b.Records[0].Events) != 0 {
			t.Errorf("%s: %d records, %v", name, len(b.Records), b.Records[0].Err)
		}
	}
}

// TestForeignEventBridge checks that an AWS service's event is reported as not Tagger's, and not as malformed.
func TestForeignEventBridge(t *testing.T) {
	doc := `{"version":"0","id":"e1","detail-type":"EC2 Instance Launch Successful","source":"aws.autoscaling",` +
		`"account":"123456789012",` +
		`"time":"2026-11-11T21:31:47Z","region":"us-east-1","resources":[],"detail":{"StatusCode":"InProgress",` +
		`"password":"s3cret"}}`
	want := map[string]any{
		"specversion": "1.0", "id": "e1", "source": "aws.autoscaling", "type": "EC2 Instance Launch Successful",
		"time": "2026-11-11T21:31:47Z", "datacontenttype": "application/json",
		"data": map[string]any{"StatusCode": "InProgress"},
	}
	for _, c := range carriers {
		if diff := cmp.Diff(want, onlyEvent(t, c.deliver(t, doc), c.carrier)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	odd := strings.Replace(doc, "aws.autoscaling", "my app: 100%", 1)
	if got := onlyEvent(t, ingress.Decode([]byte(odd)), "")["source"]; got != "my%20app%3A%20100%25" {
		t.Errorf("source %v", got)
	}
	for _, detail := range []string{`{}`, `"a text"`, `null`, `5`, `""`} {
		odd := strings.Replace(doc, `{"StatusCode":"InProgress","password":"s3cret"}`, detail, 1)
		if b := ingress.Decode([]byte(odd)); len(b.Records[0].Events) != 1 {
			t.Errorf("detail %s: %v", detail, b.Records[0].Err)
		}
	}
	// In several envelopes, the content can still be malformed.
	b := ingress.Decode([]byte(eventBridge(sns(t, `{"a":1}`))))
	if b.Records[0].Err == nil ||
		!strings.Contains(b.Records[0].Err.Error(), "EventBridge event: detail: SNS message: is not a CloudEvent") {
		t.Errorf("error %v", b.Records[0].Err)
	}
}

// TestMultiValueHeaders checks the requests of load balancers and REST APIs
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#multi-value-headers).
func TestMultiValueHeaders(t *testing.T) {
	const single = `"ce-specversion":"1.0","CE-ID":"1","Ce-Source":"/s","ce-type":"t","ce-subject":"%s",` +
		`"content-type":"application/json"`
	const multi = `"ce-specversion":["1.0"],"CE-ID":["1"],"Ce-Source":["/s"],"ce-type":["t"],"ce-subject":["x",` +
		`"y"],"content-type":["application/json"]`
	want := map[string]any{
		"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "x",
		"datacontenttype": "application/json", "data": map[string]any{"a": 1.0},
	}
	for name, headers := range map[string]string{
		"function URL":  `"headers":{` + fmt.Sprintf(single, "x") + `}`,
		"load balancer": `"multiValueHeaders":{` + multi + `}`,
		"REST API, which has both": `"headers":{` + fmt.Sprintf(single, "y") + `},"multiValueHeaders":{` + multi +
			`}`,
		"REST API, in another order": `"multiValueHeaders":{` + multi + `},"headers":{` + fmt.Sprintf(single, "y") +
			`}`,
		"null beside": `"headers":null,"multiValueHeaders":{` + multi + `}`,
		"some here, some there": `"headers":{"ce-type":"t","ce-subject":"x","content-type":"application/json"},` +
			`"multiValueHeaders":{"ce-specversion":["1.0"],"ce-id":["1"],"ce-source":["/s"],"accept":[]}`,
		"a header without values is no more": `"headers":{` + fmt.Sprintf(single, "x") +
			`},"multiValueHeaders":{"ce-subject":[]}`,
	} {
		for _, encoded := range []bool{false, true} {
			body := `{"a":1}`
			if encoded {
				body = base64.StdEncoding.EncodeToString([]byte(body))
			}
			payload := fmt.Sprintf(`{"requestContext":{"elb":{}},%s,"body":%s,"isBase64Encoded":%t}`, headers, quote(t, body),
				encoded)
			if diff := cmp.Diff(want, onlyEvent(t, ingress.Decode([]byte(payload)), ingress.HTTP)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// TestPipes checks that EventBridge Pipes sends the records of a queue as an array.
func TestPipes(t *testing.T) {
	var mapped struct{ Records json.RawMessage }
	payload := sqsPayload(t, event1, "x", sns(t, event1))
	if err := json.Unmarshal([]byte(payload), &mapped); err != nil {
		t.Fatal(err)
	}
	want, got := ingress.Decode([]byte(payload)), ingress.Decode(mapped.Records)
	if got.Carrier != ingress.SQS || len(got.Records) != 3 {
		t.Fatalf("carrier %s, %d records", got.Carrier, len(got.Records))
	}
	for i := range want.Records {
		a, b := want.Records[i], got.Records[i]
		if a.AckID != b.AckID || a.Receipt != b.Receipt || a.Source != b.Source {
			t.Errorf("record %d: %s %s %s, want %s %s %s", i, b.AckID, b.Receipt, b.Source, a.AckID, a.Receipt, a.Source)
		}
		if a.Receives != b.Receives || !a.SentAt.Equal(b.SentAt) {
			t.Errorf("record %d: delivery %d of %s, want %d of %s", i, b.Receives, b.SentAt, a.Receives, a.SentAt)
		}
		if string(a.Raw) != string(b.Raw) || len(a.Events) != len(b.Events) {
			t.Errorf("record %d: %d events of %q, want %d of %q", i, len(b.Events), string(b.Raw), len(a.Events), string(a.Raw))
		}
		if fmt.Sprint(a.Err) != fmt.Sprint(b.Err) {
			t.Errorf("record %d: error %v, want %v", i, b.Err, a.Err)
		}
	}
	// Events that happen to have some of the members are still events.
	for _, payload := range []string{`[{"eventSource":"aws:sqs","specversion":"1.0","id":"1","source":"/s","type":"t"}]`,
		`[` + event1 + `]`} {
		if b := ingress.Decode([]byte(payload)); b.Carrier != ingress.Direct || len(b.Records[0].Events) != 1 {
			t.Errorf("%s: carrier %s, %v", payload, b.Carrier, b.Records[0].Err)
		}
	}
}

// TestAMQP1 checks that the AMQP 1.0 envelope of oslo.messaging holds the same notification as RabbitMQ's.
func TestAMQP1(t *testing.T) {
	const payload = `"event_type":"compute.instance.create.end","publisher_id":"p","message_id":"m",` +
		`"timestamp":"2026-11-20 09:15:04.5","payload":{"x":1}`
	const context = `{"user_id":"u1","roles":["member"],"project_id":"p1","auth_token":"s3cret"}`
	want := onlyEvent(t, ingress.Decode(
		[]byte(`{`+payload+`,"_context_user_id":"u1","_context_roles":["member"],"_context_project_id":"p1"}`)), "")
	envelope := `{"oslo.version":"2.0","oslo.message":` + quote(t, `{`+payload+`}`) + `}`
	for name, doc := range map[string]string{
		"in the envelope":     `{"request":` + envelope + `,"context":` + context + `}`,
		"without an envelope": `{"request":{` + payload + `},"context":` + context + `}`,
		"with what the message has": `{"request":{"_context_user_id":"u1",` + payload +
			` } ,"context":{"user_id":"u2","roles":["member"],"project_id":"p1"}}`,
		"with members beside, as call": `{"request":` + envelope + `,"context":` + context + `,"call_monitor_timeout":null}`,
	} {
		for _, c := range carriers {
			if diff := cmp.Diff(want, onlyEvent(t, c.deliver(t, doc), c.carrier)); diff != "" {
				t.Errorf("%s by %s (-RabbitMQ +AMQP 1.0):\n%s", name, c.name, diff)
			}
		}
		for _, b := range bridges {
			if diff := cmp.Diff(want, onlyEvent(t, b.deliver(t, doc), "")); diff != "" {
				t.Errorf("%s by %s (-RabbitMQ +AMQP 1.0):\n%s", name, b.name, diff)
			}
		}
	}
	for doc, want := range map[string]string{
		`{"request":{"method":"x"},"context":{}}`: "is not a CloudEvent,",
		`{"request":{"oslo.message":"{\"a\":1}"},"context":{}}`: "oslo.messaging AMQP 1.0 message: request: " +
			"oslo.messaging envelope: oslo.message: is not a notification",
		`{"request":{` + payload + `},"context":{` + many(1001) +
			`}}`: "oslo.messaging AMQP 1.0 message: request: context: has more than 1000 members",
	} {
		if err := ingress.Decode([]byte(doc)).Records[0].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: error %v, want %s", doc, err, want)
		}
	}
}

func many(n int) string { return strings.TrimSuffix(manyMembers(n), ",") }

func compress(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGzip checks that a compressed body yields the same event.
func TestGzip(t *testing.T) {
	doc := readFile(t, "../../events/server-created.json")
	want := onlyEvent(t, ingress.Decode(doc), "")
	zipped := compress(t, doc)
	twoMembers := append(compress(t, doc[:20]), compress(t, doc[20:])...)
	for name, b := range map[string]ingress.Batch{
		"HTTP":         ingress.DecodeHTTP(http.Header{"Content-Encoding": {"gzip"}}, zipped),
		"any case":     ingress.DecodeHTTP(http.Header{"content-encoding": {" X-GZip "}}, zipped),
		"two members":  ingress.DecodeHTTP(http.Header{"Content-Encoding": {"gzip"}}, twoMembers),
		"identity":     ingress.DecodeHTTP(http.Header{"Content-Encoding": {"identity"}}, doc),
		"function URL": functionURL(t, map[string]string{"content-encoding": "gzip"}, string(zipped), true),
		"load balancer": ingress.Decode(
			[]byte(`{"requestContext":{"elb":{}},"multiValueHeaders":{"content-encoding":["gzip"]},"body":"` +
				base64.StdEncoding.EncodeToString(zipped) + `","isBase64Encoded":true}`)),
	} {
		if diff := cmp.Diff(want, onlyEvent(t, b, ingress.HTTP)); diff != "" {
			t.Errorf("%s (-plain +gzip):\n%s", name, diff)
		}
		if string(b.Records[0].Raw) != string(doc) {
			t.Errorf("%s: raw is %d bytes, want the inflated %d", name, len(b.Records[0].Raw), len(doc))
		}
	}
	binaryMode := binary("application/json")
	binaryMode.Set("Content-Encoding", "gzip")
	if got := onlyEvent(t, ingress.DecodeHTTP(binaryMode, compress(t, []byte(`{"a":1}`))), ""); got["data"] == nil {
		t.Errorf("binary mode: %v", got)
	}
}

// TestBodiesThatAreNotRead checks the errors for other formats and encodings, and for a zip bomb.
func TestBodiesThatAreNotRead(t *testing.T) {
	bomb := compress(t, bytes.Repeat([]byte(" "), 7<<20)) // some 7 kB
	for _, c := range []struct {
		name, header, value string
		body                []byte
		want                string
		mediaType, limit    bool
	}{
		{"XML", "Content-Type", "application/cloudevents+xml; charset=utf-8", []byte("<a/>"),
			`read HTTP request: body: unsupported Content-Type "application/cloudevents+xml"; want the JSON format,` +
				` application/cloudevents+json`, true, false},
		{"an XML batch", "Content-Type", "application/cloudevents-batch+xml", []byte("<a/>"),
			`read HTTP request: body: unsupported Content-Type "application/cloudevents-batch+xml"; want the JSON ` +
				`format, application/cloudevents+json`, true, false},
		{"protobuf", "Content-Type", "Application/CloudEvents+Protobuf", []byte("{}"),
			`read HTTP request: body: unsupported Content-Type "application/cloudevents+protobuf"; want the JSON ` +
				`format, application/cloudevents+json`, true, false},
		{"brotli", "Content-Encoding", "br", []byte("x"),
			`read HTTP request: body: unsupported Content-Encoding "br"; want gzip, or none`, true, false},
		{"gzip twice", "Content-Encoding", "gzip, gzip", []byte("x"),
			`read HTTP request: body: unsupported Content-Encoding "gzip, gzip"; want gzip, or none`, true, false},
		{"a long name", "Content-Encoding", strings.Repeat("x", 5000), []byte("x"),
			`read HTTP request: body: unsupported Content-Encoding "` + strings.Repeat("x", 60) + `…"; want gzip, or none`, true,
			false},
		{"no gzip", "Content-Encoding", "gzip", []byte(event1),
			"read HTTP request: body: is not gzip, although Content-Encoding is gzip", false, false},
		{"cut off", "Content-Encoding", "gzip", compress(t, []byte(event1))[:30],
			"read HTTP request: body: is broken or truncated gzip", false, false},
		{"a zip bomb", "Content-Encoding", "gzip", bomb, "read HTTP request: body: inflated has more than 6291456 bytes",
			false, true},
	} {
		b := ingress.DecodeHTTP(http.Header{c.header: {c.value}}, c.body)
		err := b.Records[0].Err
		if fmt.Sprint(err) != c.want {
			t.Errorf("%s: error\n%v, want\n%s", c.name, err, c.want)
		}
		if _, ok := errors.AsType[*ingress.MediaTypeError](err); ok != c.mediaType {
			t.Errorf("%s: a MediaTypeError: %t, want %t", c.name, ok, c.mediaType)
		}
		if _, ok := errors.AsType[*document.LimitError](err); ok != c.limit {
			t.Errorf("%s: a LimitError: %t, want %t", c.name, ok, c.limit)
		}
	}
}

// TestLimits checks that everything that a sender can make large has a limit, with a LimitError.
func TestLimits(t *testing.T) {
	event := func(members string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"t",` + members + `}`
	}
	extensions := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"e%d":"x"`, i))
		}
		return strings.Join(list, ",")
	}
	long := strings.Repeat("x", 4097)
	for payload, want := range map[string]string{
		event(`"subject":"` + long + `"`):            "CloudEvent: subject has more than 4096 bytes",
		event(`"subject":"` + long[1:] + `"`):        "",
		event(`"ext":"` + long + `"`):                "CloudEvent: ext has more than 4096 bytes",
		event(`"ext":1` + strings.Repeat("0", 4096)): "CloudEvent: ext has more than 4096 bytes",
		event(`"not_an_extension":"` + long + `"`):   "",
		event(`"dataschema":"http://` + long +
			`"`): "CloudEvent: dataschema has more than 4096 bytes",
		event(`"` + long[:65] + `":"x"`): "CloudEvent: an attribute's name has more " +
			"than 64 characters",
		event(extensions(65)): "CloudEvent: has more than 64 extension " +
			"attributes",
		event(extensions(64)): "",
		`{"specversion":"1.0","id":"` + long + `","source":"/s","type":"t"}`: "CloudEvent: id has more than 4096 bytes",
		`{"event_type":"` + long +
			`","publisher_id":"p","payload":{}}`: "OpenStack notification: CloudEvent: type has more than 4096 bytes",
		`{"trace_name":"x","service_type":"ECS","trace_id":"` + long +
			`"}`: "CTS trace: CloudEvent: id has more than 4096 bytes",
		`{"detail-type":"` + long +
			`","source":"s","id":"1","detail":{}}`: "EventBridge event: CloudEvent: type has more than 4096 bytes",
		"[" + strings.Repeat(event1+",", 2_000) + event1 + "]": "has more than 2000 events",
		`{"Records":[` + strings.Repeat("1,", 10_000) + `1]}`:  "Records: has more than 10000 elements",
		`{` + many(1001) + `}`:                                 "has more than 1000 members",
		strings.Repeat("[", 65) + strings.Repeat("]", 65):      "has more than 64 levels of nesting",
		strings.Repeat(" ", 6<<20) + "[]":                      "has more than 6291456 bytes",
	} {
		err := ingress.Decode([]byte(payload)).Records[0].Err
		if _, ok := errors.AsType[*document.LimitError](err); ok != (want != "") {
			t.Errorf("%.60s: %v is a LimitError: %t", payload, err, ok)
		}
		if want == "" && err != nil || want != "" && fmt.Sprint(err) != "read payload: "+want {
			t.Errorf("%.60s: error %v, want %s", payload, err, want)
		}
	}
	header := binary("")
	header.Set("Ce-Ext", long)
	err := ingress.DecodeHTTP(header, nil).Records[0].Err
	if fmt.Sprint(err) != "read HTTP request: CloudEvent: ext has more than 4096 bytes" {
		t.Errorf("binary mode: error %v", err)
	}
}

// TestDocumentedLimits checks the limits in docs/events.md.
func TestDocumentedLimits(t *testing.T) {
	docs := string(readFile(t, "../../docs/events.md"))
	for what, limit := range map[string]int{
		"bytes of a payload, of an HTTP body, and of what gzip inflates to": ingress.MaxPayload,
		"levels of nesting": document.MaxDepth,
		"members of an object that is looked into: an envelope, a CloudEvent, a notification": document.MaxMembers,
		"records of a batch":                              ingress.MaxRecords,
		"events of a queue record, or of another payload": ingress.MaxEvents,
		"envelopes around an event":                       ingress.MaxWraps,
		"extension attributes of an event":                ingress.MaxExtensions,
		"bytes of an attribute of an event":               ingress.MaxAttribute,
		"characters of an extension's name":               ingress.MaxAttributeName,
	} {
		if row := fmt.Sprintf("| %s | %d |", what, limit); !strings.Contains(docs, row) {
			t.Errorf("docs/events.md has no row %s", row)
		}
	}
}
