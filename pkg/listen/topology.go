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

// topology is what Tagger has in the broker: three sorts of durable quorum queues, and the main one's bindings to the
// services' exchanges.
type topology struct {
	queue           string
	exchanges, keys []string
	log             *slog.Logger
	// bytes is the limit of the main queue, delayBytes that of each delay queue, and every how often they are looked
	// after.
	bytes, delayBytes int64
	every             time.Duration
	depths            *depths // nil where nobody asks for them

	mu sync.Mutex // one declaration at a time; guards what follows
	// durable is whether the services declare their exchanges as durable, once one of them shows it.
	durable *bool
	// missing are the exchanges that were not there when last looked for, as they were said in the log.
	missing string
	// shared is whether the main queue exists as older versions made it, for any number of active consumers.
	shared bool
}

// Limits of the queues. All bodies together are below 1 GiB, so that a Tagger that nobody looks after does not fill the
// control plane's broker.
const (
	mainBytes     = 256 << 20
	delayBytes    = 64 << 20 // each
	rejectedBytes = 128 << 20

	unusedFor    = 14 * 24 * time.Hour
	rejectedFor  = 14 * 24 * time.Hour
	keepInterval = time.Minute
)

// manyDeliveries takes the place of RabbitMQ 4's limit of 20 deliveries, after which a quorum queue throws a message
// away: here it is decided by time, and a message that is given back while credentials are refused has done nothing
// wrong. Version 3 has no value for "no limit".
const manyDeliveries = 1_000_000

func newTopology(c config.Listen, log *slog.Logger) *topology {
	return &topology{queue: c.Queue, exchanges: c.Exchanges, keys: c.RoutingKeys, log: log, bytes: mainBytes,
		delayBytes: delayBytes, every: keepInterval}
}

func (t *topology) rejected() string { return t.queue + ".rejected" }

// queues are the names and arguments of all queues, the main one first.
//
// The main queue has a single active consumer: of several listeners one takes all its messages, and the next takes over
// when that one is gone. Two at a time would write to one server at the same time, in no order.
//
// It throws its oldest messages away when it is full (drop-head). It must not refuse new ones: a service publishes with
// confirms and tries a refused notification again for ever, so that a forgotten Tagger would hold up Nova's own work.
// It goes away when nobody has listened for two weeks.
//
// The delay queues never have a consumer, so that an expiry by disuse would take events of a living Tagger; their
// messages leave them within an hour by themselves. At-least-once dead-lettering holds a message until the main queue
// has it, and needs reject-publish, which only our own publisher ever meets: it then takes another of them.
//
// The queue of rejected ones has no consumer either; its messages expire instead.
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

// on runs f on a channel of its own: an error of the broker closes the channel, and no other shall go with it.
func on(conn *amqp.Connection, f func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer ch.Close()
	return f(ch)
}

// declare makes what is not there yet. It renews the lease of the main queue.
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

// declareMain declares the main queue, or finds it as older versions made it. A queue's arguments cannot be changed.
// What is known to be there is tried first, for each declaration that does not fit is an error in the broker's log.
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
		t.log.Warn("the queue exists as older versions made it; listeners take turns by a lock "+
			"(docs/private-cloud.md says how to renew it)", "queue", q.name)
	case err != nil:
		return t.declareError(q.name, err)
	}
	return nil
}

// declareOne declares a queue, and notes how many messages are in it.
func (t *topology) declareOne(ch *amqp.Channel, q queue) error {
	found, err := ch.QueueDeclare(q.name, true, false, false, false, q.arguments)
	if err == nil && t.depths != nil {
		t.depths.set(q.name, found.Messages)
	}
	return err
}

// lock makes sure that no other listener takes messages from a main queue of an older version, which has no single
// active consumer by itself: it declares a queue that is exclusive to the connection, and gone with it. It returns
// errTaken while another connection has that.
//
// An exclusive consumer would not do: RabbitMQ lets a quorum queue have several.
func (t *topology) lock(conn *amqp.Connection) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.shared {
		return nil
	}
	return lease(conn, t.queue+".lock")
}

// lease declares a queue that is exclusive to the connection. It returns errTaken while another connection has that.
func lease(conn *amqp.Connection, name string) error {
	err := on(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, false, false, true, false, nil)
		return err
	})
	switch {
	case code(err) == amqp.ResourceLocked:
		return errTaken
	case err != nil:
		return fmt.Errorf("declare queue %s: %w", name, err)
	}
	return nil
}

func (t *topology) declareError(name string, err error) error {
	switch code(err) {
	case amqp.PreconditionFailed:
		return fatalf("declare queue %s: it exists with other arguments, perhaps those of another version: stop the "+
			"listeners and run tagger queues "+
			"delete, which throws away the messages in it, or set TAGGER_AMQP_QUEUE to another name: %w", name, oneLine(err))
	case amqp.AccessRefused:
		return fatalf("declare queue %s: the user lacks a right: rabbitmqctl set_permissions with configure "+
			"'^%[2]s(\\..*)?$', "+
			"write '^(%[2]s(\\..*)?|amq\\.default)$', read '^(%[2]s(\\..*)?|%[3]s)$': %[4]w",
			name, strings.ReplaceAll(t.queue, ".", `\.`), strings.Join(t.exchanges, "|"), oneLine(err))
	}
	return fmt.Errorf("declare queue %s: %w", name, err)
}

// keep looks after queues and bindings until the context ends: exchanges that are not durable go with a restart of the
// broker and take the bindings along, and somebody may delete a queue. It returns an error that ends the connection.
func (t *topology) keep(ctx context.Context, conn *amqp.Connection) error {
	search := search{longest: t.every}
	for backoff.Sleep(ctx, backoff.Jitter(search.next(t.wanted()))) {
		if err := t.declare(conn); err != nil {
			return err
		}
	}
	return nil
}

// search is how often exchanges are looked for that are not there. After a restart of the broker their services make
// them within seconds, but one that is named and that no service has never comes, and each look is an error in the
// broker's log.
type search struct {
	missing       string
	last, longest time.Duration
}

// next returns the pause before the next look, for what is missing now. It begins anew when that is not what was
// missing before.
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

// wanted are the exchanges that were missing when last looked for.
func (t *topology) wanted() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missing
}

// code is the broker's own for an error, 0 for any other.
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
