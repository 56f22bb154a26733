package listen

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// a and b report one change in two formats; a arrives just before b and takes longer.
func TestBothFormats(t *testing.T) {
	change, none := delivery.Plan{Key: "k", Pending: true}, delivery.Plan{Key: "k"}
	tagged, deferred := decided(apply.Tagged), decided(apply.Deferred)
	for _, tt := range []struct {
		name       string
		a, b       delivery.Plan
		first      delivery.Decision
		refuses    error
		want       []string
		worked     []string
		duplicates int64
	}{
		{"tagged", change, change, tagged, nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"gone", change, change, decided(apply.Gone), nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"ignored both", none, none, decided(apply.Ignored), nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"the second has nothing to do", change, none, tagged, nil, []string{"ack 1", "ack 2"}, []string{"a"}, 1},
		{"only the second has something to do", none, change, decided(apply.Ignored), nil, []string{"ack 1", "ack 2"},
			[]string{"a", "b"}, 0},
		{"the first waits in the broker", change, change, deferred, nil, []string{"publish to tagger.delay.15s", "confirmed",
			"ack 1", "ack 2"}, []string{"a"}, 1},
		{"rejected", change, change, decided(apply.Rejected), nil, []string{"publish to tagger.rejected", "confirmed",
			"ack 1", "ack 2"}, []string{"a"}, 1},
		{"the first is requeued", change, change, deferred, errors.New("full"),
			[]string{"publish to tagger.delay.15s", "requeue 1", "ack 2"}, []string{"a", "b"}, 0},
		{"a fault of every message", change, change, faulty(apply.Deferred, errors.New("401"), fault.Everything), nil,
			[]string{"requeue 1", "ack 2"}, []string{"a", "b"}, 0},
		{"no key", delivery.Plan{Pending: true}, delivery.Plan{Pending: true}, tagged, nil, []string{"ack 2", "ack 1"},
			[]string{"b", "a"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &broker{refuses: tt.refuses}
				w := &script{
					plans:     map[string]delivery.Plan{"a": tt.a, "b": tt.b},
					decisions: map[string]delivery.Decision{"a": tt.first, "b": tagged},
					takes:     map[string]time.Duration{"a": 5 * time.Second},
				}
				l := newListener(t, w)
				go l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
				synctest.Wait()
				l.accept(t.Context(), b, delivered(b, 2, "b")).finish()
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

// A redelivered message is handled again, because its progress is unknown. While it waits, the same change in the other
// format is not handled.
func TestRedelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		change := delivery.Plan{Key: "k", Pending: true}
		w := &script{
			plans:     map[string]delivery.Plan{"a": change, "b": change},
			decisions: map[string]delivery.Decision{"a": decided(apply.Deferred), "b": decided(apply.Tagged)},
		}
		l := newListener(t, w)
		l.accept(t.Context(), b, delivered(b, 1, "a")).finish()
		l.accept(t.Context(), b, delivered(b, 2, "a")).finish()
		l.accept(t.Context(), b, delivered(b, 3, "b")).finish()
		time.Sleep(recentFor)
		l.accept(t.Context(), b, delivered(b, 4, "b")).finish()
		if diff := cmp.Diff([]string{"a", "a", "b"}, w.worked); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	r, now := newRecent(), time.Now()
	for i := range 3 * maxRecent {
		c, first := r.claim(strconv.Itoa(i), "e", true, now)
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
