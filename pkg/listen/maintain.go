package listen

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// DeleteTopology deletes the queues of the configured name, and their bindings with them. It tells of each, with the messages that were in it. Exchanges are
// the services' and stay.
func (l *Listener) DeleteTopology(ctx context.Context, deleted func(name string, messages int)) error {
	return l.once(ctx, func(conn *amqp.Connection) error { return l.topology.remove(conn, deleted) })
}

// Replay puts the messages that are in the queue of rejected ones now back into the main queue, and returns how many it was. They have all their time again.
func (l *Listener) Replay(ctx context.Context) (replayed int, err error) {
	err = l.once(ctx, func(conn *amqp.Connection) error {
		replayed, err = l.replay(ctx, conn)
		return err
	})
	return replayed, err
}

func (l *Listener) replay(ctx context.Context, conn *amqp.Connection) (replayed int, err error) {
	if err := l.topology.declare(conn); err != nil {
		return 0, err
	}
	s := newConfirmed(conn)
	err = on(conn, func(ch *amqp.Channel) error {
		begun := time.Now()
		for ctx.Err() == nil {
			d, ok, err := ch.Get(l.topology.rejected(), false)
			if err != nil {
				return fmt.Errorf("get a message from queue %s: %w", l.topology.rejected(), err)
			}
			if !ok {
				return nil
			}
			m := read(d, begun)
			if at, ok := d.Headers[headerRejectedAt].(string); ok {
				if t, err := time.Parse(time.RFC3339, at); err == nil && t.After(begun) {
					return nil // this one has been rejected again
				}
			}
			sending, cancel := context.WithTimeout(ctx, confirmTimeout)
			err = s.send(sending, l.topology.queue, m.publishing())
			cancel()
			if err != nil {
				return fmt.Errorf("put a message into queue %s: %w", l.topology.queue, err)
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("take a message off queue %s: %w", l.topology.rejected(), err)
			}
			replayed++
		}
		return context.Cause(ctx)
	})
	return replayed, err
}

// once connects, without trying for ever, and does one thing.
func (l *Listener) once(ctx context.Context, do func(*amqp.Connection) error) error {
	conn, err := l.connectOnce(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, conn.close)
	defer stop()
	defer conn.close()
	return do(conn.Connection)
}
