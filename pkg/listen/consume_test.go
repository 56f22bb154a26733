package listen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// A message is acknowledged after its outcome is known, and after the broker has confirmed that another queue has it.
func TestSettle(t *testing.T) {
	refused := errors.New("credentials refused")
	for _, tt := range []struct {
		name     string
		decision delivery.Decision
		refuses  error
		want     []string
	}{
		{"tagged", decided(apply.Tagged), nil, []string{"ack 1"}},
		{"gone", decided(apply.Gone), nil, []string{"ack 1"}},
		{"unrecognised", decided(apply.Unrecognised), nil, []string{"ack 1"}},
		{"deferred", delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Delay: 20 * time.Second}}, nil,
			[]string{"publish to tagger.delay.30s", "confirmed", "ack 1"}},
		{"rejected", decided(apply.Rejected), nil, []string{"publish to tagger.rejected", "confirmed", "ack 1"}},
		{"deferred, not confirmed", decided(apply.Deferred), errors.New("full"),
			[]string{"publish to tagger.delay.15s", "requeue 1"}},
		{"rejected, not confirmed", decided(apply.Rejected), errors.New("full"),
			[]string{"publish to tagger.rejected", "requeue 1"}},
		{"a fault of every message", faulty(apply.Deferred, refused, fault.Everything), nil, []string{"requeue 1"}},
		{"rejected by a fault of every message", faulty(apply.Rejected, refused, fault.Everything), nil,
			[]string{"requeue 1"}},
		{"a fault of one message", faulty(apply.Deferred, refused, fault.Resource), nil,
			[]string{"publish to tagger.delay.15s", "confirmed", "ack 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{refuses: tt.refuses, takes: time.Second}
				l := newListener(t, &script{decisions: map[string]delivery.Decision{"a": tt.decision}})
				l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
				if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A message that exceeds the broker's limit is rejected, if necessary without its body, instead of being redelivered
// again and again.
func TestSettleTooLarge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		decision delivery.Decision
		want     []string
		reason   string
	}{
		{
			"deferred", delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Reason: "building"}},
			[]string{"publish to tagger.delay.15s", "publish to tagger.rejected", "publish to tagger.rejected", "confirmed",
				"ack 1"}, "it cannot be deferred (building): ",
		},
		{
			"rejected", delivery.Decision{Decision: apply.Decision{Outcome: apply.Rejected, Reason: "over quota"}},
			[]string{"publish to tagger.rejected", "publish to tagger.rejected", "confirmed", "ack 1"},
			"over quota; its body of ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &broker{largest: 10}
			l := newListener(t, &script{decisions: map[string]delivery.Decision{"a": tt.decision}})
			l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
			if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			p := b.sent[0]
			if reason, _ := p.Headers[headerReason].(string); !strings.Contains(reason, tt.reason) ||
				!strings.Contains(reason, "max_message_size") || len(p.Body) != 0 {
				t.Errorf("%q, %d bytes", reason, len(p.Body))
			}
			if p.Headers[headerEventID] != "a" || l.counts.rejected.Load() != 1 {
				t.Errorf("%v, %d rejected", p.Headers, l.counts.rejected.Load())
			}
		})
	}
}

// If a delay queue is full, the message goes to another one. Consumption pauses only if all are full.
func TestSettleWithFullDelayQueues(t *testing.T) {
	var all []string
	for _, step := range steps() {
		all = append(all, "tagger.delay."+label(step))
	}
	for _, tt := range []struct {
		name string
		full []string
		want []string
		open bool
	}{
		{"the next longer one takes it", all[6:7], []string{"publish to tagger.delay.15m", "publish to tagger.delay.30m",
			"confirmed", "ack 1"}, false},
		{
			"no longer one does", all[6:],
			[]string{"publish to tagger.delay.15m", "publish to tagger.delay.30m", "publish to tagger.delay.1h",
				"publish to tagger.delay.8m", "confirmed", "ack 1"}, false,
		},
		{"none does", all, []string{
			"publish to tagger.delay.15m", "publish to tagger.delay.30m", "publish to tagger.delay.1h",
			"publish to tagger.delay.8m", "publish to tagger.delay.4m",
			"publish to tagger.delay.2m", "publish to tagger.delay.1m", "publish to tagger.delay.30s",
			"publish to tagger.delay.15s", "requeue 1",
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &broker{full: tt.full}
			deferred := delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Delay: 10 * time.Minute}}
			l := newListener(t, &script{decisions: map[string]delivery.Decision{"a": deferred}})
			l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
			if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			select {
			case <-l.breaker.isOpen():
				if !tt.open || !errors.Is(l.breaker.last(), errNotTaken) {
					t.Errorf("open: %v", l.breaker.last())
				}
			default:
				if tt.open {
					t.Error("not open")
				}
			}
		})
	}
}

// panicking is a processor that panics at a chosen step.
type panicking struct{ plans, works bool }

func (p panicking) Plan(_ context.Context, m delivery.Message) delivery.Plan {
	if p.plans {
		panic("boom")
	}
	return delivery.Plan{Message: m, Key: "a", Pending: true}
}

