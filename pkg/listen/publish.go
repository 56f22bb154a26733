package listen

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	confirmTimeout = 15 * time.Second
	unsentPause    = 3 * time.Second
)

// errNotTaken reports that the queue does not accept a message for now; another queue may.
var errNotTaken = errors.New("the queue does not accept it")

// errTooLarge reports that a message exceeds the broker's limit: no queue will accept it.
var errTooLarge = errors.New("it is larger than the broker's max_message_size")

// sender puts messages into queues.
type sender interface {
	// send returns nil only once the broker has confirmed that the queue has the message, and errNotTaken if the broker
	// reports that the queue does not accept it.
	send(ctx context.Context, queue string, p amqp.Publishing) error
}

// confirmed sends with publisher confirms, one message at a time. The broker returns an unroutable message before it
// confirms it, so a return that precedes the confirm is this message's. If its channel closes, confirmed opens another.
// The channel ends with the connection.
//
// A broker that is short of memory or disk stops reading from a connection that has published. The library then waits
// without a limit. So each exchange with the broker runs in its own goroutine, and callers wait only as long as
// their contexts allow.
type confirmed struct {
	conn *amqp.Connection
	turn chan struct{} // full during a send; guards the fields below

	ch      *amqp.Channel
	returns chan amqp.Return
	closed  chan *amqp.Error
}

func newConfirmed(conn *amqp.Connection) *confirmed {
	return &confirmed{conn: conn, turn: make(chan struct{}, 1)}
}

func (c *confirmed) open() error {
	if c.ch != nil && !c.ch.IsClosed() {
		return nil
	}
	ch, err := c.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		_ = ch.Close()
		return fmt.Errorf("enable publisher confirms: %w", err)
	}
	c.ch, c.returns, c.closed = ch, ch.NotifyReturn(make(chan amqp.Return, 1)), ch.NotifyClose(make(chan *amqp.Error, 1))
	return nil
}

func (c *confirmed) send(ctx context.Context, queue string, p amqp.Publishing) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for a turn to publish: %w", ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		err := c.publish(ctx, queue, p)
		done <- err
		if err != nil && c.ch != nil { // a late confirm must not count for the next message
			_ = c.ch.Close()
			c.ch = nil
		}
		<-c.turn
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the broker: %w", ctx.Err())
	}
}

func (c *confirmed) publish(ctx context.Context, queue string, p amqp.Publishing) error {
	if err := c.open(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // opening took too long; the caller has gone
		return err
	}
	confirmation, err := c.ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, p)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	acked, err := confirmation.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("wait for the broker's confirm: %w", err)
	}
	select {
	case r, ok := <-c.returns:
		if ok {
			return fmt.Errorf("%w: no such queue (%d %s)", errNotTaken, r.ReplyCode, r.ReplyText)
		}
	default:
	}
	switch {
	case acked:
		return nil
	case c.ch.IsClosed(): // the library then reports all unconfirmed messages as refused
		if e := <-c.closed; e != nil && e.Code == amqp.PreconditionFailed {
			return fmt.Errorf("%w: %w", errTooLarge, oneLine(e))
		}
		return errors.New("the channel is gone")
	}
	return fmt.Errorf("%w: it is full", errNotTaken)
}
