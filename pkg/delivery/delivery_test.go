package delivery_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// script plans with real rules. The outcome of an event is the part of its id before the first dot.
type script struct {
	*tagger.Tagger
	takes time.Duration

	mu      sync.Mutex
	planned map[string]int
	// observed counts the results that the observer was called with, by outcome.
	observed map[apply.Outcome]int
	seen     []string // "id wait"
	running  atomic.Int32
	most     atomic.Int32
}

func newScript(t *testing.T) *script {
	t.Helper()
	set, err := rules.Compile([]byte("rules: [{name: n, on: [server.created, server.resized], set: {a: b}}]"),
		rules.Options{Name: "R", API: "openstack"})
	if err != nil {
		t.Fatal(err)
	}
	o := tagger.Options{Registry: lifecycle.New(lifecycle.Options{}), Rules: set,
		Apply: apply.Options{GiveUpAfter: 24 * time.Hour}}
	s := &script{planned: map[string]int{}, observed: map[apply.Outcome]int{}}
	o.Observe = func(r *tagger.Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.observed[r.Outcome]++
	}
	s.Tagger = tagger.New(o)
	return s
}

func (s *script) Plan(ctx context.Context, e event.Event) []*tagger.Plan {
	s.mu.Lock()
	s.planned[e.ID()]++
	s.mu.Unlock()
	switch word(e) {
	case "unplannable":
		panic("boom")
	case "endless":
		time.Sleep(time.Hour) // of a bubble
	}
	return s.Tagger.Plan(ctx, e)
}

func word(e event.Event) string {
	w, _, _ := strings.Cut(e.ID(), ".")
	return w
}

func (s *script) Apply(ctx context.Context, p *tagger.Plan, d tagger.Delivery) *tagger.Result {
	if !p.Pending() {
		return s.Tagger.Apply(ctx, p, d)
	}
	s.most.Store(max(s.most.Load(), s.running.Add(1)))
	defer s.running.Add(-1)
	s.mu.Lock()
	s.seen = append(s.seen, fmt.Sprintf("%s %s", d.Event.ID(), d.Wait.Round(time.Millisecond)))
	s.mu.Unlock()
	if s.takes > 0 {
		time.Sleep(s.takes) // of a bubble
	}
	r := &tagger.Result{Plan: *p}
	r.Decision = &apply.Decision{Outcome: apply.Outcome(word(d.Event)), Reason: "because"}
	faulty := func(text string, scope fault.Scope) {
		r.Decision = &apply.Decision{Outcome: apply.Deferred, Reason: text, Delay: time.Minute,
			Fault: apply.Fault{Err: errors.New(text), Scope: scope}}
	}
	switch word(d.Event) {
	case "panic":
		panic("boom")
	case "absent":
		d.Progress.Pausing("not found yet", d.Wait)
		d.Progress.Pausing("not found yet", d.Wait)
		time.Sleep(d.Wait) // of a bubble
		r.Decision.Outcome = apply.Deferred
	case "forbidden":
		r.Calls = 1
		faulty("403 for this server", fault.Resource)
	case "foreign":
		faulty("401 in this project", fault.Project)
	case "locked-out":
		faulty("the password is refused", fault.Everything)
	case "tagged":
		r.Calls = 2
	case "deferred":
		r.Delay = time.Minute
	}
	return r
}

const server = "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// created is an event about its own server. resized is one about the server that all share, at this minute after noon.
func created(id string) event.Event {
	sum := sha256.Sum256([]byte(id))
	return newEvent(id, "server.created", fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012x", sum[:6]), noon)
}

func resized(id string, minute int) event.Event {
	return newEvent(id, "server.resized", server, noon.Add(time.Duration(minute)*time.Minute))
}

func newEvent(id, action, subject string, at time.Time) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource("//test")
	e.SetType("io.github.cloudtagger." + action)
	e.SetSubject(subject)
	e.SetTime(at)
	return e
}

func newProcessor(s *script, concurrency, tolerance int) *delivery.Processor {
	return delivery.New(delivery.Options{
		Tagger: s, Concurrency: concurrency, GiveUpAfter: 24 * time.Hour, Tolerance: tolerance,
		Log: slog.New(slog.DiscardHandler),
	})
}

