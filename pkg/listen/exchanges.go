package listen

import (
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// bind binds the main queue to each exchange. Binding again changes nothing.
//
// The exchanges belong to the services. A missing one is created like the others (topic, kept when unused, durable or
// not), so that no notification is lost until its service reconnects after a restart of the broker. While the
// durability is unknown, the exchange is not created but checked for, less and less often. With the wrong durability,
// it would keep the service itself from starting, because its RPC uses the same exchange.
func (t *topology) bind(conn *amqp.Connection) error {
	var missing []string
	for _, exchange := range t.exchanges {
		err := t.bindOne(conn, exchange)
		if code(err) == amqp.NotFound && t.durable != nil {
			if err = t.create(conn, exchange); err == nil {
				err = t.bindOne(conn, exchange)
			}
		}
		switch code(err) {
		case amqp.NotFound:
			missing = append(missing, exchange)
			continue
		case amqp.AccessRefused:
			return fatalf("bind queue %s to exchange %s: the user lacks a permission (rabbitmqctl set_permissions: "+
				"write on the queue, read on the exchange): %w", t.queue, exchange, oneLine(err))
		}
		if err != nil {
			return fmt.Errorf("bind queue %s to exchange %s: %w", t.queue, exchange, err)
		}
		if t.durable == nil {
			if err := t.learn(conn, exchange); err != nil {
				return err
			}
		}
	}
	if now := strings.Join(missing, ", "); now != t.missing {
		if now != "" {
			t.log.Warn("exchanges are missing; they are bound when their services have declared them", "exchanges", now)
		} else {
			t.log.Info("all exchanges are bound")
		}
		t.missing = now
	}
	return nil
}

func (t *topology) bindOne(conn *amqp.Connection, exchange string) error {
	return on(conn, func(ch *amqp.Channel) error {
		for _, key := range t.keys {
			if err := ch.QueueBind(t.queue, key, exchange, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// learn finds out from an existing exchange whether the services declare theirs as durable (amqp_durable_queues in
// their configuration): the broker accepts a second declaration only if it is the same. learn changes nothing. Without
// the right to declare the exchange, it learns nothing, and no exchange is ever created.
func (t *topology) learn(conn *amqp.Connection, exchange string) error {
	for _, durable := range []bool{false, true} {
		err := on(conn, func(ch *amqp.Channel) error { return declareExchange(ch, exchange, durable) })
		switch code(err) {
		case amqp.PreconditionFailed: // the other durability, or another type
			continue
		case amqp.AccessRefused, amqp.NotFound:
			return nil
		}
		if err != nil {
			return fmt.Errorf("inspect exchange %s: %w", exchange, err)
		}
		t.durable = &durable
		return nil
	}
	return nil
}

// create creates an exchange. One that was created differently in the meantime stays.
func (t *topology) create(conn *amqp.Connection, exchange string) error {
	err := on(conn, func(ch *amqp.Channel) error { return declareExchange(ch, exchange, *t.durable) })
	if c := code(err); c == amqp.PreconditionFailed || c == amqp.AccessRefused {
		return &amqp.Error{Code: amqp.NotFound, Reason: "it cannot be created"} // stays missing until its service creates it
	}
	if err == nil {
		t.log.Info("declared exchange", "exchange", exchange, "durable", *t.durable)
	}
	return err
}

func declareExchange(ch *amqp.Channel, name string, durable bool) error {
	if name == "" {
		return errors.New("the default exchange cannot be declared")
	}
	return ch.ExchangeDeclare(name, amqp.ExchangeTopic, durable, false, false, false, nil)
}
