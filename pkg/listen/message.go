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

// Headers of messages that Tagger publishes itself. A rejected message does not carry the time of its first delivery,
// so that a replay starts with a full give-up time.
const (
	headerSentAt     = "x-tagger-sent-at"  // when a listener first received the message, RFC 3339
	headerReceives   = "x-tagger-receives" // how often it has been worked on
	headerExchange   = "x-tagger-exchange" // where it was first published
	headerRoutingKey = "x-tagger-routing-key"
	headerOutcome    = "x-tagger-outcome"
	headerReason     = "x-tagger-reason"
	headerEventID    = "x-tagger-event-id"
	headerRejectedAt = "x-tagger-rejected-at"
)

// Message is one message as received. SentAt is when it was first received, because oslo.messaging sets no time.
type Message struct {
	delivery.Message

	// Raw is the body as received. It is exported so that its own formatting applies, which hides credentials.
	Raw ingress.Raw

	exchange, routingKey, contentType string
}

func read(d amqp.Delivery, now time.Time) Message {
	m := envelope(d, now)
	m.decode()
	return m
}

// decode decodes all events of a message, or none.
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

// envelope reads the headers and properties of a message.
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

// maxReceives limits the value of the header.
const maxReceives = 1_000_000

// number reads an AMQP integer of any size.
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

// deferred returns the message for a delay queue.
func (m Message) deferred() amqp.Publishing {
	p := m.publishing()
	p.Headers[headerSentAt] = m.SentAt.UTC().Format(time.RFC3339)
	p.Headers[headerReceives] = int64(m.Receives)
	return p
}

// rejected returns the message for the queue of rejected messages.
func (m Message) rejected(d delivery.Decision, now time.Time) amqp.Publishing {
	p := m.publishing()
	p.Headers[headerOutcome] = string(d.Outcome)
	p.Headers[headerReason] = header(d.Reason)
	p.Headers[headerEventID] = header(m.EventID())
	p.Headers[headerRejectedAt] = now.UTC().Format(time.RFC3339)
	return p
}

// publishing returns the message's CloudEvent, without the credentials that notifications can contain: it may stay in
// the queue for days, where an operator reads it. It decodes to the same events as the message. A message that cannot
// be decoded is passed on unchanged, because its credentials cannot be found.
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

// encode writes JSON without escaping <, > and &, so that an event stays the same byte for byte.
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

// header shortens and cleans a text to fit a header.
func header(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > longestHeader {
		s = strings.ToValidUTF8(s[:longestHeader], "")
	}
	return s
}
