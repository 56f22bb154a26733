package apply_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Every class of error in every vm_state, before and after the grace period and the give-up time, visible or not.
func TestJudge(t *testing.T) {
	o := apply.Options{Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
	const (
		young, old = time.Minute, time.Hour
		tried, up  = time.Hour, 25 * time.Hour
		unknown    = -time.Second
	)
	classes := []metadata.Class{
		metadata.NotReady, metadata.Locked, metadata.Throttled, metadata.Gone, metadata.KeyNotFound, metadata.Forbidden,
		metadata.Quota,
		metadata.Unauthenticated, metadata.Invalid, metadata.Unavailable, metadata.Unknown,
	}
	faults := map[metadata.Class]apply.Fault{
		metadata.Forbidden:       {Err: errors.New("no right"), Scope: fault.Resource},
		metadata.Unauthenticated: {Err: errors.New("no token"), Scope: fault.Everything},
	}
	// All vm_states of Nova (nova/compute/vm_states.py), none, and an unknown one.
	states := []string{"", "active", "stopped", "paused", "suspended", "building", "rescued", "resized", "soft-delete",
		"deleted", "error", "shelved", "shelved_offloaded", "migrating-to-mars"}
	manual := []string{"rescued", "resized", "error", "shelved", "shelved_offloaded", "migrating-to-mars"}

	in := func(s string, list ...string) bool {
		for _, l := range list {
			if s == l {
				return true
			}
		}
		return false
	}
	type want struct {
		outcome apply.Outcome
		wait    bool
		least   time.Duration
		fatal   bool
	}
	// expect is the design page's table a second time, in another order: by outcome.
	expect := func(s apply.Situation) want {
		givenUp := s.CarrierAge >= o.GiveUpAfter
		stateful := s.Class == metadata.NotReady || s.Class == metadata.Locked
		switch {
		case s.Class == metadata.Forbidden || s.Class == metadata.Unauthenticated:
			return want{apply.Deferred, false, 12 * time.Second, true}
		case in(string(s.Class), string(metadata.Quota), string(metadata.Invalid), string(metadata.KeyNotFound)),
			s.Class == metadata.Gone && !s.Visible && (s.EventAge >= o.Grace || givenUp),
			givenUp && in(string(s.Class), string(metadata.Throttled), string(metadata.Unavailable), string(metadata.Unknown)):
			return want{outcome: apply.Rejected}
		case s.Class == metadata.Gone && (s.EventAge >= o.Grace || givenUp),
			stateful && in(s.State, "deleted", "soft-delete"):
			return want{outcome: apply.Gone}
		case stateful && givenUp:
			return want{outcome: apply.Blocked}
		case stateful && in(s.State, manual...), s.Class == metadata.Locked && s.State != "building":
			return want{apply.Deferred, false, 12 * time.Minute, false}
		}
		return want{apply.Deferred, true, 12 * time.Second, false}
	}

	cases := 0
	for _, class := range classes {
		for _, state := range states {
			for _, visible := range []bool{true, false} {
				for _, event := range []time.Duration{young, old} {
					for _, carrier := range []time.Duration{unknown, tried, up} {
						s := apply.Situation{Kind: metadata.Server, Class: class, State: state, Visible: visible, EventAge: event,
							CarrierAge: carrier, Receives: 1, Message: "MESSAGE", Fault: faults[class]}
						got, w := o.Decide(s), expect(s)
						cases++
						if got.Fault != s.Fault {
							t.Errorf("%+v: fault %+v", s, got.Fault)
						}
						if got.Outcome != w.outcome || got.Wait != w.wait || (got.Fault.Err != nil) != w.fatal {
							t.Errorf("%+v:\n got %+v\nwant %+v", s, got, w)
						}
						if got.Delay < w.least || (got.Delay > 0) != (w.outcome == apply.Deferred) {
							t.Errorf("%+v: delay %s, want at least %s", s, got.Delay, w.least)
						}
						if got.Reason == "" {
							t.Errorf("%+v: no reason", s)
						}
					}
				}
			}
		}
	}
	if cases != 11*14*2*2*3 {
		t.Errorf("%d cases", cases)
	}
}

func TestDelay(t *testing.T) {
	o := apply.Options{Grace: time.Minute, GiveUpAfter: 24 * time.Hour}
	for _, tt := range []struct {
		name       string
		receives   int
		retryAfter time.Duration
		middle     time.Duration
	}{
		{"unknown count", 0, 0, 15 * time.Second},
		{"first", 1, 0, 15 * time.Second},
		{"second", 2, 0, 30 * time.Second},
		{"fifth", 5, 0, 4 * time.Minute},
		{"capped", 200, 0, time.Hour},
		{"huge", 1 << 30, 0, time.Hour},
	} {
		for range 50 {
			v := o.Decide(apply.Situation{Class: metadata.Unavailable, CarrierAge: -1, Receives: tt.receives,
				RetryAfter: tt.retryAfter})
			if v.Delay < tt.middle*8/10 || v.Delay > tt.middle*12/10 {
				t.Errorf("%s: delay %s, want %s ± a fifth", tt.name, v.Delay, tt.middle)
			}
		}
	}
	v := o.Decide(apply.Situation{Class: metadata.Throttled, CarrierAge: -1, Receives: 1, RetryAfter: 5 * time.Minute})
	if v.Delay != 5*time.Minute || v.RetryAfter != 5*time.Minute {
		t.Errorf("Retry-After of 5m: %+v", v)
	}
}

func TestReasonsAreForPeople(t *testing.T) {
	o := apply.Options{Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
	for _, tt := range []struct {
		s    apply.Situation
		want string
	}{
		{apply.Situation{Class: metadata.Gone, Visible: true, EventAge: time.Minute, CarrierAge: -1, Message: "M"},
			"not found yet; gone only when the event is 10m0s old: M"},
		{apply.Situation{Class: metadata.Gone, EventAge: time.Hour, CarrierAge: -1, Message: "M"},
			"not found, and the credentials act in another project than the event's: M"},
		{apply.Situation{Class: metadata.NotReady, Kind: metadata.Server, State: "error", CarrierAge: 25 * time.Hour,
			Message: "M"}, "given up after 24h0m0s: vm_state error"},
		{apply.Situation{Class: metadata.Locked, Kind: metadata.Server, State: "active", CarrierAge: -1, Message: "M"},
			"locked: M"},
		{apply.Situation{Class: metadata.Unavailable, CarrierAge: 25 * time.Hour, Message: "M"}, "given up after 24h0m0s: M"},
	} {
		if got := o.Decide(tt.s).Reason; !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.s, got, tt.want)
		}
	}
}
