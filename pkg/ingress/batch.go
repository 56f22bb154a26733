// Package ingress splits the payload of any trigger into records, and each record into CloudEvents.
//
// A carrier is the way that events arrive: a queue, an HTTP request, a direct invocation. Documents that are not
// CloudEvents become CloudEvents here, if one of package lifecycle's dialects recognises them. Credentials in them are
// dropped here, before any other code sees them. Decoding never fails as a whole: a record that cannot be read has an
// Err, and the other records are not affected.
package ingress

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Carrier is the way that a payload arrived. It decides the form of the response.
type Carrier string

// The carriers.
const (
	// Direct is a payload that is the event itself, or several: a direct or asynchronous invocation, or a file.
	Direct Carrier = "direct"
	// SQS is an AWS SQS batch, from an event source mapping or EventBridge Pipes. Its records are acknowledged one by
	// one.
	SQS Carrier = "sqs"
	// HTTP is a request, from a socket or as an AWS function URL, API Gateway or load balancer passes it on.
	HTTP Carrier = "http"
)

// Batch is one decoded payload.
type Batch struct {
	Carrier Carrier
	// Records has at least one element: a payload that cannot be read at all is one record with Err.
	Records []Record
}

// Record is the unit of acknowledgement: the carrier redelivers all of it or nothing.
type Record struct {
	// AckID names the record in the carrier's response (SQS: messageId). It is "" if records have no names.
	AckID string
	// Receipt is the handle for changing the record's visibility (SQS: receiptHandle).
	Receipt string
	// Source is the queue of the record (SQS: eventSourceARN), "" for other carriers.
	Source string
	// Receives is the number of deliveries so far, including this one. It is 0 if the carrier does not report it.
	Receives int
	// SentAt is when the carrier accepted the record, zero if it does not report that.
	SentAt time.Time
	// ReceivedAt is when the entry point received the record. The entry point sets it, not the decoder: the grace
	// period of an event without a time counts from it.
	ReceivedAt time.Time
	// Group is the record's FIFO message group (SQS: MessageGroupId), "" without one.
	Group string
	// Raw is the record's unchanged body, for a dead-letter queue.
	Raw Raw
	// Events are the record's readable events, usually one. A JSON batch or an EventGrid batch has several. Some can be
	// good even if Err reports that others are not: process the good ones anyway. No events and no Err mean an
	// empty batch: there is nothing to do.
	Events []event.Event
	// Err is why the record, or a part of it, cannot be read: one line that names what was recognised, what is missing
	// and where. Of the record's values, it quotes only the queue's messageId, a CloudEvent's specversion and a media
	// type, cut if long. It wraps a [*document.LimitError] if something is too large, and a [*MediaTypeError] if the
	// body has an unsupported format.
	Err error
}

// Raw is a record's unchanged body. It may hold credentials, so printing it (fmt, log/slog, JSON) writes its length
// only. string(raw) returns the bytes.
type Raw []byte

func (r Raw) summary() string { return "[" + strconv.Itoa(len(r)) + " bytes]" }

// Format writes the length, whatever the verb.
func (r Raw) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.summary())) }

// LogValue returns the length.
func (r Raw) LogValue() slog.Value { return slog.StringValue(r.summary()) }

// MarshalJSON writes the length.
func (r Raw) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(r.summary())), nil }
