package ingress

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// What OpenStack and Huawei Cloud send is no CloudEvent. It becomes one here, and the same one whatever brought it:
// alone, in an envelope, or as the data of a CloudEvent that a bridge (Knative's RabbitMQ source, EventGrid) made of
// it. A bridge's id can be another at each delivery; the notification's and the trace's own do not change.

// plainNamespace is what the types of Tagger's own schema begin with; their data is the producer's own affair.
const plainNamespace = "io.github.cloudtagger."

// inner looks for a notification or a trace in a CloudEvent's data. It reports false when there is none.
func (d *decoder) inner(outer attributes, data []byte, wrapped int) (event.Event, bool, error) {
	if strings.HasPrefix(outer["type"].text, plainNamespace) {
		return event.Event{}, false, nil
	}
	if kindOf(data) == '"' {
		if data = []byte(unquote(data)); !checks(data) {
			return event.Event{}, false, nil
		}
		wrapped++
	}
	if kindOf(data) != '{' || !mayBeForeign(data) {
		return event.Event{}, false, nil
	}
	object, err := members(data)
	if err != nil {
		return event.Event{}, false, nil
	}
	return d.foreign(data, object, outer, wrapped+1)
}

// mayBeForeign spares most events' data from being taken apart.
func mayBeForeign(data []byte) bool {
	return bytes.Contains(data, []byte(`"event_type"`)) || bytes.Contains(data, []byte(`"trace_name"`)) ||
		bytes.Contains(data, []byte(`"oslo.message"`))
}

// foreign makes a CloudEvent of an OpenStack notification (bare, as the messaging driver sends it, or in the envelope
// of messagingv2) or a Cloud Trace Service trace (bare, or as FunctionGraph's CTS trigger hands it over). It reports
// false for anything else. outer is the CloudEvent that it was the data of, if any: its extensions are kept.
func (d *decoder) foreign(raw []byte, object map[string][]byte, outer attributes, wrapped int) (event.Event, bool, error) {
	if wrapped > maxWraps {
		return event.Event{}, true, errWraps
	}
	var e event.Event
	var err error
	switch {
	case object["oslo.message"] != nil:
		e, err = envelope(object, outer)
		if err != nil {
			err = fmt.Errorf("oslo.messaging envelope: %w", err)
		}
	case isNotification(object):
		e, err = notification(raw, object, outer)
	case isTrace(object):
		e, err = trace(raw, object, outer)
	case kindOf(object["cts"]) == '{':
		var inner map[string][]byte
		if inner, err = members(object["cts"]); err == nil {
			e, err = trace(object["cts"], inner, outer)
		}
	default:
		return event.Event{}, false, nil
	}
	return e, true, err
}

// envelope opens what oslo.messaging's messagingv2 driver sends: {"oslo.version": "2.0", "oslo.message": "<a JSON
// string>"}.
func envelope(object map[string][]byte, outer attributes) (event.Event, error) {
	message := object["oslo.message"]
	if kindOf(message) == '"' {
		message = []byte(unquote(message))
	}
	if err := check(message); err != nil {
		return event.Event{}, fmt.Errorf("oslo.message: %w", err)
	}
	if kindOf(message) != '{' {
		return event.Event{}, errors.New("oslo.message: is not an object")
	}
	inner, err := members(message)
	if err != nil {
		return event.Event{}, fmt.Errorf("oslo.message: %w", err)
	}
	if !isNotification(inner) {
		return event.Event{}, errors.New("oslo.message: is not a notification " +
			"(event_type, publisher_id or payload is missing; an RPC message?)")
	}
	return notification(message, inner, outer)
}

// isNotification: Nova's own documentation leaves message_id and timestamp out of its samples, so they are not asked for.
func isNotification(object map[string][]byte) bool {
	return kindOf(object["event_type"]) == '"' && kindOf(object["publisher_id"]) == '"' && object["payload"] != nil
}

// notification maps an OpenStack notification as the CloudEvents adapters map their sources
// (https://github.com/cloudevents/spec/tree/main/cloudevents/adapters): there is none for OpenStack.
func notification(raw []byte, object map[string][]byte, outer attributes) (event.Event, error) {
	data := strip(raw)
	a := inherit(outer)
	a.set("id", unquote(object["message_id"]), data)
	a.set("source", "openstack:"+url.PathEscape(unquote(object["publisher_id"])), nil)
	a.set("type", "org.openstack."+unquote(object["event_type"]), nil)
	a.setTime(object["timestamp"])
	e, err := build(a, data)
	if err != nil {
		err = fmt.Errorf("OpenStack notification: %w", err)
	}
	return e, err
}

func isTrace(object map[string][]byte) bool {
	return kindOf(object["trace_name"]) == '"' && (object["service_type"] != nil || object["trace_id"] != nil)
}

// trace maps a CTS trace as EventGrid itself does
// (https://support.huaweicloud.com/intl/en-us/usermanual-eg/eg-ug-015.html; the type is as seen for VPC, OBS and SMN).
func trace(raw []byte, object map[string][]byte, outer attributes) (event.Event, error) {
	service := strings.ToUpper(unquote(object["service_type"]))
	for _, name := range [...]string{"service_type", "trace_name"} {
		if unquote(object[name]) == "" {
			return event.Event{}, fmt.Errorf("CTS trace: %s is missing", name)
		}
	}
	data := strip(raw)
	a := inherit(outer)
	a.set("id", unquote(object["trace_id"]), data)
	a.set("source", "HC."+url.PathEscape(service), nil)
	kind := unquote(object["trace_type"])
	if kind == "" {
		kind = "Others" // EventGrid's own word
	}
	a.set("type", service+":CloudTrace:"+kind, nil)
	a.setTime(object["time"])
	e, err := build(a, data)
	if err != nil {
		err = fmt.Errorf("CTS trace: %w", err)
	}
	return e, err
}

// inherit is what an event keeps of the CloudEvent that it was the data of: extensions (traceparent, authid) and the
// time, unless it says one itself.
func inherit(outer attributes) attributes {
	a := make(attributes, len(outer)+4)
	for name, value := range outer {
		switch name {
		case "subject", "dataschema", "datacontenttype":
		default:
			a[name] = value
		}
	}
	return a
}

// set sets an attribute. Without a value it becomes the digest of data, so that a redelivery is recognised as one.
func (a attributes) set(name, value string, data []byte) {
	if value == "" && data != nil {
		sum := sha256.Sum256(data)
		value = "sha256:" + hex.EncodeToString(sum[:16])
	}
	a[name] = attribute{'"', value}
}

// setTime sets the time, if value is one.
func (a attributes) setTime(value []byte) {
	t := attributeFrom(value)
	if _, ok := timestamp.Parse(t.text); ok {
		a["time"] = t
	}
}
