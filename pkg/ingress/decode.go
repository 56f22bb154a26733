package ingress

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// MaxPayload limits a payload, and an inflated body, in bytes.
const MaxPayload = document.MaxBytes

const (
	// maxRecords is the largest SQS batch that Lambda hands over
	// (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html).
	maxRecords = 10_000
	// maxEvents limits the events of one record. A record is acknowledged as a whole, so all of its events are in memory
	// until the last one is done.
	maxEvents = 2_000
	// maxWraps limits the envelopes around one event. The longest useful chain has four: an SNS message with an
	// EventBridge event whose detail is a bridge's CloudEvent that holds an oslo.messaging envelope.
	maxWraps = 4
	// maxProblems limits how many unreadable events of one record its Err names.
	maxProblems = 3
)

// Decode decodes the payload of any trigger: an SQS batch, a request of a function URL or an HTTP API, or plain events.
// It never fails: a payload that cannot be read becomes a record with Err.
func Decode(payload []byte) Batch {
	d := decoder{events: maxEvents}
	body := document.TrimMark(payload)
	if err := document.Check(body); err != nil {
		return failed(Direct, payload, fmt.Errorf("read payload: %w", err))
	}
	switch document.Kind(body) {
	case '{':
		object, err := document.Members(body)
		if err != nil {
			return failed(Direct, payload, fmt.Errorf("read payload: %w", err))
		}
		if object.Kind("Records") == '[' && !object.Has("specversion") {
			return d.records(payload, object.Member("Records"))
		}
		if object.Kind("requestContext") == '{' && !object.Has("specversion") && !object.Has("requestPayload") {
			return d.gateway(payload, object)
		}
	case '[':
		if holdsRecords(body) {
			return d.records(payload, body)
		}
	}
	events, err := d.unwrap(body, 0)
	if err != nil {
		err = fmt.Errorf("read payload: %w", err)
	}
	return Batch{Direct, []Record{{Raw: payload, Events: events, Err: err}}}
}

func failed(carrier Carrier, raw []byte, err error) Batch {
	return Batch{carrier, []Record{{Raw: raw, Err: err}}}
}

// decoder counts down what one record may still contain.
type decoder struct {
	events int
}

var (
	errEvents = &document.LimitError{What: "events", Max: maxEvents}
	errWraps  = &document.LimitError{What: "envelopes around it", Max: maxWraps}
	// errUnknown reports an object without any recognised part.
	errUnknown = fmt.Errorf("is not a CloudEvent, %s or an envelope around one", strings.Join(lifecycle.Formats(), ", "))
	// errText and errScalar report JSON that cannot be an event.
	errText   = errors.New("is a JSON string without an event")
	errScalar = errors.New("is neither a JSON object nor an array")
)

// unwrap reads the events in a document under up to maxWraps envelopes. The document has passed document.Check. wrapped
// counts the envelopes that are open already. With an error, unwrap also returns the readable events.
func (d *decoder) unwrap(doc []byte, wrapped int) ([]event.Event, error) {
	if wrapped > maxWraps {
		return nil, errWraps
	}
	switch document.Kind(doc) {
	case '{':
		object, err := document.Members(doc)
		if err != nil {
			return nil, err
		}
		return d.object(object, wrapped)
	case '[':
		return d.each(doc, wrapped)
	case '"':
		inner := document.TrimMark(document.Content(doc))
		if k := document.Kind(inner); k != '{' && k != '[' && k != '"' {
			return nil, errText
		}
		return within("JSON string")(d.embedded(doc, wrapped+1))
	}
	return nil, errScalar
}

// each reads an array: a CloudEvents JSON batch, or several of anything else that unwrap reads. An empty array is a
// batch without events
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format).
func (d *decoder) each(array []byte, wrapped int) ([]event.Event, error) {
	list, err := document.Elements(array, d.events)
	if err != nil {
		return nil, errEvents
	}
	var (
		events   []event.Event
		problems []error
	)
	more := 0
	for i, element := range list {
		found, err := d.element(element, wrapped)
		events = append(events, found...)
		switch {
		case err == nil:
		case len(problems) < maxProblems:
			problems = append(problems, fmt.Errorf("event %d of %d: %w", i+1, len(list), err))
		default:
			more++
		}
	}
	return events, together(problems, more)
}

