// Package listen is the door for RabbitMQ: it takes OpenStack's notifications from a queue of its own, has each worked
// on, and acknowledges it when it is known what became of it.
//
// The services' own queues are left alone: a second consumer of notifications.info would take messages away from the
// first. What is not ready waits in a queue with a delay, in the broker, and so survives this process. What a person
// has to look at goes to a queue for that. Of several listeners on one queue one takes its messages, and the others
// stand by: two would write to one server at a time, in no order.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/semaphore"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
)

// Options is what a Listener is made of.
type Options struct {
	Config    config.Listen
	Processor Processor
	// Concurrency is how many messages are taken at a time.
	Concurrency int
	// Bytes is how many bytes of messages may be read and under way; while there are as many, no further message is read.
	Bytes int64
	// Wait is how long a message may wait for its resource before it is deferred.
	Wait time.Duration
	// GiveUpAfter is how long after a message was first taken nothing more is tried.
	GiveUpAfter time.Duration
	// Servers, if not nil, does what is to be done about servers beside working on messages.
	Servers Servers
	// Periodic, if not nil, is called every Period by one of the listeners with the same queue: the one whose connection
	// has a queue of its own for that. The context ends with the connection.
	Periodic func(ctx context.Context)
	Period   time.Duration
	// Repair has writes done again that another writer undid.
	Repair bool
	Log    *slog.Logger
}

// Processor works on messages; [delivery.Processor] tags, and a [Sink] passes events on. It is safe for concurrent use.
type Processor interface {
	// Plan returns what a message asks for, without asking anybody.
	Plan(ctx context.Context, m delivery.Message) delivery.Planned
	// Begin gives planned messages their places in the order of work, and returns a function that waits for the decisions
	// on them.
	Begin(ctx context.Context, batch []delivery.Planned) (finish func() []delivery.Decision)
}

// DefaultWait is how long a resource that is not ready is waited for where the settings do not say: as with other
// queues.
const DefaultWait = 5 * time.Second

// Tolerance is that of [delivery.Options] for a listener, which gets its messages one by one: one server that the
// credentials may not touch does not hold up its neighbours.
const Tolerance = 5

// Gather is that of [delivery.Options] for a listener: the messages that the broker hands out at once arrive within it.
const Gather = 20 * time.Millisecond

// Listener takes messages from RabbitMQ. Make one a process, and run it once.
type Listener struct {
	options  Options
	brokers  []config.Secret
	topology *topology
	recent   *recent
	counts   *Counts
	log      *slog.Logger

	undone    *undone
	deferrals *deferrals

	slots   chan struct{} // one is held for each message under way
	bytes   *semaphore.Weighted
	breaker circuitBreaker
	due     time.Time // the next call of Periodic
}

// New returns a Listener. An error says what is wrong with the configuration.
func New(o Options) (*Listener, error) {
	brokers, err := o.Config.Brokers()
	if err != nil {
		return nil, err
	}
	for i, broker := range brokers {
		if err := readable(broker); err != nil {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d %w", i+1, len(brokers), err)
		}
	}
	watching := o.Servers
	if !o.Repair {
		watching = nil
	}
	undone, deferrals := newUndone(watching, o.Log), newDeferrals()
	counts := newCounts(undone.writePrometheus, deferrals.writePrometheus)
	topology := newTopology(o.Config, o.Log)
	topology.depths = &counts.depths
	return &Listener{
		undone: undone, deferrals: deferrals,
		options: o, brokers: brokers, topology: topology,
		recent: newRecent(), counts: counts, log: o.Log,
		slots: make(chan struct{}, o.Concurrency), bytes: semaphore.NewWeighted(o.Bytes),
	}, nil
}

// Counts are the listener's metrics.
func (l *Listener) Counts() *Counts { return l.counts }

