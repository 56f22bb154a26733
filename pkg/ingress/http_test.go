package ingress_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

// TestBinaryMode checks the same event from a socket, with canonical and lower-case header names, and from a function
// URL.
func TestBinaryMode(t *testing.T) {
	headers := map[string]string{
		"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t",
		"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80",
		"ce-time":    "2026-11-20T09:15:04Z", "ce-myext": `"quoted \"value\" \\ 100%25"`,
		"content-type":       "application/json; charset=utf-8",
		"ce-datacontenttype": "text/plain", "x-other": "y",
	}
	want := map[string]any{
		"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "Euro € 😀", "time": "2026-11-20T09:15:04Z",
		"myext": `quoted "value" \ 100%`, "datacontenttype": "application/json; charset=utf-8",
		"data": map[string]any{"a": 1.0},
	}
	canonical, lower := http.Header{}, http.Header{}
	for name, value := range headers {
		canonical.Set(name, value)
		lower[name] = []string{value}
	}
	for name, batch := range map[string]ingress.Batch{
		"canonical":            ingress.DecodeHTTP(canonical, []byte(`{"a": 1}`)),
		"lower case":           ingress.DecodeHTTP(lower, []byte(`{"a": 1}`)),
		"function URL":         functionURL(t, headers, `{"a": 1}`, false),
		"function URL, base64": functionURL(t, headers, `{"a": 1}`, true),
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, onlyEvent(t, batch, ingress.HTTP)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestHeaderValues checks section 3.1.3.2 of the HTTP binding, and the values of senders that do not follow it.
func TestHeaderValues(t *testing.T) {
	for value, want := range map[string]any{
		"plain":             "plain",
		"%22x%22":           `"x"`,
		"a%2520b":           "a%20b", // one round only
		"lower%c3%a9":       "loweré",
		"100%":              "100%",
		"%zz%2":             "%zz%2",
		`"a b"`:             "a b",
		`"a\"b\\c"`:         `a"b\c`,
		`"`:                 `"`,
		"caf\u00e9":         "café",
		"":                  nil, // an empty subject is none
		" %20 ":             nil,
		"%2E%2E/%2E%2E":     "../..",
		"comma, separated ": "comma, separated",
	} {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"},
			"Ce-Subject": {value}}
		if got := onlyEvent(t, ingress.DecodeHTTP(h, nil), ingress.HTTP)["subject"]; got != want {
			t.Errorf("%q is %q, want %q", value, got, want)
		}
	}
}

func TestHTTPErrors(t *testing.T) {
	full := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}}
	with := func(name, value string) http.Header {
		h := full.Clone()
		h.Set(name, value)
		return h
	}
	without := func(name string) http.Header {
		h := full.Clone()
		h.Del(name)
		return h
	}
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
		want   string
	}{
		{"no specversion", without("Ce-Specversion"), "", "read HTTP request: CloudEvent: specversion is missing"},
		{"no id", without("Ce-Id"), "", "read HTTP request: CloudEvent: id is missing"},
		{"version 0.3", with("Ce-Specversion", "0.3"), "", `read HTTP request: CloudEvent: specversion "0.3" is not 1.0`},
		{"no UTF-8", with("Ce-Subject", "%ff"), "",
			"read HTTP request: CloudEvent in binary mode: a ce- header is not UTF-8 after percent-decoding"},
		{"control character", with("Ce-Type", "a%0Ab"), "",
			"read HTTP request: CloudEvent: type contains a control character"},
		{"cut off JSON", with("Content-Type", "application/json"), `{"a":`,
			"read HTTP request: CloudEvent: data: is not JSON (line 1, column 5: it ends too early)"},
		{"too large", full, strings.Repeat("x", ingress.MaxPayload+1), "read HTTP request: has more than 6291456 bytes"},
		{"no body", http.Header{"Content-Type": {"application/json"}}, "", "read HTTP request: body: is empty"},
		{"no JSON", http.Header{"Content-Type": {"text/html"}}, "<p>", "read HTTP request: body: is not JSON (line " +
			"1, column 1)"},
		{"Avro", http.Header{"Content-Type": {"application/cloudevents+avro"}}, "x",
			`read HTTP request: body: unsupported Content-Type "application/cloudevents+avro"; want the JSON ` +
				`format, application/cloudevents+json`},
		{"batch that is none", http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, event1,
			"read HTTP request: body: is not an array, although Content-Type declares a batch"},
		{"not an event", http.Header{"Content-Type": {"application/json"}}, `{"a":1}`,
			"read HTTP request: body: is not a CloudEvent, OpenStack notification, CTS trace or an envelope around one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := ingress.DecodeHTTP(c.header, []byte(c.body))
			if got := fmt.Sprint(b.Records[0].Err); b.Carrier != ingress.HTTP || len(b.Records) != 1 || got != c.want {
				t.Errorf("carrier %s, %d records, error\n%s, want\n%s", b.Carrier, len(b.Records), got, c.want)
			}
		})
	}
}

func TestFunctionURLErrors(t *testing.T) {
	for payload, want := range map[string]string{
		`{"requestContext":{"http":{}},"body":"%%%","isBase64Encoded":true}`:                            "read HTTP request: body is not base64, although isBase64Encoded is true",
		`{"requestContext":{"http":{"method":"GET"}},"headers":{},"isBase64Encoded":false}`:             "read HTTP request: body: is empty",
		`{"requestContext":{"http":{}},"headers":{"content-type":"application/json"},"body":"{\"a\":"}`: "read HTTP request: body: is not JSON (line 1, column 5: it ends too early)",
	} {
		b := ingress.Decode([]byte(payload))
		if got := fmt.Sprint(b.Records[0].Err); b.Carrier != ingress.HTTP || got != want {
			t.Errorf("%s: carrier %s, error %s, want %s", payload, b.Carrier, got, want)
		}
	}
}
