package ingress

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// The SDK's readers are not used. They reject a whole event because of one attribute that they do not accept (an
// extension named my_ext, an object as a value, a numeric or space-separated time). They panic if data_base64 is not a
// string, turn float extensions into integers, and do not percent-decode HTTP header values. The SDK's event and its
// Validate are used.

// Attributes appear in logs and headers, so their sizes are limited.
const (
	// maxAttribute limits an attribute's value, in bytes. The longest common one is the response that Knative adds to a
	// dead letter (knativeerrordata, 1,024 bytes in base64).
	maxAttribute = 4096
	// maxAttributeName limits an extension's name, in characters. CloudEvents allows 20.
	maxAttributeName = 64
	// maxExtensions limits the extension attributes of an event.
	maxExtensions = 64
)

// attributes are those of a CloudEvent that is being built, by lower-case name. An unusable value of an optional
// attribute drops that attribute, not the event; only an unusable time fails the event.
type attributes map[string]attribute

type attribute struct {
	// kind is the first byte of a JSON value of this kind: '"', '0' for any number, 't' for either boolean, 0 for null,
	// arrays and objects.
	kind byte
	text string // the string, the number's digits, "true" or "false"
}

func attributeFrom(value []byte) attribute {
	switch k := document.Kind(value); k {
	case '"':
		return attribute{'"', document.Unquote(value)}
	case 't', 'f':
		return attribute{'t', string(value)}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return attribute{'0', string(value)}
	}
	return attribute{}
}

