package apply_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const id = "95bf2490-5428-432c-ad9b-5e3406f869dd"

// stand is an embedded cloud, a client for it, and an applier.
type stand struct {
	t         *testing.T
	sim       *simcloud.Cloud
	servers   *metadata.Resource
	volumes   *metadata.Resource
	snapshots *metadata.Resource
	applier   *apply.Applier
}

func options() apply.Options {
	return apply.Options{Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
}

func newStand(t *testing.T, o simcloud.Options, a apply.Options) *stand {
	t.Helper()
	sim := simcloud.New(o)
	session, err := cloud.New(cloud.Options{
		Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo",
		},
		Transport: sim.Transport(),
	}).Session(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	compute, err := session.Compute()
	if err != nil {
		t.Fatal(err)
	}
	volume, err := session.Volume()
	if err != nil {
		t.Fatal(err)
	}
	sim.ForgetRequests()
	server, err := metadata.New(compute, metadata.Server, id, metadata.Options{Family: metadata.Nova})
	if err != nil {
		t.Fatal(err)
	}
	disk, err := metadata.New(volume, metadata.Volume, id, metadata.Options{Family: metadata.CinderVolume})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := metadata.New(volume, metadata.Snapshot, id, metadata.Options{Family: metadata.Cinder})
	if err != nil {
		t.Fatal(err)
	}
	return &stand{t, sim, server, disk, snapshot, apply.New(a)}
}

// job returns a job for a server that was created a minute ago.
func job(p rules.Plan) apply.Job {
	return apply.Job{
		Change: &lifecycle.Change{
			Action: lifecycle.ServerCreated, Resource: lifecycle.Resource{Kind: lifecycle.Server, ID: id},
			Time: time.Now().Add(-time.Minute),
		},
		Plan: &p, Visible: true, Wait: time.Minute,
	}
}

// sent lists the requests that the cloud has served: method, path after the project or version, body, status.
func (s *stand) sent() []string {
	var all []string
	for _, r := range s.sim.Requests() {
		path := r.Path
		for _, root := range []string{"/servers/" + id, "/snapshots/" + id} {
			if _, after, ok := strings.Cut(path, root); ok {
				path = strings.TrimSuffix(root[1:], "/"+id) + after
			}
		}
		line := fmt.Sprintf("%s %s %d", r.Method, path, r.Status)
		if r.Body != "" {
			line += " " + r.Body
		}
		all = append(all, line)
	}
	return all
}

func (s *stand) want(what string, got apply.Result, outcome apply.Outcome, reason string) {
	s.t.Helper()
	if got.Outcome != outcome || !strings.Contains(got.Reason, reason) || reason == "" && got.Reason != "" &&
		outcome == apply.Tagged {
		s.t.Errorf("%s: %s; want %s: …%s…", what, got, outcome, reason)
	}
	if strings.Contains(got.Reason, "\n") {
		s.t.Errorf("%s: reason of more than one line: %q", what, got.Reason)
	}
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

type m = map[string]string

// Every kind of plan sends exactly these requests, and no more.
func TestCalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		plan    rules.Plan
		have    m
		verify  bool
		action  lifecycle.Action
		state   string
		outcome apply.Outcome
		sent    []string
		after   m
		written m
		removed []string
	}{
		{
			name: "set only", plan: rules.Plan{Set: m{"env": "dev", "a": "1"}}, have: m{"x": "y"}, verify: true,
			outcome: apply.Tagged, written: m{"env": "dev", "a": "1"},
			sent:  []string{`POST servers/metadata 200 {"metadata":{"a":"1","env":"dev"}}`, "GET servers/metadata 200"},
			after: m{"x": "y", "env": "dev", "a": "1"},
		},
		{
			name: "set only, not verified", plan: rules.Plan{Set: m{"env": "dev"}}, outcome: apply.Tagged,
			written: m{"env": "dev"},
			sent:    []string{`POST servers/metadata 200 {"metadata":{"env":"dev"}}`}, after: m{"env": "dev"},
		},
		{
			name: "one key to add, absent", plan: rules.Plan{Add: m{"owner": "alice"}}, verify: true, outcome: apply.Tagged,
			written: m{"owner": "alice"},
			sent: []string{"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"owner":"alice"}}`,
				"GET servers/metadata 200"},
			after: m{"owner": "alice"},
		},
		{
			name: "one key to add, there", plan: rules.Plan{Add: m{"owner": "alice"}}, have: m{"owner": "bob"}, verify: true,
			outcome: apply.Unchanged,
			sent:    []string{"GET servers/metadata 200"}, after: m{"owner": "bob"},
		},
		{
			name: "one key to add, there and empty", plan: rules.Plan{Add: m{"owner": "alice"}}, have: m{"owner": ""},
			verify: true, outcome: apply.Tagged,
			written: m{"owner": "alice"},
			sent: []string{"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"owner":"alice"}}`,
				"GET servers/metadata 200"},
			after: m{"owner": "alice"},
		},
		{
			name: "several keys to add, one there", plan: rules.Plan{Add: m{"owner": "alice", "a": "1"}, Set: m{"env": "dev"}},
			have: m{"owner": "bob"}, verify: true,
			outcome: apply.Tagged, written: m{"a": "1", "env": "dev"},
			sent: []string{"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"a":"1","env":"dev"}}`,
				"GET servers/metadata 200"},
			after: m{"owner": "bob", "a": "1", "env": "dev"},
		},
		{
			name: "several keys to add, not verified", plan: rules.Plan{Add: m{"owner": "alice", "a": "1"}},
			have:    m{"owner": "bob"},
			outcome: apply.Tagged, written: m{"a": "1"},
			sent:  []string{"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"a":"1"}}`},
			after: m{"owner": "bob", "a": "1"},
		},
		{
			name: "everything there already, and read anyway", plan: rules.Plan{Add: m{"owner": "alice", "a": "1"},
				Set: m{"env": "dev"}, Remove: []string{"gone"}},
			have: m{"owner": "bob", "a": "2", "env": "dev"}, verify: true, outcome: apply.Unchanged,
			sent: []string{"GET servers/metadata 200"}, after: m{"owner": "bob", "a": "2", "env": "dev"},
		},
		{
			name: "remove", plan: rules.Plan{Remove: []string{"a", "b"}}, have: m{"a": "1", "b": "2", "c": "3"}, verify: true,
			outcome: apply.Tagged, removed: []string{"a", "b"},
			sent: []string{"GET servers/metadata 200", "DELETE servers/metadata/a 204", "DELETE servers/metadata/b 204",
				"GET servers/metadata 200"}, after: m{"c": "3"},
		},
		{
			name: "remove what is not there", plan: rules.Plan{Remove: []string{"a"}}, have: m{"c": "3"}, verify: true,
			outcome: apply.Unchanged,
			sent:    []string{"GET servers/metadata 200"}, after: m{"c": "3"},
		},
		{
			name: "write, remove, read back", plan: rules.Plan{Set: m{"env": "dev"}, Remove: []string{"a", "b"}},
			have: m{"b": "2"}, verify: true, outcome: apply.Tagged,
			written: m{"env": "dev"}, removed: []string{"b"},
			sent: []string{
				"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"env":"dev"}}`, "DELETE servers/metadata/b 204",
				"GET servers/metadata 200",
			}, after: m{"env": "dev"},
		},
		{
			name: "started", plan: rules.Plan{Remove: []string{"stopped-at"}}, have: m{"stopped-at": "x"}, verify: true,
			action: lifecycle.ServerStarted, outcome: apply.Tagged,
			removed: []string{"stopped-at"}, sent: []string{"GET servers 200", "DELETE servers/metadata/stopped-at 204",
				"GET servers/metadata 200"}, after: m{},
		},
		{
			name: "started, and nothing to do", plan: rules.Plan{Remove: []string{"stopped-at"}}, verify: true,
			action: lifecycle.ServerStarted, outcome: apply.Unchanged,
			sent: []string{"GET servers 200"}, after: m{},
		},
		{
			name: "started, and stopped again since", plan: rules.Plan{Remove: []string{"stopped-at"}},
			have: m{"stopped-at": "x"}, verify: true,
			action: lifecycle.ServerStarted, state: "stopped", outcome: apply.Ignored, sent: []string{"GET servers 200"},
			after: m{"stopped-at": "x"},
		},
		{
			name: "stopped, and started again since", plan: rules.Plan{Set: m{"stopped-at": "x"}}, verify: true,
			action: lifecycle.ServerStopped, state: "active", outcome: apply.Ignored, sent: []string{"GET servers 200"},
			after: m{},
		},
		{
			name: "stopped, and paused somehow", plan: rules.Plan{Set: m{"stopped-at": "x"}}, verify: true,
			action: lifecycle.ServerStopped, state: "paused", outcome: apply.Tagged,
			written: m{"stopped-at": "x"},
			sent: []string{"GET servers 200", `POST servers/metadata 200 {"metadata":{"stopped-at":"x"}}`,
				"GET servers/metadata 200"}, after: m{"stopped-at": "x"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.Verify = tt.verify
			s := newStand(t, simcloud.Options{}, o)
			s.sim.PutServer(simcloud.Server{ID: id, Metadata: tt.have, VMState: tt.state})
			j := job(tt.plan)
			if tt.action != "" {
				j.Change.Action = tt.action
			}
			foreseen := requests(t, *j.Change, tt.plan, orEmpty(tt.have), o)
			got := s.applier.Apply(t.Context(), s.servers, j)
			if got.Outcome != tt.outcome {
				t.Errorf("outcome %s", got)
			}
			diff(t, "sent", tt.sent, s.sent())
			server, _ := s.sim.Server(id)
			diff(t, "metadata", tt.after, server.Metadata)
			diff(t, "written", orEmpty(tt.written), orEmpty(got.Written))
			diff(t, "removed", tt.removed, got.Removed)
			if tt.outcome != apply.Ignored { // which no plan can foresee
				diff(t, "foreseen", paths(s.sim.Requests()), requestPaths(foreseen))
			}
		})
	}
}

func requests(t *testing.T, c lifecycle.Change, p rules.Plan, current m, o apply.Options) []metadata.Request {
	t.Helper()
	all, err := apply.Requests(apply.Job{Change: &c, Plan: &p}, current, o)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func orEmpty(have m) m {
	if have == nil {
		return m{}
	}
	return have
}

// paths and requestPaths make sent and predicted requests comparable.
func paths(sent []simcloud.Request) []string {
	var all []string
	for _, r := range sent {
		i := strings.Index(r.Path, "/servers/")
		if i < 0 {
			i = strings.Index(r.Path, "/snapshots/")
		}
		all = append(all, r.Method+" "+r.Path[i+1:]+" "+r.Body)
	}
	return all
}

func requestPaths(foreseen []metadata.Request) []string {
	var all []string
	for _, r := range foreseen {
		all = append(all, r.Method+" "+r.Path+" "+string(r.Body))
	}
	return all
}

func TestSnapshot(t *testing.T) {
	plan := rules.Plan{Set: m{"env": "dev", "b": "2"}, Add: m{"owner": "alice", "a": "1"}, Remove: []string{"old"}}
	s := newStand(t, simcloud.Options{}, options())
	s.sim.PutSnapshot(simcloud.Snapshot{ID: id, Metadata: m{"old": "x", "a": "9"}, Status: "creating"})
	j := job(plan)
	j.Change.Action, j.Change.Resource.Kind = lifecycle.SnapshotCreated, lifecycle.Snapshot
	got := s.applier.Apply(t.Context(), s.snapshots, j)
	s.want("snapshot", got, apply.Tagged, "")
	want := []string{
		"GET snapshots/metadata 200",
		`PUT snapshots/metadata/b 200 {"meta":{"b":"2"}}`,
		`PUT snapshots/metadata/env 200 {"meta":{"env":"dev"}}`,
		`PUT snapshots/metadata/owner 200 {"meta":{"owner":"alice"}}`,
		"DELETE snapshots/metadata/old 200",
		"GET snapshots/metadata 200",
	}
	diff(t, "sent", want, s.sent())
	diff(t, "foreseen", paths(s.sim.Requests()),
		requestPaths(requests(t, *j.Change, plan, m{"old": "x", "a": "9"}, options())))
	snapshot, _ := s.sim.Snapshot(id)
	diff(t, "metadata", m{"env": "dev", "b": "2", "owner": "alice", "a": "9"}, snapshot.Metadata)
}

// A server that is building is written to as soon as it is ready, at one GET per pause.
func TestBuilding(t *testing.T) {
	for _, build := range []time.Duration{100 * time.Millisecond, 3 * time.Second, 45 * time.Second, 8 * time.Minute} {
		t.Run(build.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				s.sim.PutServer(simcloud.Server{ID: id, VMState: "building", BuildTime: build})
				start := time.Now()
				j := job(rules.Plan{Set: m{"env": "dev"}, Add: m{"owner": "alice"}})
				j.Wait = 10 * time.Minute
				var pauses []string
				j.Pausing = func(reason string, _ time.Duration) { pauses = append(pauses, reason) }
				got := s.applier.Apply(t.Context(), s.servers, j)
				s.want("building", got, apply.Tagged, "")
				late := time.Since(start) - build
				if late > max(time.Second, min(build*3/5, 18*time.Second)) {
					t.Errorf("tagged %s after the server was ready", late)
				}
				if got.Waited != time.Since(start) {
					t.Errorf("waited %s in %s", got.Waited, time.Since(start))
				}
				sent := s.sent()
				looks := len(pauses)
				if len(sent) != 2+1+looks+2 {
					t.Errorf("%d calls with %d pauses: %q", len(sent), looks, sent)
				}
				for _, reason := range pauses {
					if reason != "vm_state building" {
						t.Errorf("paused for %q", reason)
					}
				}
			})
		})
	}
}

