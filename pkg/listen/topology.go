package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/config"
)

// topology is Tagger's part of the broker: three kinds of durable quorum queues, and the main queue's bindings to the
// services' exchanges.
type topology struct {
	queue           string
	exchanges, keys []string
	log             *slog.Logger
	// bytes is the limit of the main queue, delayBytes that of each delay queue, every the interval between checks.
	bytes, delayBytes int64
	every             time.Duration
	depths            *depths // nil if not needed

	mu sync.Mutex // one declaration at a time; guards the fields below
	// durable is whether the services declare their exchanges as durable, nil until an exchange shows it.
	durable *bool
	// missing are the exchanges that were missing at the last check, as logged.
	missing string
	// shared is whether an older version created the main queue, which then allows several active consumers.
	shared bool
}

// Limits of the queues. All bodies together are below 1 GiB, so that a neglected Tagger does not fill the control
// plane's broker.
const (
	mainBytes     = 256 << 20
	delayBytes    = 64 << 20 // each
	rejectedBytes = 128 << 20

	unusedFor    = 14 * 24 * time.Hour
	rejectedFor  = 14 * 24 * time.Hour
	keepInterval = time.Minute
)

// manyDeliveries replaces RabbitMQ 4's limit of 20 deliveries, after which a quorum queue drops a message. Tagger gives
// up by time instead, and a message that is requeued while credentials are refused must not be lost. RabbitMQ 3 has no
// value that means no limit.
const manyDeliveries = 1_000_000

func newTopology(c config.Listen, log *slog.Logger) *topology {
	return &topology{queue: c.Queue, exchanges: c.Exchanges, keys: c.RoutingKeys, log: log, bytes: mainBytes,
		delayBytes: delayBytes, every: keepInterval}
}

func (t *topology) rejected() string { return t.queue + ".rejected" }

// queues returns the names and arguments of all queues, the main queue first.
//
// The main queue has a single active consumer: one listener consumes all messages, and another takes over when it ends.
// Two at a time would write to the same server at once, in no order.
//
// When full, it drops its oldest messages (drop-head). It must not refuse new ones: a service publishes with confirms
// and retries a refused notification for ever, so a forgotten Tagger would block Nova itself. The queue expires after
// two weeks without a listener.
//
// The delay queues never have a consumer, so an expiry for disuse would lose the events of a running Tagger; their
// messages leave them within an hour anyway. At-least-once dead-lettering keeps a message until the main queue has it.
// It requires reject-publish, which affects only our own publisher: it then uses another delay queue.
//
// The queue of rejected messages has no consumer either; its messages expire instead.
func (t *topology) queues() []queue {
	main := queue{t.queue, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-expires": unusedFor.Milliseconds(),
		"x-max-length-bytes": t.bytes, "x-overflow": "drop-head", "x-delivery-limit": int64(manyDeliveries),
		singleActive: true,
	}}
	rejected := queue{t.rejected(), amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-message-ttl": rejectedFor.Milliseconds(),
		"x-max-length-bytes": int64(rejectedBytes), "x-overflow": "drop-head", "x-delivery-limit": int64(manyDeliveries),
	}}
	all := []queue{main}
	for _, step := range steps() {
		all = append(all, queue{t.delay(step), amqp.Table{
			amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-message-ttl": step.Milliseconds(),
			"x-dead-letter-exchange": "", "x-dead-letter-routing-key": t.queue, "x-dead-letter-strategy": "at-least-once",
			"x-max-length-bytes": t.delayBytes, "x-overflow": "reject-publish",
		}})
	}
	return append(all, rejected)
}

const singleActive = "x-single-active-consumer"

type queue struct {
	name      string
	arguments amqp.Table
}

// on runs f on a channel of its own, because an error from the broker closes the channel.
func on(conn *amqp.Connection, f func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer ch.Close()
	return f(ch)
}

