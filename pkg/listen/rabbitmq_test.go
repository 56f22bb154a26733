//go:build openstack

package listen

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/semaphore"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// The services' own queue still gets all messages, and another declaration changes nothing.
func TestRabbitMQTopology(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	theirs := s.config.Queue + "-theirs"
	if _, err := s.ch.QueueDeclare(theirs, false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.ch.QueueBind(theirs, "notifications.info", s.config.Exchanges[0], false, nil); err != nil {
		t.Fatal(err)
	}
	top := newTopology(s.config, slog.New(slog.DiscardHandler))
	for range 3 {
		if err := top.declare(s.conn); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		s.notify(t, plainEvent(strconv.Itoa(i)))
	}
	w := newWorker()
	s.listen(t, w, nil)
	for range 10 {
		next(t, w)
		w.decisions <- decided(apply.Tagged)
	}
	until(t, "an empty queue", func() bool { return s.count(t, s.config.Queue) == 0 })
	if q, err := s.ch.QueueDelete(theirs, false, false, false); err != nil || q != 10 {
		t.Errorf("%d messages in the others' queue, %v", q, err)
	}
}

// A deferred message is redelivered after its delay with its count and first time, and does not block others meanwhile.
func TestRabbitMQDelay(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	s.notify(t, string(notification("m-1")))
	begun := time.Now()
	first := next(t, w)
	w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Delay: 15 * time.Second}}
	until(t, "the message in the delay queue", func() bool { return s.count(t, s.config.Queue+".delay.15s") == 1 })
	s.notify(t, plainEvent("m-2"))
	if m := next(t, w); m.EventID() != "m-2" { // m-1 must not block it
		t.Errorf("%s arrived before m-2", m.EventID())
	}
	w.decisions <- decided(apply.Tagged)
	// Another listener, as in another process, gets it after the delay.
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	s.listen(t, w, nil)
	again := next(t, w)
	w.decisions <- decided(apply.Rejected)
	if waited := time.Since(begun); waited < 15*time.Second {
		t.Errorf("redelivered after %s", waited)
	}
	if again.EventID() != "m-1" || again.Receives != 2 || again.SentAt.Unix() != first.SentAt.Unix() {
		t.Errorf("%s receives %d sent %s (first %s)", again.EventID(), again.Receives, again.SentAt, first.SentAt)
	}
	// Its exchange and routing key are kept.
	d := s.rejected(t)
	if d.Headers[headerRoutingKey] != "notifications.info" || d.Headers[headerExchange] != s.config.Exchanges[0] {
		t.Errorf("%v", d.Headers)
	}
	if !strings.Contains(again.Events[0].String(), "compute.instance.create.end") ||
		strings.Contains(string(d.Body), "hunter2") {
		t.Errorf("%s: %s", again.Events[0], d.Body)
	}
}

// A rejected message carries its reason, and can be replayed.
func TestRabbitMQRejected(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	s.notify(t, string(notification("m-1")))
	next(t, w)
	w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Rejected, Reason: "over quota"}}
	d := s.rejected(t)
	for name, want := range map[string]string{headerReason: "over quota", headerOutcome: "rejected", headerEventID: "m-1",
		headerRoutingKey: "notifications.info"} {
		if got := d.Headers[name]; got != want {
			t.Errorf("%s is %v, want %s", name, got, want)
		}
	}
	if strings.Contains(string(d.Body), "hunter2") {
		t.Errorf("the body has the credentials: %s", d.Body)
	}
	if err := d.Nack(false, true); err != nil {
		t.Fatal(err)
	}
	until(t, "the message back among the rejected", func() bool { return s.count(t, s.config.Queue+".rejected") == 1 })
	queues := s.queues(t)
	n, err := queues.Replay(t.Context(), nil)
	if n != 1 || err != nil {
		t.Fatalf("replayed %d: %v", n, err)
	}
	if m := next(t, w); m.EventID() != "m-1" || m.Receives != 1 {
		t.Errorf("%s receives %d", m.EventID(), m.Receives)
	}
	w.decisions <- decided(apply.Rejected)
	d = s.rejected(t)
	if d.Headers[headerExchange] != s.config.Exchanges[0] {
		t.Errorf("%v", d.Headers)
	}
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	if n, err := queues.Replay(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("replayed %d again: %v", n, err)
	}
}