// foldCase returns the values by lower-case names. If names differ only in case, the lower-case one wins, otherwise the
// first in byte order, so that the result is always the same.
func foldCase[V any](values iter.Seq2[string, V]) map[string]V {
	folded := make(map[string]V, 8)
	var others map[string]V
	for name, value := range values {
		switch {
		case strings.ToLower(name) == name:
			folded[name] = value
		case others == nil:
			others = map[string]V{name: value}
		default:
			others[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		lower := strings.ToLower(name)
		if _, ok := folded[lower]; !ok {
			folded[lower] = others[name]
		}
	}
	return folded
}

// structured reads a CloudEvent in the JSON format
// (https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md).
func (d *decoder) structured(object document.Object, wrapped int) (event.Event, error) {
	members := foldCase(object.All())
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	a := make(attributes, len(members))
	for name, value := range members {
		a[name] = attributeFrom(value)
	}
	if k := document.Kind(members["time"]); k == '{' || k == '[' {
		return event.Event{}, errTime
	}
	if encoded == nil || document.Kind(encoded) == 'n' {
		return d.event(a, data, true, wrapped)
	}
	if data != nil && document.Kind(data) != 'n' {
		return event.Event{}, errors.New("CloudEvent: data and data_base64 exclude each other")
	}
	decoded, err := base64.StdEncoding.DecodeString(document.Unquote(encoded))
	if document.Kind(encoded) != '"' || err != nil {
		return event.Event{}, errors.New("CloudEvent: data_base64 is not base64")
	}
	return d.event(a, decoded, false, wrapped)
}

// event builds an event from attributes and data. If the data holds a notification or a trace, the result is that one's
// event. isValue reports that the data is a JSON value of a structured event, in which text is a string; otherwise the
// data is bytes.
func (d *decoder) event(a attributes, data []byte, isValue bool, wrapped int) (event.Event, error) {
	switch version := a["specversion"].text; {
	case version == "":
		return event.Event{}, errors.New("CloudEvent: specversion is missing")
	case version != "1" && version != "1.0" && !strings.HasPrefix(version, "1.0."):
		return event.Event{}, fmt.Errorf("CloudEvent: specversion %.20q is not 1.0", version)
	}
	var missing []string
	for _, name := range [...]string{"id", "source", "type"} {
		if name == "type" && a[name].kind != '"' && a[name].kind != 0 {
			return event.Event{}, errors.New("CloudEvent: type is not a string")
		}
		if strings.TrimSpace(a[name].text) == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return event.Event{}, fmt.Errorf("CloudEvent: %s missing", list(missing))
	}
	data, err := jsonData(a["datacontenttype"].text, data, isValue)
	if err != nil {
		return event.Event{}, fmt.Errorf("CloudEvent: data: %w", err)
	}
	if data == nil {
		return build(a, nil)
	}
	if inner, ok, err := d.inner(a, data, wrapped); ok || err != nil {
		return inner, err
	}
	return build(a, strip(data))
}

// jsonData returns data that is a JSON document, nil for other data. Data with another declared type counts only if it
// is an object or an array: dialects and rules cannot use the rest, and credentials in it cannot be found. The
// CloudEvents mode of the data does not matter.
func jsonData(contentType string, data []byte, isValue bool) ([]byte, error) {
	other := contentType != "" && !isJSON(contentType)
	if isValue && other && document.Kind(data) == '"' {
		data, isValue = document.Content(data), false
	}
	data = document.TrimMark(data)
	if len(document.SkipSpace(data)) == 0 {
		return nil, nil
	}
	if k := document.Kind(data); other && k != '{' && k != '[' {
		return nil, nil
	}
	if isValue { // already checked as a part of the event
		return data, nil
	}
	err := document.Check(data)
	switch {
	case err == nil:
		return data, nil
	case isJSON(contentType):
		return nil, err
	}
	return nil, nil
}

var errTime = errors.New(
	"CloudEvent: time is not a timestamp (RFC 3339, such as 2026-11-20T09:15:04Z); leave it out if there is none")

// build makes a valid event from attributes that include id, source and type, and from stripped data.
func build(a attributes, data []byte) (event.Event, error) {
	for _, name := range [...]string{"id", "source", "type", "subject", "dataschema"} {
		if len(a[name].text) > maxAttribute {
			return event.Event{}, tooLong(name)
		}
		if name != "dataschema" && strings.ContainsFunc(a[name].text, unicode.IsControl) {
			return event.Event{}, fmt.Errorf("CloudEvent: %s contains a control character", name)
		}
	}
	e := event.New(event.CloudEventsVersionV1)
	e.SetID(a["id"].text)
	e.SetSource(a["source"].text)
	e.SetType(a["type"].text)
	if s := a["subject"].text; strings.TrimSpace(s) != "" {
		e.SetSubject(stripText(s))
	}
	if s := a["time"].text; strings.TrimSpace(s) != "" {
		t, ok := timestamp.Parse(s)
		if !ok {
			return event.Event{}, errTime
		}
		e.SetTime(t)
	}
	if s := a["dataschema"].text; s != "" {
		if u, err := url.Parse(s); err == nil && u.IsAbs() {
			e.SetDataSchema(s)
		}
	}
	for _, name := range a.extensions() {
		if err := setExtension(&e, name, a[name]); err != nil {
			return event.Event{}, err
		}
	}
	if len(e.Extensions()) > maxExtensions {
		limit := &document.LimitError{What: "extension attributes", Max: maxExtensions}
		return event.Event{}, fmt.Errorf("CloudEvent: %w", limit)
	}
	if data != nil {
		e.SetDataContentType(jsonType(a["datacontenttype"].text))
		e.DataEncoded = data
	}
	if err := e.Validate(); err != nil {
		// The SDK's messages contain values.
		if v, ok := errors.AsType[event.ValidationError](err); ok {
			return event.Event{}, fmt.Errorf("CloudEvent: %s not valid", list(slices.Sorted(maps.Keys(v))))
		}
		return event.Event{}, errors.New("CloudEvent: is not valid")
	}
	return e, nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == event.ApplicationJSON || media == event.TextJSON || strings.HasSuffix(media, "+json"))
}

// jsonType returns the content type of JSON data: the declared one if the SDK accepts it as JSON, otherwise
// application/json. The SDK does not accept application/vnd.x+json.
func jsonType(declared string) string {
	if media, _, err := mime.ParseMediaType(declared); err == nil && media == event.ApplicationJSON {
		return declared
	}
	return event.ApplicationJSON
}

// extensions returns the names of the extension attributes, sorted.
func (a attributes) extensions() []string {
	var names []string
	for name := range a {
		switch name {
		case "specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// setExtension sets an extension attribute if its name and value are usable.
func setExtension(e *event.Event, name string, a attribute) error {
	if a.kind == 0 || !event.IsExtensionNameValid(name) || isCredential([]byte(`"`+name+`"`)) {
		return nil
	}
	if len(name) > maxAttributeName {
		limit := &document.LimitError{What: "characters", Max: maxAttributeName}
		return fmt.Errorf("CloudEvent: an attribute's name %w", limit)
	}
	if len(a.text) > maxAttribute {
		return tooLong(name)
	}
	switch a.kind {
	case 't':
		e.SetExtension(name, a.text == "true")
	case '0':
		if n, err := strconv.ParseInt(a.text, 10, 32); err == nil {
			e.SetExtension(name, int32(n))
			return nil
		}
		e.SetExtension(name, a.text) // CloudEvents has 32-bit integers only; the digits lose nothing
	default:
		if !strings.ContainsFunc(a.text, unicode.IsControl) {
			e.SetExtension(name, stripText(a.text))
		}
	}
	return nil
}

func tooLong(attribute string) error {
	return fmt.Errorf("CloudEvent: %s %w", attribute, &document.LimitError{What: "bytes", Max: maxAttribute})
}

// list returns "id is", "id and source are", or "id, source and type are".
func list(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " are"
}