// Run listens until the context ends, and then lets what is under way finish, for up to drainTimeout. It connects again
// whenever the broker goes. An error is one that a person has to mend: a broker that refuses the user at start, queues
// that exist with other arguments, rights that the user lacks.
func (l *Listener) Run(ctx context.Context) error {
	over, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		backoff.Sleep(over, drainTimeout)
		cancel()
	})
	defer stop()
	defer l.idle(over) // what is under way on connections that are gone ends its writes
	pause := firstPause
	for first := true; ; first = false {
		conn, err := l.connect(ctx, first)
		if err != nil || conn == nil {
			return err
		}
		l.counts.connected.Store(true)
		begun := time.Now()
		err = l.session(ctx, over, conn)
		l.counts.connected.Store(false)
		l.counts.depths.clear()
		if fatal, ok := errors.AsType[*fatalError](err); ok && (first || code(fatal) == amqp.PreconditionFailed) {
			return fatal
		}
		if ctx.Err() != nil {
			return nil
		}
		l.counts.reconnects.Add(1)
		l.log.Error("the broker is gone; messages under way will come back", "error", err.Error())
		if time.Since(begun) > time.Minute {
			pause = firstPause
		}
		if !backoff.Sleep(ctx, backoff.Jitter(pause)) {
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

// session works on one connection until it is gone, or the context ends, and closes it. When over ends it cuts it,
// whatever the broker still owes.
func (l *Listener) session(ctx, over context.Context, conn *connection) error {
	stop := context.AfterFunc(over, conn.cut)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer conn.close() // which ends what is being kept too
	defer cancel(nil)
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	keeping.Go(func() { l.watch(blocked) })
	if err := l.topology.declare(conn.Connection); err != nil {
		return err
	}
	keeping.Go(func() {
		if err := l.topology.keep(ctx, conn.Connection); err != nil {
			cancel(err)
		}
	})
	if l.options.Periodic != nil {
		keeping.Go(func() { l.periodically(ctx, conn.Connection) })
	}
	sender := newConfirmed(conn.Connection)
	var pause pauses
	waiting := false
	defer l.counts.standby.Store(false)
	for {
		err := l.consume(ctx, over, conn.Connection, sender)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errTaken) && !conn.IsClosed() {
			if !waiting { // once, not at each look
				l.log.Info("another listener takes the messages; waiting for it to end", "queue", l.topology.queue)
			}
			waiting = true
			l.counts.standby.Store(true)
			if !backoff.Sleep(ctx, backoff.Jitter(takenPause)) {
				return context.Cause(ctx)
			}
			continue
		}
		waiting = false
		if broken, ok := errors.AsType[*faultError](err); ok {
			d := pause.next(l.breaker.hasWorked())
			l.log.Error("credentials or configuration rejected; consumption paused", "error", broken.Error(),
				"again_in", d.Round(time.Second).String())
			if !backoff.Sleep(ctx, d) {
				return context.Cause(ctx)
			}
			continue
		}
		if conn.IsClosed() {
			return err
		}
		// The channel is gone and the connection is not: somebody deleted the queue, or a message was settled twice.
		l.log.Error("the channel is closed; opening another", "error", err.Error())
		if !backoff.Sleep(ctx, backoff.Jitter(firstPause)) {
			return context.Cause(ctx)
		}
		if err := l.topology.declare(conn.Connection); err != nil {
			return err
		}
	}
}

// watch takes note of a broker that is short of memory or disk, until the connection is gone. It tells so only those
// who publish, and takes neither messages nor acknowledgements from them until it is over.
func (l *Listener) watch(blocked <-chan amqp.Blocking) {
	defer l.counts.blocked.Store(false)
	for b := range blocked {
		l.counts.blocked.Store(b.Active)
		if b.Active {
			l.log.Error("the broker takes nothing until it has memory and disk space again", "reason", b.Reason)
		} else {
			l.log.Info("the broker takes messages again")
		}
	}
}

// fatalError is one that neither time nor another connection mends.
type fatalError struct{ Err error }

func (e *fatalError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *fatalError) Unwrap() error { return e.Err }

func fatalf(format string, args ...any) *fatalError { return &fatalError{fmt.Errorf(format, args...)} }
