package tagger_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Only absent keys are written again, with a member's token or an administrator's. The latter also reads the server
// first and leaves a locked one alone.
func TestRestore(t *testing.T) {
	type m = map[string]string
	for _, tt := range []struct {
		name    string
		user    string
		keys    []string // all that were written by default
		now     m
		locked  bool
		refuse  string
		outcome apply.Outcome
		reason  string
		want    m
		sent    []string
	}{
		{
			name: "all are absent", user: "member", now: m{"x": "y"},
			outcome: apply.Tagged, reason: "written again", want: m{"x": "y", "env": "dev", "owner": "alice", "by": "<web> & 1"},
			sent: []string{"GET /metadata", "POST /metadata", "GET /metadata"},
		},
		{
			name: "one has another value by now, one is empty", user: "member", now: m{"env": "prod", "by": ""},
			outcome: apply.Tagged, reason: "written again", want: m{"env": "prod", "by": "", "owner": "alice"},
			sent: []string{"GET /metadata", "POST /metadata", "GET /metadata"},
		},
		{
			name: "all are there", user: "member", now: m{"env": "dev", "owner": "alice", "by": "x"},
			outcome: apply.Unchanged, reason: "all keys are present", want: m{"env": "dev", "owner": "alice", "by": "x"},
			sent: []string{"GET /metadata"},
		},
		{
			name: "one key decides", user: "member", keys: []string{"owner"}, now: m{"env": "dev"},
			outcome: apply.Tagged, reason: "written again", want: m{"env": "dev", "owner": "alice"},
			sent: []string{"GET /metadata/owner", "POST /metadata", "GET /metadata"},
		},
		{
			name: "one key decides, and is there", user: "member", keys: []string{"owner"}, now: m{"owner": "bob"},
			outcome: apply.Unchanged, reason: "all keys are present", want: m{"owner": "bob"},
			sent: []string{"GET /metadata/owner"},
		},
		{
			name: "refused", user: "member", now: m{}, refuse: "removed on purpose",
			outcome: apply.Ignored, reason: "removed on purpose", want: m{}, sent: []string{"GET /metadata"},
		},
		{
			name: "an administrator", user: "root", keys: []string{"owner"}, now: m{},
			outcome: apply.Tagged, reason: "written again", want: m{"owner": "alice"},
			sent: []string{"GET", "POST /metadata", "GET /metadata"},
		},
		{
			name: "an administrator, a key that is there", user: "root", keys: []string{"owner"}, now: m{"owner": "bob"},
			outcome: apply.Unchanged, reason: "all keys are present", want: m{"owner": "bob"}, sent: []string{"GET"},
		},
		{
			name: "an administrator, a locked server", user: "root", now: m{}, locked: true,
			outcome: apply.Deferred, reason: "locked", want: m{}, sent: []string{"GET", "GET"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBounded(t, "<demo>")
			demo, _ := b.sim.Project("demo")
			b.sim.PutServer(simcloud.Server{ID: id, ProjectID: demo.ID})
			own := map[string]string{"root": "admin", "member": "demo"}[tt.user]
			tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud(tt.user, own)})
			done := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", demo.ID)})[0]
			write, ok := done.Confirmed()
			if !ok || len(write.Requests) != 1 || write.At.IsZero() {
				t.Fatalf("%s: %+v", done.Decision, write)
			}
			if diff := cmp.Diff(m{"env": "dev", "owner": "alice", "by": "<web> & 1"}, write.Keys); diff != "" {
				t.Fatalf("written (-want +got):\n%s", diff)
			}
			b.sim.SetServerMetadata(id, tt.now)
			b.sim.SetServerLocked(id, tt.locked)
			b.sim.ForgetRequests()
			if tt.keys == nil {
				tt.keys = []string{"owner", "env", "by"}
			}
			asked := 0
			got := tg.Restore(t.Context(), tagger.Delivery{Receives: 1}, write, tt.keys, func([]string) string {
				asked++
				return tt.refuse
			})
			if got.Outcome != tt.outcome || !strings.Contains(got.Reason, tt.reason) ||
				(asked > 0) != (tt.outcome != apply.Unchanged) {
				t.Errorf("%s, asked %d times", got.Decision, asked)
			}
			if got.Calls != len(tt.sent) {
				t.Errorf("%d calls are counted", got.Calls)
			}
			server, _ := b.sim.Server(id)
			if diff := cmp.Diff(tt.want, server.Metadata); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			var sent []string
			for _, r := range b.sim.Requests() {
				if _, rest, ok := strings.Cut(r.Path, "/servers/"+id); ok {
					sent = append(sent, strings.TrimSpace(r.Method+" "+rest))
				}
			}
			if diff := cmp.Diff(tt.sent, sent); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// Empty rules stop writing, and repairs too.
func TestRestoreWithEmptyRules(t *testing.T) {
	b := newBounded(t, "<demo>")
	demo, _ := b.sim.Project("demo")
	b.sim.PutServer(simcloud.Server{ID: id, ProjectID: demo.ID})
	tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud("member", "demo")})
	write, ok := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", demo.ID)})[0].Confirmed()
	if !ok {
		t.Fatal("not written")
	}
	b.sim.SetServerMetadata(id, nil)
	empty, err := tagger.Compile(b.s, rules.Source{Name: "R", Text: []byte("rules: []")})
	if err != nil {
		t.Fatal(err)
	}
	got := tg.WithRules(empty).Restore(t.Context(), tagger.Delivery{}, write, []string{"owner"},
		func([]string) string { return "" })
	if server, _ := b.sim.Server(id); got.Outcome != apply.Ignored || len(server.Metadata) > 0 {
		t.Errorf("%s: %v", got.Decision, server.Metadata)
	}
}