// Keys that another writer added while the server was building are kept.
func TestAddIsReadAgainAfterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id, VMState: "building", BuildTime: 10 * time.Second})
		time.AfterFunc(5*time.Second, func() { s.sim.SetServerMetadata(id, m{"owner": "bob"}) })
		got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Add: m{"owner": "alice", "env": "dev"}}))
		s.want("add", got, apply.Tagged, "")
		server, _ := s.sim.Server(id)
		diff(t, "metadata", m{"owner": "bob", "env": "dev"}, server.Metadata)
		diff(t, "written", m{"env": "dev"}, got.Written)
	})
}

// The wait budget and the context's deadline limit every wait, which ends with one more try.
func TestWaitEnds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		wait     time.Duration
		deadline time.Duration
		within   time.Duration
	}{
		{"budget", 5 * time.Second, time.Hour, 5 * time.Second},
		{"no budget", 0, time.Hour, 0},
		{"deadline", time.Hour, 20 * time.Second, 18 * time.Second},
		{"deadline too near", time.Hour, time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				s.sim.PutServer(simcloud.Server{ID: id, VMState: "building", BuildTime: time.Hour})
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				start := time.Now()
				j := job(rules.Plan{Set: m{"env": "dev"}})
				j.Wait = tt.wait
				got := s.applier.Apply(ctx, s.servers, j)
				s.want(tt.name, got, apply.Deferred, "vm_state building")
				// The remainder of a budget may be too short for one more try.
				if d := time.Since(start); d > tt.within || d < tt.within-time.Second {
					t.Errorf("took %s, want %s", d, tt.within)
				}
				if got.Delay < 12*time.Second || got.Delay > 18*time.Second {
					t.Errorf("delay %s", got.Delay)
				}
			})
		})
	}
}

