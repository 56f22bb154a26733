package listen

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// Limits of the messages that are kept in memory while they wait in a delay queue.
const (
	// maxHeld and maxHeldBytes limit their number and total size; the oldest are evicted first. An evicted message is
	// retried when its delay is over, as usual.
	maxHeld      = 1_000
	maxHeldBytes = 16 << 20
	// heldFor is longer than the longest delay: by then the queue's copy has been redelivered.
	heldFor = 2 * time.Hour
)

// deferrals keeps the messages about servers that wait in a delay queue, to retry them as soon as Nova reports that the
// server was unlocked, unrescued or unshelved, or its resize confirmed. A retried message is unchanged: its actor is
// the one who caused the change, not the one who unlocked the server. Its copy stays in the delay queue, and does
// nothing when it is redelivered.
type deferrals struct {
	tried, changed atomic.Int64

	mu    sync.Mutex
	held  map[string]*list.Element // of *heldMessage, by the event's id
	order list.List                // oldest first
	bytes int
}

// heldMessage is one waiting message. done reports that its change has been applied since.
type heldMessage struct {
	event   string // its id
	server  string
	message delivery.Message
	bytes   int
	at      time.Time
	request string // the unblocking request that last caused a retry
	done    bool
}

func newDeferrals() *deferrals { return &deferrals{held: map[string]*list.Element{}} }

// note keeps a message that was put into a delay queue, and forgets one with a final decision.
func (d *deferrals) note(m Message, decision delivery.Decision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := m.Identity()
	d.forget(id)
	if decision.Outcome != apply.Deferred || decision.Fault.Err != nil || len(m.Events) != 1 ||
		len(decision.Results) != 1 {
		return
	}
	r := decision.Results[0].Resource
	if !r.Kind.HasNotices() || r.ID == "" {
		return
	}
	d.add(&heldMessage{event: id, server: r.ID, message: m.Message, bytes: len(m.Raw), at: time.Now()})
}

// add adds a message. The caller holds the lock.
func (d *deferrals) add(h *heldMessage) {
	d.held[h.event] = d.order.PushBack(h)
	d.bytes += h.bytes
	for d.order.Len() > 0 {
		oldest := d.order.Front().Value.(*heldMessage)
		if d.order.Len() <= maxHeld && d.bytes <= maxHeldBytes && time.Since(oldest.at) < heldFor {
			return
		}
		d.forget(oldest.event)
	}
}

// forget removes a message. The caller holds the lock.
func (d *deferrals) forget(event string) {
	if e := d.held[event]; e != nil {
		d.bytes -= d.order.Remove(e).(*heldMessage).bytes
		delete(d.held, event)
	}
}

// of returns the waiting messages about a server that were not yet retried for this request, in order of arrival.
func (d *deferrals) of(server, request string) []delivery.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []delivery.Message
	for e := d.order.Front(); e != nil; e = e.Next() {
		h := e.Value.(*heldMessage)
		if h.server != server || h.done || request != "" && h.request == request || time.Since(h.at) >= heldFor {
			continue
		}
		h.request = request
		all = append(all, h.message)
	}
	slices.SortStableFunc(all, func(a, b delivery.Message) int { return a.SentAt.Compare(b.SentAt) })
	return all
}

// apply records that a message's change has been applied, so that its copy has nothing left to do.
func (d *deferrals) apply(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.held[event]; e != nil {
		h := e.Value.(*heldMessage)
		d.bytes -= h.bytes
		h.done, h.bytes, h.message = true, 0, delivery.Message{} // only the id is needed from here on
	}
}

// applied reports, once, whether the copy of a message has nothing left to do.
func (d *deferrals) applied(event string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.held[event]
	if e == nil || !e.Value.(*heldMessage).done || time.Since(e.Value.(*heldMessage).at) >= heldFor {
		return false
	}
	d.forget(event)
	return true
}

// unblocked retries the messages that wait for a server, before their delays end.
func (l *Listener) unblocked(ctx context.Context, n lifecycle.Notice) {
	messages := l.deferrals.of(n.Server, n.Request)
	if len(messages) == 0 {
		return
	}
	batch := make([]delivery.Plan, len(messages))
	for i, m := range messages {
		m.ReceivedAt, m.Wait = time.Now(), l.options.Wait
		batch[i] = l.options.Processor.Plan(ctx, m)
	}
	for i, d := range l.begin(ctx, batch)() {
		l.deferrals.tried.Add(1)
		switch d.Outcome {
		case apply.Tagged, apply.Unchanged:
			l.deferrals.changed.Add(1)
			l.deferrals.apply(messages[i].Identity())
		}
		l.log.Info("deferred event retried early", "resource_id", n.Server, "event_id", messages[i].EventID(),
			"outcome", string(d.Outcome), "request_id", n.Request)
	}
}

// writePrometheus writes the metrics in Prometheus' text format.
func (d *deferrals) writePrometheus(w io.Writer) error {
	d.mu.Lock()
	waiting := d.order.Len()
	d.mu.Unlock()
	var err error
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"tagger_listen_held_messages", "gauge",
			"Messages in delay queues that are retried as soon as their server can be written.", int64(waiting)},
		{"tagger_listen_unblocked_total", "counter", "Deferred messages retried early because their server was unlocked, " +
			"unrescued, unshelved or its resize confirmed.", d.tried.Load()},
		{"tagger_listen_unblocked_applied_total", "counter", "Early retries whose change was applied.", d.changed.Load()},
	} {
		_, failed := fmt.Fprintf(w, "# HELP %s %s\n# TYPE %[1]s %[3]s\n%[1]s %[4]d\n", m.name, m.help, m.kind, m.value)
		err = cmp.Or(err, failed)
	}
	return err
}
