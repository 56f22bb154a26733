//go:build openstack

package listen

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// reject puts messages directly into the queue of rejected messages.
func (s *stand) reject(t *testing.T, from, to int) {
	t.Helper()
	sender := newConfirmed(s.conn)
	for i := from; i < to; i++ {
		m := read(amqp.Delivery{Exchange: s.config.Exchanges[0], Body: []byte(plainEvent(strconv.Itoa(i)))}, time.Now())
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
		if r.Reason != "over quota" || r.Outcome != apply.Rejected {
			t.Errorf("outcome %s, reason %q", r.Outcome, r.Reason)
		}
		if r.RejectedAt.IsZero() || r.Exchange != s.config.Exchanges[0] {
			t.Errorf("rejected at %s, exchange %s", r.RejectedAt, r.Exchange)
		}
		ids = append(ids, r.ID)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// Commands on missing queues fail and create nothing.
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

// Rejected removes nothing. Drop and Replay remove only the named messages; the others keep their order.
func TestRabbitMQRejectedMessages(t *testing.T) {
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
		until(t, "the messages to be requeued", func() bool { return s.count(t, s.config.Queue+".rejected") == n })
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
	if err != nil || len(all) != len(steps())+2 {
		t.Fatalf("%v, %v", all, err)
	}
	if main, rejected := all[0].Messages, all[len(all)-1].Messages; main != 1 || rejected != 3 {
		t.Errorf("%d messages in the main queue, %d rejected", main, rejected)
	}
	if n, err := q.Drop(t.Context(), nil); n != 3 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
}

// A running listener rejects each message again at once. Replay replays none of them twice.
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
				w.decisions <- decidedFor("over quota")
			case <-ctx.Done():
				return
			}
		}
	}()
	n, err := s.queues(t).Replay(t.Context(), nil)
	if n != count || err != nil {
		t.Errorf("replayed %d of %d: %v", n, count, err)
	}
	until(t, "all messages among the rejected", func() bool { return s.count(t, s.config.Queue+".rejected") == count })
	cancel()
	if seen := <-ended; seen != count {
		t.Errorf("the listener saw %d messages, want %d", seen, count)
	}
}

