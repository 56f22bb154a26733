package listen

import (
	"context"
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

const (
	// firstPeriod is the latest time after its start at which a process calls Periodic. It is not zero: a process that
	// keeps restarting would do nothing else.
	firstPeriod = 10 * time.Minute

	periodicQueue = ".reconcile"
)

// periodically calls Periodic every Period until the connection closes, unless another listener holds the lease: a
// queue that is exclusive to a connection and deleted with it. A single active consumer would have to keep a message
// unacknowledged all that time, and RabbitMQ allows half an hour.
func (l *Listener) periodically(ctx context.Context, conn *amqp.Connection) {
	if l.due.IsZero() {
		l.due = time.Now().Add(min(l.options.Period, firstPeriod))
	}
	for backoff.Sleep(ctx, time.Until(l.due)) {
		l.due = time.Now().Add(l.options.Period)
		err := lease(conn, l.topology.queue+periodicQueue)
		switch {
		case errors.Is(err, errStandby):
			l.log.Debug("another listener reconciles")
		case err != nil:
			l.log.Warn("cannot check whether another listener reconciles", "error", err.Error())
		default:
			l.options.Periodic(ctx)
		}
	}
}