func message(events ...event.Event) delivery.Message {
	return delivery.Message{ID: "m", Events: events, SentAt: time.Now(), ReceivedAt: time.Now(), Receives: 1,
		Wait: 5 * time.Second}
}

func outcomes(all []delivery.Decision) []string {
	var words []string
	for _, d := range all {
		words = append(words, strings.TrimSpace(string(d.Outcome)+" "+string(d.Fault.Scope)))
	}
	return words
}

// Each event is planned once, however often it is tried. A result that needs no call is final.
func TestPlansOnce(t *testing.T) {
	s := newScript(t)
	p := newProcessor(s, 10, 1)
	other := created("other")
	other.SetType("com.example.other")
	d := p.Process(t.Context(), []delivery.Message{
		message(created("deferred.1"), created("tagged.1")), message(other), {Err: errors.New("is not JSON")},
		message(created("unplannable.1")),
	})
	if diff := cmp.Diff([]string{"deferred", "unrecognised", "rejected", "deferred"}, outcomes(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := map[string]int{"deferred.1": 1, "tagged.1": 1, "other": 1, "unplannable.1": 1}
	if diff := cmp.Diff(want, s.planned); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	if d[2].EventID != "" || d[2].Reason != "is not JSON" {
		t.Errorf("%+v", d[2])
	}
	if d[0].EventID != "deferred.1" || len(d[0].Results) != 2 {
		t.Errorf("%+v", d[0])
	}
	if !d[0].Reached || d[1].Reached {
		t.Errorf("reached: %t, %t", d[0].Reached, d[1].Reached)
	}
	if d[3].Panics != 1 || !strings.Contains(d[3].Reason, "panic; see the log") {
		t.Errorf("%+v", d[3])
	}
}

// A listener needs to know before the work whether two messages report the same change, and whether there is work.
func TestPlan(t *testing.T) {
	p := newProcessor(newScript(t), 10, 1)
	notification := func(action string) event.Event {
		return ingress.Decode(fmt.Appendf(nil,
			`{"message_id": "m-1", "publisher_id": "compute.host", "event_type": "compute.instance.%s.end",
			"timestamp": "2026-11-25 12:00:00.000000", "_context_request_id": "req-1", "payload": {"instance_id": %q}}`, action,
			server)).Records[0].Events[0]
	}
	one := notification("create")
	off := notification("power_off") // which no rule is for
	for _, tt := range []struct {
		name    string
		m       delivery.Message
		key     string
		pending bool
	}{
		{"one", message(one), "req-1/" + server + "/server.created", true},
		{"two", message(one, off), "", true},
		{"nothing to do", message(off), "req-1/" + server + "/server.stopped", false},
		{"no request", message(created("tagged.1")), "", true},
		{"a part of it unreadable", delivery.Message{Events: []event.Event{one}, Err: errors.New("x")}, "", true},
		{"unreadable", delivery.Message{Err: errors.New("x")}, "", false},
	} {
		if got := p.Plan(t.Context(), tt.m); got.Key != tt.key || got.Pending != tt.pending {
			t.Errorf("%s: %q %v", tt.name, got.Key, got.Pending)
		}
	}
}

// All events of a message are tried once before one of them waits. A panic fails one change only.
func TestSeveralEvents(t *testing.T) {
	s := newScript(t)
	d := newProcessor(s, 10, 1).Process(t.Context(),
		[]delivery.Message{message(created("deferred.1"), created("panic.1"), created("tagged.1"))})
	if d[0].Outcome != apply.Deferred || d[0].Panics != 1 || len(d[0].Results) != 3 {
		t.Errorf("%+v", d[0])
	}
	for i, seen := range s.seen {
		if i < 3 != strings.HasSuffix(seen, " 0s") {
			t.Errorf("%d: %s", i, seen)
		}
	}
	if len(s.seen) != 5 {
		t.Errorf("tried %q", s.seen)
	}
}

// The changes of one resource run in the order of their times, whatever their order in the batch.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = time.Second
		var batch []delivery.Message
		for _, minute := range []int{5, 1, 4, 2, 3} {
			batch = append(batch, message(resized(fmt.Sprintf("tagged.%d", minute), minute)))
		}
		batch = append(batch, message(created("tagged.a"), created("tagged.b")))
		newProcessor(s, 3, 1).Process(t.Context(), batch)
		if s.most.Load() != 3 {
			t.Errorf("%d at a time, want 3", s.most.Load())
		}
		var resizes []string
		for _, seen := range s.seen {
			if id, _, _ := strings.Cut(seen, " "); id != "tagged.a" && id != "tagged.b" {
				resizes = append(resizes, id)
			}
		}
		if diff := cmp.Diff([]string{"tagged.1", "tagged.2", "tagged.3", "tagged.4", "tagged.5"}, resizes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Consecutive calls process the changes of one resource one after the other, too.
func TestOrderOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = time.Second
		p := newProcessor(s, 10, 1)
		var working sync.WaitGroup
		for _, minute := range []int{2, 9, 3} {
			finish := p.Begin(t.Context(),
				[]delivery.Plan{p.Plan(t.Context(), message(resized(fmt.Sprintf("tagged.%d", minute), minute)))})
			working.Go(func() { finish() })
		}
		working.Wait()
		if diff := cmp.Diff([]string{"tagged.2 5s", "tagged.3 5s", "tagged.9 5s"}, s.seen); diff != "" || s.most.Load() != 1 {
			t.Errorf("%d at a time (-want +got):\n%s", s.most.Load(), diff)
		}
	})
}

