package listen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
)

// Queues gives operators access to Tagger's own queues in the broker. It creates no durable queue. Use it from one
// goroutine, and close it.
type Queues struct {
	topology *topology
	conn     *connection
	release  func() bool
}

// OpenQueues connects once to one of the brokers. The connection is cut when the context ends.
func OpenQueues(ctx context.Context, c config.Listen) (*Queues, error) {
	l, err := New(Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	conn, err := l.connectOnce(ctx)
	if err != nil {
		return nil, err
	}
	return &Queues{topology: l.topology, conn: conn, release: context.AfterFunc(ctx, conn.close)}, nil
}

// Close closes the connection. Messages that were read but not removed then return to their queue.
func (q *Queues) Close() {
	q.release()
	q.conn.close()
}

// MissingQueueError reports that a queue does not exist.
type MissingQueueError struct{ Name string }

func (e *MissingQueueError) Error() string {
	return fmt.Sprintf("there is no queue %s (TAGGER_AMQP_QUEUE names the main queue; tagger listen creates it)", e.Name)
}

// QueueState is the state of one queue.
type QueueState struct {
	Name string `json:"name"`
	// Messages is the number of ready messages, without those that a listener has not settled yet.
	Messages int `json:"messages"`
	// Consumers is the number of consumers, active or standing by.
	Consumers int `json:"consumers"`
}

// List returns the existing queues, the main queue first and the queue of rejected messages last.
func (q *Queues) List() ([]QueueState, error) {
	var all []QueueState
	for _, each := range q.topology.queues() {
		state, err := q.state(each.name)
		if _, missing := errors.AsType[*MissingQueueError](err); missing {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, state)
	}
	return all, nil
}

// state returns the state of a queue, or a *MissingQueueError.
func (q *Queues) state(name string) (QueueState, error) {
	s := QueueState{Name: name}
	err := on(q.conn.Connection, func(ch *amqp.Channel) error {
		found, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		s.Messages, s.Consumers = found.Messages, found.Consumers
		return err
	})
	switch {
	case code(err) == amqp.NotFound:
		return s, &MissingQueueError{name}
	case err != nil:
		return s, fmt.Errorf("inspect queue %s: %w", name, oneLine(err))
	}
	return s, nil
}

// Rejected is a message in the queue of rejected messages.
type Rejected struct {
	Message
	// ID is the event's id, "" if the message cannot be decoded.
	ID         string
	Outcome    apply.Outcome
	Reason     string
	RejectedAt time.Time // zero if unknown
	Exchange   string
	RoutingKey string
}

func readRejected(d amqp.Delivery) Rejected {
	text := func(name string) string { s, _ := d.Headers[name].(string); return s }
	r := Rejected{
		Message: read(d, time.Now()), ID: text(headerEventID), Outcome: apply.Outcome(text(headerOutcome)),
		Reason: text(headerReason),
	}
	r.Exchange, r.RoutingKey = r.exchange, r.routingKey
	if r.ID == "" {
		r.ID = r.EventID()
	}
	r.RejectedAt, _ = time.Parse(time.RFC3339, text(headerRejectedAt))
	return r
}

// Rejected calls visit with each rejected message, oldest first, until it returns false. The messages stay in the
// queue.
func (q *Queues) Rejected(ctx context.Context, visit func(Rejected) bool) error {
	_, err := q.take(ctx, nil, func(r Rejected) (bool, error) {
		if !visit(r) {
			return false, errStop
		}
		return false, nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// Replay puts rejected messages back into the main queue and returns their number: those with one of the event ids, or
// without ids all that were there when it began. Their give-up time starts again. A message that a running listener
// rejects meanwhile is not replayed again.
func (q *Queues) Replay(ctx context.Context, ids []string) (int, error) {
	if _, err := q.state(q.topology.queue); err != nil {
		return 0, err
	}
	s := newConfirmed(q.conn.Connection)
	return q.take(ctx, ids, func(r Rejected) (bool, error) {
		sending, cancel := context.WithTimeout(ctx, confirmTimeout)
		defer cancel()
		if err := s.send(sending, q.topology.queue, r.publishing()); err != nil {
			return false, fmt.Errorf("put a message into queue %s: %w", q.topology.queue, err)
		}
		return true, nil
	})
}

// Drop deletes rejected messages and returns their number: those with one of the event ids, or without ids all that
// were there when it began.
func (q *Queues) Drop(ctx context.Context, ids []string) (int, error) {
	return q.take(ctx, ids, func(Rejected) (bool, error) { return true, nil })
}

// take reads as many rejected messages as there are when it begins. It calls done with those that have one of the ids,
// or without ids with all. A message is removed if done returns true; the others return to their places at the end.
func (q *Queues) take(ctx context.Context, ids []string, done func(Rejected) (bool, error)) (taken int, err error) {
	name := q.topology.rejected()
	begun := time.Now()
	at, err := q.state(name)
	if err != nil {
		return 0, err
	}
	return q.each(ctx, name, at.Messages, func(d amqp.Delivery) (bool, error) {
		r := readRejected(d)
		if r.RejectedAt.After(begun) || len(ids) > 0 && !slices.Contains(ids, r.ID) {
			return false, nil
		}
		return done(r)
	})
}

// Waiting is a message in one of the delay queues.
type Waiting struct {
	Message
	// Queue is the queue's name, Delay how long a message stays in it.
	Queue string
	Delay time.Duration
}

// Waiting calls visit with each message in the delay queues, the oldest of each queue first. All of them keep their
// order. One whose delay ends meanwhile leaves its queue at the end. A queue with more than limit messages is skipped,
// and complete is false: RabbitMQ puts requeued messages behind those that were not read, where they would wait for
// the delay of newer ones.
func (q *Queues) Waiting(ctx context.Context, limit int, visit func(Waiting)) (complete bool, err error) {
	complete = true
	for _, step := range steps() {
		name := q.topology.delay(step)
		at, err := q.state(name)
		if _, missing := errors.AsType[*MissingQueueError](err); missing {
			continue
		}
		if err != nil {
			return false, err
		}
		if at.Messages > limit {
			complete = false
			continue
		}
		// Read to the end of the queue, for the reason above: more messages may have arrived since it was counted.
		_, err = q.each(ctx, name, 2*limit, func(d amqp.Delivery) (bool, error) {
			visit(Waiting{Message: read(d, time.Now()), Queue: name, Delay: step})
			return false, nil
		})
		if err != nil {
			return false, err
		}
	}
	return complete, nil
}

// errStop ends a visit of messages.
var errStop = errors.New("stop")

// each gets up to limit messages of a queue and calls done with each. A message is removed if done returns true. The
// others return to their places at the end.
func (q *Queues) each(ctx context.Context, name string, limit int,
	done func(amqp.Delivery) (gone bool, err error)) (taken int, err error) {
	err = on(q.conn.Connection, func(ch *amqp.Channel) error {
		var kept amqp.Delivery // the last of those that stay
		defer func() {
			if kept.Acknowledger != nil && ctx.Err() == nil { // otherwise the connection is cut, which requeues them too
				_ = kept.Nack(true, true)
			}
		}()
		for range limit {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			d, ok, err := ch.Get(name, false)
			switch {
			case err != nil:
				return fmt.Errorf("get a message from queue %s: %w", name, err)
			case !ok: // another consumer got some, or they expired
				return nil
			}
			gone, err := done(d)
			if !gone || err != nil {
				kept = d
			}
			switch {
			case err != nil:
				return err
			case !gone:
				continue
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("remove a message from queue %s: %w", name, err)
			}
			taken++
		}
		return nil
	})
	return taken, err
}

// Delete deletes the queues and their bindings, and calls deleted with each queue and its number of messages. It
// deletes nothing while a listener is consuming. The exchanges belong to the services and stay.
func (q *Queues) Delete(ctx context.Context, deleted func(QueueState)) error {
	all, err := q.List()
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Consumers > 0 {
			return fmt.Errorf("delete queue %s: a listener consumes it (consumers: %d); stop all listeners first",
				s.Name, s.Consumers)
		}
	}
	for _, s := range all {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := on(q.conn.Connection, func(ch *amqp.Channel) (err error) {
			s.Messages, err = ch.QueueDelete(s.Name, false, false, false) // quorum queues do not support if-unused
			return err
		})
		if err != nil {
			return fmt.Errorf("delete queue %s: %w", s.Name, oneLine(err))
		}
		deleted(s)
	}
	return nil
}

// tapBytes limits the queue of a slow tap; the oldest messages are dropped.
const tapBytes = 16 << 20

// Tap calls visit with each notification that the services publish from now on, until it returns false or the context
// ends. It consumes copies from a queue of its own, which is deleted with the connection. bound is called with the
// exchanges that it listens to and those that do not exist. It is an error if none exists.
func (q *Queues) Tap(ctx context.Context, bound func(exchanges, missing []string), visit func(Message) bool) error {
	ch, err := q.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	name := q.topology.queue + ".tap." + strings.ToLower(rand.Text()[:8])
	_, err = ch.QueueDeclare(name, false, true, true, false,
		amqp.Table{"x-max-length-bytes": int64(tapBytes), "x-overflow": "drop-head"})
	if err != nil {
		return q.topology.declareError(name, err)
	}
	exchanges, missing, err := q.bind(name)
	if err != nil {
		return err
	}
	if len(exchanges) == 0 {
		return fmt.Errorf("none of the exchanges exists: %s; set TAGGER_AMQP_EXCHANGES to those of your services",
			strings.Join(missing, ", "))
	}
	if err := ch.Qos(tapPrefetch, 0, false); err != nil {
		return fmt.Errorf("set the prefetch count: %w", err)
	}
	deliveries, err := ch.Consume(name, "tagger-tap", false, true, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume queue %s: %w", name, oneLine(err))
	}
	bound(exchanges, missing)
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-deliveries:
			switch {
			case ctx.Err() != nil:
				return nil
			case !ok:
				return errors.New("the broker closed the connection")
			}
			if !visit(read(d, time.Now())) {
				return nil
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("acknowledge a message: %w", err)
			}
		}
	}
}

// tapPrefetch is the number of messages that a tap prefetches.
const tapPrefetch = 50
