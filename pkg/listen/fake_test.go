package listen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// broker fakes RabbitMQ for one message, and records the calls in order.
type broker struct {
	mu      sync.Mutex
	journal []string
	sent    []amqp.Publishing
	refuses error
	full    []string // queues that accept nothing
	largest int      // limit of a body in bytes, 0 for none
	takes   time.Duration
}

func (b *broker) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.journal = append(b.journal, fmt.Sprintf(format, args...))
}

func (b *broker) notes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.journal)
}

func (b *broker) send(ctx context.Context, queue string, p amqp.Publishing) error {
	b.note("publish to %s", queue)
	if !backoff.Sleep(ctx, b.takes) {
		return ctx.Err()
	}
	if b.refuses != nil {
		return b.refuses
	}
	if b.largest > 0 && len(p.Body) > b.largest {
		return errTooLarge
	}
	if slices.Contains(b.full, queue) {
		return errNotTaken
	}
	b.note("confirmed")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, p)
	return nil
}

func (b *broker) Ack(tag uint64, multiple bool) error {
	b.note("ack %d", tag)
	return nil
}

func (b *broker) Nack(tag uint64, multiple, requeue bool) error {
	b.note("requeue %d", tag)
	if multiple || !requeue {
		return errors.New("a message would be lost")
	}
	return nil
}

func (b *broker) Reject(uint64, bool) error { return errors.New("basic.reject is not used") }

// script is a processor with a scripted decision for each event, by id.
type script struct {
	mu        sync.Mutex
	begun     []string
	worked    []string
	plans     map[string]delivery.Plan // only Key and Pending matter
	decisions map[string]delivery.Decision
	takes     map[string]time.Duration
}

func (s *script) Plan(_ context.Context, m delivery.Message) delivery.Plan {
	p := s.plans[m.EventID()]
	p.Message = m
	return p
}

func (s *script) Begin(ctx context.Context, batch []delivery.Plan) func() []delivery.Decision {
	s.mu.Lock()
	for _, m := range batch {
		s.begun = append(s.begun, m.EventID())
	}
	s.mu.Unlock()
	return func() (all []delivery.Decision) {
		for _, m := range batch {
			id := m.EventID()
			backoff.Sleep(ctx, s.takes[id])
			s.mu.Lock()
			s.worked = append(s.worked, id)
			all = append(all, s.decisions[id])
			s.mu.Unlock()
		}
		return all
	}
}

// decided returns a decision without a fault.
func decided(o apply.Outcome) delivery.Decision {
	return delivery.Decision{Decision: apply.Decision{Outcome: o}}
}

// faulty returns a decision with a fault of this scope.
func faulty(o apply.Outcome, err error, scope fault.Scope) delivery.Decision {
	return delivery.Decision{Decision: apply.Decision{Outcome: o, Fault: apply.Fault{Err: err, Scope: scope}}}
}

func newListener(t *testing.T, p Processor) *Listener {
	t.Helper()
	l, err := New(Options{
		Config: config.Listen{
			URL: config.NewSecret("amqp://tagger:hunter2@127.0.0.1:1/"), Exchanges: config.List{"nova"},
			RoutingKeys: config.List{"notifications.info"}, Queue: "tagger",
		},
		Processor: p, Concurrency: 10, Bytes: 8 << 20, GiveUpAfter: 24 * time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.breaker.reset()
	return l
}

// notification is a Nova notification with a token where Nova can leak one.
func notification(id string) []byte {
	inner := fmt.Sprintf(`{"message_id": %q, "publisher_id": "compute.host", "event_type": "compute.instance.create.end",
		"timestamp": "2026-11-20 09:15:04.000000", "_context_auth_token": "hunter2", "_context_request_id": "req-1",
		"payload": {"instance_id": "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10", "tenant_id": "5f705ac7cdcc4c3a9ad67dcba5a7f5a1",
			"display_name": "é"}}`, id)
	quoted, err := json.Marshal(inner)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	return fmt.Appendf(nil, `{"oslo.version": "2.0", "oslo.message": %s}`, quoted)
}

func delivered(b *broker, tag uint64, id string) amqp.Delivery {
	body := fmt.Sprintf(`{"specversion": "1.0", "id": %q, "source": "/s", "type": "t"}`, id)
	return amqp.Delivery{Acknowledger: b, DeliveryTag: tag, Body: []byte(body), ContentType: "application/json",
		Exchange: "nova", RoutingKey: "notifications.info"}
}