// If the connection is lost half-way, the message is redelivered on the next one.
func TestRabbitMQReconnects(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	between := newWire(t, brokerURL(t))
	s.config.URL = config.NewSecret(between.address)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	for i := range 5 {
		s.notify(t, plainEvent(strconv.Itoa(i)))
	}
	for range 5 {
		next(t, w)
	}
	between.cut(true)
	for range 5 { // too late: the connection is gone
		w.decisions <- decided(apply.Tagged)
	}
	until(t, "the loss to be seen", func() bool { return !l.Counts().isConsuming() })
	until(t, "the broker to see it too", func() bool { return s.count(t, s.config.Queue) == 5 })
	between.cut(false)
	seen := map[string]bool{}
	for range 5 {
		seen[next(t, w).EventID()] = true
		w.decisions <- decided(apply.Tagged)
	}
	if len(seen) != 5 {
		t.Errorf("redelivered: %v", seen)
	}
	until(t, "an empty queue", func() bool { return s.count(t, s.config.Queue) == 0 })
	if err := l.stop(); err != nil || l.counts.reconnects.Load() != 1 {
		t.Errorf("%v, %d reconnects", err, l.counts.reconnects.Load())
	}
}

// Of two listeners on a queue, one consumes all messages, and the other takes over when that one ends. This holds for a
// queue of an older version too, which allows several active consumers.
func TestRabbitMQTwoListeners(t *testing.T) {
	t.Parallel()
	for _, older := range []bool{false, true} {
		t.Run(fmt.Sprint("older ", older), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.service(t, false)
			if older {
				main := newTopology(s.config, nil).queues()[0]
				delete(main.arguments, singleActive)
				if err := newTopology(s.config, nil).declareOne(s.ch, main); err != nil {
					t.Fatal(err)
				}
			}
			a, b := newWorker(), newWorker()
			first := s.listen(t, a, nil)
			consuming(t, first)
			s.listen(t, b, nil)
			answer := func(w *worker, from, to int) {
				seen := map[string]bool{}
				for range to - from {
					seen[next(t, w).EventID()] = true
					w.decisions <- decided(apply.Tagged)
				}
				for i := from; i < to; i++ {
					if !seen[strconv.Itoa(i)] {
						t.Errorf("%d was not delivered", i)
					}
				}
			}
			for i := range 100 {
				s.notify(t, plainEvent(strconv.Itoa(i)))
			}
			answer(a, 0, 100)
			if n := len(b.messages); n != 0 {
				t.Errorf("the standby listener got %d messages", n)
			}
			if err := first.stop(); err != nil {
				t.Fatal(err)
			}
			for i := 100; i < 200; i++ {
				s.notify(t, plainEvent(strconv.Itoa(i)))
			}
			answer(b, 100, 200)
			until(t, "an empty queue", func() bool { return s.count(t, s.config.Queue) == 0 })
		})
	}
}

// A shutdown lets messages under way finish, and requeues the others.
func TestRabbitMQShutdown(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	for i := range 8 { // three more than are handled at a time
		s.notify(t, plainEvent(strconv.Itoa(i)))
	}
	for range 5 {
		next(t, w)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	until(t, "the shutdown to begin", func() bool { return !l.Counts().isConsuming() })
	for range 5 {
		w.decisions <- decided(apply.Tagged)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	until(t, "the rest in the queue", func() bool { return s.count(t, s.config.Queue) == 3 })
}

// A shutdown ends after its timeout, whatever it waits for.
func TestRabbitMQShutdownTimeout(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	s.notify(t, plainEvent("1"))
	next(t, w) // and no decision follows
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience): // drainTimeout is shorter, and twice drainTimeout longer
		t.Errorf("not ended after %s", patience)
	}
	until(t, "the message back in the queue", func() bool { return s.count(t, s.config.Queue) == 1 })
}

// A broker that is short of memory does not answer publishers. The listener reports that, and still ends.
//
// The alarm affects the whole broker, so no other test runs in parallel.
func TestRabbitMQAlarm(t *testing.T) {
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	for i := range 8 {
		s.notify(t, plainEvent(strconv.Itoa(i)))
	}
	next(t, w)
	alarm(t, true)
	t.Cleanup(func() { alarm(t, false) })
	w.decisions <- decided(apply.Deferred)
	until(t, "the alarm to be seen", func() bool { return !l.Counts().isConsuming() })
	for range 4 {
		next(t, w)
		w.decisions <- decided(apply.Deferred)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Errorf("not ended after %s", patience)
	}
	alarm(t, false)
	until(t, "all messages in some queue", func() bool {
		return s.count(t, s.config.Queue)+s.count(t, s.config.Queue+".delay.15s") >= 8
	})
}

