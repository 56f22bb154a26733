package listen

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
)

// a and b are one change in two formats; a comes a moment before b and takes longer.
func TestBothFormats(t *testing.T) {
	change, none := Description{Key: "k", Pending: true}, Description{Key: "k"}
	tagged, deferred := Verdict{Outcome: apply.Tagged}, Verdict{Outcome: apply.Deferred}
	for _, tt := range []struct {
		name       string
		a, b       Description
		first      Verdict
		refuses    error
		want       []string
		worked     []string
		duplicates int64
	}{
		{"tagged", change, change, tagged, nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"gone", change, change, Verdict{Outcome: apply.Gone}, nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"ignored both", none, none, Verdict{Outcome: apply.Ignored}, nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"the second has nothing to do", change, none, tagged, nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"only the second has something to do", none, change, Verdict{Outcome: apply.Ignored}, nil, []string{"ack 1", "ack 2"}, []string{"a", "b"}, 0},
		{"the first waits in the broker", change, change, deferred, nil, []string{"publish to tagger.delay.15s", "confirmed", "ack 1", "ack 2"}, []string{"a"}, 1},
		{"rejected", change, change, Verdict{Outcome: apply.Rejected}, nil, []string{"publish to tagger.rejected", "confirmed", "ack 1", "ack 2"}, []string{"a"}, 1},
		{"the first goes back", change, change, deferred, errors.New("full"), []string{"publish to tagger.delay.15s", "give back 1", "ack 2"}, []string{"a", "b"}, 0},
		{"nothing works", change, change, Verdict{Fault: errors.New("401"), NothingWorks: true}, nil, []string{"give back 1", "ack 2"}, []string{"a", "b"}, 0},
		{"no key", Description{Pending: true}, Description{Pending: true}, tagged, nil, []string{"ack 2", "ack 1"}, []string{"b", "a"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{refuses: tt.refuses}
				w := &script{
					describe: map[string]Description{"a": tt.a, "b": tt.b}, verdicts: map[string]Verdict{"a": tt.first, "b": tagged},
					takes: map[string]time.Duration{"a": 5 * time.Second},
				}
				l := newListener(t, w)
				go l.handle(t.Context(), b, delivery(b, 1, "a"))
				synctest.Wait()
				l.handle(t.Context(), b, delivery(b, 2, "b"))
				time.Sleep(time.Minute) // of the bubble
				if diff := cmp.Diff(tt.want, b.notes()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.worked, w.worked); diff != "" {
					t.Errorf("worked on (-want +got):\n%s", diff)
				}
				if n := l.counts.duplicates.Load(); n != tt.duplicates {
					t.Errorf("%d duplicates", n)
				}
			})
		})
	}
}

// A message that comes again is worked on again, for nobody knows how far it was; and while it waits, so is none of its format's twins.
func TestTheSameMessageAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		change := Description{Key: "k", Pending: true}
		w := &script{
			describe: map[string]Description{"a": change, "b": change},
			verdicts: map[string]Verdict{"a": {Outcome: apply.Deferred}, "b": {Outcome: apply.Tagged}},
		}
		l := newListener(t, w)
		l.handle(t.Context(), b, delivery(b, 1, "a"))
		l.handle(t.Context(), b, delivery(b, 2, "a"))
		l.handle(t.Context(), b, delivery(b, 3, "b"))
		time.Sleep(recentFor)
		l.handle(t.Context(), b, delivery(b, 4, "b"))
		if diff := cmp.Diff([]string{"a", "a", "b"}, w.worked); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	r, now := newRecent(), time.Now()
	for i := range 3 * maxRecent {
		c, first := r.claim(fmt.Sprint(i), "e", true, now)
		if !first {
			t.Fatal(i)
		}
		c.finish(i%3 > 0, true)
	}
	if len(r.changes) > maxRecent || len(r.order) > maxRecent {
		t.Errorf("%d changes, %d in order", len(r.changes), len(r.order))
	}
	r.claim("new", "e", true, now.Add(recentFor))
	if len(r.changes) != 1 || len(r.order) != 1 {
		t.Errorf("%d changes, %d in order after their time", len(r.changes), len(r.order))
	}
}
