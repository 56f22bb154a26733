package listen

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
			[]string{"publish to tagger.delay.15s", "give back 1"}},
		{"rejected, not confirmed", decided(apply.Rejected), errors.New("full"),
			[]string{"publish to tagger.rejected", "give back 1"}},
		{"nothing works", faulty(apply.Deferred, refused, fault.Everything), nil, []string{"give back 1"}},
		{"nothing works, and never will", faulty(apply.Rejected, refused, fault.Everything), nil, []string{"give back 1"}},
		{"this one does not work", faulty(apply.Deferred, refused, fault.Resource), nil,
			[]string{"publish to tagger.delay.15s", "confirmed", "ack 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{refuses: tt.refuses, takes: time.Second}
				l := newListener(t, &script{says: map[string]delivery.Decision{"a": tt.decision}})
				l.take(t.Context(), b, handedOut(b, 1, "a")).finish()
				if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What the broker would not take again is rejected, if need be without its body: it is never handed out round and
// round.
func TestSettleWhatIsTooLarge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		decision delivery.Decision
		want     []string
		reason   string
	}{
		{
			"deferred", delivery.Decision{Decision: apply.Decision{Outcome: apply.Deferred, Reason: "building"}},
			[]string{"publish to tagger.delay.15s", "publish to tagger.rejected", "publish to tagger.rejected", "confirmed",
				"ack 1"}, "it cannot wait (building): ",
		},
		{
			"rejected", delivery.Decision{Decision: apply.Decision{Outcome: apply.Rejected, Reason: "over quota"}},
			[]string{"publish to tagger.rejected", "publish to tagger.rejected", "confirmed", "ack 1"},
			"over quota; its body of ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &broker{largest: 10}
			l := newListener(t, &script{says: map[string]delivery.Decision{"a": tt.decision}})
			l.take(t.Context(), b, handedOut(b, 1, "a")).finish()
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

// A full delay queue keeps nothing out of the others, and so holds nothing up. Only when all are full is nothing taken
// for a while.
func TestSettleWhereDelayQueuesAreFull(t *testing.T) {
	var all []string
	for _, step := range steps() {
		all = append(all, "tagger.delay."+label(step))
	}
	for _, tt := range []struct {
		name   string
		full   []string
		want   []string
		broken bool
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
			"publish to tagger.delay.15s", "give back 1",
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &broker{full: tt.full}
			l := newListener(t, &script{says: map[string]delivery.Decision{"a": {Decision: apply.Decision{Outcome: apply.Deferred, Delay: 10 * time.Minute}}}})
			l.take(t.Context(), b, handedOut(b, 1, "a")).finish()
			if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			select {
			case <-l.breaker.isOpen():
				if !tt.broken || !errors.Is(l.breaker.last(), errNotTaken) {
					t.Errorf("broken: %v", l.breaker.last())
				}
			default:
				if tt.broken {
					t.Error("not broken")
				}
			}
		})
	}
}

// panicking is a processor that panics at a chosen step.
type panicking struct{ plans, works bool }

func (p panicking) Plan(_ context.Context, m delivery.Message) delivery.Planned {
	if p.plans {
		panic("boom")
	}
	return delivery.Planned{Message: m, Key: "a", Pending: true}
}

func (p panicking) Begin(context.Context, []delivery.Planned) func() []delivery.Decision {
	return func() []delivery.Decision {
		if p.works {
			panic("boom")
		}
		return []delivery.Decision{decided(apply.Tagged)}
	}
}

// A message that makes a processor panic waits, and is rejected in the end. It keeps no other report of its change
// waiting.
func TestPanic(t *testing.T) {
	for _, tt := range []struct {
		processor panicking
		second    []string
	}{
		{panicking{plans: true}, []string{"publish to a delay queue", "confirmed", "ack 2"}},
		{panicking{works: true}, []string{"ack 2"}}, // a duplicate of what will come back
	} {
		t.Run(fmt.Sprintf("%+v", tt.processor), func(t *testing.T) {
			b := &broker{}
			l := newListener(t, tt.processor)
			l.take(t.Context(), b, handedOut(b, 1, "a")).finish()
			l.take(t.Context(), b, handedOut(b, 2, "b")).finish()
			old := handedOut(b, 3, "a")
			old.Headers = amqp.Table{headerSentAt: time.Now().Add(-25 * time.Hour).Format(time.RFC3339)}
			l.take(t.Context(), b, old).finish()
			got := b.notes()
			for i, note := range got {
				if strings.Contains(note, ".delay.") { // which one is left to chance
					got[i] = "publish to a delay queue"
				}
			}
			want := slices.Concat([]string{"publish to a delay queue", "confirmed", "ack 1"}, tt.second,
				[]string{"publish to tagger.rejected", "confirmed", "ack 3"})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if reason, _ := b.sent[len(b.sent)-1].Headers[headerReason].(string); !strings.Contains(reason, "panic; see the log") {
				t.Errorf("rejected for %q", reason)
			}
		})
	}
}

// A missing confirm does not count as one.
func TestSettleWithoutAConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{takes: time.Hour}
		l := newListener(t, &script{says: map[string]delivery.Decision{"a": decided(apply.Deferred)}})
		l.take(t.Context(), b, handedOut(b, 1, "a")).finish()
		if diff := cmp.Diff([]string{"publish to tagger.delay.15s", "give back 1"}, b.notes()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if n := l.counts.unsent.Load(); n != 1 {
			t.Errorf("unsent %d", n)
		}
	})
}

// Stopping the listener does not interrupt work on a message.
func TestSettleAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{takes: time.Second}
		l := newListener(t, &script{says: map[string]delivery.Decision{"a": decided(apply.Rejected)},
			takes: map[string]time.Duration{"a": time.Second}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.take(ctx, b, handedOut(b, 1, "a")).finish()
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
		{"a server's", []delivery.Decision{faulty(apply.Deferred, refused, fault.Resource), good}, false, true},
		{"a project's", []delivery.Decision{faulty(apply.Deferred, refused, fault.Project)}, false, false},
		{"everyone's", []delivery.Decision{good, faulty(apply.Deferred, refused, fault.Everything)}, true, true},
		{"what is ignored proves nothing", []delivery.Decision{decided(apply.Ignored)}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &script{says: map[string]delivery.Decision{}}
			l := newListener(t, w)
			for _, d := range tt.decisions {
				w.says["a"] = d
				l.take(t.Context(), &broker{}, handedOut(&broker{}, 1, "a")).finish()
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

// Messages get their places in the order in which they come, whichever goroutine runs first.
func TestPlaces(t *testing.T) {
	b := &broker{}
	w := &script{}
	l := newListener(t, w)
	var want []string
	var all []*taken
	for i := range 50 {
		id := fmt.Sprint(i)
		want = append(want, id)
		all = append(all, l.take(t.Context(), b, handedOut(b, uint64(i+1), id)))
	}
	for _, one := range all {
		one.cancel()
	}
	if diff := cmp.Diff(want, w.begun); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