func TestStatesThatStay(t *testing.T) {
	for _, tt := range []struct {
		state, task string
		locked      bool
		sentBefore  time.Duration // how long ago the carrier took it
		outcome     apply.Outcome
		reason      string
	}{
		{state: "error", outcome: apply.Deferred, reason: "vm_state error"},
		{state: "error", sentBefore: 25 * time.Hour, outcome: apply.Blocked,
			reason: "given up after 24h0m0s: vm_state error"},
		{state: "rescued", outcome: apply.Deferred, reason: "vm_state rescued"},
		{state: "resized", outcome: apply.Deferred, reason: "vm_state resized"},
		{state: "shelved_offloaded", outcome: apply.Deferred, reason: "vm_state shelved_offloaded"},
		{state: "active", locked: true, outcome: apply.Deferred, reason: "is locked"},
		{state: "active", locked: true, sentBefore: 25 * time.Hour, outcome: apply.Blocked, reason: "is locked"},
		{state: "deleted", outcome: apply.Gone, reason: "vm_state deleted"},
		{state: "soft-delete", outcome: apply.Gone, reason: "vm_state soft-delete"},
		{state: "active", task: "deleting", outcome: apply.Tagged},
		{state: "active", task: "powering-off", outcome: apply.Tagged},
		{state: "paused", outcome: apply.Tagged},
		{state: "suspended", outcome: apply.Tagged},
		{state: "stopped", outcome: apply.Tagged},
	} {
		t.Run(fmt.Sprintf("%s %s %v %s", tt.state, tt.task, tt.locked, tt.sentBefore), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				s.sim.PutServer(simcloud.Server{ID: id, VMState: tt.state, TaskState: tt.task, Locked: tt.locked})
				j := job(rules.Plan{Set: m{"env": "dev"}})
				if tt.sentBefore > 0 {
					j.SentAt = time.Now().Add(-tt.sentBefore)
				}
				start := time.Now()
				got := s.applier.Apply(t.Context(), s.servers, j)
				s.want(tt.state, got, tt.outcome, tt.reason)
				if d := time.Since(start); d != 0 {
					t.Errorf("waited %s for what waiting does not change", d)
				}
				if tt.outcome == apply.Deferred && got.Delay < 12*time.Minute {
					t.Errorf("delay %s", got.Delay)
				}
			})
		})
	}
}

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		age     time.Duration
		visible bool
		outcome apply.Outcome
		reason  string
	}{
		{"old event", time.Hour, true, apply.Gone, "has this id, and the event is older than TAGGER_GRACE (10m): it counts as deleted"},
		{"young event", time.Minute, true, apply.Deferred, "not found yet"},
		{"another project", time.Hour, false, apply.Rejected, "another project"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				j := job(rules.Plan{Set: m{"env": "dev"}})
				j.Change.Time, j.Visible = time.Now().Add(-tt.age), tt.visible
				s.want("server", s.applier.Apply(t.Context(), s.servers, j), tt.outcome, tt.reason)
				j.Change.Resource.Kind = lifecycle.Snapshot
				s.want("snapshot", s.applier.Apply(t.Context(), s.snapshots, j), tt.outcome, tt.reason)
			})
		})
	}
}

