package listen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/config"
)

// Moved is the result for one queue of [Queues.Move].
type Moved struct {
	From, To string
	// Messages is the number of moved messages, Left the number of those that have arrived in From meanwhile.
	Messages, Left int
}

const (
	// movePrefetch is the number of messages under way during a move.
	movePrefetch = 100
	// moveQuiet is the time without a message after which the queue's length is checked.
	moveQuiet = 2 * time.Second
	// moveCheck is the number of moved bytes after which the target queue's length is checked, moveFull the number of
	// bytes that may be in it. A full main queue drops its oldest messages.
	moveCheck = 16 << 20
	moveFull  = mainBytes * 3 / 4
)

// Move moves the messages of the queues whose names begin with from into the existing queues that begin with to: main
// queue to main queue, and so on. Messages are unchanged, and leave their queue once the broker has confirmed them in
// the other. From each queue, as many messages are moved as it had when its turn came. No listener may consume the
// queues of from. done is called after each queue.
func (q *Queues) Move(ctx context.Context, from, to string, done func(Moved)) error {
	if from == to {
		return fmt.Errorf("move messages from queue %s to itself: name two queues", from)
	}
	pairs := movePairs(from, to)
	sources := map[string]bool{}
	for i, p := range pairs {
		state, err := q.state(p.From)
		if _, missing := errors.AsType[*MissingQueueError](err); missing && p.From != from {
			continue
		}
		if err != nil {
			return err
		}
		if state.Consumers > 0 {
			return fmt.Errorf("move messages from queue %s: a listener consumes it (consumers: %d); stop it first",
				p.From, state.Consumers)
		}
		if _, err := q.state(p.To); err != nil {
			return err
		}
		sources[pairs[i].From] = true
	}
	s := newConfirmed(q.conn.Connection)
	for _, p := range pairs {
		if !sources[p.From] {
			continue
		}
		err := q.move(ctx, s, &p)
		if state, stateErr := q.state(p.From); stateErr == nil {
			p.Left = state.Messages
		}
		done(p)
		if err != nil {
			return err
		}
	}
	return nil
}

// movePairs returns the queues of two names, the main queue last: messages that leave a delay queue meanwhile go there.
func movePairs(from, to string) []Moved {
	names := newTopology(config.Listen{Queue: from}, nil).queues()
	var pairs []Moved
	for _, source := range append(names[1:], names[0]) {
		pairs = append(pairs, Moved{From: source.name, To: to + strings.TrimPrefix(source.name, from)})
	}
	return pairs
}

// move moves the messages of one queue. It has to consume them: a queue with a single active consumer delivers none
// otherwise.
func (q *Queues) move(ctx context.Context, s sender, m *Moved) error {
	at, err := q.state(m.From)
	if err != nil || at.Messages == 0 {
		return err
	}
	return on(q.conn.Connection, func(ch *amqp.Channel) error {
		if err := ch.Qos(movePrefetch, 0, false); err != nil {
			return fmt.Errorf("set the prefetch count: %w", err)
		}
		deliveries, err := ch.Consume(m.From, "tagger-move", false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume queue %s: %w", m.From, oneLine(err))
		}
		quiet := time.NewTicker(moveQuiet)
		defer quiet.Stop()
		var fill fillLimit
		for m.Messages < at.Messages {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-quiet.C: // some have expired, or a listener consumes them
				now, err := q.state(m.From)
				switch {
				case err != nil:
					return err
				case now.Consumers > 1:
					return fmt.Errorf("move messages from queue %s: a listener has started to consume it; stop it, and "+
						"move the rest", m.From)
				case now.Messages == 0:
					return nil
				}
			case d, ok := <-deliveries:
				if !ok {
					return fmt.Errorf("consume queue %s: the broker cancelled the consumer", m.From)
				}
				quiet.Reset(moveQuiet)
				if err := fill.add(q, m.To, len(d.Body)); err != nil {
					return err
				}
				if err := q.pass(ctx, s, d, m.To); err != nil {
					return err
				}
				m.Messages++
			}
		}
		return nil
	})
}

// pass moves one message to another queue.
func (q *Queues) pass(ctx context.Context, s sender, d amqp.Delivery, to string) error {
	sending, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := s.send(sending, to, republished(d)); err != nil {
		return fmt.Errorf("put a message into queue %s: %w", to, err)
	}
	if err := d.Ack(false); err != nil {
		return fmt.Errorf("remove a message from its queue (it may now be in %s too): %w", to, err)
	}
	return nil
}

// republished returns a message for another queue: its body and headers, without the broker's own headers, and with the
// exchange and routing key of its first publication.
func republished(d amqp.Delivery) amqp.Publishing {
	headers := maps.Clone(d.Headers)
	if headers == nil {
		headers = amqp.Table{}
	}
	maps.DeleteFunc(headers, func(name string, _ any) bool {
		return name == "x-delivery-count" || name == "x-acquired-count" || strings.Contains(name, "-death")
	})
	if _, ours := headers[headerExchange]; !ours && d.Exchange != "" {
		headers[headerExchange], headers[headerRoutingKey] = header(d.Exchange), header(d.RoutingKey)
	}
	return amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp.Persistent,
		MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, CorrelationId: d.CorrelationId,
		Priority: d.Priority,
		Body:     d.Body,
	}
}

// fillLimit keeps a move from filling up the target queue.
type fillLimit struct {
	unchecked, queued int64 // bytes since the last check, and since the queue was last seen empty
}

func (r *fillLimit) add(q *Queues, to string, size int) error {
	r.unchecked, r.queued = r.unchecked+int64(size), r.queued+int64(size)
	if r.unchecked < moveCheck {
		return nil
	}
	r.unchecked = 0
	state, err := q.state(to)
	switch {
	case err != nil:
		return err
	case state.Messages == 0:
		r.queued = 0
	case r.queued > moveFull:
		return fmt.Errorf("move more messages into queue %s: it would soon be full and drop its oldest messages: "+
			"let a listener consume it, then move the rest", to)
	}
	return nil
}