// Only writes to a server that were read back are watched.
func TestConfirmed(t *testing.T) {
	sim := simcloud.New(simcloud.Options{})
	demo, _ := sim.Project("demo")
	sim.PutServer(simcloud.Server{ID: id, ProjectID: demo.ID})
	sim.PutSnapshot(simcloud.Snapshot{ID: id, ProjectID: demo.ID})
	unverified := settings()
	unverified.Verify = false
	for _, tt := range []struct {
		name, action string
		tagger       *tagger.Tagger
		want         bool
	}{
		{"a snapshot", "snapshot.created", compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")}), false},
		{"not read back", "server.created", compose(t, unverified, tagger.Parts{Cloud: login(sim, "secret")}), false},
		{"nothing for it", "server.resized", compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")}), false},
		{"read back", "server.created", compose(t, settings(), tagger.Parts{Cloud: login(sim, "secret")}), true},
	} {
		sim.SetServerMetadata(id, nil)
		got := tt.tagger.Handle(t.Context(), tagger.Delivery{Event: plain(t, tt.action, demo.ID)})[0]
		if _, ok := got.Confirmed(); ok != tt.want {
			t.Errorf("%s: %s: %v", tt.name, got.Decision, ok)
		}
	}
}

// While writing is on hold, repairs are deferred without a call.
func TestRestoreOnHold(t *testing.T) {
	b := newBounded(t, "<demo>")
	demo, _ := b.sim.Project("demo")
	b.sim.PutServer(simcloud.Server{ID: id, ProjectID: demo.ID})
	on := false
	tg := compose(t, b.s, tagger.Parts{Cloud: b.cloud("member", "demo"), Held: func() bool { return on }})
	write, ok := tg.Handle(t.Context(), tagger.Delivery{Event: plain(t, "server.created", demo.ID)})[0].Confirmed()
	if !ok {
		t.Fatal("not written")
	}
	for _, tt := range []struct {
		name           string
		before, within bool // the hold begins before the repair, or once the keys are known to be absent
		calls          int
		outcome        apply.Outcome
	}{
		{"before", true, true, 0, apply.Deferred},
		{"within", false, true, 1, apply.Deferred},
		{"never", false, false, 3, apply.Tagged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.sim.SetServerMetadata(id, nil)
			on = tt.before
			got := tg.Restore(t.Context(), tagger.Delivery{}, write, []string{"owner"}, func([]string) string {
				on = tt.within
				return ""
			})
			server, _ := b.sim.Server(id)
			if got.Outcome != tt.outcome || got.Calls != tt.calls || (len(server.Metadata) > 0) != (tt.outcome == apply.Tagged) {
				t.Errorf("%s: %d calls, %v", got.Decision, got.Calls, server.Metadata)
			}
		})
	}
}
