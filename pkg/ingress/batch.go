// Package ingress takes any trigger's bytes apart into records, and each record into CloudEvents.
//
// A carrier is what brought the events (a queue, an HTTP request, a direct invocation). Notifications and traces that
// are not CloudEvents become CloudEvents here, and credentials that raw notifications hold are dropped here, before
// anything else can see them. No input makes it fail as a whole: a record that cannot be read says so in its Err, and its
// neighbours are not affected.
package ingress

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Carrier is what brought a payload; it decides what the answer must look like.
type Carrier string

// The carriers.
const (
	// Direct is a payload that is the event itself, or several: a direct or asynchronous invocation, a file.
	Direct Carrier = "direct"
	// SQS is an AWS SQS batch; its records are acknowledged one by one.
	SQS Carrier = "sqs"
	// HTTP is a request, on a socket or as an AWS function URL or HTTP API (payload format 2.0) hands it over.
	HTTP Carrier = "http"
)

// Batch is one payload taken apart.
type Batch struct {
	Carrier Carrier
	// Records has at least one element: a payload that cannot be read at all is one record with Err.
	Records []Record
}

// Record is the unit of acknowledgement: what the carrier will redeliver, or not, as a whole.
type Record struct {
	// AckID names the record in the carrier's answer (SQS: messageId), "" where records have no names.
	AckID string
	// Receipt is what is needed to change the record's visibility (SQS: receiptHandle).
	Receipt string
	// Source is the queue that the record came from (SQS: eventSourceARN), "" elsewhere.
	Source string
	// Receives is how often the carrier has handed the record out, this time included; 0 when it does not say.
	Receives int
	// SentAt is when the carrier took the record, zero when it does not say.
	SentAt time.Time
	// Group is the record's FIFO message group (SQS: MessageGroupId), "" where there is none.
	Group string
	// Raw is the record's body as it came, for a dead-letter queue.
	Raw Raw
	// Events is what could be read of the record, usually one event. Several come from a JSON batch or an EventGrid
	// batch; then some can be good although Err says that others are not, and the good ones are to be acted on all the
	// same.
	Events []event.Event
	// Err is why the record, or a part of it, cannot be read: one line that names what was recognised, what is missing and
	// where. Of the record's values it shows the queue's messageId and a CloudEvent's specversion, quoted and cut, and no other.
	Err error
}

// Raw is a record's body as it came. It may hold credentials, so every way of printing it (fmt, log/slog, JSON) writes
// its length only; string(raw) is the way to the bytes.
type Raw []byte

func (r Raw) summary() string { return "[" + strconv.Itoa(len(r)) + " bytes]" }

// Format writes the length, whatever the verb.
func (r Raw) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.summary())) }

// LogValue is the length.
func (r Raw) LogValue() slog.Value { return slog.StringValue(r.summary()) }

// MarshalJSON writes the length.
func (r Raw) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(r.summary())), nil }
