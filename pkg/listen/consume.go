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
	// drainTimeout limits how long a shutdown waits for messages under way, in all.
	drainTimeout = 30 * time.Second
	// workTimeout limits the work on one message, including waits for its resource.
	workTimeout = 2 * time.Minute

	consumerTag = "tagger"
)

var (
	errEnding = errors.New("the listener is shutting down")
	// errStandby reports that another listener holds the lock of a queue without a single active consumer.
	errStandby = errors.New("another listener consumes the queue")
)

// standbyInterval is how often a standby listener checks whether another one still consumes the queue.
const standbyInterval = 5 * time.Second

// consume consumes messages until the channel closes, the breaker opens (a *faultError) or ctx ends. After ctx ends,
// messages under way may finish until shutdownCtx ends.
func (l *Listener) consume(ctx, shutdownCtx context.Context, conn *amqp.Connection, s sender) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer func() {
		if ctx.Err() == nil { // otherwise the connection is closed next, and the broker may never answer
			_ = ch.Close() // unacknowledged messages are redelivered
		}
	}()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.Qos(l.options.Concurrency, 0, false); err != nil {
		return fmt.Errorf("set the prefetch count: %w", err)
	}
	if err := l.topology.lock(conn); err != nil {
		return err
	}
	deliveries, err := ch.Consume(l.topology.queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume queue %s: %w", l.topology.queue, err)
	}
	l.log.Info("consuming", "queue", l.topology.queue, "prefetch", l.options.Concurrency)
	l.counts.standby.Store(false)
	l.counts.consuming.Store(true)
	defer l.counts.consuming.Store(false)
	l.breaker.reset()
	for {
		var d amqp.Delivery
		ok := false
		select {
		case <-ctx.Done():
			return l.drain(shutdownCtx, ch, errEnding)
		case <-l.breaker.isOpen():
			return l.drain(shutdownCtx, ch, &faultError{l.breaker.last()})
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
			return fmt.Errorf("the broker cancelled the consumer of queue %s", l.topology.queue)
		}
		// The broker delivers no more messages than there are slots, except on a connection that has just replaced
		// another.
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return l.drain(shutdownCtx, ch, errEnding)
		}
		// A decoded message is several times as large. One that exceeds the limit is decoded alone.
		size := min(int64(len(d.Body)), l.options.Bytes)
		if l.bytes.Acquire(ctx, size) != nil {
			<-l.slots
			return l.drain(shutdownCtx, ch, errEnding)
		}
		task := l.accept(ctx, s, d) // here, so that messages are ordered as they arrive
		go func() {
			defer func() {
				l.bytes.Release(size)
				<-l.slots
			}()
			task.finish()
		}()
	}
}

// drain stops consuming, waits until the messages under way are settled, and returns cause. Closing the channel
// requeues delivered messages that have not begun.
func (l *Listener) drain(shutdownCtx context.Context, ch *amqp.Channel, cause error) error {
	l.counts.consuming.Store(false)
	_ = ch.Cancel(consumerTag, true)
	ctx, cancel := context.WithTimeout(shutdownCtx, drainTimeout)
	defer cancel()
	if !l.idle(ctx) {
		l.log.Warn("messages still under way; they will be redelivered")
	}
	return cause
}

// idle waits until nothing is under way. It returns false if the context ends first.
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

// settle acknowledges, delays or rejects a message as its decision says. It returns false if the message stays in the
// queue.
func (l *Listener) settle(ctx context.Context, s sender, d amqp.Delivery, m Message, decision delivery.Decision) bool {
	switch {
	case decision.Fault.Scope == fault.Everything:
		l.nack(d, m)
		return false
	case decision.Outcome == apply.Deferred:
		step, err := l.delay(ctx, s, m, decision.Delay)
		if errors.Is(err, errTooLarge) { // it would be redelivered again and again
			decision.Decision = apply.Decision{Outcome: apply.Rejected, Reason: "it cannot be deferred (" + decision.Reason +
				"): " +
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

// reject puts a message into the queue of rejected messages, without its body if the broker does not accept one so
// large.
func (l *Listener) reject(ctx context.Context, s sender, d amqp.Delivery, m Message, decision delivery.Decision) bool {
	p := m.rejected(decision, time.Now())
	err := l.send(ctx, s, l.topology.rejected(), p)
	if errors.Is(err, errTooLarge) {
		l.log.Error("event rejected without its body", "event_id", m.EventID(), "bytes", len(p.Body), "error",
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

// delay puts a message into the queue of its delay, or into the next best that accepts it, and returns that delay. If a
// full queue kept it out, it would be redelivered before all others and block them.
func (l *Listener) delay(ctx context.Context, s sender, m Message, wanted time.Duration) (time.Duration, error) {
	var err error
	for _, step := range stepsFrom(stepFor(wanted)) {
		if err = l.send(ctx, s, l.topology.delay(step), m.deferred()); err == nil {
			return step, nil
		}
		if !errors.Is(err, errNotTaken) {
			break
		}
		l.log.Warn("delay queue refused the event; trying another", "event_id", m.EventID(), "queue",
			l.topology.delay(step), "error", err.Error())
	}
	return 0, err
}

// send puts a message into another queue.
func (l *Listener) send(ctx context.Context, s sender, queue string, p amqp.Publishing) error {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), confirmTimeout)
	defer cancel()
	if err := s.send(sending, queue, p); err != nil {
		return fmt.Errorf("put the event into queue %s: %w", queue, err)
	}
	return nil
}

// unsent requeues a message that could not be put into another queue. If no queue accepts it, consumption pauses:
// deferred messages would be redelivered again and again. Otherwise a short pause is enough: the connection is at
// fault, and the next message would fail too.
func (l *Listener) unsent(ctx context.Context, d amqp.Delivery, m Message, err error) {
	l.counts.unsent.Add(1)
	l.log.Error("event requeued", "event_id", m.EventID(), "error", err.Error())
	if errors.Is(err, errNotTaken) {
		l.breaker.open(err)
	} else {
		backoff.Sleep(ctx, backoff.Jitter(unsentPause))
	}
	l.nack(d, m)
}

// ack ignores its error: the connection is then closed, and the message is redelivered.
func (l *Listener) ack(d amqp.Delivery, m Message) {
	if err := d.Ack(false); err != nil {
		l.log.Debug("cannot acknowledge the message", "event_id", m.EventID(), "error", err.Error())
	}
}

func (l *Listener) nack(d amqp.Delivery, m Message) {
	if err := d.Nack(false, true); err != nil {
		l.log.Debug("cannot requeue the message", "event_id", m.EventID(), "error", err.Error())
	}
}