// declare creates the missing queues. It also restarts the expiry of the main queue.
func (t *topology) declare(conn *amqp.Connection) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.queues()
	if err := t.declareMain(conn, all[0]); err != nil {
		return err
	}
	err := on(conn, func(ch *amqp.Channel) error {
		for _, q := range all[1:] {
			if err := t.declareOne(ch, q); err != nil {
				return t.declareError(q.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.bind(conn)
}

// declareMain declares the main queue, or accepts one that an older version created: a queue's arguments cannot be
// changed. It tries the known form first, because each mismatched declaration is an error in the broker's log.
func (t *topology) declareMain(conn *amqp.Connection, q queue) error {
	older := queue{q.name, maps.Clone(q.arguments)}
	delete(older.arguments, singleActive)
	declare := func(q queue) error { return on(conn, func(ch *amqp.Channel) error { return t.declareOne(ch, q) }) }
	if t.shared && declare(older) == nil {
		return nil
	}
	err := declare(q)
	t.shared = code(err) == amqp.PreconditionFailed && declare(older) == nil
	switch {
	case t.shared:
		t.log.Warn("queue created by an older version; a lock keeps one listener active (docs/queues.md: how to renew it)",
			"queue", q.name)
	case err != nil:
		return t.declareError(q.name, err)
	}
	return nil
}

// declareOne declares a queue and records its number of messages.
func (t *topology) declareOne(ch *amqp.Channel, q queue) error {
	found, err := ch.QueueDeclare(q.name, true, false, false, false, q.arguments)
	if err == nil && t.depths != nil {
		t.depths.set(q.name, found.Messages)
	}
	return err
}

// lock ensures that only one listener consumes a main queue of an older version, which has no single active consumer.
// It declares a queue that is exclusive to the connection and deleted with it, and returns errStandby while another
// connection has that queue.
//
// An exclusive consumer is not enough: RabbitMQ allows several on a quorum queue.
func (t *topology) lock(conn *amqp.Connection) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.shared {
		return nil
	}
	return lease(conn, t.queue+".lock")
}

// lease declares a queue that is exclusive to the connection. It returns errStandby while another connection has it.
func lease(conn *amqp.Connection, name string) error {
	err := on(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, false, false, true, false, nil)
		return err
	})
	switch {
	case code(err) == amqp.ResourceLocked:
		return errStandby
	case err != nil:
		return fmt.Errorf("declare queue %s: %w", name, err)
	}
	return nil
}

func (t *topology) declareError(name string, err error) error {
	switch code(err) {
	case amqp.PreconditionFailed:
		return fatalf("declare queue %s: it exists with other arguments, perhaps those of another version: stop the "+
			"listeners and run tagger queues delete, which deletes all messages, or set TAGGER_AMQP_QUEUE to another name: %w",
			name, oneLine(err))
	case amqp.AccessRefused:
		return fatalf("declare queue %s: the user lacks a permission: rabbitmqctl set_permissions with "+
			"configure '^%[2]s(\\..*)?$', write '^(%[2]s(\\..*)?|amq\\.default)$', read '^(%[2]s(\\..*)?|%[3]s)$': %[4]w",
			name, strings.ReplaceAll(t.queue, ".", `\.`), strings.Join(t.exchanges, "|"), oneLine(err))
	}
	return fmt.Errorf("declare queue %s: %w", name, err)
}

// keep restores queues and bindings until the context ends: a restart of the broker deletes exchanges that are not
// durable and their bindings, and an operator may delete a queue. It returns an error that ends the connection.
func (t *topology) keep(ctx context.Context, conn *amqp.Connection) error {
	search := search{longest: t.every}
	for backoff.Sleep(ctx, backoff.Jitter(search.next(t.missingExchanges()))) {
		if err := t.declare(conn); err != nil {
			return err
		}
	}
	return nil
}

// search paces the checks for missing exchanges. After a restart of the broker, services create theirs within seconds.
// A configured exchange that no service has never appears, and each check is an error in the broker's log.
type search struct {
	missing       string
	last, longest time.Duration
}

// next returns the pause before the next check. The pauses start again when the set of missing exchanges changes.
func (s *search) next(missing string) time.Duration {
	s.last = min(2*s.last, s.longest)
	if s.last == 0 || missing != s.missing {
		s.last = min(firstPause, s.longest)
	}
	if s.missing = missing; missing == "" {
		return s.longest
	}
	return s.last
}

// missingExchanges returns the exchanges that were missing at the last check.
func (t *topology) missingExchanges() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missing
}

// code returns the broker's code of an error, 0 for any other error.
func code(err error) int {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e.Code
	}
	return 0
}

// oneLine returns the broker's error with its reason on one line.
func oneLine(err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return &amqp.Error{Code: e.Code, Reason: strings.Join(strings.Fields(e.Reason), " "), Server: e.Server,
			Recover: e.Recover}
	}
	return err
}
