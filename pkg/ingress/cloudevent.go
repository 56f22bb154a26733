package ingress

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// The SDK's own readers are not used: one attribute that it does not like (an extension named my_ext, an object as a
// value, a numeric or space-separated time) loses the whole event, data_base64 that is no string makes it panic, float
// extensions become integers, and HTTP header values are not percent-decoded. The SDK's event and its Validate are
// used.

// attributes are those of a CloudEvent in the making, by name in lower case. What is unusable in an optional attribute
// costs that attribute, not the event.
type attributes map[string]attribute

type attribute struct {
	// kind is the byte that a JSON value of this kind begins with: '"', '0' for any number, 't' for either boolean, 0 for
	// null, arrays and objects.
	kind byte
	text string // the string, the number's digits, "true" or "false"
}

func attributeFrom(value []byte) attribute {
	switch k := kindOf(value); k {
	case '"':
		return attribute{'"', unquote(value)}
	case 't', 'f':
		return attribute{'t', string(value)}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return attribute{'0', string(value)}
	}
	return attribute{}
}

// structured reads a CloudEvent in the JSON format
// (https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md).
func (d *decoder) structured(object map[string][]byte, wrapped int) (event.Event, error) {
	a := make(attributes, len(object))
	for name, value := range object {
		switch name = strings.ToLower(name); name {
		case "data", "data_base64":
		default:
			a[name] = attributeFrom(value)
		}
	}
	data := object["data"]
	if encoded, ok := object["data_base64"]; ok && kindOf(encoded) != 'n' {
		if data != nil && kindOf(data) != 'n' {
			return event.Event{}, errors.New("CloudEvent: data and data_base64 exclude each other")
		}
		decoded, err := base64.StdEncoding.DecodeString(unquote(encoded))
		if kindOf(encoded) != '"' || err != nil {
			return event.Event{}, errors.New("CloudEvent: data_base64 is not base64")
		}
		data = decoded
	}
	return d.event(a, data, wrapped)
}

// event makes an event of its attributes and data. Data that holds a notification or a trace makes it that one's event.
func (d *decoder) event(a attributes, data []byte, wrapped int) (event.Event, error) {
	switch version := a["specversion"].text; {
	case version == "":
		return event.Event{}, errors.New("CloudEvent: specversion is missing")
	case version != "1" && version != "1.0" && !strings.HasPrefix(version, "1.0."):
		return event.Event{}, fmt.Errorf("CloudEvent: specversion %.20q is not 1.0", version)
	}
	var missing []string
	for _, name := range [...]string{"id", "source", "type"} {
		if strings.TrimSpace(a[name].text) == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return event.Event{}, fmt.Errorf("CloudEvent: %s missing", list(missing))
	}
	if len(skipSpace(data)) == 0 {
		return build(a, nil)
	}
	if err := check(data); err != nil {
		if isJSON(a["datacontenttype"].text) {
			return event.Event{}, fmt.Errorf("CloudEvent: data: %w", err)
		}
		return build(a, nil) // neither dialects nor rules can use such data, and credentials in it cannot be found
	}
	if inner, ok, err := d.inner(a, data, wrapped); ok || err != nil {
		return inner, err
	}
	return build(a, strip(data))
}

// build makes a valid event of attributes of which id, source and type are there, and of data that is stripped.
func build(a attributes, data []byte) (event.Event, error) {
	for _, name := range [...]string{"id", "source", "type", "subject"} {
		if strings.ContainsFunc(a[name].text, unicode.IsControl) {
			return event.Event{}, fmt.Errorf("CloudEvent: %s holds a control character", name)
		}
	}
	e := event.New(event.CloudEventsVersionV1)
	e.SetID(a["id"].text)
	e.SetSource(a["source"].text)
	e.SetType(a["type"].text)
	if s := a["subject"].text; strings.TrimSpace(s) != "" {
		e.SetSubject(stripText(s))
	}
	if t, ok := timestamp.Parse(a["time"].text); ok {
		e.SetTime(t)
	} else if f, err := strconv.ParseFloat(a["time"].text, 64); err == nil && f > 0 && f < 1e11 {
		e.SetTime(time.UnixMilli(int64(f * 1e3))) // 1529996047.5
	}
	if s := a["dataschema"].text; s != "" {
		if u, err := url.Parse(s); err == nil && u.IsAbs() {
			e.SetDataSchema(s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		setExtension(&e, name, a[name])
	}
	if data != nil {
		e.SetDataContentType(jsonType(a["datacontenttype"].text))
		e.DataEncoded = data
	}
	if err := e.Validate(); err != nil {
		// The SDK's sentences hold values.
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

// jsonType is the content type of data that is JSON: what the event says if the SDK takes that for JSON too, which of
// application/vnd.x+json it does not, else application/json.
func jsonType(declared string) string {
	if media, _, err := mime.ParseMediaType(declared); err == nil && media == event.ApplicationJSON {
		return declared
	}
	return event.ApplicationJSON
}

func setExtension(e *event.Event, name string, a attribute) {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype", "data", "data_base64":
		return
	}
	if a.kind == 0 || !event.IsExtensionNameValid(name) || isCredential([]byte(`"`+name+`"`)) {
		return
	}
	switch a.kind {
	case 't':
		e.SetExtension(name, a.text == "true")
	case '0':
		if n, err := strconv.ParseInt(a.text, 10, 32); err == nil {
			e.SetExtension(name, int32(n))
			return
		}
		e.SetExtension(name, a.text) // CloudEvents has 32-bit integers only; the digits lose nothing
	default:
		if strings.ContainsFunc(a.text, unicode.IsControl) {
			return
		}
		e.SetExtension(name, stripText(a.text))
	}
}

// list is "id is", "id and source are", "id, source and type are".
func list(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " are"
}
