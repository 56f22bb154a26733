package ingress

import (
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// DecodeHTTP takes a request apart: its header and its body, of which MaxPayload bytes are read at most. All three
// modes of the CloudEvents HTTP binding are read
// (https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md), and besides them a
// body of any other content type that Decode would read. Header names may be in any case. Like Decode it never fails.
func DecodeHTTP(header http.Header, body []byte) Batch {
	d := decoder{events: maxEvents}
	events, err := d.request(header, body)
	if err != nil {
		err = fmt.Errorf("read HTTP request: %w", err)
	}
	return Batch{HTTP, []Record{{Raw: body, Events: events, Err: err}}}
}

// gateway reads the request that an AWS function URL or HTTP API hands over, in payload format 2.0
// (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads). Format 1.0 differs in nothing that
// is read here.
func (d *decoder) gateway(payload []byte, object map[string][]byte) Batch {
	header := http.Header{}
	if kindOf(object["headers"]) == '{' {
		headers, err := members(object["headers"])
		if err != nil {
			return failed(HTTP, payload, fmt.Errorf("read HTTP request: headers: %w", err))
		}
		for name, value := range headers {
			header.Set(name, unquote(value))
		}
	}
	body := []byte(unquote(object["body"]))
	if string(object["isBase64Encoded"]) == "true" {
		decoded, err := base64.StdEncoding.DecodeString(string(body))
		if err != nil {
			return failed(HTTP, payload, errors.New("read HTTP request: body is not base64, isBase64Encoded says it is"))
		}
		body = decoded
	}
	events, err := d.request(header, body)
	if err != nil {
		err = fmt.Errorf("read HTTP request: %w", err)
	}
	return Batch{HTTP, []Record{{Raw: body, Events: events, Err: err}}}
}

// request reads the events of a request in the mode that its headers say. A batch's content type begins as a structured
// event's does.
func (d *decoder) request(header http.Header, body []byte) ([]event.Event, error) {
	if len(body) > MaxPayload {
		return nil, errTooLarge
	}
	a, contentType := attributesFrom(header)
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(strings.ToLower(contentType), ";")
		media = strings.TrimSpace(media)
	}
	structured := strings.HasPrefix(media, "application/cloudevents")
	if !structured && len(a) > 0 {
		binary, err := binaryAttributes(a, contentType)
		if err != nil {
			return nil, err
		}
		return d.one(d.event(binary, body, 0))
	}
	if strings.Contains(media, "+") && structured && !strings.HasSuffix(media, "+json") {
		return nil, errors.New("body: CloudEvents are read in the JSON format only (application/cloudevents+json)")
	}
	if err := check(body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if strings.HasPrefix(media, "application/cloudevents-batch") && kindOf(body) != '[' {
		return nil, errors.New("body: is not an array, Content-Type says it is a batch")
	}
	events, err := d.unwrap(body, 0)
	if err != nil {
		err = fmt.Errorf("body: %w", err)
	}
	return events, err
}

// attributesFrom returns the values of the headers that begin with ce-, by what follows in lower case, and the content
// type. It does not rely on http.Header's canonical names: API gateways send lower-case ones.
func attributesFrom(header http.Header) (values map[string]string, contentType string) {
	values = make(map[string]string)
	for name, list := range header {
		if len(list) == 0 {
			continue
		}
		name = strings.ToLower(name)
		if attribute, ok := strings.CutPrefix(name, "ce-"); ok {
			values[attribute] = list[0]
		} else if name == "content-type" {
			contentType = list[0]
		}
	}
	return values, contentType
}

func binaryAttributes(values map[string]string, contentType string) (attributes, error) {
	a := make(attributes, len(values)+1)
	for name, value := range values {
		decoded := decodeHeader(value)
		if !utf8.ValidString(decoded) {
			return nil, errors.New("CloudEvent in binary mode: a ce- header is not UTF-8 after percent-decoding")
		}
		a[name] = attribute{'"', decoded}
	}
	// The binding forbids ce-datacontenttype: Content-Type is the attribute.
	a["datacontenttype"] = attribute{'"', contentType}
	return a, nil
}

// decodeHeader undoes what section 3.1.3.2 of the binding has senders do to a header's value: older ones quote it,
// newer ones percent-encode it. The SDK does neither undoing. A percent sign that begins no escape stands for itself,
// as some senders do not encode at all.
func decodeHeader(value string) string {
	value = strings.TrimSpace(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = unescape(value[1 : len(value)-1])
	}
	if strings.IndexByte(value, '%') < 0 {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			high, ok1 := nibble(value[i+1])
			low, ok2 := nibble(value[i+2])
			if ok1 && ok2 {
				b.WriteByte(high<<4 | low)
				i += 2
				continue
			}
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

// unescape undoes the backslashes of a quoted string (RFC 9110, section 5.6.4).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func nibble(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