// Changes that arrive one by one at the same time are sorted, and so are those that wait for a slot.
func TestOrderOfArrivals(t *testing.T) {
	for _, tt := range []struct {
		gather time.Duration
		want   []string
	}{
		{0, []string{"tagged.9", "tagged.2", "tagged.3"}},
		{20 * time.Millisecond, []string{"tagged.2", "tagged.3", "tagged.9"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			s.takes = time.Second
			p := delivery.New(delivery.Options{Tagger: s, Concurrency: 10, GiveUpAfter: time.Hour, Tolerance: 5,
				Gather: tt.gather, Log: slog.New(slog.DiscardHandler)})
			var working sync.WaitGroup
			for _, minute := range []int{9, 3, 2} {
				finish := p.Begin(t.Context(),
					[]delivery.Plan{p.Plan(t.Context(), message(resized(fmt.Sprintf("tagged.%d", minute), minute)))})
				working.Go(func() { finish() })
				time.Sleep(time.Millisecond)
			}
			working.Wait()
			var ids []string
			for _, seen := range s.seen {
				id, _, _ := strings.Cut(seen, " ")
				ids = append(ids, id)
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" {
				t.Errorf("gathering for %s (-want +got):\n%s", tt.gather, diff)
			}
		})
	}
}

// After a message that must be redelivered, the rest of its group is deferred unprocessed. Other groups continue.
func TestGroups(t *testing.T) {
	s := newScript(t)
	in := func(group string, e event.Event) delivery.Message {
		m := message(e)
		m.Group = group
		return m
	}
	d := newProcessor(s, 10, 1).Process(t.Context(), []delivery.Message{
		in("a", created("tagged.1")), in("a", created("deferred.1")), in("b", created("tagged.2")),
		in("a", created("tagged.3")), in("b", created("rejected.1")),
		in("b", created("tagged.4")), message(created("tagged.5")),
	})
	wanted := []string{"tagged", "deferred", "tagged", "deferred", "rejected", "tagged", "tagged"}
	if diff := cmp.Diff(wanted, outcomes(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(d[3].Reason, "an earlier message of its group") || d[3].Delay != 0 ||
		slices.ContainsFunc(s.seen, func(seen string) bool { return strings.HasPrefix(seen, "tagged.3") }) {
		t.Errorf("%+v; tried %q", d[3], s.seen)
	}
}

// Within a group, the order is the batch's, even if event times differ.
func TestGroupOrder(t *testing.T) {
	s := newScript(t)
	var batch []delivery.Message
	for _, minute := range []int{3, 1, 2} {
		m := message(resized(fmt.Sprintf("tagged.%d", minute), minute))
		m.Group = "g"
		batch = append(batch, m)
	}
	newProcessor(s, 10, 1).Process(t.Context(), batch)
	if diff := cmp.Diff([]string{"tagged.3 5s", "tagged.1 5s", "tagged.2 5s"}, s.seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A message that cannot be started in time is deferred with that reason.
func TestNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = 20 * time.Second
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("the invocation ends"))
		defer cancel()
		d := newProcessor(s, 1, 1).Process(ctx, []delivery.Message{message(created("tagged.1")), message(created("tagged.2")),
			message(created("tagged.3"))})
		if diff := cmp.Diff([]string{"tagged", "tagged", "deferred"}, outcomes(d)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if d[2].Reason != "deferred: not started in time: the invocation ends" || d[2].Delay != 0 || len(s.seen) != 2 {
			t.Errorf("%+v", d[2])
		}
	})
}

// The scope of a fault depends on the messages of the call and on those in a row before it.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name      string
		tolerance int
		calls     [][]string // the events of each call
		want      []string   // of the last
	}{
		{"a server that may not be touched, among others", 1, [][]string{{"tagged.1", "rejected.1", "forbidden.1"}},
			[]string{"tagged", "rejected", "deferred resource"}},
		{"nothing was reached", 1, [][]string{{"rejected.1", "forbidden.1", "forbidden.2"}},
			[]string{"rejected", "deferred everything", "deferred everything"}},
		{"a project never stops the others", 1, [][]string{{"foreign.1", "rejected.1"}},
			[]string{"deferred project", "rejected"}},
		{"the password", 5, [][]string{{"tagged.1", "locked-out.1"}}, []string{"tagged", "deferred everything"}},
		{"one of five", 5, [][]string{{"forbidden.1"}}, []string{"deferred resource"}},
		{"five in a row", 5, [][]string{{"forbidden.1"}, {"forbidden.2"}, {"forbidden.3"}, {"forbidden.4"}, {"forbidden.5"}},
			[]string{"deferred everything"}},
		{"and the next", 2, [][]string{{"forbidden.1"}, {"forbidden.2"}, {"forbidden.3"}}, []string{"deferred everything"}},
		{"one that works between them", 3, [][]string{{"forbidden.1"}, {"forbidden.2"}, {"tagged.1"}, {"forbidden.3"},
			{"forbidden.4"}}, []string{"deferred resource"}},
		{"what needs no call proves nothing", 3, [][]string{{"forbidden.1"}, {"forbidden.2"}, {"gone.1"}, {"forbidden.3"}},
			[]string{"deferred everything"}},
		{"projects do not count", 2, [][]string{{"foreign.1"}, {"foreign.2"}, {"foreign.3"}}, []string{"deferred project"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProcessor(newScript(t), 10, tt.tolerance)
			var last []delivery.Decision
			for _, ids := range tt.calls {
				var batch []delivery.Message
				for _, id := range ids {
					batch = append(batch, message(created(id)))
				}
				last = p.Process(t.Context(), batch)
			}
			if diff := cmp.Diff(tt.want, outcomes(last)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			stops := slices.ContainsFunc(tt.want, func(w string) bool { return strings.HasSuffix(w, " everything") })
			if err := delivery.StopsEverything(last); (err != nil) != stops {
				t.Errorf("stops everything: %v", err)
			}
		})
	}
}

