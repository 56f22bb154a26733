package ingress

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// Notifications of OpenStack and traces of Huawei Cloud are not CloudEvents. They become CloudEvents here. The result
// is the same whether the document arrives alone, in an envelope, or as the data of a CloudEvent from a bridge
// (Knative's RabbitMQ source, EventGrid). A bridge's id can change with each delivery; the ids of notifications and
// traces do not. The dialects in package lifecycle know the formats.

// inner reads such a document from a CloudEvent's data. It returns false if there is none.
func (d *decoder) inner(outer attributes, data []byte, wrapped int) (event.Event, bool, error) {
	if document.Kind(data) == '"' {
		if data = document.TrimMark(document.Content(data)); !document.Valid(data) {
			return event.Event{}, false, nil
		}
		wrapped++
	}
	if document.Kind(data) != '{' || !lifecycle.MayContainNative(outer["type"].text, data) {
		return event.Event{}, false, nil
	}
	object, err := document.Members(data)
	if err != nil {
		return event.Event{}, false, nil
	}
	return d.native(object, outer, wrapped+1)
}

// native converts a document that a dialect recognises to a CloudEvent. It returns false for other documents. outer has
// the attributes of the CloudEvent that carried the document, if any; its extensions are kept.
func (d *decoder) native(object document.Object, outer attributes, wrapped int) (event.Event, bool, error) {
	found, err := lifecycle.Recognise(object)
	switch {
	case err != nil:
		return event.Event{}, true, err
	case found == nil:
		return event.Event{}, false, nil
	case wrapped > maxWraps:
		return event.Event{}, true, errWraps
	}
	data := strip(found.Data)
	a := inherit(outer)
	a.set("id", found.ID)
	if found.ID == "" {
		sum := sha256.Sum256(data)
		a.set("id", "sha256:"+hex.EncodeToString(sum[:16]))
	}
	a.set("source", found.Source)
	a.set("type", found.Type)
	if t := attributeFrom(found.Time); isTime(t) {
		a["time"] = t
	}
	e, err := build(a, data)
	if err != nil {
		err = fmt.Errorf("%s: %w", found.Format, err)
	}
	return e, true, err
}

// inherit returns the attributes that an event keeps from the CloudEvent that carried it: extensions (traceparent,
// authid) and the time, which the event's own time replaces.
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

func (a attributes) set(name, value string) { a[name] = attribute{'"', value} }

func isTime(a attribute) bool {
	_, ok := timestamp.Parse(a.text)
	return ok
}