// together joins the problems of a batch into one line. It returns nil if there are none. more counts those not shown.
func together(problems []error, more int) error {
	if len(problems) == 0 {
		return nil
	}
	err := problems[0]
	for _, p := range problems[1:] {
		err = fmt.Errorf("%w; %w", err, p)
	}
	if more > 0 {
		err = fmt.Errorf("%w; and %d more", err, more)
	}
	return err
}

func (d *decoder) element(doc []byte, wrapped int) ([]event.Event, error) {
	if document.Kind(doc) == '[' {
		return nil, errors.New("is an array within an array")
	}
	return d.unwrap(doc, wrapped)
}

// embedded reads a document in a JSON string.
func (d *decoder) embedded(token []byte, wrapped int) ([]event.Event, error) {
	inner := document.TrimMark(document.Content(token))
	if err := document.Check(inner); err != nil {
		return nil, err
	}
	return d.unwrap(inner, wrapped)
}

// object reads the content of one object: an event, a notification, a trace, or an envelope around them.
func (d *decoder) object(object document.Object, wrapped int) ([]event.Event, error) {
	switch {
	case object.Has("specversion"):
		return d.one(d.structured(object, wrapped))
	case object.Has("Type") && object.Has("Message") && object.Has("TopicArn"):
		if object.Text("Type") != "Notification" {
			return nil, errors.New("SNS message: is not a Notification; confirm the subscription by hand")
		}
		return within("SNS message")(d.embedded(object.Member("Message"), wrapped+1))
	case object.Has("detail-type") && object.Has("detail"):
		return d.eventBridge(object, wrapped)
	case object.Has("requestPayload") && object.Has("requestContext"):
		// What Lambda sends to a queue after a failed asynchronous invocation, replayed here
		// (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html).
		return within("Lambda destination record: requestPayload")(d.unwrap(object.Member("requestPayload"), wrapped+1))
	case object.HasOnly("events"):
		if object.Kind("events") != '[' {
			return nil, errors.New("EventGrid batch: events is not an array")
		}
		return within("EventGrid batch")(d.each(object.Member("events"), wrapped+1))
	}
	if e, ok, err := d.native(object, nil, wrapped); ok || err != nil {
		return d.one(e, err)
	}
	for name := range object.All() {
		if strings.EqualFold(name, "specversion") {
			return d.one(d.structured(object, wrapped))
		}
	}
	if object.Has("id") && object.Has("source") && object.Has("type") {
		return nil, errors.New("CloudEvent: specversion is missing")
	}
	return nil, errUnknown
}

// eventBridge reads the event in an EventBridge event's detail. If the detail holds none, as with an AWS service's
// event, the EventBridge event itself is the event. It is then reported as unrecognised, like any event that is not
// Tagger's, and not as malformed
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html).
func (d *decoder) eventBridge(object document.Object, wrapped int) ([]event.Event, error) {
	const where = "EventBridge event"
	events, err := d.unwrap(object.Member("detail"), wrapped+1)
	switch err { //nolint:errorlint // an error that wraps one of these means that something was recognised
	case errUnknown, errText, errScalar:
	default:
		return within(where+": detail")(events, err)
	}
	a := attributes{}
	a.set("specversion", event.CloudEventsVersionV1)
	a["id"], a["source"] = attributeFrom(object.Member("id")), attributeFrom(object.Member("source"))
	a["type"], a["time"] = attributeFrom(object.Member("detail-type")), attributeFrom(object.Member("time"))
	if _, err := url.Parse(a["source"].text); err != nil { // CloudEvents wants a URI, EventBridge any text
		a.set("source", strings.ReplaceAll(url.PathEscape(a["source"].text), ":", "%3A"))
	}
	return within(where)(d.one(d.event(a, object.Member("detail"), false, wrapped+1)))
}

func (d *decoder) one(e event.Event, err error) ([]event.Event, error) {
	if err != nil {
		return nil, err
	}
	if d.events--; d.events < 0 {
		return nil, errEvents
	}
	return []event.Event{e}, nil
}

// within adds to an error in which envelope the problem is.
func within(where string) func([]event.Event, error) ([]event.Event, error) {
	return func(events []event.Event, err error) ([]event.Event, error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", where, err)
		}
		return events, err
	}
}