func (p panicking) Begin(context.Context, []delivery.Plan) func() []delivery.Decision {
	return func() []delivery.Decision {
		if p.works {
			panic("boom")
		}
		return []delivery.Decision{decided(apply.Tagged)}
	}
}

// A message whose processing panics is deferred, and rejected in the end. It does not block other reports of its
// change.
func TestPanic(t *testing.T) {
	for _, tt := range []struct {
		processor panicking
		second    []string
	}{
		{panicking{plans: true}, []string{"publish to a delay queue", "confirmed", "ack 2"}},
		{panicking{works: true}, []string{"ack 2"}}, // a duplicate of the message that will be redelivered
	} {
		t.Run(fmt.Sprintf("%+v", tt.processor), func(t *testing.T) {
			b := &broker{}
			l := newListener(t, tt.processor)
			l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
			l.accept(t.Context(), b, delivered(b, 2, "b")).finish()
			old := delivered(b, 3, "a")
			old.Headers = amqp.Table{headerSentAt: time.Now().Add(-25 * time.Hour).Format(time.RFC3339)}
			l.accept(t.Context(), b, old).finish()
			got := b.notes()
			for i, note := range got {
				if strings.Contains(note, ".delay.") { // its delay is random
					got[i] = "publish to a delay queue"
				}
			}
			want := slices.Concat([]string{"publish to a delay queue", "confirmed", "ack 1"}, tt.second,
				[]string{"publish to tagger.rejected", "confirmed", "ack 3"})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			reason, _ := b.sent[len(b.sent)-1].Headers[headerReason].(string)
			if !strings.Contains(reason, "panic; see the log") {
				t.Errorf("rejected for %q", reason)
			}
		})
	}
}

// A missing confirm does not count as one.
func TestSettleWithoutAConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{takes: time.Hour}
		l := newListener(t, &script{decisions: map[string]delivery.Decision{"a": decided(apply.Deferred)}})
		l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
		if diff := cmp.Diff([]string{"publish to tagger.delay.15s", "requeue 1"}, b.notes()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if n := l.counts.unsent.Load(); n != 1 {
			t.Errorf("unsent %d", n)
		}
	})
}

// Stopping the listener does not interrupt work on a message.
func TestSettleAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{takes: time.Second}
		l := newListener(t, &script{decisions: map[string]delivery.Decision{"a": decided(apply.Rejected)},
			takes: map[string]time.Duration{"a": time.Second}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.accept(ctx, b, delivered(b, 1, "a")).finish()
		if diff := cmp.Diff([]string{"publish to tagger.rejected", "confirmed", "ack 1"}, b.notes()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Consumption pauses only when a fault fails every message.
func TestBreaker(t *testing.T) {
	refused := errors.New("403")
	good := delivery.Decision{Decision: apply.Decision{Outcome: apply.Tagged}, Reached: true}
	for _, tt := range []struct {
		name         string
		decisions    []delivery.Decision
		open, worked bool
	}{
		{"one server", []delivery.Decision{faulty(apply.Deferred, refused, fault.Resource), good}, false, true},
		{"one project", []delivery.Decision{faulty(apply.Deferred, refused, fault.Project)}, false, false},
		{"every message", []delivery.Decision{good, faulty(apply.Deferred, refused, fault.Everything)}, true, true},
		{"ignored events prove nothing", []delivery.Decision{decided(apply.Ignored)}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &script{decisions: map[string]delivery.Decision{}}
			l := newListener(t, w)
			for _, d := range tt.decisions {
				w.decisions["a"] = d
				l.accept(t.Context(), &broker{}, delivered(&broker{}, 1, "a")).finish()
			}
			if got := l.breaker.hasWorked(); got != tt.worked {
				t.Errorf("worked: %v", got)
			}
			select {
			case <-l.breaker.isOpen():
				if !tt.open || !errors.Is(l.breaker.last(), refused) {
					t.Errorf("open: %v", l.breaker.last())
				}
			default:
				if tt.open {
					t.Error("not open")
				}
			}
		})
	}
}

func TestPausesGrow(t *testing.T) {
	var p pauses
	about := func(want time.Duration, worked bool) {
		t.Helper()
		if d := p.next(worked); d < want*4/5 || d > want*6/5 {
			t.Errorf("%s, want about %s", d, want)
		}
	}
	about(15*time.Second, false)
	about(30*time.Second, false)
	about(time.Minute, false)
	for range 10 {
		p.next(false)
	}
	about(5*time.Minute, false)
	about(15*time.Second, true)
}

// Messages are queued in the order of their arrival, whichever goroutine runs first.
func TestOrderOfArrival(t *testing.T) {
	b := &broker{}
	w := &script{}
	l := newListener(t, w)
	var want []string
	var all []*task
	for i := range 50 {
		id := strconv.Itoa(i)
		want = append(want, id)
		all = append(all, l.accept(t.Context(), b, delivered(b, uint64(i+1), id)))
	}
	for _, one := range all {
		one.cancel()
	}
	if diff := cmp.Diff(want, w.begun); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
