package listen

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Counts holds the listener's metrics since the process started.
type Counts struct {
	connected, consuming, standby, blocked                     atomic.Bool
	messages, duplicates, rejected, reconnects, unsent, panics atomic.Int64

	perStep map[time.Duration]*atomic.Int64
	// more holds functions that write further metrics.
	more     []func(io.Writer) error
	notified notified
	depths   depths
}

// notified is when the last notification arrived for each routing key, in seconds since 1970.
type notified struct {
	mu sync.Mutex
	at map[string]int64
}

// maxRoutingKeys limits the keys that are counted separately: a pattern in TAGGER_AMQP_ROUTING_KEYS matches any number.
const maxRoutingKeys = 20

func (n *notified) note(routingKey string, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at == nil {
		n.at = map[string]int64{}
	}
	if _, known := n.at[routingKey]; !known && len(n.at) >= maxRoutingKeys {
		routingKey = "(others)"
	}
	n.at[routingKey] = at.Unix()
}

func (n *notified) all() map[string]int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.at)
}

// depths are the numbers of messages in the queues, as last seen.
type depths struct {
	mu       sync.Mutex
	messages map[string]int
}

func (d *depths) set(queue string, messages int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.messages == nil {
		d.messages = map[string]int{}
	}
	d.messages[queue] = messages
}

func (d *depths) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.messages)
}

func (d *depths) all() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.messages)
}

func newCounts(more ...func(io.Writer) error) *Counts {
	c := &Counts{more: more, perStep: map[time.Duration]*atomic.Int64{}}
	for _, step := range steps() {
		c.perStep[step] = new(atomic.Int64)
	}
	return c
}

func (c *Counts) deferred(step time.Duration) { c.perStep[step].Add(1) }

// isConsuming reports whether messages are being consumed: the broker is connected and not short of memory or disk, and
// neither credentials nor configuration are at fault.
func (c *Counts) isConsuming() bool { return c.consuming.Load() && !c.blocked.Load() }

// WritePrometheus writes all metrics in Prometheus' text format.
func (c *Counts) WritePrometheus(w io.Writer) error {
	var b strings.Builder
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	for _, g := range []struct {
		name, help string
		value      bool
	}{
		{"tagger_listen_connected", "Whether there is a connection to the broker.", c.connected.Load()},
		{"tagger_listen_consuming", "Whether messages are consumed from the queue.", c.isConsuming()},
	} {
		head(g.name, "gauge", g.help)
		n := 0
		if g.value {
			n = 1
		}
		fmt.Fprintf(&b, "%s %d\n", g.name, n)
	}
	for _, n := range []struct {
		name, help string
		value      int64
	}{
		{"tagger_listen_messages_total", "Messages delivered from the queue, including redeliveries.",
			c.messages.Load()},
		{"tagger_listen_duplicates_total", "Messages that reported a change that another message had reported.",
			c.duplicates.Load()},
		{"tagger_listen_rejected_total", "Messages put into the queue of rejected messages.", c.rejected.Load()},
		{"tagger_listen_unsent_total", "Messages requeued because another queue did not accept them.", c.unsent.Load()},
		{"tagger_listen_reconnects_total", "Connections to the broker that were lost.", c.reconnects.Load()},
		{"tagger_listen_panics_total", "Messages deferred because of a panic, including repeats.", c.panics.Load()},
	} {
		head(n.name, "counter", n.help)
		fmt.Fprintf(&b, "%s %d\n", n.name, n.value)
	}
	head("tagger_listen_deferred_total", "counter", "Messages put into a delay queue.")
	for _, step := range steps() {
		fmt.Fprintf(&b, "tagger_listen_deferred_total{delay=%q} %d\n", label(step), c.perStep[step].Load())
	}
	head("tagger_listen_last_notification_timestamp_seconds", "gauge",
		"When the last notification from a service arrived, in seconds since 1970.")
	notified := c.notified.all()
	for _, key := range slices.Sorted(maps.Keys(notified)) {
		fmt.Fprintf(&b, "tagger_listen_last_notification_timestamp_seconds{routing_key=%q} %d\n", key, notified[key])
	}
	messages := c.depths.all()
	head("tagger_listen_queue_messages", "gauge", "Messages in a queue, checked about once a minute.")
	for _, name := range slices.Sorted(maps.Keys(messages)) {
		fmt.Fprintf(&b, "tagger_listen_queue_messages{queue=%q} %d\n", name, messages[name])
	}
	for _, write := range c.more {
		if err := write(&b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Handler answers GET /healthz with 200 only while this or another listener consumes messages. It answers GET /metrics
// with the metrics that others writes (the worker's), then the listener's own.
func (c *Counts) Handler(others func(io.Writer) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !c.isConsuming() && !c.standby.Load() {
			http.Error(w, "no messages are consumed; see the log", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if others != nil {
			_ = others(w)
		}
		_ = c.WritePrometheus(w)
	})
	return mux
}
