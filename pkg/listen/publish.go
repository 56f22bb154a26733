package listen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	confirmTimeout = 15 * time.Second
	unsentPause    = 3 * time.Second
)

// errNotTaken says that the broker has not put a message into its queue, and will not for now: another queue may take it.
var errNotTaken = errors.New("the queue does not take it")

// sender puts messages into queues.
type sender interface {
	// send returns nil only when the broker has said that the queue has the message, and an errNotTaken when it has said that the queue has it not.
	send(ctx context.Context, queue string, p amqp.Publishing) error
}

// confirmed sends with publisher confirms, one message at a time: a message that no queue took is returned before it is confirmed, so that a return that
// has come by the time of the confirm is this message's. It opens another channel when its own is gone.
type confirmed struct {
	conn *amqp.Connection

	mu      sync.Mutex
	ch      *amqp.Channel
	returns chan amqp.Return
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
		return fmt.Errorf("ask for confirms: %w", err)
	}
	c.ch, c.returns = ch, ch.NotifyReturn(make(chan amqp.Return, 1))
	return nil
}

func (c *confirmed) send(ctx context.Context, queue string, p amqp.Publishing) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.open(); err != nil {
		return err
	}
	defer func() {
		if err != nil { // what comes late must not be taken for the next message's
			_ = c.ch.Close()
			c.ch = nil
		}
	}()
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
			return fmt.Errorf("%w: there is none of that name (%d %s)", errNotTaken, r.ReplyCode, r.ReplyText)
		}
	default:
	}
	switch {
	case acked:
		return nil
	case c.ch.IsClosed(): // the library then says of all that is not confirmed yet that it was refused
		return errors.New("the channel is gone")
	}
	return fmt.Errorf("%w: it is full", errNotTaken)
}

func (c *confirmed) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch != nil {
		_ = c.ch.Close()
	}
}
