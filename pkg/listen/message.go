package listen

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// The headers of messages that we have put into a queue ourselves. Those of a rejected message do not say when it was
// sent first, so that one that is put back into the main queue has all its time again.
const (
	headerSentAt     = "x-tagger-sent-at"  // when the first of us took the message, RFC 3339
	headerReceives   = "x-tagger-receives" // how often it has been worked on
	headerExchange   = "x-tagger-exchange" // where it was published at first
	headerRoutingKey = "x-tagger-routing-key"
	headerOutcome    = "x-tagger-outcome"
	headerReason     = "x-tagger-reason"
	headerEventID    = "x-tagger-event-id"
	headerRejectedAt = "x-tagger-rejected-at"
)

// Message is one message as it was taken. SentAt is when it was first taken, for oslo.messaging sets no time.
type Message struct {
	delivery.Message

	// Raw is the body as it came. It is exported so that its own way of printing, which shows no credentials, is in force.
	Raw ingress.Raw

	exchange, routingKey, contentType string
}

func read(d amqp.Delivery, now time.Time) Message {
	m := envelope(d, now)
	m.decode()
	return m
}

// decode reads the events of a message. All of them are there after it, or none.
func (m *Message) decode() {
	var events []event.Event
	var failed error
	for _, record := range ingress.Decode(m.Raw).Records {
		events = append(events, record.Events...)
		if failed == nil {
			failed = record.Err
		}
	}
	m.Events, m.Err = events, failed
}

// envelope reads what is around the body.
func envelope(d amqp.Delivery, now time.Time) Message {
	m := Message{
		Message: delivery.Message{SentAt: now, ReceivedAt: now, Receives: 1}, exchange: d.Exchange, routingKey: d.RoutingKey,
		Raw: d.Body, contentType: d.ContentType,
	}
	if sent, ok := d.Headers[headerSentAt].(string); ok {
		if t, err := time.Parse(time.RFC3339, sent); err == nil && t.Before(now) {
			m.SentAt = t
		}
	}
	if n := number(d.Headers[headerReceives]); n > 0 {
		m.Receives = int(min(n, maxReceives)) + 1
	}
	if exchange, ok := d.Headers[headerExchange].(string); ok {
		m.exchange = exchange
	}
	if key, ok := d.Headers[headerRoutingKey].(string); ok {
		m.routingKey = key
	}
	return m
}

// maxReceives bounds what a header can claim.
const maxReceives = 1_000_000

// number reads an integer of whatever size AMQP has made of it.
func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case int8:
		return int64(n)
	}
	return 0
}

// deferred is the message as it waits.
func (m Message) deferred() amqp.Publishing {
	p := m.publishing()
	p.Headers[headerSentAt] = m.SentAt.UTC().Format(time.RFC3339)
	p.Headers[headerReceives] = int64(m.Receives)
	return p
}

// rejected is the message as a person finds it.
func (m Message) rejected(d delivery.Decision, now time.Time) amqp.Publishing {
	p := m.publishing()
	p.Headers[headerOutcome] = string(d.Outcome)
	p.Headers[headerReason] = header(d.Reason)
	p.Headers[headerEventID] = header(m.EventID())
	p.Headers[headerRejectedAt] = now.UTC().Format(time.RFC3339)
	return p
}

// publishing is the CloudEvent that was made of the message, without the credentials that notifications can hold: it
// may stay for days, and a person will look at it. It reads as the message does. What could not be read goes as it
// came: nobody knows where a credential would be in it.
func (m Message) publishing() amqp.Publishing {
	p := amqp.Publishing{
		Headers:     amqp.Table{headerExchange: header(m.exchange), headerRoutingKey: header(m.routingKey)},
		ContentType: m.contentType, DeliveryMode: amqp.Persistent, Body: m.Raw,
	}
	if m.Err == nil && len(m.Events) > 0 {
		var v any = m.Events
		contentType := event.ApplicationCloudEventsBatchJSON
		if len(m.Events) == 1 {
			v, contentType = m.Events[0], event.ApplicationCloudEventsJSON
		}
		if body, err := encode(v); err == nil {
			p.Body, p.ContentType = body, contentType
		}
	}
	return p
}

// encode writes JSON with <, > and & as they are, so that an event says byte for byte what it said.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// longestHeader is in bytes.
const longestHeader = 1024

// header makes a text fit for a header.
func header(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > longestHeader {
		s = strings.ToValidUTF8(s[:longestHeader], "")
	}
	return s
}