// API faults at the first write, and the outcome of each.
func TestFaults(t *testing.T) {
	once := func(a *simcloud.Answer) simcloud.Fault {
		return simcloud.Fault{Service: "compute", Method: "POST", Times: 1, Answer: a}
	}
	for _, tt := range []struct {
		name    string
		fault   simcloud.Fault
		outcome apply.Outcome
		reason  string
		posts   int
		took    time.Duration // at least
	}{
		{"throttled", once(simcloud.Throttled(7 * time.Second)), apply.Tagged, "", 2, 7 * time.Second},
		{"throttled by the gateway", once(simcloud.ThrottledByGateway()), apply.Tagged, "", 2, 0},
		{"flow control", once(simcloud.FlowControl()), apply.Tagged, "", 2, 0},
		{"throttled beyond the budget", once(simcloud.Throttled(5 * time.Minute)), apply.Deferred, "429", 1, 0},
		{"500", once(simcloud.ServerError()), apply.Tagged, "", 2, 0},
		{"503", once(simcloud.Unavailable(3 * time.Second)), apply.Tagged, "", 2, 3 * time.Second},
		{"503 in HTML", once(simcloud.UnavailableHTML(0)), apply.Tagged, "", 2, 0},
		{"dropped before it acted", once(simcloud.Drop()), apply.Tagged, "", 2, 0},
		{"dropped after it acted: read, not written again", once(simcloud.DropServed()), apply.Tagged, "", 1, 0},
		{"hangs although it acted", once(simcloud.HangServed()), apply.Tagged, "", 1, metadata.CallTimeout},
		{"hangs", once(simcloud.Hang()), apply.Tagged, "", 2, metadata.CallTimeout},
		{"a wrong endpoint is not a deleted server", simcloud.Fault{Service: "compute", Answer: simcloud.NotFoundHTML()},
			apply.Deferred, "check the endpoint", 1, 0},
		{"a redirect is not followed",
			simcloud.Fault{Service: "compute", Answer: simcloud.Redirect("http://elsewhere.invalid/")}, apply.Deferred, "302", 1,
			0},
		{"down for good", simcloud.Fault{Service: "compute", Answer: simcloud.ServerError()}, apply.Deferred, "500", 2,
			time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				s.sim.PutServer(simcloud.Server{ID: id})
				s.sim.Inject(tt.fault)
				start := time.Now()
				got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"env": "dev"}}))
				s.want(tt.name, got, tt.outcome, tt.reason)
				posts := 0
				for _, r := range s.sim.Requests() {
					if r.Method == http.MethodPost {
						posts++
					}
				}
				if tt.outcome == apply.Tagged && posts != tt.posts {
					t.Errorf("%d writes, want %d: %q", posts, tt.posts, s.sent())
				}
				if d := time.Since(start); d < tt.took || d > time.Minute+metadata.CallTimeout {
					t.Errorf("took %s", d)
				}
				if tt.outcome == apply.Tagged {
					server, _ := s.sim.Server(id)
					diff(t, "metadata", m{"env": "dev"}, server.Metadata)
					diff(t, "written", m{"env": "dev"}, got.Written)
				}
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Run("quota", func(t *testing.T) {
		s := newStand(t, simcloud.Options{MaxMetadataItems: 2}, options())
		s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"a": "1", "b": "2"}})
		s.want("quota", s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"c": "3"}})), apply.Rejected,
			"exceeds 2")
	})
	t.Run("credentials", func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id})
		s.sim.Inject(simcloud.Fault{Service: "compute", Answer: &simcloud.Answer{
			Status: 403, Header: http.Header{"Content-Type": {"application/json"}},
			Body: `{"forbidden": {"code": 403, "message": "Policy doesn't allow it."}}`,
		}})
		got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"c": "3"}}))
		if got.Fault.Err == nil || !metadata.IsClass(got.Fault.Err, metadata.Forbidden) {
			t.Errorf("got %s", got)
		}
	})
	t.Run("what no limit lets pass", func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.want("limit", s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"a/b": "3"}})), apply.Rejected,
			"is not among them")
		if n := len(s.sim.Requests()); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// A job that failed half-way resumes where it stopped.
func TestNothingIsDoneTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"x": "1", "y": "2"}})
		s.sim.Inject(simcloud.Fault{Method: "DELETE", Path: "/y", Times: 1, Answer: simcloud.ServerError()})
		got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"env": "dev"}, Remove: []string{"x", "y"}}))
		s.want("server", got, apply.Tagged, "")
		diff(t, "sent", []string{
			"GET servers/metadata 200", `POST servers/metadata 200 {"metadata":{"env":"dev"}}`, "DELETE servers/metadata/x 204",
			"DELETE servers/metadata/y 500", "GET servers/metadata 200",
			"DELETE servers/metadata/y 204", "GET servers/metadata 200",
		}, s.sent())
		diff(t, "removed", []string{"x", "y"}, got.Removed)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutSnapshot(simcloud.Snapshot{ID: id})
		s.sim.Inject(simcloud.Fault{Method: "PUT", Path: "/b", Times: 1, Answer: simcloud.DropServed()})
		j := job(rules.Plan{Set: m{"a": "1", "b": "2", "c": "3"}})
		j.Change.Resource.Kind = lifecycle.Snapshot
		got := s.applier.Apply(t.Context(), s.snapshots, j)
		s.want("snapshot", got, apply.Tagged, "")
		diff(t, "sent", []string{
			`PUT snapshots/metadata/a 200 {"meta":{"a":"1"}}`, `PUT snapshots/metadata/b 0 {"meta":{"b":"2"}}`,
			"GET snapshots/metadata 200",
			`PUT snapshots/metadata/c 200 {"meta":{"c":"3"}}`, "GET snapshots/metadata 200",
		}, s.sent())
		diff(t, "written", m{"a": "1", "b": "2", "c": "3"}, got.Written)
	})
}

