//go:build openstack

package listen

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
)

// Waiting loses no message and keeps their order; each is redelivered when its delay ends.
func TestRabbitMQWaiting(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	var want []string
	for i := range 5 {
		id := fmt.Sprintf("m-%d", i)
		want = append(want, id)
		s.notify(t, plainEvent(id))
		next(t, w)
		w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Delay: 30 * time.Second}}
	}
	until(t, "the messages in the delay queue", func() bool { return s.count(t, s.config.Queue+".delay.30s") == 5 })
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	q := s.queues(t)
	for range 3 {
		var ids []string
		complete, err := q.Waiting(t.Context(), 100, func(m Waiting) {
			if m.Queue != s.config.Queue+".delay.30s" || m.Delay != 30*time.Second || m.Receives != 2 {
				t.Errorf("%+v", m)
			}
			ids = append(ids, m.EventID())
		})
		if diff := cmp.Diff(want, ids); diff != "" || err != nil || !complete {
			t.Fatalf("complete %v, error %v (-want +got):\n%s", complete, err, diff)
		}
		until(t, "the messages back", func() bool { return s.count(t, s.config.Queue+".delay.30s") == 5 })
	}
	seen := 0
	complete, err := q.Waiting(t.Context(), 4, func(Waiting) { seen++ })
	if complete || err != nil || seen != 0 {
		t.Errorf("%d looked at, complete %v, error %v", seen, complete, err)
	}
	// When their delay ends, they return to the main queue, in their order.
	until(t, "the messages in the main queue", func() bool { return s.count(t, s.config.Queue) == 5 })
	deliveries, err := s.ch.Consume(s.config.Queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range want {
		if m := read(<-deliveries, time.Now()); m.EventID() != id || m.Receives != 2 {
			t.Errorf("%s, delivery %d, want %s", m.EventID(), m.Receives, id)
		}
	}
}

// Of two listeners, one calls Periodic, and the other takes over when that one ends.
func TestRabbitMQPeriodic(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	called := make(chan string, 100)
	start := func(name string) *running {
		return s.listen(t, newWorker(), func(l *Listener) {
			l.options.Period = 100 * time.Millisecond
			l.options.Periodic = func(_ context.Context) { called <- name }
		})
	}
	first := start("first")
	if got := <-called; got != "first" {
		t.Fatal(got)
	}
	second := start("second")
	consuming(t, first)
	for range 10 {
		if got := <-called; got != "first" {
			t.Fatalf("%s is called while the first has the lease", got)
		}
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	for got := ""; got != "second"; {
		got = <-called
	}
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
}