// A message that the credentials may not change is given up in the end, so that an operator sees it, but only while
// other messages succeed.
func TestGivingUp(t *testing.T) {
	old := func(id string) delivery.Message {
		m := message(created(id))
		m.SentAt = time.Now().Add(-25 * time.Hour)
		return m
	}
	timeless := message(created("foreign.9"))
	timeless.SentAt = time.Time{}
	for _, tt := range []struct {
		name  string
		batch []delivery.Message
		want  []string
	}{
		{"a server", []delivery.Message{message(created("tagged.1")), old("forbidden.1")}, []string{"tagged", "rejected"}},
		{"a project", []delivery.Message{old("foreign.1")}, []string{"rejected"}},
		{"while nothing works", []delivery.Message{old("forbidden.1")}, []string{"deferred everything"}},
		{"beside one that stops everything", []delivery.Message{old("foreign.1"), message(created("locked-out.1"))},
			[]string{"deferred project", "deferred everything"}},
		{"of unknown age", []delivery.Message{timeless}, []string{"deferred project"}},
	} {
		s := newScript(t)
		d := newProcessor(s, 10, 1).Process(t.Context(), tt.batch)
		if diff := cmp.Diff(tt.want, outcomes(d)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		rejected := 0
		for _, o := range tt.want {
			if o == "rejected" {
				rejected++
			}
		}
		if s.observed[apply.Rejected] != rejected {
			t.Errorf("%s: %d are observed as rejected, want %d", tt.name, s.observed[apply.Rejected], rejected)
		}
		for _, one := range d {
			if one.Outcome == apply.Rejected && !strings.HasPrefix(one.Reason, "given up after 24h0m0s: 40") {
				t.Errorf("%s: %s", tt.name, one.Reason)
			}
		}
	}
}

// A fault outranks everything else, and a wider scope a narrower one. After faults come outcomes that are not final.
func TestWorst(t *testing.T) {
	failure := func(scope fault.Scope) apply.Decision {
		return apply.Decision{Outcome: apply.Deferred, Fault: apply.Fault{Err: errors.New("x"), Scope: scope}}
	}
	plain := func(o apply.Outcome, delay time.Duration) apply.Decision {
		return apply.Decision{Outcome: o, Delay: delay}
	}
	for _, tt := range []struct {
		all  []apply.Decision
		want int
	}{
		{[]apply.Decision{plain(apply.Tagged, 0)}, 0},
		{[]apply.Decision{plain(apply.Tagged, 0), plain(apply.Rejected, 0), plain(apply.Gone, 0)}, 1},
		{[]apply.Decision{plain(apply.Rejected, 0), plain(apply.Deferred, 0)}, 1},
		{[]apply.Decision{plain(apply.Deferred, time.Minute), plain(apply.Deferred, time.Hour), plain(apply.Deferred, 0)}, 1},
		{[]apply.Decision{plain(apply.Deferred, time.Hour), failure(fault.Resource), plain(apply.Rejected, 0)}, 1},
		{[]apply.Decision{failure(fault.Resource), failure(fault.Everything), failure(fault.Project)}, 1},
	} {
		if got := delivery.Worst(tt.all); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.all, got, tt.want)
		}
	}
}