// undo is a server API on which another writer undoes the first writes.
type undo struct {
	*metadata.Resource
	sim   *simcloud.Cloud
	times int
	with  m
}

func (u *undo) Write(ctx context.Context, metadata map[string]string) (map[string]string, error) {
	done, err := u.Resource.Write(ctx, metadata)
	if u.times > 0 {
		u.times--
		u.sim.SetServerMetadata(id, u.with)
	}
	return done, err
}

func TestLostWrites(t *testing.T) {
	for _, tt := range []struct {
		name    string
		times   int
		with    m
		plan    rules.Plan
		outcome apply.Outcome
		after   m
		written m
	}{
		{"once", 1, m{"x": "y"}, rules.Plan{Set: m{"env": "dev"}}, apply.Tagged, m{"x": "y", "env": "dev"}, m{"env": "dev"}},
		{"twice", 2, m{"x": "y"}, rules.Plan{Set: m{"env": "dev"}}, apply.Tagged, m{"x": "y", "env": "dev"}, m{"env": "dev"}},
		{"each time", 99, m{"x": "y"}, rules.Plan{Set: m{"env": "dev"}}, apply.Deferred, m{"x": "y"}, nil},
		{
			"an added key that another user has set belongs to them", 1, m{"owner": "bob"},
			rules.Plan{Add: m{"owner": "alice"}, Set: m{"env": "dev"}},
			apply.Tagged, m{"owner": "bob", "env": "dev"}, m{"env": "dev"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, simcloud.Options{}, options())
				s.sim.PutServer(simcloud.Server{ID: id})
				got := s.applier.Apply(t.Context(), &undo{s.servers, s.sim, tt.times, tt.with}, job(tt.plan))
				if got.Outcome != tt.outcome {
					t.Errorf("%s", got)
				}
				if tt.outcome == apply.Deferred &&
					!strings.Contains(got.Reason, "read back other values than written, 3 times") {
					t.Errorf("reason %q", got.Reason)
				}
				server, _ := s.sim.Server(id)
				diff(t, "metadata", tt.after, server.Metadata)
				if tt.written != nil {
					diff(t, "written", tt.written, got.Written)
				}
			})
		})
	}
}

// Although the cloud loses overlapping updates, nothing is lost: each resource has one writer at a time.
func TestOneWriterPerResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Verify = false // it must not be verifying that repairs it
		s := newStand(t, simcloud.Options{LostUpdates: true, Latency: 100 * time.Millisecond}, o)
		s.sim.PutServer(simcloud.Server{ID: id})
		want := m{}
		var writers sync.WaitGroup
		for i := range 20 {
			key := fmt.Sprintf("k%02d", i)
			want[key] = "v"
			writers.Go(func() {
				if got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{key: "v"}})); got.Outcome != apply.Tagged {
					t.Errorf("%s: %s", key, got)
				}
			})
		}
		writers.Wait()
		server, _ := s.sim.Server(id)
		diff(t, "metadata", want, server.Metadata)
	})
}

func TestWaitingForTheTurnEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id, VMState: "building", BuildTime: time.Hour})
		slow := job(rules.Plan{Set: m{"a": "1"}})
		slow.Wait = 30 * time.Second
		var first sync.WaitGroup
		first.Go(func() { s.applier.Apply(t.Context(), s.servers, slow) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.want("second", s.applier.Apply(ctx, s.servers, job(rules.Plan{Set: m{"b": "1"}})), apply.Deferred,
			"wait for another change of the same resource")
		first.Wait()
	})
}

func TestDryRun(t *testing.T) {
	o := options()
	o.DryRun = true
	s := newStand(t, simcloud.Options{}, o)
	s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"env": "dev", "old": "x"}})
	got := s.applier.Apply(t.Context(), s.servers,
		job(rules.Plan{Set: m{"env": "production"}, Add: m{"owner": "alice"}, Remove: []string{"old"}}))
	s.want("server", got, apply.Planned, "dry run: would write env: dev → production, owner: alice, old: x → removed")
	s.sim.PutSnapshot(simcloud.Snapshot{ID: id, Metadata: m{"env": "dev"}})
	j := job(rules.Plan{Set: m{"env": "dev"}})
	j.Change.Resource.Kind = lifecycle.Snapshot
	s.want("snapshot", s.applier.Apply(t.Context(), s.snapshots, j), apply.Unchanged, "dry run: nothing would change")
	diff(t, "sent", []string{"GET servers 200", "GET snapshots/metadata 200"}, s.sent())
}