// A tap sees what the services publish, and leaves no queue behind.
func TestRabbitMQTap(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	q := s.queues(t)
	if err := q.Tap(t.Context(), nil, nil); err == nil {
		t.Error("Tap worked without an exchange")
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

// Rights tries what a listener needs, and leaves nothing behind.
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

// Move moves messages unchanged, whether the arguments of the queues differ or not. It fails while a listener consumes
// the old queues, and works while one consumes the new ones.
func TestRabbitMQMove(t *testing.T) {
	t.Parallel()
	for _, arguments := range []amqp.Table{
		nil, // a classic queue, which no version of Tagger created
		{amqp.QueueTypeArg: amqp.QueueTypeQuorum, singleActive: true},
	} {
		s := newStand(t)
		s.service(t, false)
		old := s.config
		old.Queue += ".old"
		t.Cleanup(func() {
			for _, q := range newTopology(old, nil).queues() {
				_ = on(s.conn, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(q.name, false, false, false); return err })
			}
		})
		if err := s.declare(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ch.QueueDeclare(old.Queue, true, false, false, false, arguments); err != nil {
			t.Fatal(err)
		}
		if err := s.ch.QueueBind(old.Queue, "#", s.config.Exchanges[0], false, nil); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{old.Queue + ".rejected", old.Queue + ".delay.1h"} {
			if _, err := s.ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		// Both queues get what the services publish. The new one is purged, so its messages have been moved.
		const count = 300
		for i := range count {
			s.notify(t, plainEvent(strconv.Itoa(i)))
		}
		until(t, "messages", func() bool { return s.count(t, old.Queue) == count && s.count(t, s.config.Queue) == count })
		if _, err := s.ch.QueuePurge(s.config.Queue, false); err != nil {
			t.Fatal(err)
		}
		sender := newConfirmed(s.conn)
		m := read(amqp.Delivery{Exchange: s.config.Exchanges[0], RoutingKey: "notifications.info",
			Body: []byte(plainEvent("late"))}, time.Now().Add(-time.Hour))
		m.Receives = 4
		if err := sender.send(t.Context(), old.Queue+".delay.1h", m.deferred()); err != nil {
			t.Fatal(err)
		}
		rejected := m.rejected(decidedFor("over quota"), time.Now())
		if err := sender.send(t.Context(), old.Queue+".rejected", rejected); err != nil {
			t.Fatal(err)
		}

		q := s.queues(t)
		taking, err := s.conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := taking.Consume(old.Queue, "listener", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		none := func(Moved) { t.Error("a message was moved") }
		until(t, "a consumer", func() bool { state, _ := q.state(old.Queue); return state.Consumers == 1 })
		if err := q.Move(t.Context(), old.Queue, s.config.Queue, none); err == nil ||
			!strings.Contains(err.Error(), "stop it first") {
			t.Errorf("under a listener: %v", err)
		}
		if err := taking.Close(); err != nil {
			t.Fatal(err)
		}
		until(t, "no consumer", func() bool {
			state, _ := q.state(old.Queue)
			return state.Consumers == 0 && state.Messages == count
		})
		if err := q.Move(t.Context(), old.Queue, old.Queue, none); err == nil {
			t.Error("moved to itself")
		}
		if _, missing := errors.AsType[*MissingQueueError](q.Move(t.Context(), old.Queue, "tagger-none", none)); !missing {
			t.Error("moved to a queue that does not exist")
		}

		moved := map[string]int{}
		if err := q.Move(t.Context(), old.Queue, s.config.Queue,
			func(m Moved) { moved[m.From] = m.Messages; moved["left"] += m.Left }); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{old.Queue: count, old.Queue + ".rejected": 1, old.Queue + ".delay.1h": 1, "left": 0}
		if diff := cmp.Diff(want, moved); diff != "" {
			t.Errorf("moved (-want +got):\n%s", diff)
		}
		until(t, "the messages", func() bool { return s.count(t, s.config.Queue) == count })
		for _, name := range []string{old.Queue, old.Queue + ".rejected", old.Queue + ".delay.1h"} {
			if n := s.count(t, name); n != 0 {
				t.Errorf("%s has %d messages", name, n)
			}
		}
		if n := s.count(t, s.config.Queue+".delay.1h"); n != 1 {
			t.Errorf("the new delay queue has %d messages", n)
		}
		if ids := s.rejectedIDs(t, q); !slices.Equal(ids, []string{"late"}) {
			t.Errorf("rejected: %v", ids)
		}
		// In their order, with all headers.
		deliveries, err := s.ch.Consume(s.config.Queue, "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			m := read(<-deliveries, time.Now())
			if m.EventID() != strconv.Itoa(i) || m.Receives != 1 {
				t.Fatalf("message %d is %+v", i, m)
			}
			if m.exchange != s.config.Exchanges[0] || m.routingKey != "notifications.info" {
				t.Fatalf("message %d: exchange %s, routing key %s", i, m.exchange, m.routingKey)
			}
		}
		late, ok, err := s.ch.Get(s.config.Queue+".delay.1h", true)
		if err != nil || !ok {
			t.Fatalf("%v, %v", ok, err)
		}
		m = read(late, time.Now())
		if m.Receives != 5 || time.Since(m.SentAt) < 59*time.Minute || m.exchange != s.config.Exchanges[0] {
			t.Errorf("%+v", m)
		}
	}
}

// A message that the new queue does not accept stays in the old one.
func TestRabbitMQMoveLosesNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	if err := s.declare(); err != nil {
		t.Fatal(err)
	}
	to := s.config.Queue + ".other"
	t.Cleanup(func() {
		_ = on(s.conn, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(to, false, false, false); return err })
	})
	for _, pair := range movePairs(s.config.Queue, to) {
		arguments := amqp.Table{}
		if pair.To == to {
			arguments = amqp.Table{"x-max-length": int64(3), "x-overflow": "reject-publish"}
		}
		if _, err := s.ch.QueueDeclare(pair.To, true, false, false, false, arguments); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = on(s.conn, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(pair.To, false, false, false); return err })
		})
	}
	for i := range 10 {
		s.notify(t, plainEvent(strconv.Itoa(i)))
	}
	until(t, "messages", func() bool { return s.count(t, s.config.Queue) == 10 })
	var main Moved
	err := s.queues(t).Move(t.Context(), s.config.Queue, to, func(m Moved) { main = m })
	if !errors.Is(err, errNotTaken) || main.Messages != 3 {
		t.Errorf("%+v, %v", main, err)
	}
	until(t, "the messages that were not moved", func() bool {
		return s.count(t, s.config.Queue) == 7 &&
			s.count(t, to) == 3
	})
}
