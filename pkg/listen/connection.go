package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/certificate"
	"github.com/cloudtagger/tagger/pkg/config"
)

const (
	// Pauses between attempts to connect or publish grow from the first to the longest.
	firstPause   = time.Second
	longestPause = 30 * time.Second

	dialTimeout  = 10 * time.Second
	closeTimeout = 5 * time.Second
	heartbeat    = 10 * time.Second
)

// connection is a connection to a broker that can always be closed.
type connection struct {
	*amqp.Connection
	wire net.Conn
}

// close closes the connection within closeTimeout. The library's CloseDeadline is not enough: a broker that is short of
// memory or disk does not answer, but its heartbeats reset that deadline. Unacknowledged messages are redelivered.
func (c *connection) close() {
	hard := time.AfterFunc(closeTimeout, c.cut)
	defer hard.Stop()
	_ = c.Close()
}

// cut closes the connection at once, which also ends every wait for an answer.
func (c *connection) cut() { _ = c.wire.Close() }

// connect retries until it has a connection to one of the brokers; it returns nil if the context ends first. An
// unreadable certificate file and a refused user are errors only at the first connection: later, they may be in the
// middle of a replacement.
func (l *Listener) connect(ctx context.Context, first bool) (*connection, error) {
	logged := false
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if ctx.Err() != nil {
			return nil, nil
		}
		conn, err := l.connectOnce(ctx)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, nil
		}
		if _, fatal := errors.AsType[*fatalError](err); fatal && first {
			return nil, err
		}
		if !logged { // once, not at each attempt
			logged = true
			l.log.Error("cannot connect; will retry", "error", err.Error(), "brokers", len(l.brokers))
		}
		if !backoff.Sleep(ctx, backoff.Jitter(pause)) {
			return nil, nil
		}
	}
}

// connectOnce tries all brokers once, in random order. It returns a *fatalError if the next attempt would most likely
// fail too. A refused user takes precedence over an unreachable broker.
func (l *Listener) connectOnce(ctx context.Context) (*connection, error) {
	settings, err := tlsConfig(l.options.Config.CACert)
	if err != nil {
		return nil, &fatalError{err}
	}
	var refusal, failure error
	for _, i := range rand.Perm(len(l.brokers)) {
		host := hostOf(l.brokers[i])
		conn, err := dial(ctx, l.brokers[i], settings)
		if err == nil {
			l.log.Info("connected", "broker", host)
			return conn, nil
		}
		err = fmt.Errorf("connect to RabbitMQ at %s: %w", host, err)
		if refused(err) {
			refusal = &fatalError{err}
		}
		if failure == nil {
			failure = err
		} else {
			failure = fmt.Errorf("%w; %w", failure, err)
		}
	}
	return nil, cmp.Or(refusal, failure)
}

// dial connects to one broker. Its errors contain no part of the address.
func dial(ctx context.Context, broker config.Secret, settings *tls.Config) (*connection, error) {
	if err := readable(broker); err != nil {
		return nil, fmt.Errorf("the address %w", err)
	}
	name, _ := os.Hostname()
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(fmt.Sprintf("tagger listen (%s, process %d)", name, os.Getpid()))
	var wire net.Conn
	c := amqp.Config{
		Heartbeat: heartbeat, Properties: properties, TLSClientConfig: settings.Clone(),
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			wire = conn
			return conn, conn.SetDeadline(time.Now().Add(dialTimeout)) // for the handshake; the library clears it
		},
	}
	conn, err := amqp.DialConfig(broker.Reveal(), c)
	if err == nil {
		return &connection{conn, wire}, nil
	}
	if refusal, ok := errors.AsType[*amqp.Error](err); ok {
		return nil, explain(refusal)
	}
	if refused := certificate.Refused(err, "TAGGER_AMQP_CACERT", "TAGGER_AMQP_URL"); refused != nil {
		return nil, refused
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return nil, errors.New("it does not speak TLS: its address begins with amqp://, most often with port 5672")
	}
	return nil, unreachable(err)
}

// unreachable adds the remedy to an error of the network.
func unreachable(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return fmt.Errorf("%w (check the name in TAGGER_AMQP_URL)", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w (nothing answers there: check TAGGER_AMQP_URL)", err)
	}
	return err
}

// readable reports an invalid address without quoting it, as the library's own error does.
func readable(broker config.Secret) error {
	if _, err := amqp.ParseURI(broker.Reveal()); err != nil {
		return errors.New("cannot be read: it is amqp://user:password@host:5672/vhost; percent-encode (%XX) what is not a " +
			"letter or a digit in user, password and vhost, and use only RabbitMQ's own parameters " +
			"(https://www.rabbitmq.com/docs/uri-query-parameters)")
	}
	return nil
}

// explain adds the remedy to the broker's refusal, and replaces the library's text about an answer that is not AMQP.
func explain(e *amqp.Error) error {
	switch {
	case e.Code == amqp.FrameError && strings.Contains(e.Reason, "EOF"):
		return errors.New("it closed the connection without an answer: perhaps it expects TLS (amqps://, usually port 5671)")
	case e.Code == amqp.FrameError && strings.Contains(e.Reason, "timeout"):
		return fmt.Errorf("it does not answer within %s: check host and port of TAGGER_AMQP_URL", dialTimeout)
	case e.Code == amqp.FrameError:
		return errors.New("what answers there does not speak AMQP: check host and port of TAGGER_AMQP_URL (5672, with TLS " +
			"5671; 15672 is the management plugin's)")
	case refused(e) && strings.Contains(e.Reason, "vhost"):
		return fmt.Errorf("the user may not use this virtual host (rabbitmqctl set_permissions): %w", e)
	case refused(e):
		return fmt.Errorf("the broker refuses user and password of TAGGER_AMQP_URL: %w", e)
	}
	return e
}

// refused reports whether the broker rejected the user.
func refused(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed)
}

// tlsConfig trusts the PEM certificates in a file or text, or without one the system's authorities.
func tlsConfig(caCert string) (*tls.Config, error) {
	roots, err := certificate.Authorities("TAGGER_AMQP_CACERT", caCert)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

// hostOf returns the host and port of an address, which may be logged.
func hostOf(broker config.Secret) string {
	u, err := url.Parse(broker.Reveal())
	if err != nil {
		return "?"
	}
	return u.Host
}