// Huawei Cloud uses other codes for the same refusals.
func TestHuaweiCloud(t *testing.T) {
	for _, tt := range []struct {
		server  simcloud.Server
		outcome apply.Outcome
		reason  string
	}{
		{simcloud.Server{VMState: "building", BuildTime: 5 * time.Second}, apply.Tagged, ""},
		{simcloud.Server{VMState: "error"}, apply.Deferred, "vm_state error"},
		{simcloud.Server{Locked: true}, apply.Deferred, "locked"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, simcloud.Options{HuaweiCloud: true}, options())
			tt.server.ID = id
			s.sim.PutServer(tt.server)
			s.want("server", s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"env": "dev"}})), tt.outcome,
				tt.reason)
		})
	}
}

// A write is verified even if the read-back needs several tries.
func TestReadBackIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id})
		s.sim.Inject(simcloud.Fault{Service: "compute", Method: "GET", Times: 2, Answer: simcloud.ServerError()})
		s.want("server", s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"env": "dev"}})), apply.Tagged, "")
		diff(t, "sent", []string{
			`POST servers/metadata 200 {"metadata":{"env":"dev"}}`, "GET servers/metadata 500", "GET servers/metadata 500",
			"GET servers/metadata 200",
		}, s.sent())
	})
}

// Whatever fault any call of a job meets, the resource ends as planned, and the result reports it.
func TestFaultsEverywhere(t *testing.T) {
	faults := map[string]*simcloud.Answer{
		"429": simcloud.Throttled(2 * time.Second), "gateway": simcloud.ThrottledByGateway(),
		"flow control": simcloud.FlowControl(), "500": simcloud.ServerError(),
		"503": simcloud.Unavailable(0), "HTML 503": simcloud.UnavailableHTML(0), "HTML 404": simcloud.NotFoundHTML(),
		"dropped":         simcloud.Drop(),
		"dropped, served": simcloud.DropServed(), "hangs": simcloud.Hang(), "hangs, served": simcloud.HangServed(),
	}
	for name, answer := range faults {
		for skip := range 5 { // GET, POST, DELETE, DELETE, GET: the read, the write, the deletions, the read-back
			for _, times := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s at %d, %d times", name, skip, times), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newStand(t, simcloud.Options{}, options())
						s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"x": "1", "y": "2", "mine": "3"}})
						s.sim.Inject(simcloud.Fault{Service: "compute", Skip: skip, Times: times, Answer: answer})
						j := job(rules.Plan{Set: m{"env": "dev"}, Add: m{"owner": "alice", "mine": "no"}, Remove: []string{"x", "y"}})
						j.Wait = 5 * time.Minute
						got := s.applier.Apply(t.Context(), s.servers, j)
						s.want("server", got, apply.Tagged, "")
						server, _ := s.sim.Server(id)
						diff(t, "metadata", m{"env": "dev", "owner": "alice", "mine": "3"}, server.Metadata)
						diff(t, "written", m{"env": "dev", "owner": "alice"}, got.Written)
						diff(t, "removed", []string{"x", "y"}, got.Removed)
						if last := s.sent()[len(s.sent())-1]; last != "GET servers/metadata 200" {
							t.Errorf("the last call is %q, no read-back", last)
						}
					})
				})
			}
		}
	}
}

// A key to add is read before each attempt; a value that another writer has set by then stays.
func TestAddIsReadBeforeEachAttempt(t *testing.T) {
	for _, add := range []m{{"owner": "alice"}, {"owner": "alice", "a": "1"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			s.sim.PutServer(simcloud.Server{ID: id})
			s.sim.Inject(simcloud.Fault{Service: "compute", Method: "POST", Times: 1, Answer: simcloud.ServerError()})
			j := job(rules.Plan{Add: add, Set: m{"env": "dev"}})
			j.Pausing = func(string, time.Duration) { s.sim.SetServerMetadata(id, m{"owner": "bob"}) }
			s.want("server", s.applier.Apply(t.Context(), s.servers, j), apply.Tagged, "")
			server, _ := s.sim.Server(id)
			if server.Metadata["owner"] != "bob" || server.Metadata["env"] != "dev" {
				t.Errorf("metadata %v", server.Metadata)
			}
		})
	}
}