// Changes that wait for their servers do not block others, up to ten times the concurrency.
func TestAbsentServers(t *testing.T) {
	for _, tt := range []struct {
		absent int
		after  time.Duration // is the good one begun
	}{{10, 0}, {11, 0}, {50, 0}} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			p := newProcessor(s, 1, 1)
			begun := time.Now()
			var working sync.WaitGroup
			for i := range tt.absent {
				finish := p.Begin(t.Context(),
					[]delivery.Plan{p.Plan(t.Context(), message(created(fmt.Sprintf("absent.%d", i))))})
				working.Go(func() { finish() })
			}
			p.Process(t.Context(), []delivery.Message{message(created("tagged.1"))})
			if d := time.Since(begun); d != tt.after {
				t.Errorf("%d absent: done after %s, want %s", tt.absent, d, tt.after)
			}
			working.Wait()
			begun = time.Now()
			s.takes = time.Second
			s.most.Store(0)
			p.Process(t.Context(), []delivery.Message{message(created("tagged.2")), message(created("tagged.3"))})
			if time.Since(begun) != 2*time.Second || s.most.Load() != 1 {
				t.Errorf("afterwards %d at a time, %s", s.most.Load(), time.Since(begun))
			}
		})
	}
}

// A message whose planning does not end delays neither other messages nor the response.
func TestEndlessPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		begun := time.Now()
		d := newProcessor(s, 2, 1).Process(t.Context(), []delivery.Message{
			message(created("endless.1")), message(created("tagged.1")), message(created("tagged.2"), created("endless.2")),
		})
		if diff := cmp.Diff([]string{"deferred", "tagged", "deferred"}, outcomes(d)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("the decisions took %s", took)
		}
		if d[0].Delay == 0 || !strings.Contains(d[0].Reason, "planning did not end in time") || d[0].Panics != 0 {
			t.Errorf("%+v", d[0])
		}
		time.Sleep(2 * time.Hour) // so that the planning ends with the bubble
	})
}

// What makes no call does not wait for the calls of other messages, not even if the time ends during these.
func TestImmediateBesideASlowOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = 10 * time.Second
		unknown := created("other")
		unknown.SetType("com.example.other")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		d := newProcessor(s, 10, 1).Process(ctx, []delivery.Message{
			message(created("tagged.1")), message(unknown), message(created("unplannable.1")),
		})
		if diff := cmp.Diff([]string{"tagged", "unrecognised", "deferred"}, outcomes(d)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if d[2].Panics != 1 {
			t.Errorf("%+v", d[2])
		}
	})
}

