package listen

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
)

const (
	// drainTimeout is how long an orderly end waits for what is under way, all in all.
	drainTimeout = 30 * time.Second
	// workTimeout is how long a message may be worked on: what a worker waits for a resource comes out of it.
	workTimeout = 2 * time.Minute

	consumerTag = "tagger"
)

var (
	errEnding = errors.New("the listener ends")
	// errTaken says that another listener takes the messages of a queue that has no single active consumer by itself.
	errTaken = errors.New("another listener takes the messages of the queue")
)

// takenPause is how long after which a listener looks again whether another one still takes the messages.
const takenPause = 5 * time.Second

// consume takes messages until the channel is gone, nothing works any more (a *faultError), or the context ends. An end
// of over cuts short what ctx's lets finish.
func (l *Listener) consume(ctx, over context.Context, conn *amqp.Connection, s sender) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer func() {
		if ctx.Err() == nil { // else the connection is closed next, and the broker may never answer
			_ = ch.Close() // what is not acknowledged comes back
		}
	}()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.Qos(l.options.Concurrency, 0, false); err != nil {
		return fmt.Errorf("limit the messages under way: %w", err)
	}
	if err := l.topology.lock(conn); err != nil {
		return err
	}
	deliveries, err := ch.Consume(l.topology.queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("take messages from queue %s: %w", l.topology.queue, err)
	}
	l.log.Info("consuming", "queue", l.topology.queue, "concurrency", l.options.Concurrency)
	l.counts.standby.Store(false)
	l.counts.consuming.Store(true)
	defer l.counts.consuming.Store(false)
	l.breaker.reset()
	for {
		var d amqp.Delivery
		ok := false
		select {
		case <-ctx.Done():
			return l.drain(over, ch, errEnding)
		case <-l.breaker.isOpen():
			return l.drain(over, ch, &faultError{l.breaker.last()})
		case d, ok = <-deliveries:
		}
		if !ok {
			select {
			case e := <-closed:
				if e != nil {
					return e
				}
			default:
			}
			return fmt.Errorf("the broker has ended the taking of messages from queue %s", l.topology.queue)
		}
		// The broker hands out no more than there are slots, but on a connection that has just replaced another.
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return l.drain(over, ch, errEnding)
		}
		// What a message becomes when it is read is several times as large. One that is too large for all is read alone.
		size := min(int64(len(d.Body)), l.options.Bytes)
		if l.bytes.Acquire(ctx, size) != nil {
			<-l.slots
			return l.drain(over, ch, errEnding)
		}
		taken := l.take(ctx, s, d) // here, so that messages get their places in the order in which they come
		go func() {
			defer func() {
				l.bytes.Release(size)
				<-l.slots
			}()
			taken.finish()
		}()
	}
}

// drain takes no more messages, lets those under way be settled, and returns why. What was handed out and not begun
// goes back with the channel.
func (l *Listener) drain(over context.Context, ch *amqp.Channel, why error) error {
	l.counts.consuming.Store(false)
	_ = ch.Cancel(consumerTag, true)
	ctx, cancel := context.WithTimeout(over, drainTimeout)
	defer cancel()
	if !l.idle(ctx) {
		l.log.Warn("some messages are still being worked on; they will come back")
	}
	return why
}

// idle waits until nothing is under way, and reports false when the context ended first.
func (l *Listener) idle(ctx context.Context) bool {
	held := 0
	defer func() {
		for range held {
			<-l.slots
		}
	}()
	for range cap(l.slots) {
		select {
		case l.slots <- struct{}{}:
			held++
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// settle brings a message to where its decision says. It reports false when the message stays in the queue.
func (l *Listener) settle(ctx context.Context, s sender, d amqp.Delivery, m Message, decision delivery.Decision) bool {
	switch {
	case decision.Fault.Scope == fault.Everything:
		l.nack(d, m)
		return false
	case decision.Outcome == apply.Deferred:
		step, err := l.delay(ctx, s, m, decision.Delay)
		if errors.Is(err, errTooLarge) { // it would be handed out again and again
			decision.Decision = apply.Decision{Outcome: apply.Rejected, Reason: "it cannot wait (" + decision.Reason + "): " +
				err.Error()}
			return l.reject(ctx, s, d, m, decision)
		}
		if err != nil {
			l.unsent(ctx, d, m, err)
			return false
		}
		l.counts.deferred(step)
	case decision.Outcome == apply.Rejected:
		return l.reject(ctx, s, d, m, decision)
	}
	l.ack(d, m)
	return true
}

// reject brings a message to the rejected ones, without its body where that is larger than the broker takes.
func (l *Listener) reject(ctx context.Context, s sender, d amqp.Delivery, m Message, decision delivery.Decision) bool {
	p := m.rejected(decision, time.Now())
	err := l.send(ctx, s, l.topology.rejected(), p)
	if errors.Is(err, errTooLarge) {
		l.log.Error("the event is rejected without its body", "event_id", m.EventID(), "bytes", len(p.Body), "error",
			err.Error())
		p.Headers[headerReason] = header(fmt.Sprintf("%s; its body of %d bytes is left out: %s", decision.Reason, len(p.Body),
			errTooLarge))
		p.Body = nil
		err = l.send(ctx, s, l.topology.rejected(), p)
	}
	if err != nil {
		l.unsent(ctx, d, m, err)
		return false
	}
	l.counts.rejected.Add(1)
	l.ack(d, m)
	return true
}

// delay brings a message into the queue of its delay, or of the next best that takes it, and returns which. A message
// that a full queue kept out would be handed out again before all others, and nothing behind it would have a turn.
func (l *Listener) delay(ctx context.Context, s sender, m Message, wanted time.Duration) (time.Duration, error) {
	var err error
	for _, step := range stepsFrom(stepFor(wanted)) {
		if err = l.send(ctx, s, l.topology.delay(step), m.deferred()); err == nil {
			return step, nil
		}
		if !errors.Is(err, errNotTaken) {
			break
		}
		l.log.Warn("a queue does not take the event; trying another", "event_id", m.EventID(), "queue",
			l.topology.delay(step), "error", err.Error())
	}
	return 0, err
}

// send brings a message into another queue.
func (l *Listener) send(ctx context.Context, s sender, queue string, p amqp.Publishing) error {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), confirmTimeout)
	defer cancel()
	if err := s.send(sending, queue, p); err != nil {
		return fmt.Errorf("put the event into queue %s: %w", queue, err)
	}
	return nil
}

// unsent gives back a message that could not be brought into another queue. When no queue takes it, nothing more is
// taken for a while: whatever is deferred would come round and round. Else a short pause will do, for the connection is
// at fault, and the next would fail likewise.
func (l *Listener) unsent(ctx context.Context, d amqp.Delivery, m Message, err error) {
	l.counts.unsent.Add(1)
	l.log.Error("the event goes back to its own queue", "event_id", m.EventID(), "error", err.Error())
	if errors.Is(err, errNotTaken) {
		l.breaker.open(err)
	} else {
		backoff.Sleep(ctx, backoff.Jitter(unsentPause))
	}
	l.nack(d, m)
}

// ack needs no care for its error: the connection is gone then, and the message comes back.
func (l *Listener) ack(d amqp.Delivery, m Message) {
	if err := d.Ack(false); err != nil {
		l.log.Debug("acknowledge", "event_id", m.EventID(), "error", err.Error())
	}
}

func (l *Listener) nack(d amqp.Delivery, m Message) {
	if err := d.Nack(false, true); err != nil {
		l.log.Debug("give back", "event_id", m.EventID(), "error", err.Error())
	}
}
