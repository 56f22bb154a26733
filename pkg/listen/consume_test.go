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
)

// A message is acknowledged after its outcome is known, and after the broker has confirmed that another queue has it.
func TestSettle(t *testing.T) {
	refused := errors.New("credentials refused")
	for _, tt := range []struct {
		name    string
		verdict Verdict
		refuses error
		want    []string
	}{
		{"tagged", Verdict{Outcome: apply.Tagged}, nil, []string{"ack 1"}},
		{"gone", Verdict{Outcome: apply.Gone}, nil, []string{"ack 1"}},
		{"unrecognised", Verdict{Outcome: apply.Unrecognised}, nil, []string{"ack 1"}},
		{"deferred", Verdict{Outcome: apply.Deferred, Delay: 20 * time.Second}, nil, []string{"publish to tagger.delay.30s", "confirmed", "ack 1"}},
		{"rejected", Verdict{Outcome: apply.Rejected}, nil, []string{"publish to tagger.rejected", "confirmed", "ack 1"}},
		{"deferred, not confirmed", Verdict{Outcome: apply.Deferred}, errors.New("full"), []string{"publish to tagger.delay.15s", "give back 1"}},
		{"rejected, not confirmed", Verdict{Outcome: apply.Rejected}, errors.New("full"), []string{"publish to tagger.rejected", "give back 1"}},
		{"nothing works", Verdict{Outcome: apply.Deferred, Fault: refused, NothingWorks: true}, nil, []string{"give back 1"}},
		{"nothing works, and never will", Verdict{Outcome: apply.Rejected, Fault: refused, NothingWorks: true}, nil, []string{"give back 1"}},
		{"this one does not work", Verdict{Outcome: apply.Deferred, Fault: refused}, nil, []string{"publish to tagger.delay.15s", "confirmed", "ack 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{refuses: tt.refuses, takes: time.Second}
				l := newListener(t, &script{verdicts: map[string]Verdict{"a": tt.verdict}})
				l.handle(t.Context(), b, delivery(b, 1, "a"))
				if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A full delay queue keeps nothing out of the others, and so holds nothing up. Only when all are full is nothing taken for a while.
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
		{"the next longer one takes it", all[6:7], []string{"publish to tagger.delay.15m", "publish to tagger.delay.30m", "confirmed", "ack 1"}, false},
		{
			"no longer one does", all[6:],
			[]string{"publish to tagger.delay.15m", "publish to tagger.delay.30m", "publish to tagger.delay.1h", "publish to tagger.delay.8m", "confirmed", "ack 1"}, false,
		},
		{"none does", all, []string{
			"publish to tagger.delay.15m", "publish to tagger.delay.30m", "publish to tagger.delay.1h", "publish to tagger.delay.8m", "publish to tagger.delay.4m",
			"publish to tagger.delay.2m", "publish to tagger.delay.1m", "publish to tagger.delay.30s", "publish to tagger.delay.15s", "give back 1",
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &broker{full: tt.full}
			l := newListener(t, &script{verdicts: map[string]Verdict{"a": {Outcome: apply.Deferred, Delay: 10 * time.Minute}}})
			l.handle(t.Context(), b, delivery(b, 1, "a"))
			if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			select {
			case <-l.faults.broken():
				if !tt.broken || !errors.Is(l.faults.last(), errNotTaken) {
					t.Errorf("broken: %v", l.faults.last())
				}
			default:
				if tt.broken {
					t.Error("not broken")
				}
			}
		})
	}
}

// panicking is a worker that is broken where it is told to be.
type panicking struct{ describes, works bool }

func (p panicking) Describe(context.Context, Message) Description {
	if p.describes {
		panic("boom")
	}
	return Description{Key: "a", Pending: true}
}

func (p panicking) Work(context.Context, Message) Verdict {
	if p.works {
		panic("boom")
	}
	return Verdict{Outcome: apply.Tagged}
}

// A message that makes a worker panic waits, and is rejected in the end. It keeps no other report of its change waiting.
func TestPanic(t *testing.T) {
	for _, tt := range []struct {
		worker panicking
		second []string
	}{
		{panicking{describes: true}, []string{"publish to a delay queue", "confirmed", "ack 2"}},
		{panicking{works: true}, []string{"ack 2"}}, // a duplicate of what will come back
	} {
		t.Run(fmt.Sprintf("%+v", tt.worker), func(t *testing.T) {
			b := &broker{}
			l := newListener(t, tt.worker)
			l.handle(t.Context(), b, delivery(b, 1, "a"))
			l.handle(t.Context(), b, delivery(b, 2, "b"))
			old := delivery(b, 3, "a")
			old.Headers = amqp.Table{headerSentAt: time.Now().Add(-25 * time.Hour).Format(time.RFC3339)}
			l.handle(t.Context(), b, old)
			got := b.notes()
			for i, note := range got {
				if strings.Contains(note, ".delay.") { // which one is left to chance
					got[i] = "publish to a delay queue"
				}
			}
			want := slices.Concat([]string{"publish to a delay queue", "confirmed", "ack 1"}, tt.second, []string{"publish to tagger.rejected", "confirmed", "ack 3"})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if reason, _ := b.sent[len(b.sent)-1].Headers[headerReason].(string); !strings.Contains(reason, "panic; see the log") {
				t.Errorf("rejected for %q", reason)
			}
		})
	}
}

// A confirm that does not come is none.
func TestSettleWithoutAConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{takes: time.Hour}
		l := newListener(t, &script{verdicts: map[string]Verdict{"a": {Outcome: apply.Deferred}}})
		l.handle(t.Context(), b, delivery(b, 1, "a"))
		if diff := cmp.Diff([]string{"publish to tagger.delay.15s", "give back 1"}, b.notes()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if n := l.counts.unsent.Load(); n != 1 {
			t.Errorf("unsent %d", n)
		}
	})
}

