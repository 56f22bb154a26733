//go:build openstack

package listen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
)

func (s *stand) queues(t *testing.T) *Queues {
	t.Helper()
	q, err := OpenQueues(context.WithoutCancel(t.Context()), s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// reject puts messages straight into the queue of rejected ones.
func (s *stand) reject(t *testing.T, from, to int) {
	t.Helper()
	sender := newConfirmed(s.conn)
	for i := from; i < to; i++ {
		m := read(amqp.Delivery{Exchange: s.config.Exchanges[0], Body: []byte(plainEvent(fmt.Sprint(i)))}, time.Now())
		p := m.rejected(decidedFor("over quota"), time.Now())
		if err := sender.send(t.Context(), s.config.Queue+".rejected", p); err != nil {
			t.Fatal(err)
		}
	}
}

func decidedFor(reason string) delivery.Decision {
	return delivery.Decision{Decision: apply.Decision{Outcome: apply.Rejected, Reason: reason}}
}

func (s *stand) rejectedIDs(t *testing.T, q *Queues) []string {
	t.Helper()
	var ids []string
	if err := q.Rejected(t.Context(), func(r Rejected) bool {
		if r.Reason != "over quota" || r.Outcome != apply.Rejected || r.RejectedAt.IsZero() || r.Exchange != s.config.Exchanges[0] {
			t.Errorf("%+v", r)
		}
		ids = append(ids, r.ID)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// On queues that do not exist nothing works, and nothing is created.
func TestRabbitMQMissingQueues(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	q := s.queues(t)
	_, replay := q.Replay(t.Context(), nil)
	_, drop := q.Drop(t.Context(), nil)
	for name, err := range map[string]error{
		"replay": replay, "drop": drop, "show": q.Rejected(t.Context(), func(Rejected) bool { return true }),
	} {
		if _, ok := errors.AsType[*MissingQueueError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := q.List(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// Looking takes nothing. What is dropped or replayed is what was named; the rest keeps its order.
func TestRabbitMQRejectedOnes(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	if err := s.declare(); err != nil {
		t.Fatal(err)
	}
	s.reject(t, 0, 5)
	q := s.queues(t)
	want := []string{"0", "1", "2", "3", "4"}
	count := func(n int) {
		until(t, "messages given back", func() bool { return s.count(t, s.config.Queue+".rejected") == n })
	}
	for range 2 {
		count(5)
		if got := s.rejectedIDs(t, q); !slices.Equal(got, want) {
			t.Fatalf("%v", got)
		}
	}
	count(5)
	if n, err := q.Drop(t.Context(), []string{"1", "9"}); n != 1 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
	count(4)
	if n, err := q.Replay(t.Context(), []string{"3"}); n != 1 || err != nil {
		t.Errorf("replayed %d: %v", n, err)
	}
	count(3)
	if got := s.rejectedIDs(t, q); !slices.Equal(got, []string{"0", "2", "4"}) {
		t.Errorf("left %v", got)
	}
	count(3)
	all, err := q.List()
	if err != nil || len(all) != len(steps())+2 || all[0].Messages != 1 || all[len(all)-1].Messages != 3 {
		t.Errorf("%v, %v", all, err)
	}
	if n, err := q.Drop(t.Context(), nil); n != 3 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
}

// A running listener rejects each message again at once. None of them is replayed twice.
func TestRabbitMQReplayIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	const count = 20
	s.reject(t, 0, count)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		seen := 0
		defer func() { ended <- seen }()
		for {
			select {
			case <-w.messages:
				seen++
				w.verdicts <- decidedFor("over quota")
			case <-ctx.Done():
				return
			}
		}
	}()
	n, err := s.queues(t).Replay(t.Context(), nil)
	if n != count || err != nil {
		t.Errorf("replayed %d of %d: %v", n, count, err)
	}
	until(t, "all of them among the rejected", func() bool { return s.count(t, s.config.Queue+".rejected") == count })
	cancel()
	if seen := <-ended; seen != count {
		t.Errorf("the listener saw %d messages, want %d", seen, count)
	}
}

// A tap sees what the services send, and leaves nothing behind.
func TestRabbitMQTap(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	q := s.queues(t)
	if err := q.Tap(t.Context(), nil, nil); err == nil {
		t.Error("a tap on no exchange")
	}
	s.service(t, false)
	other := s.queues(t)
	s.config.Exchanges = append(s.config.Exchanges, s.config.Queue+"-missing")
	q = s.queues(t)
	var seen []string
	err := q.Tap(t.Context(), func(exchanges, missing []string) {
		if !slices.Equal(exchanges, s.config.Exchanges[:1]) || !slices.Equal(missing, s.config.Exchanges[1:]) {
			t.Errorf("bound %v, missing %v", exchanges, missing)
		}
		s.notify(t, plainEvent("a"))
		s.notify(t, plainEvent("b"))
	}, func(m Message) bool {
		seen = append(seen, m.EventID())
		return len(seen) < 2
	})
	if err != nil || !slices.Equal(seen, []string{"a", "b"}) {
		t.Errorf("%v, %v", seen, err)
	}
	if all, err := other.List(); err != nil || len(all) != 0 {
		t.Errorf("left %v, %v", all, err)
	}
}

// What a listener needs is tried, and nothing stays.
func TestRabbitMQRights(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	q := s.queues(t)
	exchanges, missing, err := q.Rights(t.Context())
	if err != nil || len(exchanges) != 0 || !slices.Equal(missing, s.config.Exchanges) {
		t.Errorf("without its exchange: %v, %v, %v", exchanges, missing, err)
	}
	s.service(t, false)
	exchanges, missing, err = q.Rights(t.Context())
	if err != nil || len(missing) != 0 || !slices.Equal(exchanges, s.config.Exchanges) {
		t.Errorf("%v, %v, %v", exchanges, missing, err)
	}
	if b := q.Broker(); b.Product != "RabbitMQ" || b.Version == "" || !b.Supported() {
		t.Errorf("%+v", b)
	}
}
