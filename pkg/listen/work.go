package listen

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// task is one message under way.
type task struct {
	*Listener
	sender   sender
	delivery amqp.Delivery
	message  Message
	planned  delivery.Plan

	listenerCtx context.Context // ends with the listener
	ctx         context.Context // for the work
	cancel      context.CancelFunc
	claim       *change                    // nil if the message has no key
	first       bool                       // the message is the first to report its change
	wait        func() []delivery.Decision // waits for the decisions, once the work has begun
	panic       any                        // the panic before the work began, if any
	// applied reports that the change was applied while this message was in a delay queue.
	applied bool
}

// accept decodes a message and queues it for work. A message that reports the same change as an earlier one is queued
// only once the result of that one is known.
func (l *Listener) accept(ctx context.Context, s sender, d amqp.Delivery) (t *task) {
	l.counts.messages.Add(1)
	if d.Exchange != "" { // otherwise Tagger published it itself
		l.counts.notified.note(d.RoutingKey, time.Now())
	}
	t = &task{Listener: l, sender: s, delivery: d, message: envelope(d, time.Now()), listenerCtx: ctx}
	// The end of the listener, or of the connection, must not stop a write half-way.
	t.ctx, t.cancel = context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
	defer func() {
		if p := recover(); p != nil {
			t.panic = p
			l.log.Error("panic", "event_id", t.message.EventID(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	t.message.decode()
	t.message.Wait = l.options.Wait
	if t.applied = t.message.Receives > 1 && l.deferrals.applied(t.message.Identity()); t.applied {
		return t
	}
	t.planned = l.options.Processor.Plan(t.ctx, t.message.Message)
	t.begin()
	return t
}

// begin queues the message, unless it waits for another report of its change.
func (t *task) begin() {
	if t.planned.Key != "" {
		t.claim, t.first = t.recent.claim(t.planned.Key, t.message.Identity(), t.planned.Pending, time.Now())
		if !t.first {
			return
		}
	}
	t.wait = t.Listener.begin(t.ctx, []delivery.Plan{t.planned})
}

// finish waits for the message's decision and settles it. A panic only defers the message. If it ended the process, the
// message would be redelivered to the next one and end that too.
func (t *task) finish() {
	defer t.cancel()
	defer func() { t.planned.Release() }() // a duplicate is never begun
	defer func() {
		if p := recover(); p != nil {
			t.log.Error("panic", "event_id", t.message.EventID(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			t.fail()
		}
	}()
	if t.panic != nil {
		t.fail()
		return
	}
	if t.applied {
		t.log.Info("event unchanged", "event_id", t.message.EventID(), "outcome", string(apply.Unchanged),
			"reason", "applied already, by an early retry")
		t.ack(t.delivery, t.message)
		return
	}
	for t.wait == nil {
		select {
		case <-t.claim.done:
		case <-t.ctx.Done():
			t.nack(t.delivery, t.message)
			return
		}
		if t.claim.covers(t.planned.Pending) {
			t.counts.duplicates.Add(1)
			_, of, _ := strings.Cut(t.claim.event, "\n")
			t.log.Info("event duplicate", "event_id", t.message.EventID(), "of", of, "key", t.planned.Key)
			t.ack(t.delivery, t.message)
			return
		}
		t.begin()
	}
	decision := t.decide()
	decision = t.notices(t.ctx, t.message, decision)
	kept := t.settle(t.listenerCtx, t.sender, t.delivery, t.message, decision)
	if kept && t.options.Servers != nil {
		t.deferrals.note(t.message, decision)
	}
	t.settled(kept)
}

// decide waits for the decision, and updates the breaker.
func (t *task) decide() delivery.Decision {
	decisions := t.wait()
	d := decisions[0]
	t.counts.panics.Add(int64(d.Panics))
	if err := delivery.StopsEverything(decisions); err != nil {
		t.breaker.open(err)
	} else if d.Fault.Err == nil && d.Reached {
		t.breaker.works()
	}
	return d
}

// fail settles a message whose handling panicked.
func (t *task) fail() {
	t.counts.panics.Add(1)
	d := again(t.options.GiveUpAfter, t.message.Message, metadata.Unavailable, "panic; see the log", 0)
	t.settled(t.settle(t.listenerCtx, t.sender, t.delivery, t.message, delivery.Decision{Decision: d}))
}

// settled passes the result to the messages that wait for this report of the change.
func (t *task) settled(kept bool) {
	if t.first {
		t.first = false
		t.claim.finish(kept, t.planned.Pending)
	}
}
