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

// Moved is what became of one queue in [Queues.Move].
type Moved struct {
	From, To string
	// Messages is how many were moved, Left how many are in From afterwards: they came meanwhile.
	Messages, Left int
}

const (
	// movePrefetch is how many messages are under way while messages are moved.
	movePrefetch = 100
	// moveQuiet is after how long without a message it is looked whether there are any left.
	moveQuiet = 2 * time.Second
	// moveLook is after how many bytes it is looked how full the queue is that they go to, and moveFull how many may lie
	// in it. A main queue that is full throws its oldest messages away.
	moveLook = 16 << 20
	moveFull = mainBytes * 3 / 4
)

// Move moves the messages of the queues whose names begin with from into those that begin with to, which exist: from
// the main queue into the main queue, and so on. Each message is as it was, and is taken off its queue when the broker
// has confirmed it in the other. Of each queue as many are moved as were there when its turn came. No listener may take
// messages from the queues of from. Done is told of each queue.
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
			return fmt.Errorf("move messages from queue %s: a listener takes messages from it (consumers: %d); stop it first",
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

// movePairs are the queues of two names, the main queue last: what leaves a delay queue meanwhile goes there.
func movePairs(from, to string) []Moved {
	names := newTopology(config.Listen{Queue: from}, nil).queues()
	var pairs []Moved
	for _, source := range append(names[1:], names[0]) {
		pairs = append(pairs, Moved{From: source.name, To: to + strings.TrimPrefix(source.name, from)})
	}
	return pairs
}

// move moves the messages of one queue. It consumes them: a queue with a single active consumer hands out none
// otherwise.
func (q *Queues) move(ctx context.Context, s sender, m *Moved) error {
	at, err := q.state(m.From)
	if err != nil || at.Messages == 0 {
		return err
	}
	return on(q.conn.Connection, func(ch *amqp.Channel) error {
		if err := ch.Qos(movePrefetch, 0, false); err != nil {
			return fmt.Errorf("limit the messages under way: %w", err)
		}
		deliveries, err := ch.Consume(m.From, "tagger-move", false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("take messages from queue %s: %w", m.From, oneLine(err))
		}
		quiet := time.NewTicker(moveQuiet)
		defer quiet.Stop()
		var room room
		for m.Messages < at.Messages {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-quiet.C: // some have expired, or a listener takes them
				now, err := q.state(m.From)
				switch {
				case err != nil:
					return err
				case now.Consumers > 1:
					return fmt.Errorf("move messages from queue %s: a listener has begun to take messages from it; stop it, and "+
						"move the others", m.From)
				case now.Messages == 0:
					return nil
				}
			case d, ok := <-deliveries:
				if !ok {
					return fmt.Errorf("take messages from queue %s: the broker has ended it", m.From)
				}
				quiet.Reset(moveQuiet)
				if err := room.make(q, m.To, len(d.Body)); err != nil {
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

// pass moves one message.
func (q *Queues) pass(ctx context.Context, s sender, d amqp.Delivery, to string) error {
	sending, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := s.send(sending, to, asItWas(d)); err != nil {
		return fmt.Errorf("put a message into queue %s: %w", to, err)
	}
	if err := d.Ack(false); err != nil {
		return fmt.Errorf("take a message off its queue: it may now be in %s, too: %w", to, err)
	}
	return nil
}

// asItWas is the message for another queue: with its body and headers, without those of the broker itself, and with
// where it was published at first.
func asItWas(d amqp.Delivery) amqp.Publishing {
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

// room sees to it that no queue is filled up with what is moved into it.
type room struct {
	since, lying int64 // bytes since the last look, and since the queue was last seen empty
}

func (r *room) make(q *Queues, to string, size int) error {
	r.since, r.lying = r.since+int64(size), r.lying+int64(size)
	if r.since < moveLook {
		return nil
	}
	r.since = 0
	state, err := q.state(to)
	switch {
	case err != nil:
		return err
	case state.Messages == 0:
		r.lying = 0
	case r.lying > moveFull:
		return fmt.Errorf("move more messages into queue %s: it would soon be full, and throw its oldest away: "+
			"let a listener take those that are there, and move the others then", to)
	}
	return nil
}