// A change that needs no call does not wait for those that do.
func TestImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = time.Minute
		p := newProcessor(s, 1, 1)
		finish := p.Begin(t.Context(), []delivery.Plan{p.Plan(t.Context(), message(created("tagged.1")))})
		other := created("other")
		other.SetType("com.example.other")
		begun := time.Now()
		d := p.Process(t.Context(), []delivery.Message{message(other), message(created("unplannable.1"))})
		if diff := cmp.Diff([]string{"unrecognised", "deferred"}, outcomes(d)); diff != "" || time.Since(begun) != 0 {
			t.Errorf("after %s (-want +got):\n%s", time.Since(begun), diff)
		}
		finish()
	})
}

// The plans of waiting messages use a limited amount of memory. Beyond it, large messages are deferred; ordinary events
// always fit.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = time.Minute
		p := newProcessor(s, 5000, 1)
		many := func(name string, n int) delivery.Message {
			events := make([]event.Event, n)
			for i := range events {
				events[i] = created(fmt.Sprintf("tagged.%s-%d", name, i))
			}
			return message(events...)
		}
		first := p.Begin(t.Context(), []delivery.Plan{p.Plan(t.Context(), many("first", 3000))})
		d := p.Process(t.Context(), []delivery.Message{many("second", 3000), message(created("tagged.1"))})
		if diff := cmp.Diff([]string{"deferred", "tagged"}, outcomes(d)); diff != "" ||
			!strings.Contains(d[0].Reason, "too much memory at the moment") || d[0].Delay == 0 {
			t.Errorf("%s (-want +got):\n%s", d[0].Reason, diff)
		}
		first()
		if d := p.Process(t.Context(), []delivery.Message{many("second", 3000)}); d[0].Outcome != apply.Tagged {
			t.Errorf("with room again: %s: %s", d[0].Outcome, d[0].Reason)
		}
		for range 20 { // plans that are not begun, as those of duplicates
			p.Plan(t.Context(), many("duplicate", 3000)).Release()
		}
		if d := p.Process(t.Context(), []delivery.Message{many("fourth", 3000)}); d[0].Outcome != apply.Tagged {
			t.Errorf("after duplicates: %s: %s", d[0].Outcome, d[0].Reason)
		}
		d = p.Process(t.Context(), []delivery.Message{many("third", 6000)})
		if d[0].Outcome != apply.Rejected || !strings.Contains(d[0].Reason, "more than 25165824 bytes of memory") {
			t.Errorf("more than ever fits: %s: %s", d[0].Outcome, d[0].Reason)
		}
	})
}

// An identity is short, whatever the event's id and source, and distinguishes events.
func TestIdentity(t *testing.T) {
	identity := func(source, id string) string {
		e := created(id)
		e.SetSource(source)
		return message(e).Identity()
	}
	if got := identity("//test", "e-1"); got != "//test\ne-1" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("x", 4000)
	one, other, same := identity("//"+long, long+"1"), identity("//"+long, long+"2"), identity("//"+long, long+"1")
	if len(one) > 512 || one == other || one != same {
		t.Errorf("%q, %q, %q", one, other, same)
	}
}

// A message with many changes leaves half of the slots to others.
func TestManyChangesLeavePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.takes = time.Minute
		p := newProcessor(s, 4, 1)
		many := make([]event.Event, 100)
		for i := range many {
			many[i] = created(fmt.Sprintf("tagged.many-%d", i))
		}
		begun := time.Now()
		finish := p.Begin(t.Context(), []delivery.Plan{p.Plan(t.Context(), message(many...))})
		d := p.Process(t.Context(), []delivery.Message{message(created("tagged.1")), message(created("tagged.2"))})
		if diff := cmp.Diff([]string{"tagged", "tagged"}, outcomes(d)); diff != "" || time.Since(begun) != time.Minute {
			t.Errorf("after %s (-want +got):\n%s", time.Since(begun), diff)
		}
		finish()
		if took := time.Since(begun); took != 50*time.Minute {
			t.Errorf("100 changes, two at a time, took %s", took)
		}
	})
}