// While a fault fails every message, consumption pauses and no message is lost.
func TestRabbitMQPausesOnFault(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	s.notify(t, plainEvent("1"))
	next(t, w)
	w.decisions <- faulty(apply.Deferred, errors.New("Keystone refuses the password"), fault.Everything)
	until(t, "the pause", func() bool { return !l.Counts().isConsuming() && s.count(t, s.config.Queue) == 1 })
	if len(w.messages) != 0 {
		t.Error("a message was delivered during the pause")
	}
	again := next(t, w) // about 15 s later
	w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Tagged}, Reached: true}
	if again.EventID() != "1" || !l.Counts().isConsuming() {
		t.Errorf("%s", again.EventID())
	}
	until(t, "an empty queue", func() bool { return s.count(t, s.config.Queue) == 0 })
}

// A full queue drops its oldest messages. It must not refuse publishers, because that would block Nova.
func TestRabbitMQFullQueue(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	top := newTopology(s.config, slog.New(slog.DiscardHandler))
	top.bytes = 64 << 10
	if err := top.declare(s.conn); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		s.notify(t, plainEvent(fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 4<<10)))) // fails if it is refused
	}
	until(t, "the limit", func() bool { return s.count(t, s.config.Queue) <= 16 })
	all, err := s.ch.Consume(s.config.Queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := <-all; strings.Contains(string(d.Body), `"000-`) {
		t.Errorf("%.80s", d.Body)
	}
}

// More deferred messages than a delay queue accepts do not block later ones.
func TestRabbitMQFullDelayQueue(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, func(l *Listener) { l.topology.delayBytes = 8 << 10 })
	consuming(t, l)
	for i := range 10 {
		s.notify(t, plainEvent(fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 2<<10))))
		next(t, w)
		w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Delay: 15 * time.Minute}}
	}
	until(t, "all to be deferred", func() bool { return s.count(t, s.config.Queue) == 0 })
	if a, b := s.count(t, s.config.Queue+".delay.15m"), s.count(t, s.config.Queue+".delay.30m"); a == 0 || b == 0 {
		t.Errorf("%d and %d messages wait", a, b)
	}
	s.notify(t, plainEvent("good"))
	if m := next(t, w); m.EventID() != "good" {
		t.Errorf("%.10s was redelivered", m.EventID())
	}
	w.decisions <- decided(apply.Tagged)
}

// At the limit of bytes under way, no further message is decoded. A message that exceeds the limit is handled alone.
func TestRabbitMQBytes(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, func(l *Listener) { l.options.Bytes, l.bytes = 5<<10, semaphore.NewWeighted(5<<10) })
	consuming(t, l)
	for i, size := range []int{2 << 10, 2 << 10, 2 << 10, 20 << 10} {
		id := strconv.Itoa(i)
		s.notify(t, fmt.Sprintf(`{"specversion": "1.0", "id": %q, "source": "/s", "type": "t", "data": %q}`, id,
			strings.Repeat("x", size)))
	}
	under := func(messages int64) {
		t.Helper()
		until(t, fmt.Sprintf("message %d", messages), func() bool { return l.counts.messages.Load() == messages })
	}
	under(2) // the third does not fit beside them
	next(t, w)
	next(t, w)
	w.decisions <- decided(apply.Tagged)
	if m := next(t, w); m.EventID() != "2" {
		t.Errorf("%q came third", m.EventID())
	}
	if n := l.counts.messages.Load(); n != 3 { // the fourth fits beside no other
		t.Errorf("%d messages", n)
	}
	w.decisions <- decided(apply.Tagged)
	w.decisions <- decided(apply.Tagged)
	if m := next(t, w); m.EventID() != "3" {
		t.Errorf("%q came last", m.EventID())
	}
	w.decisions <- decided(apply.Tagged)
}

// Queues that exist with other arguments end the listener with an error that names the remedy.
func TestRabbitMQMismatch(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	if _, err := s.ch.QueueDeclare(s.config.Queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	l := s.listen(t, newWorker(), nil)
	select {
	case <-l.ended:
		err := l.stop()
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Fatalf("the error is %q", err)
		}
		for _, want := range []string{"it exists with other arguments", "tagger queues delete"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error %q lacks %q", err, want)
			}
		}
		t.Log(err)
	case <-time.After(patience):
		t.Error("the listener does not end")
	}
}

// A missing exchange is bound once its service creates it. If it is deleted later, the listener creates it with the
// same durability.
func TestRabbitMQMissingExchange(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			w := newWorker()
			l := s.listen(t, w, func(l *Listener) { l.topology.every = 200 * time.Millisecond })
			consuming(t, l)
			s.service(t, durable) // fails if the listener created it with another durability
			until(t, "the binding", func() bool { return l.topology.missingExchanges() == "" })
			s.notify(t, plainEvent("1"))
			next(t, w)
			w.decisions <- decided(apply.Tagged)
			if err := on(s.conn, func(ch *amqp.Channel) error {
				return ch.ExchangeDelete(s.config.Exchanges[0], false, false)
			}); err != nil {
				t.Fatal(err)
			}
			until(t, "the exchange to be made again", func() bool {
				return on(s.conn, func(ch *amqp.Channel) error {
					return ch.ExchangeDeclarePassive(s.config.Exchanges[0], "topic", durable, false, false, false, nil)
				}) == nil
			})
			s.service(t, durable)
			until(t, "a message through it", func() bool {
				s.notify(t, plainEvent("2"))
				select {
				case m := <-w.messages:
					w.decisions <- decided(apply.Tagged)
					return m.EventID() == "2"
				case <-time.After(200 * time.Millisecond):
					return false
				}
			})
		})
	}
}