// The end of the listener does not take the message from one who is at it.
func TestSettleAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{takes: time.Second}
		l := newListener(t, &script{verdicts: map[string]Verdict{"a": {Outcome: apply.Rejected}}, takes: map[string]time.Duration{"a": time.Second}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.handle(ctx, b, delivery(b, 1, "a"))
		if diff := cmp.Diff([]string{"publish to tagger.rejected", "confirmed", "ack 1"}, b.notes()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestFaults(t *testing.T) {
	refused := errors.New("403")
	one := Verdict{Outcome: apply.Deferred, Fault: refused}
	project := Verdict{Outcome: apply.Deferred, Fault: refused, OneProject: true}
	good := Verdict{Outcome: apply.Tagged, Reached: true}
	idle := Verdict{Outcome: apply.Ignored}
	for _, tt := range []struct {
		name     string
		verdicts []Verdict
		broken   bool
	}{
		{"one", []Verdict{one}, false},
		{"some, with others that work between them", []Verdict{one, one, one, one, good, one, one, one, one}, false},
		{"many in a row", []Verdict{one, one, one, one, one}, true},
		{"many of a project that refuses the login", []Verdict{project, project, project, project, project, project}, false},
		{"what is ignored proves nothing", []Verdict{one, one, one, idle, one, one}, true},
		{"everyone's", []Verdict{good, {Outcome: apply.Deferred, Fault: refused, NothingWorks: true}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &script{verdicts: map[string]Verdict{}}
			l := newListener(t, w)
			for _, v := range tt.verdicts {
				w.verdicts["a"] = v
				l.work(t.Context(), Message{Events: readEvent(t, "a"), SentAt: time.Now()})
			}
			select {
			case <-l.faults.broken():
				if !tt.broken || !errors.Is(l.faults.last(), refused) {
					t.Errorf("broken: %v", l.faults.last())
				}
			default:
				if tt.broken {
					t.Error("not broken")
				}
			}
		})
	}
}

// What the credentials may not touch is given up in the end, and seen by a person, but only while they may touch anything.
func TestGivingUpOnOne(t *testing.T) {
	fault := Verdict{Outcome: apply.Deferred, Fault: errors.New("403 for this server")}
	l := newListener(t, &script{verdicts: map[string]Verdict{"a": fault}})
	old := Message{Events: readEvent(t, "a"), SentAt: time.Now().Add(-25 * time.Hour)}
	if v := l.work(t.Context(), old); v.Outcome != apply.Rejected || !strings.Contains(v.Reason, "given up after 24h0m0s: 403") {
		t.Errorf("%+v", v)
	}
	project := Verdict{Outcome: apply.Deferred, Fault: errors.New("401 in this project"), OneProject: true}
	if v := newListener(t, &script{verdicts: map[string]Verdict{"a": project}}).work(t.Context(), old); v.Outcome != apply.Rejected {
		t.Errorf("one project's: %+v", v)
	}
	for range manyInRow {
		l.work(t.Context(), Message{Events: readEvent(t, "a"), SentAt: time.Now()})
	}
	if v := l.work(t.Context(), old); v.Outcome != apply.Deferred {
		t.Errorf("while nothing works: %+v", v)
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