// A lost write is not reported as written, and the other writer's values are read.
func TestLostAndDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id})
		got := s.applier.Apply(t.Context(), &undo{s.servers, s.sim, 99, m{"a": "1"}},
			job(rules.Plan{Set: m{"env": "dev", "a": "1"}}))
		if got.Outcome != apply.Deferred {
			t.Errorf("%s", got)
		}
		diff(t, "written", m{"a": "1"}, got.Written)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id})
		j := job(rules.Plan{Add: m{"owner": "alice"}, Set: m{"env": "dev"}})
		j.Pausing = func(string, time.Duration) { s.sim.SetServerMetadata(id, m{"owner": "bob"}) }
		got := s.applier.Apply(t.Context(), &undo{s.servers, s.sim, 1, m{}}, j)
		s.want("server", got, apply.Tagged, "")
		server, _ := s.sim.Server(id)
		diff(t, "metadata", m{"owner": "bob", "env": "dev"}, server.Metadata)
	})
}

// A server may be stopped again during a pause. A start's plan is not applied to a stopped server.
func TestSupersededInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"stopped-at": "x"}})
		s.sim.Inject(simcloud.Fault{Service: "compute", Method: "DELETE", Times: 1, Answer: simcloud.ServerError()})
		j := job(rules.Plan{Remove: []string{"stopped-at"}})
		j.Change.Action = lifecycle.ServerStarted
		j.Pausing = func(string, time.Duration) {
			s.sim.SetServerState(id, "stopped", "")
			s.sim.SetServerMetadata(id, m{"stopped-at": "again"})
		}
		s.want("server", s.applier.Apply(t.Context(), s.servers, j), apply.Ignored, "")
		diff(t, "sent", []string{"GET servers 200", "DELETE servers/metadata/stopped-at 500", "GET servers 200"}, s.sent())
		server, _ := s.sim.Server(id)
		diff(t, "metadata", m{"stopped-at": "again"}, m(server.Metadata))
	})
}

// A write without a response is reported as written if a read of the state finds it saved.
func TestUnansweredWriteOfAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, simcloud.Options{}, options())
		s.sim.PutServer(simcloud.Server{ID: id, Metadata: m{"stopped-at": "x"}})
		s.sim.Inject(simcloud.Fault{Service: "compute", Method: "DELETE", Times: 1, Answer: simcloud.DropServed()})
		j := job(rules.Plan{Remove: []string{"stopped-at"}})
		j.Change.Action = lifecycle.ServerStarted
		got := s.applier.Apply(t.Context(), s.servers, j)
		s.want("server", got, apply.Tagged, "")
		diff(t, "removed", []string{"stopped-at"}, got.Removed)
	})
}

// If reading the state is refused, that refusal is reported.
func TestStateIsForbidden(t *testing.T) {
	s := newStand(t, simcloud.Options{}, options())
	s.sim.PutServer(simcloud.Server{ID: id, VMState: "error"})
	s.sim.Inject(simcloud.Fault{Service: "compute", Method: "GET", Answer: &simcloud.Answer{
		Status: 403, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"forbidden": {"code": 403, "message": "Policy doesn't allow it."}}`,
	}})
	got := s.applier.Apply(t.Context(), s.servers, job(rules.Plan{Set: m{"env": "dev"}}))
	if !metadata.IsClass(got.Fault.Err, metadata.Forbidden) || !strings.Contains(got.Reason, "Policy") {
		t.Errorf("%s (%v)", got, got.Fault.Err)
	}
}

// An event without a time is as old as its message. If that is unknown too, it is older than the grace period.
func TestAgeWithoutATime(t *testing.T) {
	for _, tt := range []struct {
		sent    time.Duration
		outcome apply.Outcome
	}{{time.Minute, apply.Deferred}, {time.Hour, apply.Gone}, {0, apply.Gone}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, simcloud.Options{}, options())
			j := job(rules.Plan{Set: m{"env": "dev"}})
			j.Change.Time = time.Time{}
			if tt.sent > 0 {
				j.SentAt = time.Now().Add(-tt.sent)
			}
			if got := s.applier.Apply(t.Context(), s.servers, j); got.Outcome != tt.outcome {
				t.Errorf("sent %s ago: %s", tt.sent, got)
			}
		})
	}
}

// A dry run and a preview report exactly what a run would do.
func TestDryRunOfWhatIsSuperseded(t *testing.T) {
	o := options()
	o.DryRun = true
	s := newStand(t, simcloud.Options{}, o)
	s.sim.PutServer(simcloud.Server{ID: id})
	j := job(rules.Plan{Set: m{"stopped-at": "x"}})
	j.Change.Action = lifecycle.ServerStopped
	s.want("dry run", s.applier.Apply(t.Context(), s.servers, j), apply.Ignored, "superseded")
	s.sim.SetServerState(id, "error", "")
	j.Change.Action = lifecycle.ServerCreated
	s.want("dry run", s.applier.Apply(t.Context(), s.servers, j), apply.Planned,
		"would write stopped-at: x; vm_state error does not allow it now")
}