// A queue that is deleted under a listener is created again.
func TestRabbitMQQueueDeletedUnderway(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	if err := on(s.conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(s.config.Queue, false, false, false)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "a message in the new queue", func() bool {
		s.notify(t, plainEvent("1"))
		select {
		case <-w.messages:
			w.decisions <- decided(apply.Tagged)
			return true
		case <-time.After(200 * time.Millisecond):
			return false
		}
	})
}

func TestRabbitMQDeleteQueues(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.service(t, false)
	w := newWorker()
	l := s.listen(t, w, nil)
	consuming(t, l)
	deleted := map[string]int{}
	note := func(q QueueState) { deleted[q.Name] = q.Messages }
	queues := s.queues(t)
	if err := queues.Delete(t.Context(), note); err == nil || !strings.Contains(err.Error(), "stop all listeners first") ||
		len(deleted) != 0 {
		t.Errorf("under a listener: %v, deleted %v", err, deleted)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		s.notify(t, plainEvent(strconv.Itoa(i)))
	}
	until(t, "the messages", func() bool { return s.count(t, s.config.Queue) == 3 })
	if err := queues.Delete(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if len(deleted) != len(steps())+2 || deleted[s.config.Queue] != 3 {
		t.Errorf("deleted %v", deleted)
	}
	clear(deleted)
	if err := queues.Delete(t.Context(), note); err != nil || len(deleted) != 0 {
		t.Errorf("a second time: %v, deleted %v", err, deleted)
	}
	s.notify(t, plainEvent("unbound"))
}

// A refused user is an error at the start, without the password.
func TestRabbitMQWrongPassword(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	u, err := url.Parse(brokerURL(t))
	if err != nil {
		t.Fatal("OPENSTACK_DEV_AMQP_URL is not an address")
	}
	u.User = url.UserPassword(u.User.Username(), "hunter2")
	s.config.URL = config.NewSecret(u.String())
	l := s.listen(t, newWorker(), nil)
	select {
	case <-l.ended:
		err := l.stop()
		if err == nil || !strings.Contains(err.Error(), "refuses user and password") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
		t.Log(err)
	case <-time.After(patience):
		t.Error("the listener does not end")
	}
}

// A message that exceeds a max_message_size set after its arrival is rejected with that reason. The limit affects the
// whole broker, so no other test runs in parallel.
func TestRabbitMQMaxMessageSize(t *testing.T) {
	limit := func(bytes int) {
		t.Helper()
		out, err := exec.Command("../../deploy/openstack-dev/rabbitmqctl", "eval",
			fmt.Sprintf("application:set_env(rabbit, max_message_size, %d).", bytes)).CombinedOutput()
		if err != nil {
			t.Errorf("set max_message_size to %d: %v: %s", bytes, err, out)
		}
	}
	s := newStand(t)
	s.service(t, false)
	if err := s.declare(); err != nil {
		t.Fatal(err)
	}
	large := strings.Replace(plainEvent("large"), `"t"}`, `"t", "data": "`+strings.Repeat("x", 20_000)+`"}`, 1)
	s.notify(t, large)
	t.Cleanup(func() { limit(134_217_728) }) // RabbitMQ 3's own default
	limit(10_000)
	w := newWorker()
	l := s.listen(t, w, nil)
	if m := next(t, w); m.EventID() != "large" {
		t.Fatalf("%s", m.EventID())
	}
	w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Reason: "building"}}
	d := s.rejected(t)
	if reason, _ := d.Headers[headerReason].(string); !strings.Contains(reason, "it cannot be deferred (building)") ||
		!strings.Contains(reason, "max_message_size") ||
		d.Headers[headerEventID] != "large" {
		t.Errorf("%v", d.Headers)
	}
	s.notify(t, plainEvent("small"))
	if m := next(t, w); m.EventID() != "small" {
		t.Fatalf("%s", m.EventID())
	}
	w.decisions <- delivery.Decision{Decision: apply.Decision{Outcome: apply.Ignored}}
	until(t, "an empty queue", func() bool { return s.count(t, s.config.Queue) == 0 })
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
}
