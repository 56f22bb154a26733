package lifecycle

import (
	"bytes"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
)

// dialect is one way in which a cloud reports changes. Its file owns both ends: it recognises the documents of the
// dialect that are no CloudEvents and says which CloudEvent each becomes, and it reads those events. Adding a dialect
// is a file and a line in dialects.
type dialect interface {
	// name is the Reading's Dialect.
	name() string
	// signs are the names of members, in quotes, one of which every bare document of the dialect has somewhere in it.
	// A dialect without signs has none: its events are CloudEvents already, and their data is the producer's own.
	signs() []string
	// format is what a bare document of the dialect is called in errors, "" for a dialect that has none.
	format() string
	// recognise makes of a JSON object what it says of its event, nil if the object is not of this dialect. The error
	// says why an object that is of the dialect cannot be read.
	recognise(o document.Object) (*Bare, error)
	// claims reports whether an event of this type is of the dialect.
	claims(eventType string) bool
	// read reads an event that the dialect has claimed.
	read(e event.Event, data *payload) (Reading, error)
}

// dialects is the registry's one list. types are Options.EventTypes.
func dialects(types map[string]Action) []dialect {
	return []dialect{openstack{types}, huaweicloud{types}, plain{types}}
}

// Bare is what a document that is no CloudEvent says of the event that it becomes.
type Bare struct {
	// Format names the document in errors; see [Formats].
	Format string
	// ID is the document's own, "" if it has none: then a digest of Data does, so that a redelivery has the same id.
	ID string
	// Source and Type become the event's.
	Source, Type string
	// Time is the JSON value that holds the time, nil for none.
	Time []byte
	// Data becomes the event's data, once it is without credentials: a JSON object.
	Data []byte
}

// Formats returns what the documents that Recognise knows are called, such as "OpenStack notification".
func Formats() []string {
	var all []string
	for _, d := range dialects(nil) {
		if name := d.format(); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// Recognise returns what a JSON object says of the event that it becomes, nil if no dialect knows it. The error is one
// line that names what was recognised, what is missing and where.
func Recognise(o document.Object) (*Bare, error) {
	for _, d := range dialects(nil) {
		if bare, err := d.recognise(o); bare != nil || err != nil {
			return bare, err
		}
	}
	return nil, nil
}

// MayHold reports whether the data of a CloudEvent of this type may be a document that Recognise knows, as it is when a
// bridge such as Knative's RabbitMQ source wraps notifications. It spares most events' data from being taken apart.
func MayHold(eventType string, data []byte) bool {
	all := dialects(nil)
	for _, d := range all {
		if len(d.signs()) == 0 && d.claims(eventType) {
			return false
		}
	}
	for _, d := range all {
		for _, sign := range d.signs() {
			if bytes.Contains(data, []byte(sign)) {
				return true
			}
		}
	}
	return false
}
