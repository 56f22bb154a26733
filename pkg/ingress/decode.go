package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

const (
	// maxRecords is the largest SQS batch that Lambda hands over
	// (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html).
	maxRecords = 10_000
	// maxEvents is how many events one payload may hold, in all records together.
	maxEvents = 10_000
	// maxWraps is how many envelopes may lie around one event. The longest way that makes sense has four: an SNS
	// message with an EventBridge event whose detail is a CloudEvent (a bridge's) that holds an oslo.messaging
	// envelope.
	maxWraps = 4
	// maxProblems is how many unreadable events of one record are named in its Err.
	maxProblems = 3
)

// Decode takes a payload apart, whichever trigger it is from: an SQS batch, a function URL's or HTTP API's request, or
// events as they are. It never fails: what cannot be read is a record with Err.
func Decode(payload []byte) Batch {
	d := decoder{events: maxEvents}
	body := bytes.TrimPrefix(payload, []byte("\uFEFF"))
	if err := check(body); err != nil {
		return failed(Direct, payload, fmt.Errorf("read payload: %w", err))
	}
	if kindOf(body) == '{' {
		object, err := members(body)
		if err != nil {
			return failed(Direct, payload, fmt.Errorf("read payload: %w", err))
		}
		if records := object["Records"]; kindOf(records) == '[' && object["specversion"] == nil {
			return d.records(payload, records)
		}
		if kindOf(object["requestContext"]) == '{' && object["specversion"] == nil && object["requestPayload"] == nil {
			return d.gateway(payload, object)
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

// decoder counts what one payload may still yield.
type decoder struct {
	events int
}

var (
	errEvents = fmt.Errorf("has more than %d events", maxEvents)
	errWraps  = fmt.Errorf("lies in more than %d envelopes", maxWraps)
)

// unwrap reads the events that a document, which has passed check, holds under any number of envelopes up to maxWraps.
// wrapped is how many have been opened already. With an error come the events that could be read.
func (d *decoder) unwrap(document []byte, wrapped int) ([]event.Event, error) {
	if wrapped > maxWraps {
		return nil, errWraps
	}
	switch kindOf(document) {
	case '{':
		object, err := members(document)
		if err != nil {
			return nil, err
		}
		return d.object(document, object, wrapped)
	case '[':
		return d.each(document, wrapped)
	case '"':
		if inner := []byte(unquote(document)); kindOf(inner) != '{' && kindOf(inner) != '[' && kindOf(inner) != '"' {
			return nil, errors.New("is a JSON string that holds no event")
		}
		return within("JSON string")(d.embedded(document, wrapped+1))
	}
	return nil, errors.New("is neither a JSON object nor an array")
}

// each reads an array: a CloudEvents JSON batch, or several of anything else that unwrap reads.
func (d *decoder) each(array []byte, wrapped int) ([]event.Event, error) {
	list, err := elements(array, d.events)
	if err != nil {
		return nil, errEvents
	}
	if len(list) == 0 {
		return nil, errors.New("holds no event")
	}
	var (
		events   []event.Event
		problems []string
	)
	more := 0
	for i, element := range list {
		found, err := d.element(element, wrapped)
		events = append(events, found...)
		switch {
		case err == nil:
		case len(problems) < maxProblems:
			problems = append(problems, fmt.Sprintf("event %d of %d: %v", i+1, len(list), err))
		default:
			more++
		}
	}
	if more > 0 {
		problems = append(problems, fmt.Sprintf("and %d more", more))
	}
	if problems != nil {
		return events, errors.New(strings.Join(problems, "; "))
	}
	return events, nil
}

func (d *decoder) element(document []byte, wrapped int) ([]event.Event, error) {
	if kindOf(document) == '[' {
		return nil, errors.New("is an array within an array")
	}
	return d.unwrap(document, wrapped)
}

// embedded reads a document that lies in a JSON string.
func (d *decoder) embedded(token []byte, wrapped int) ([]event.Event, error) {
	inner := []byte(unquote(token))
	if err := check(inner); err != nil {
		return nil, err
	}
	return d.unwrap(inner, wrapped)
}

// object reads what one object holds: an event, a notification, a trace, or an envelope around them.
func (d *decoder) object(raw []byte, object map[string][]byte, wrapped int) ([]event.Event, error) {
	switch {
	case object["specversion"] != nil:
		return d.one(d.structured(object, wrapped))
	case object["Type"] != nil && object["Message"] != nil && object["TopicArn"] != nil:
		if unquote(object["Type"]) != "Notification" {
			return nil, errors.New("SNS message: is not a Notification; confirm the subscription by hand")
		}
		return within("SNS message")(d.embedded(object["Message"], wrapped+1))
	case object["detail-type"] != nil && object["detail"] != nil:
		return within("EventBridge event: detail")(d.unwrap(object["detail"], wrapped+1))
	case object["requestPayload"] != nil && object["requestContext"] != nil:
		// What Lambda puts into a queue when an asynchronous invocation failed, here played again
		// (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html).
		return within("Lambda destination record: requestPayload")(d.unwrap(object["requestPayload"], wrapped+1))
	case object["events"] != nil && len(object) == 1:
		if kindOf(object["events"]) != '[' {
			return nil, errors.New("EventGrid batch: events is not an array")
		}
		return within("EventGrid batch")(d.each(object["events"], wrapped+1))
	}
	if e, ok, err := d.foreign(raw, object, nil, wrapped); ok || err != nil {
		return d.one(e, err)
	}
	if object["id"] != nil && object["source"] != nil && object["type"] != nil {
		return nil, errors.New("CloudEvent: specversion is missing")
	}
	return nil, errors.New("is not a CloudEvent, an OpenStack notification, a Cloud Trace Service trace or an envelope around them")
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

// within says where an envelope's problem is.
func within(where string) func([]event.Event, error) ([]event.Event, error) {
	return func(events []event.Event, err error) ([]event.Event, error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", where, err)
		}
		return events, err
	}
}
