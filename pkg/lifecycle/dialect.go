package lifecycle

import (
	"bytes"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/document"
)

// dialect is a format in which a cloud reports changes. It converts documents in the cloud's native format to
// CloudEvents, and reads those events. To add a dialect, add a file and a line in dialects.
type dialect interface {
	// name returns the Dialect of its readings.
	name() string
	// markers returns member names, in quotes. Every native document of the dialect contains at least one of them. A
	// dialect without native documents returns nil.
	markers() []string
	// format returns the name of the dialect's native documents in errors, "" if it has none.
	format() string
	// recognise converts a JSON object of the dialect. It returns nil for any other object, and an error if the object
	// is of the dialect but cannot be read.
	recognise(o document.Object) (*NativeEvent, error)
	// claims reports whether events of this type are of the dialect.
	claims(eventType string) bool
	// read reads an event that the dialect claims.
	read(e event.Event, data *payload) (Reading, error)
}

// dialects returns all dialects. types are Options.EventTypes.
func dialects(types map[string]Action) []dialect {
	return []dialect{openstack{types}, huaweicloud{types}, plain{types}}
}

// NativeEvent is an event in a cloud's native format: what the CloudEvent that it becomes is made of.
type NativeEvent struct {
	// Format names the document in errors; see [Formats].
	Format string
	// ID is the document's id, or "" if it has none. The event's id is then a digest of Data, so that a redelivery gets
	// the same id.
	ID string
	// Source and Type are the event's.
	Source, Type string
	// Time is the JSON value that holds the time, nil for none.
	Time []byte
	// Data is a JSON object. Without credentials, it becomes the event's data.
	Data []byte
}

// Formats returns the names of the native formats, such as "OpenStack notification".
func Formats() []string {
	var all []string
	for _, d := range dialects(nil) {
		if name := d.format(); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// Recognise returns the native event in a JSON object, nil if no dialect recognises it. The error is one line with the
// format, what is missing and where.
func Recognise(o document.Object) (*NativeEvent, error) {
	for _, d := range dialects(nil) {
		if native, err := d.recognise(o); native != nil || err != nil {
			return native, err
		}
	}
	return nil, nil
}

// MayContainNative reports whether the data of a CloudEvent of this type may be a native event, wrapped by a bridge
// such as Knative's RabbitMQ source. It saves parsing the data of most events.
func MayContainNative(eventType string, data []byte) bool {
	all := dialects(nil)
	for _, d := range all {
		if len(d.markers()) == 0 && d.claims(eventType) {
			return false
		}
	}
	for _, d := range all {
		for _, marker := range d.markers() {
			if bytes.Contains(data, []byte(marker)) {
				return true
			}
		}
	}
	return false
}
