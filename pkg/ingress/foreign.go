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

// What OpenStack and Huawei Cloud send is no CloudEvent. It becomes one here, and the same one whatever brought it:
// alone, in an envelope, or as the data of a CloudEvent that a bridge (Knative's RabbitMQ source, EventGrid) made of
// it. A bridge's id can be another at each delivery; the notification's and the trace's own do not change. What such
// documents look like is the dialects' affair.

// inner looks for such a document in a CloudEvent's data. It reports false when there is none.
func (d *decoder) inner(outer attributes, data []byte, wrapped int) (event.Event, bool, error) {
	if document.Kind(data) == '"' {
		if data = document.TrimMark([]byte(document.Unquote(data))); !document.Valid(data) {
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
	return d.foreign(object, outer, wrapped+1)
}

// foreign makes a CloudEvent of a document that a dialect recognises. It reports false for anything else. outer is the
// CloudEvent that the document was the data of, if any: its extensions are kept.
func (d *decoder) foreign(object document.Object, outer attributes, wrapped int) (event.Event, bool, error) {
	native, err := lifecycle.Recognise(object)
	switch {
	case err != nil:
		return event.Event{}, true, err
	case native == nil:
		return event.Event{}, false, nil
	case wrapped > maxWraps:
		return event.Event{}, true, errWraps
	}
	data := strip(native.Data)
	a := inherit(outer)
	a.set("id", native.ID)
	if native.ID == "" {
		sum := sha256.Sum256(data)
		a.set("id", "sha256:"+hex.EncodeToString(sum[:16]))
	}
	a.set("source", native.Source)
	a.set("type", native.Type)
	if t := attributeFrom(native.Time); isTime(t) {
		a["time"] = t
	}
	e, err := build(a, data)
	if err != nil {
		err = fmt.Errorf("%s: %w", native.Format, err)
	}
	return e, true, err
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

func (a attributes) set(name, value string) { a[name] = attribute{'"', value} }

func isTime(a attribute) bool {
	_, ok := timestamp.Parse(a.text)
	return ok
}
