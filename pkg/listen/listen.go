// Package listen consumes OpenStack's notifications from a RabbitMQ queue of its own. It passes each to a processor,
// and acknowledges it once its outcome is known.
//
// The services' own queues are left alone: a second consumer of notifications.info would take messages away from the
// first. A message whose resource is not ready waits in a delay queue in the broker, and so survives this process.
// Rejected messages go to a queue of their own, for an operator. Of several listeners on one queue, one consumes and
// the others stand by: two would write to the same server at once, in no order.
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

// Options are the settings and parts of a Listener.
type Options struct {
	Config    config.Listen
	Processor Processor
	// Concurrency is the number of messages handled at a time.
	Concurrency int
	// Bytes limits the bytes of messages under way; at the limit, no further message is decoded.
	Bytes int64
	// Wait is how long a message waits for its resource before it is deferred.
	Wait time.Duration
	// GiveUpAfter is the time after its first delivery at which a message is given up.
	GiveUpAfter time.Duration
	// Servers, if not nil, watches servers for undone writes and restores them.
	Servers Servers
	// Periodic, if not nil, is called every Period by one of the listeners on the same queue: the one whose connection
	// holds the lease queue. Its context ends with the connection.
	Periodic func(ctx context.Context)
	Period   time.Duration
	// Repair repeats writes that another writer undid.
	Repair bool
	Log    *slog.Logger
}

// Processor handles messages: [delivery.Processor] tags, and [Sink] forwards events. It is safe for concurrent use.
type Processor interface {
	// Plan returns what a message requires, without any call.
	Plan(ctx context.Context, m delivery.Message) delivery.Plan
	// Begin queues planned messages in order, and returns a function that waits for their decisions.
	Begin(ctx context.Context, batch []delivery.Plan) (finish func() []delivery.Decision)
}

// DefaultWait is how long to wait for a resource that is not ready if the settings do not say. It is the same for other
// queues.
const DefaultWait = 5 * time.Second

// Tolerance is the Tolerance of [delivery.Options] for a listener. Messages arrive one by one, so one server that the
// credentials may not touch must not hold up the others.
const Tolerance = 5

// Gather is the Gather of [delivery.Options] for a listener: messages that the broker delivers at once arrive within
// it.
const Gather = 20 * time.Millisecond

// Listener consumes messages from RabbitMQ. Use one per process, and run it once.
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

// New returns a Listener. Its error describes what is wrong with the configuration.
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

// Counts returns the listener's metrics.
func (l *Listener) Counts() *Counts { return l.counts }

// Run listens until the context ends, then gives messages under way up to drainTimeout to finish. It reconnects
// whenever the connection is lost. It returns an error only if an operator has to act: the broker refuses the user at
// the start, queues exist with other arguments, or the user lacks rights.
func (l *Listener) Run(ctx context.Context) error {
	shutdownCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		backoff.Sleep(shutdownCtx, drainTimeout)
		cancel()
	})
	defer stop()
	defer func() {
		l.idle(shutdownCtx) // messages under way on lost connections finish their writes
		l.finishRepairs(shutdownCtx)
	}()
	pause := firstPause
	for first := true; ; first = false {
		conn, err := l.connect(ctx, first)
		if err != nil || conn == nil {
			return err
		}
		l.counts.connected.Store(true)
		begun := time.Now()
		err = l.session(ctx, shutdownCtx, conn)
		l.counts.connected.Store(false)
		l.counts.depths.clear()
		if fatal, ok := errors.AsType[*fatalError](err); ok && (first || code(fatal) == amqp.PreconditionFailed) {
			return fatal
		}
		if ctx.Err() != nil {
			return nil
		}
		l.counts.reconnects.Add(1)
		l.log.Error("connection lost; messages under way will be redelivered", "error", err.Error())
		if time.Since(begun) > time.Minute {
			pause = firstPause
		}
		if !backoff.Sleep(ctx, backoff.Jitter(pause)) {
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

// finishRepairs repairs the servers whose repairs wait. Another listener may get the messages now, and does not
// remember our writes.
func (l *Listener) finishRepairs(shutdownCtx context.Context) {
	ctx, cancel := context.WithTimeout(shutdownCtx, drainTimeout)
	defer cancel()
	l.undone.finish(ctx, l.options.Concurrency)
}

// session uses one connection until it is lost or ctx ends, and closes it. When shutdownCtx ends, it cuts the
// connection without waiting for the broker.
func (l *Listener) session(ctx, shutdownCtx context.Context, conn *connection) error {
	stop := context.AfterFunc(shutdownCtx, conn.cut)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer conn.close() // which ends topology.keep too
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
		err := l.consume(ctx, shutdownCtx, conn.Connection, sender)
		l.finishRepairs(shutdownCtx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errStandby) && !conn.IsClosed() {
			if !waiting { // once, not at each check
				l.log.Info("standing by; another listener consumes the queue", "queue", l.topology.queue)
			}
			waiting = true
			l.counts.standby.Store(true)
			if !backoff.Sleep(ctx, backoff.Jitter(standbyInterval)) {
				return context.Cause(ctx)
			}
			continue
		}
		waiting = false
		if fault, ok := errors.AsType[*faultError](err); ok {
			d := pause.next(l.breaker.hasWorked())
			l.log.Error("credentials or configuration rejected; consumption paused", "error", fault.Error(),
				"again_in", d.Round(time.Second).String())
			if !backoff.Sleep(ctx, d) {
				return context.Cause(ctx)
			}
			continue
		}
		if conn.IsClosed() {
			return err
		}
		// The channel is closed but the connection is not: the queue was deleted, or a message was settled twice.
		l.log.Error("channel closed; opening another", "error", err.Error())
		if !backoff.Sleep(ctx, backoff.Jitter(firstPause)) {
			return context.Cause(ctx)
		}
		if err := l.topology.declare(conn.Connection); err != nil {
			return err
		}
	}
}

// watch records whether the broker is short of memory or disk, until the connection closes. The broker notifies only
// publishers, and accepts neither messages nor acknowledgements from them while the alarm lasts.
func (l *Listener) watch(blocked <-chan amqp.Blocking) {
	defer l.counts.blocked.Store(false)
	for b := range blocked {
		l.counts.blocked.Store(b.Active)
		if b.Active {
			l.log.Error("broker blocks publishers; memory or disk alarm", "reason", b.Reason)
		} else {
			l.log.Info("broker accepts messages again")
		}
	}
}

// fatalError is an error that neither time nor a new connection fixes.
type fatalError struct{ Err error }

func (e *fatalError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *fatalError) Unwrap() error { return e.Err }

func fatalf(format string, args ...any) *fatalError { return &fatalError{fmt.Errorf(format, args...)} }
