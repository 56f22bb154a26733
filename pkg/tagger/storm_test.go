package tagger_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Whatever the cloud refuses, twenty events a second do not cause a storm of logins and calls. Soon after the cloud
// recovers, events are tagged again.
func TestStorms(t *testing.T) {
	unauthorized := &simcloud.Answer{Status: 401, Body: `{"error": {"code": 401, "message": "no"}}`}
	forbidden := &simcloud.Answer{Status: 403, Body: `{"forbidden": {"code": 403, "message": "Policy doesn't allow it"}}`}
	for _, tt := range []struct {
		name          string
		fault         simcloud.Fault
		expired       bool // the tokens expire first, so that calls need a login
		logins, calls int  // that are sent within a minute, at the most
		scope         fault.Scope
		after         time.Duration // how long after the faults an event is tagged again
	}{
		{name: "Keystone throttles", fault: simcloud.Fault{Service: "identity", Answer: simcloud.Throttled(7 * time.Second)},
			logins: 9, after: 7 * time.Second},
		{name: "Keystone throttles, and does not say how",
			fault: simcloud.Fault{Service: "identity", Answer: simcloud.Throttled(0)}, logins: 6, after: 32 * time.Second},
		{name: "Keystone is down", fault: simcloud.Fault{Service: "identity", Answer: simcloud.Unavailable(7 * time.Second)},
			logins: 9, after: 7 * time.Second},
		{name: "Keystone fails", fault: simcloud.Fault{Service: "identity", Answer: simcloud.ServerError()}, logins: 8,
			after: 32 * time.Second},
		{name: "Keystone cannot be reached", fault: simcloud.Fault{Service: "identity", Answer: simcloud.Drop()}, logins: 8,
			after: 32 * time.Second},
		{name: "Keystone throttles when tokens expire", expired: true,
			fault: simcloud.Fault{Service: "identity", Answer: simcloud.Throttled(7 * time.Second)}, logins: 9, calls: 1,
			after: 7 * time.Second},
		{name: "Nova takes no token", fault: simcloud.Fault{Service: "compute", Answer: unauthorized}, logins: 6, calls: 12,
			scope: fault.Everything, after: 41 * time.Second},
		{name: "Nova throttles", fault: simcloud.Fault{Service: "compute", Answer: simcloud.Throttled(7 * time.Second)},
			logins: 1, calls: 9, after: 7 * time.Second},
		{name: "Nova forbids it", fault: simcloud.Fault{Service: "compute", Answer: forbidden}, logins: 1, calls: 9,
			scope: fault.Resource, after: 32 * time.Second},
		{name: "Nova forbids writing", fault: simcloud.Fault{Service: "compute", Method: "POST", Answer: forbidden},
			logins: 1, calls: 17, scope: fault.Resource, after: 32 * time.Second},
		{name: "Nova redirects", fault: simcloud.Fault{Service: "compute",
			Answer: simcloud.Redirect("https://elsewhere.invalid/")}, logins: 1, calls: 9, scope: fault.Everything,
			after: 32 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := simcloud.New(simcloud.Options{TokenLifetime: time.Hour, JournalSize: 100_000})
				sim.PutServer(simcloud.Server{ID: id})
				tg := compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")})
				d := tagger.Delivery{Event: plain(t, "server.created", ""), SentAt: time.Now(), Receives: 1}
				if tt.expired {
					if got := tg.Handle(t.Context(), d)[0]; got.Outcome != apply.Tagged {
						t.Fatal(got.Decision)
					}
					<-time.NewTimer(2 * time.Hour).C
				}
				sim.ForgetRequests()
				sim.Inject(tt.fault)
				worst := fault.Scope("")
				for range 60 * 20 {
					got := tg.Handle(t.Context(), d)[0]
					if got.Outcome != apply.Deferred || got.Delay <= 0 {
						t.Fatalf("%s: %s", got.Outcome, got.Reason)
					}
					if worst == "" {
						worst = got.Fault.Scope
					}
					if got.Fault.Scope != worst {
						t.Fatalf("scope %q, and then %q: %s", worst, got.Fault.Scope, got.Reason)
					}
					<-time.NewTimer(50 * time.Millisecond).C
				}
				logins, calls := 0, 0
				for _, r := range sim.Requests() {
					switch {
					case r.Service == "identity" && r.Method == http.MethodPost:
						logins++
					case r.Service != "identity":
						calls++
					}
				}
				t.Logf("%d logins and %d calls in a minute of 1,200 events", logins, calls)
				if logins > tt.logins || calls > tt.calls || logins+calls == 0 {
					t.Errorf("%d logins, want at most %d; %d calls, want at most %d", logins, tt.logins, calls, tt.calls)
				}
				if worst != tt.scope {
					t.Errorf("scope %q, want %q", worst, tt.scope)
				}
				sim.ClearFaults()
				<-time.NewTimer(tt.after).C
				if got := tg.Handle(t.Context(), d)[0]; got.Outcome != apply.Tagged && got.Outcome != apply.Unchanged {
					t.Errorf("afterwards: %s: %s", got.Outcome, got.Reason)
				}
			})
		})
	}
}
