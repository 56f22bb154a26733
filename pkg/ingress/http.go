package ingress

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
)

// MediaTypeError reports that a request's body has an unsupported format or encoding. The HTTP status is 415
// Unsupported Media Type.
type MediaTypeError struct {
	// Header is the header that declares it: Content-Type or Content-Encoding.
	Header string
	// Value is the header's value, cut if long.
	Value string
	// Want lists what is accepted.
	Want string
}

func (e *MediaTypeError) Error() string {
	return fmt.Sprintf("unsupported %s %q; want %s", e.Header, e.Value, e.Want)
}

// DecodeHTTP decodes a request from its header and at most MaxPayload bytes of its body. It supports
// all three modes of the CloudEvents HTTP binding
// (https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md)
// and any other body that Decode can read. Header names may have any case. A body with the Content-Encoding gzip is
// inflated. Like Decode, it never fails. An Err can wrap a [*MediaTypeError] or a [*document.LimitError].
func DecodeHTTP(header http.Header, body []byte) Batch {
	d := decoder{events: maxEvents}
	return Batch{HTTP, []Record{d.request(foldCase(maps.All(header)), body)}}
}

// gateway reads a request as an AWS function URL, HTTP API, REST API or load balancer passes it on
// (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads,
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html). The last two can send all
// values of a header in multiValueHeaders. The first value counts, as on a socket.
func (d *decoder) gateway(payload []byte, object document.Object) Batch {
	header := map[string][]string{}
	for _, member := range [...]string{"headers", "multiValueHeaders"} {
		if object.Kind(member) != '{' {
			continue
		}
		headers, err := document.Members(object.Member(member))
		if err != nil {
			return failed(HTTP, payload, fmt.Errorf("read HTTP request: %s: %w", member, err))
		}
		for name, value := range foldCase(headers.All()) {
			if document.Kind(value) == '[' {
				value, _ = document.CutValue(document.SkipSpace(value)[1:])
			}
			if document.Kind(value) == '"' {
				header[name] = []string{document.Unquote(value)}
			}
		}
	}
	body := document.Content(object.Member("body"))
	if string(object.Member("isBase64Encoded")) == "true" {
		decoded, err := base64.StdEncoding.DecodeString(string(body))
		if err != nil {
			return failed(HTTP, payload, errors.New("read HTTP request: body is not base64, although isBase64Encoded is true"))
		}
		body = decoded
	}
	return Batch{HTTP, []Record{d.request(header, body)}}
}

// request reads a request. Header names are in lower case. The record holds the inflated body.
func (d *decoder) request(header map[string][]string, body []byte) Record {
	r := Record{Raw: body}
	inflated, err := inflate(header["content-encoding"], body)
	if err == nil {
		r.Raw = inflated
		r.Events, err = d.body(header, document.TrimMark(inflated))
	}
	if err != nil {
		r.Err = fmt.Errorf("read HTTP request: %w", err)
	}
	return r
}

// Inflated returns the memory that the inflated body needs in addition to the body, in bytes. It returns 0 for a body
// that is not compressed or that will be rejected. It discards the inflated bytes, so that the caller can make room
// first.
func Inflated(header http.Header, body []byte) int {
	r, err := inflater(header["Content-Encoding"], body)
	if r == nil || err != nil {
		return 0
	}
	n, err := inflatedSize(r)
	if err != nil {
		return 0
	}
	return n
}

// inflate decodes a body. The result has at most MaxPayload bytes, however small the body is. A longer result is
// discarded.
func inflate(encodings []string, body []byte) ([]byte, error) {
	r, err := inflater(encodings, body)
	if r == nil || err != nil {
		return body, err
	}
	n, err := inflatedSize(r)
	if err != nil {
		return nil, err
	}
	if err := r.Reset(bytes.NewReader(body)); err != nil {
		return nil, errNotGzip
	}
	inflated := make([]byte, n)
	if _, err := io.ReadFull(r, inflated); err != nil {
		return nil, errBrokenGzip
	}
	return inflated, nil
}

var (
	errNotGzip    = errors.New("body: is not gzip, although Content-Encoding is gzip")
	errBrokenGzip = errors.New("body: is broken or truncated gzip")
)

// inflater returns a reader that inflates the body, nil if it is not compressed.
func inflater(encodings []string, body []byte) (*gzip.Reader, error) {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(encodings, ",")))
	switch encoding {
	case "", "identity":
		return nil, nil
	case "gzip", "x-gzip": // RFC 9110, section 8.4.1.3
	default:
		return nil, fmt.Errorf("body: %w", &MediaTypeError{"Content-Encoding", cut(encoding), "gzip, or none"})
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, errNotGzip
	}
	return r, nil
}

// inflatedSize reads to the end and returns the number of bytes.
func inflatedSize(r io.Reader) (int, error) {
	n, err := io.Copy(io.Discard, io.LimitReader(r, MaxPayload+1))
	switch {
	case n > MaxPayload:
		return 0, fmt.Errorf("body: inflated %w", &document.LimitError{What: "bytes", Max: MaxPayload})
	case err != nil:
		return 0, errBrokenGzip
	}
	return int(n), nil
}

// cut shortens a header's value for an error.
func cut(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// body reads the events of a request's body in the mode that the headers declare. A batch's content type begins with
// that of a structured event.
func (d *decoder) body(header map[string][]string, body []byte) ([]event.Event, error) {
	if len(body) > MaxPayload {
		return nil, &document.LimitError{What: "bytes", Max: MaxPayload}
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
		return d.one(d.event(binary, body, false, 0))
	}
	if structured && strings.Contains(media, "+") && !strings.HasSuffix(media, "+json") {
		return nil, fmt.Errorf("body: %w",
			&MediaTypeError{"Content-Type", cut(media), "the JSON format, application/cloudevents+json"})
	}
	if err := document.Check(body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if strings.HasPrefix(media, "application/cloudevents-batch") && document.Kind(body) != '[' {
		return nil, errors.New("body: is not an array, although Content-Type declares a batch")
	}
	events, err := d.unwrap(body, 0)
	if err != nil {
		err = fmt.Errorf("body: %w", err)
	}
	return events, err
}

// attributesFrom returns the values of the headers with the prefix ce-, by the rest of their names, and the content
// type. If a header is repeated, its first value counts.
func attributesFrom(header map[string][]string) (values map[string]string, contentType string) {
	values = make(map[string]string)
	for name, list := range header {
		if len(list) == 0 {
			continue
		}
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
	// The binding forbids ce-datacontenttype: Content-Type is that attribute.
	a["datacontenttype"] = attribute{'"', contentType}
	return a, nil
}

// decodeHeader reverses the encoding of a header's value by section 3.1.3.2 of the binding: older senders quote it,
// newer ones percent-encode it. The SDK does neither. A percent sign without a valid escape stands for itself, because
// some senders do not encode at all.
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

// unescape removes the backslashes of a quoted string (RFC 9110, section 5.6.4).
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
