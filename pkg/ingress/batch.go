// Package ingress takes any trigger's bytes apart into records, and each record into CloudEvents.
//
// A carrier is what brought the events (a queue, an HTTP request, a direct invocation). Documents that are not
// CloudEvents become CloudEvents here, if one of package lifecycle's dialects recognises them. Credentials that they
// hold are dropped here, before anything else can see them. No input makes it fail as a whole: a record that cannot be
// read says so in its Err, and its neighbours are not affected.
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
	// SQS is an AWS SQS batch, or what EventBridge Pipes makes of one; its records are acknowledged one by one.
	SQS Carrier = "sqs"
	// HTTP is a request, on a socket or as an AWS function URL, API Gateway or load balancer hands it over.
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
	// ReceivedAt is when the door received the record. Decoding does not set it: a door does, for all records of a batch,
	// so that an event that says no time has one from which its grace counts.
	ReceivedAt time.Time
	// Group is the record's FIFO message group (SQS: MessageGroupId), "" where there is none.
	Group string
	// Raw is the record's body as it came, for a dead-letter queue.
	Raw Raw
	// Events is what could be read of the record, usually one event. Several come from a JSON batch or an EventGrid
	// batch; then some can be good although Err says that others are not, and the good ones are to be acted on all the
	// same. None without an Err is an empty batch: there is nothing to do, and it is done.
	Events []event.Event
	// Err is why the record, or a part of it, cannot be read: one line that names what was recognised, what is missing
	// and where. Of the record's values it shows the queue's messageId, a CloudEvent's specversion and a media type,
	// quoted and cut, and no other. It wraps a [*document.LimitError] if something is too large, and a [*MediaTypeError]
	// if the body is in a format that is not read.
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
