package apply_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// at returns a job for an update that many seconds after ten o'clock.
func at(seconds int, p rules.Plan) apply.Job {
	j := job(p)
	j.Change.Time = time.Date(2026, 11, 20, 10, 0, seconds, 0, time.UTC)
	return j
}

// In whatever order changes arrive, the newest decides each key, and an older one still writes the keys that only it
// has.
func TestOlderChangesLeaveNewerKeys(t *testing.T) {
	created := at(0, rules.Plan{Set: m{"env": "dev"}, Add: m{"owner": "alice"}})
	small := at(10, rules.Plan{Set: m{"size": "small"}})
	large := at(20, rules.Plan{Set: m{"size": "large"}, Remove: []string{"stopped-at"}})
	stopped := at(15, rules.Plan{Set: m{"stopped-at": "x", "size": "medium"}})
	want := m{"env": "dev", "owner": "alice", "size": "large"}
	jobs := []apply.Job{created, small, stopped, large}
	permute(len(jobs), func(order []int) {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutServer(simcloud.Server{ID: id})
			for _, i := range order {
				if got := s.applier.Apply(t.Context(), s.servers, jobs[i]); got.Outcome == apply.Deferred ||
					got.Outcome == apply.Rejected {
					t.Fatalf("%d: %s", i, got)
				}
			}
			server, _ := s.sim.Server(id)
			diff(t, "metadata", want, m(server.Metadata))
		})
	})
}

// permute calls f with every order of n things.
func permute(n int, f func([]int)) {
	var next func(done, left []int)
	next = func(done, left []int) {
		if len(left) == 0 {
			f(done)
			return
		}
		for i := range left {
			rest := append(append([]int(nil), left[:i]...), left[i+1:]...)
			next(append(append([]int(nil), done...), left[i]), rest)
		}
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	next(nil, all)
}

func TestOvertaken(t *testing.T) {
	s := newStand(t, simcloud.Options{}, options())
	s.sim.PutServer(simcloud.Server{ID: id})
	s.applier.Apply(t.Context(), s.servers, at(20, rules.Plan{Set: m{"size": "large", "b": "2"}}))
	s.sim.ForgetRequests()

	got := s.applier.Apply(t.Context(), s.servers, at(10, rules.Plan{Set: m{"size": "small", "env": "dev"}}))
	s.want("one key of two", got, apply.Tagged, "")
	diff(t, "overtaken", []string{"size"}, keysOf(got.Problems))
	diff(t, "written", m{"env": "dev"}, m(got.Written))

	s.sim.ForgetRequests()
	got = s.applier.Apply(t.Context(), s.servers, at(10, rules.Plan{Set: m{"size": "small"}, Remove: []string{"b"}}))
	s.want("all keys", got, apply.Ignored, "a newer change decided all of its keys")
	diff(t, "overtaken", []string{"b", "size"}, keysOf(got.Problems))
	diff(t, "calls", 0, len(s.sent()))

	timeless := job(rules.Plan{Set: m{"size": "tiny"}})
	timeless.Change.Time = time.Time{}
	s.want("a change without a time", s.applier.Apply(t.Context(), s.servers, timeless), apply.Tagged, "")
}

// A resize is superseded by a later one, no matter who applied that.
func TestResizedAgain(t *testing.T) {
	for _, tt := range []struct {
		name, flavor string
		outcome      apply.Outcome
		calls        int
	}{
		{"the flavor is there", "1", apply.Tagged, 3},
		{"another resize followed", "2", apply.Ignored, 1},
		{"the event does not tell the flavor's id", "", apply.Tagged, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutServer(simcloud.Server{ID: id, Flavor: "1"})
			j := job(rules.Plan{Set: m{"size": "x"}})
			j.Change.Action, j.Change.Resource.FlavorID = lifecycle.ServerResized, tt.flavor
			got := s.applier.Apply(t.Context(), s.servers, j)
			if got.Outcome != tt.outcome || tt.outcome == apply.Ignored && !strings.Contains(got.Reason, "flavor is now 1") {
				t.Errorf("%s", got)
			}
			diff(t, "calls", tt.calls, len(s.sent()))
		})
	}
}

func keysOf(problems []rules.Problem) []string {
	var keys []string
	for _, p := range problems {
		keys = append(keys, p.Key)
	}
	return keys
}

// The age of an event without a time counts from its receipt: a server that is not visible yet is not reported as gone
// at once.
func TestGraceCountsFromReceipt(t *testing.T) {
	for _, tt := range []struct {
		name     string
		received time.Time
		outcome  apply.Outcome
	}{
		{"just received", time.Now(), apply.Deferred},
		{"received long ago", time.Now().Add(-time.Hour), apply.Gone},
		{"neither is known", time.Time{}, apply.Gone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			j := job(rules.Plan{Set: m{"env": "dev"}})
			j.Change.Time, j.ReceivedAt, j.Wait = time.Time{}, tt.received, 0
			got := s.applier.Apply(t.Context(), s.servers, j)
			if got.Outcome != tt.outcome {
				t.Errorf("%s, want %s", got, tt.outcome)
			}
		})
	}
}

// Keys that a pattern or a rename decides have watermarks too, and a time in the future is ignored.
func TestWatermarksOfPatternsAndRenames(t *testing.T) {
	for _, tt := range []struct {
		name  string
		have  m
		jobs  []apply.Job
		after m
	}{
		{
			"a late removal by pattern keeps what a newer change set", m{},
			[]apply.Job{at(20, rules.Plan{Set: m{"stopped-at": "x"}}), at(10, rules.Plan{RemoveGlobs: []string{"stopped-*"}})},
			m{"stopped-at": "x"},
		},
		{
			"a late set does not bring back what a newer pattern removed", m{"stopped-at": "x"},
			[]apply.Job{at(20, rules.Plan{RemoveGlobs: []string{"stopped-*"}}),
				at(10, rules.Plan{Set: m{"stopped-at": "y", "a": "1"}})},
			m{"a": "1"},
		},
		{
			"a late rename leaves a newer value", m{},
			[]apply.Job{at(20, rules.Plan{Set: m{"dept": "7"}}), at(10, rules.Plan{Rename: m{"dept": "department"}})},
			m{"dept": "7"},
		},
		{
			"an event from the future keeps no later one out", m{},
			[]apply.Job{at(100*365*24*3600, rules.Plan{Set: m{"size": "1"}}), later(rules.Plan{Set: m{"size": "2"}})},
			m{"size": "2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutServer(simcloud.Server{ID: id, Metadata: tt.have})
			for _, j := range tt.jobs {
				s.applier.Apply(t.Context(), s.servers, j)
			}
			server, _ := s.sim.Server(id)
			diff(t, "metadata", tt.after, m(server.Metadata))
		})
	}
}

// later returns a job for a change after all earlier ones.
func later(p rules.Plan) apply.Job {
	j := job(p)
	j.Change.Time = time.Now().Add(time.Second)
	return j
}
