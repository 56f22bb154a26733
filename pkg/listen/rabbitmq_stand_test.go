//go:build openstack

package listen

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/internal/processtest"
	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
)

// These tests run with a real RabbitMQ, which may be a cloud's: all names are their own, and are deleted.

func brokerURL(t *testing.T) string {
	t.Helper()
	address := os.Getenv("OPENSTACK_DEV_AMQP_URL")
	if address == "" {
		t.Fatal("OPENSTACK_DEV_AMQP_URL is not set: set it to amqp://user:password@host:5672/ of a RabbitMQ to test with")
	}
	return address
}

// stand is a queue and an exchange for one test.
type stand struct {
	config config.Listen
	conn   *amqp.Connection
	ch     *amqp.Channel // for the test itself, with confirms
}

func newStand(t *testing.T) *stand {
	t.Helper()
	name := "tagger-test-" + strings.ToLower(rand.Text()[:10])
	conn, err := amqp.Dial(brokerURL(t))
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	s := &stand{conn: conn, ch: ch, config: config.Listen{
		URL: config.NewSecret(brokerURL(t)), Exchanges: config.List{name},
		RoutingKeys: config.List{"notifications.info", "versioned_notifications.info"}, Queue: name,
	}}
	t.Cleanup(func() {
		for _, q := range newTopology(s.config, nil).queues() {
			_ = on(conn, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(q.name, false, false, false); return err })
		}
		_ = on(conn, func(ch *amqp.Channel) error { return ch.ExchangeDelete(name, false, false) })
		_ = conn.Close()
	})
	return s
}

// service declares the exchange, as a service does when it starts.
func (s *stand) service(t *testing.T, durable bool) {
	t.Helper()
	if err := s.ch.ExchangeDeclare(s.config.Exchanges[0], "topic", durable, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

// notify publishes as a service does, and waits until the broker has confirmed it.
func (s *stand) notify(t *testing.T, body string) {
	t.Helper()
	p := amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: []byte(body)}
	c, err := s.ch.PublishWithDeferredConfirm(s.config.Exchanges[0], "notifications.info", false, false, p)
	if err != nil {
		t.Fatal(err)
	}
	if acked, err := c.WaitContext(t.Context()); err != nil || !acked {
		t.Fatalf("the publisher was refused: %v", err)
	}
}

func plainEvent(id string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "id": %q, "source": "/s", "type": "t"}`, id)
}

// worker passes each message to the test, and waits for its decision.
type worker struct {
	messages  chan delivery.Message
	decisions chan delivery.Decision
}

func newWorker() *worker {
	return &worker{make(chan delivery.Message, 1000), make(chan delivery.Decision)}
}

func (w *worker) Plan(_ context.Context, m delivery.Message) delivery.Plan {
	return delivery.Plan{Message: m}
}

func (w *worker) Begin(ctx context.Context, batch []delivery.Plan) func() []delivery.Decision {
	return func() (all []delivery.Decision) {
		for _, m := range batch {
			w.messages <- m.Message
			select {
			case d := <-w.decisions:
				all = append(all, d)
			case <-ctx.Done():
				all = append(all, decided(apply.Deferred))
			}
		}
		return all
	}
}

// running is a running listener.
type running struct {
	*Listener
	stop func() error
	// ended is closed when the listener has ended; stop then returns its error too.
	ended <-chan struct{}
}

func (s *stand) listen(t *testing.T, w Processor, change func(*Listener)) *running {
	t.Helper()
	l, err := New(Options{Config: s.config, Processor: w, Concurrency: 5, Bytes: 8 << 20, GiveUpAfter: 24 * time.Hour,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(l)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	var failed error
	go func() {
		failed = l.Run(ctx)
		close(ended)
	}()
	stop := func() error { cancel(); <-ended; return failed }
	t.Cleanup(func() { _ = stop() })
	return &running{l, stop, ended}
}

const patience = 40 * time.Second

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	processtest.Until(t, what, patience, 20*time.Millisecond, done)
}

func next(t *testing.T, w *worker) delivery.Message {
	t.Helper()
	select {
	case m := <-w.messages:
		return m
	case <-time.After(patience):
		t.Fatalf("no message in %s", patience)
		return delivery.Message{}
	}
}

// rejected gets the only rejected message, once it is there.
func (s *stand) rejected(t *testing.T) amqp.Delivery {
	t.Helper()
	until(t, "the message among the rejected", func() bool { return s.count(t, s.config.Queue+".rejected") == 1 })
	d, ok, err := s.ch.Get(s.config.Queue+".rejected", false)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	return d
}

func (s *stand) count(t *testing.T, queue string) int {
	t.Helper()
	n := 0
	if err := on(s.conn, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		n = q.Messages
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func consuming(t *testing.T, l *running) {
	t.Helper()
	until(t, "the listener to consume", l.Counts().isConsuming)
}

// alarm sets or clears the memory alarm of the stand's broker.
func alarm(t *testing.T, on bool) {
	t.Helper()
	watermark := "0.4" // RabbitMQ's own default, which the stand leaves as it is
	if on {
		watermark = "0.0000001"
	}
	out, err := exec.Command("../../deploy/openstack-dev/rabbitmqctl", "set_vm_memory_high_watermark",
		watermark).CombinedOutput()
	if err != nil {
		t.Errorf("set the watermark to %s: %v: %s", watermark, err, out)
	}
}

// wire is a proxy in front of the broker that can be cut.
type wire struct {
	address string
	mu      sync.Mutex
	open    []net.Conn
	cuts    bool
}

func newWire(t *testing.T, broker string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal("OPENSTACK_DEV_AMQP_URL is not an address")
	}
	target := u.Host
	u.Host = l.Addr().String()
	w := &wire{address: u.String()}
	t.Cleanup(func() { _ = l.Close(); w.cut(true) })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			w.mu.Lock()
			if err != nil || w.cuts {
				_ = in.Close()
				w.mu.Unlock()
				continue
			}
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		}
	}()
	return w
}

// cut closes all connections, and accepts no more until cut(false).
func (w *wire) cut(cuts bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts = cuts
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// declare creates the queues as a listener does.
func (s *stand) declare() error {
	return newTopology(s.config, slog.New(slog.DiscardHandler)).declare(s.conn)
}
