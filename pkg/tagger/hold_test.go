package tagger_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// While writing is on hold, no call is made, and no event is given up, however old.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{})
		sim.PutServer(simcloud.Server{ID: id})
		on := true
		tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret"), Held: func() bool { return on }})
		d := tagger.Delivery{Event: plain(t, "server.created", ""), SentAt: time.Now().Add(-48 * time.Hour), Receives: 40}
		got := tg.Handle(t.Context(), d)[0]
		if got.Outcome != apply.Deferred || got.Fault.Err != nil {
			t.Errorf("on hold: %s %s", got.Outcome, got.Reason)
		}
		if got.Calls != 0 || got.Delay != time.Minute {
			t.Errorf("on hold: %d calls, again in %s", got.Calls, got.Delay)
		}
		on = false
		if got := tg.Handle(t.Context(), d)[0]; got.Outcome != apply.Tagged {
			t.Errorf("after it: %s %s", got.Outcome, got.Reason)
		}
	})
}

// A job that waits for its server when the hold begins does not write.
func TestHoldStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simcloud.New(simcloud.Options{})
		sim.PutServer(simcloud.Server{ID: id, VMState: "building", BuildTime: time.Minute})
		on := false
		tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret"), Held: func() bool { return on }})
		var methods []string
		got := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", ""), Wait: 10 * time.Minute,
			Progress: tagger.Progress{
				Called: func(c metadata.Call) {
					if on {
						methods = append(methods, c.Request.Method)
					}
				},
				Pausing: func(string, time.Duration) { on = true },
			}})[0]
		if got.Outcome != apply.Deferred || got.Reason != "writing is on hold (TAGGER_HOLD_FILE)" {
			t.Errorf("%s %s", got.Outcome, got.Reason)
		}
		for _, m := range methods {
			if m != http.MethodGet {
				t.Errorf("%s while on hold", m)
			}
		}
		if values := sim.Metadata("server", id); len(values) != 0 {
			t.Errorf("%v", values)
		}
	})
}
