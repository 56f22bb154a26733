package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// world is an embedded cloud with the options of plans and runs.
type world struct {
	t     *testing.T
	cloud *simcloud.Cloud
	Options
	path string
}

// newWorld creates a cloud with the resources from fill, and advances time until they count as old.
func newWorld(
	t *testing.T,
	user, text string,
	scope config.Projects,
	o simcloud.Options,
	fill func(c *simcloud.Cloud),
) *world {
	t.Helper()
	if o.JournalSize == 0 {
		o.JournalSize = -1
	}
	o.Seed = 1
	c := simcloud.New(o)
	fill(c)
	time.Sleep(time.Hour)
	set, err := rules.Compile([]byte(text), rules.Options{Name: "rules"})
	if err != nil {
		t.Fatal(err)
	}
	existing, _, err := set.ForExisting()
	if err != nil {
		t.Fatal(err)
	}
	connect := func(p config.Projects) *cloud.Cloud {
		return cloud.New(cloud.Options{Transport: c.Transport(), Projects: p, Credentials: config.Credentials{
			AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: user, Password: config.NewSecret("secret"),
			UserDomainName: "Default", ProjectName: "demo", RegionName: "RegionOne",
		}})
	}
	bounds := connect(config.Projects{"*"})
	w := &world{t: t, cloud: c, path: filepath.Join(t.TempDir(), "plan.jsonl"), Options: Options{
		Policy: set.Policy(), Rules: set.Hash(), Cloud: connect(scope), Bounds: bounds, Scope: scope,
		Kinds: []lifecycle.Kind{lifecycle.Server}, Grace: 10 * time.Minute, Settled: 10 * time.Minute,
		Tagger: tagger.New(tagger.Options{
			Registry: lifecycle.New(lifecycle.Options{}), Rules: existing, Cloud: bounds,
			Apply: apply.Options{Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour},
		}),
	}}
	return w
}

func (w *world) plan() Summary {
	w.t.Helper()
	s, err := Plan(w.t.Context(), w.Options, w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) run() Run {
	w.t.Helper()
	session, err := w.Bounds.Login(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	limits := DefaultLimits()
	limits.Percent, limits.OneValue, limits.PerProject = 100, 100, 100
	return Run{
		Tagger:      w.Tagger,
		Cloud:       session.CloudName(),
		Rules:       w.Rules,
		Operator:    "test",
		Limits:      limits,
		MaxFailures: 5,
		Concurrency: 1,
	}
}

// metadata returns the metadata of every resource.
func (w *world) metadata() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, s := range w.cloud.Servers() {
		all[s.Name] = s.Metadata
	}
	for _, v := range w.cloud.Volumes() {
		all[v.Name] = v.Metadata
	}
	return all
}

// inBubble runs a test in a synctest bubble.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

const ownerRules = `
rules:
- {name: owner, on: [server.created, volume.created], add: {owner: "team-${resource.project}", env: dev}}
- {name: tier, on: server.created, set: {tier: "${resource.flavor}"}}
- {name: lease, on: server.created, add: {expires: "${date(time + days(14))}"}}
protected_keys: [guarded]
`

// mixed is a fleet with a server in each state that matters.
func mixed(c *simcloud.Cloud) {
	project, _ := c.Project("demo")
	complete := map[string]string{"owner": "team-" + project.ID, "env": "dev", "tier": "m1.nano"}
	for _, s := range []simcloud.Server{
		{Name: "bare"}, {Name: "half", Metadata: map[string]string{"env": "prod", "other": "x"}},
		{Name: "empty", Metadata: map[string]string{"owner": "", "tier": "old"}},
		{Name: "complete", Metadata: complete},
		{Name: "cased", Metadata: map[string]string{"Owner": "bob", "env": "x", "tier": "m1.nano"}},
		{Name: "gone", VMState: "deleted"}, {Name: "error", VMState: "error"}, {Name: "locked", Locked: true},
		{Name: "busy", TaskState: "rebooting"},
	} {
		s.Created = time.Now().Add(-48 * time.Hour)
		c.PutServer(s)
	}
}

func TestPlanAndApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "demo", ownerRules, config.Projects{"own"}, simcloud.Options{}, mixed)
		w.cloud.PutServer(simcloud.Server{Name: "young"})
		before := w.metadata()
		s := w.plan()
		want := map[State]map[lifecycle.Kind]int{
			Add: {
				"server": 3,
			},
			Complete:    {"server": 1},
			Differs:     {"server": 1},
			NotWritable: {"server": 2},
			Busy:        {"server": 1},
			TooYoung:    {"server": 1},
		}
		if diff := cmp.Diff(want, s.States); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if !s.Complete || s.Listed["server"] != 9 || s.Resources != 3 {
			t.Errorf("summary %+v", s)
		}
		if diff := cmp.Diff(before, w.metadata()); diff != "" {
			t.Errorf("planning wrote:\n%s", diff)
		}
		info, err := os.Stat(w.path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the plan's file: %v %v", info.Mode(), err)
		}
		planned := map[string]map[string]string{}
		for name, m := range before {
			planned[name] = map[string]string{}
			for key, value := range m {
				planned[name][key] = value
			}
		}
		if err := Entries(w.path, func(_ int, e Entry) (bool, error) {
			for key, r := range e.Keys {
				planned[e.Name][key] = *r.To
			}
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		r, err := Apply(t.Context(), w.path, w.run())
		if err != nil {
			t.Fatal(err)
		}
		if r.Written != 3 || r.Failed != 0 || r.Left != 0 {
			t.Fatalf("%d written, %d failed, %d left", r.Written, r.Failed, r.Left)
		}
		if diff := cmp.Diff(planned, w.metadata()); diff != "" {
			t.Errorf("the run differs from the dry run (-planned +got):\n%s", diff)
		}
		if m := w.metadata()["empty"]; m["tier"] != "old" || m["owner"] == "" || m["expires"] != "" {
			t.Errorf("an empty value must count as none, and set: must not overwrite: %v", m)
		}
		if info, err := os.Stat(r.Journal); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the journal's file: %v %v", info, err)
		}
		if _, err := Apply(t.Context(), w.path, w.run()); !strings.Contains(fmt.Sprint(err), "--resume") {
			t.Errorf("a second run without --resume: %v", err)
		}
		back, err := Revert(t.Context(), r.Journal, w.run())
		if err != nil || back.Written != 3 {
			t.Fatalf("report %+v, error %v", back, err)
		}
		if diff := cmp.Diff(before, w.metadata()); diff != "" {
			t.Errorf("the revert did not restore (-before +after):\n%s", diff)
		}
	})
}

func TestOverwriteAndProtected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(
			t,
			"demo",
			"rules:\n- {on: server.created, set: {tier: new, guarded: g}}\nprotected_keys: [guard*]\n",
			config.Projects{"own"},
			simcloud.Options{},
			func(c *simcloud.Cloud) {
				c.PutServer(simcloud.Server{Name: "web", Metadata: map[string]string{"tier": "old"}})
			},
		)
		if s := w.plan(); s.Resources != 0 || s.States[Differs]["server"] != 1 {
			t.Errorf("summary %+v", s)
		}
		w.Overwrite, w.Protected = []string{"tier"}, []string{"guarded"}
		if s := w.plan(); s.Resources != 1 || s.Changes != 2 {
			t.Errorf("summary %+v", s)
		}
		// Resources that changed since the plan are left alone.
		server := w.cloud.Servers()[0]
		w.cloud.SetMetadata("server", server.ID, map[string]string{"tier": "newer"})
		r, err := Apply(t.Context(), w.path, w.run())
		if err != nil || r.Written != 1 {
			t.Fatalf("report %+v, error %v", r, err)
		}
		if diff := cmp.Diff(map[string]string{"tier": "newer", "guarded": "g"}, w.metadata()["web"]); diff != "" {
			t.Error(diff)
		}
		w.cloud.SetMetadata("server", server.ID, map[string]string{"tier": "newer", "guarded": "other"})
		if back, err := Revert(
			t.Context(),
			r.Journal,
			w.run(),
		); err != nil || back.Changed != 1 ||
			w.metadata()["web"]["guarded"] != "other" {
			t.Errorf("a value that is not ours any more is left alone: %+v %v", back, err)
		}
	})
}

func TestPastDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := "rules:\n- {on: server.created, reconcile: true, add: {expires: '${date(time + days(14))}'}}\n"
		w := newWorld(t, "demo", text, config.Projects{"own"}, simcloud.Options{}, func(c *simcloud.Cloud) {
			c.PutServer(simcloud.Server{Name: "old", Created: time.Now().AddDate(0, -2, 0)})
		})
		_, err := Plan(t.Context(), w.Options, w.path)
		if e, ok := errors.AsType[*PastDateError](err); !ok || e.Count != 1 {
			t.Fatalf("error %v", err)
		}
		if files, _ := os.ReadDir(filepath.Dir(w.path)); len(files) != 0 {
			t.Errorf("files are left: %v", files)
		}
		w.AllowPastDates = true
		if s := w.plan(); s.Resources != 1 {
			t.Errorf("summary %+v", s)
		}
	})
}

// Each limit stops a plan before the first write. The exact count lifts all but the limit per project.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*Limits)
		over    string
		confirm int
	}{
		{"resources", func(l *Limits) { l.Resources = 39 }, "resources", 40},
		{"share", func(l *Limits) { l.Percent = 99 }, "share", 40},
		{"one value", func(l *Limits) { l.OneValue = 99 }, "one value", 40},
		{"per project", func(l *Limits) { l.PerProject = 99 }, "per project", -1},
		{"a wrong count", func(l *Limits) { l.Confirm = 41 }, "", 40},
		{"all at once", func(l *Limits) { *l = DefaultLimits(); l.PerProject = 100; l.Resources = 10 }, "resources", 40},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			w := newWorld(
				t,
				"demo",
				ownerRules,
				config.Projects{"own"},
				simcloud.Options{},
				func(c *simcloud.Cloud) { c.Fill(40, nil) },
			)
			w.plan()
			before, run := w.metadata(), w.run()
			tt.change(&run.Limits)
			r, err := Apply(t.Context(), w.path, run)
			e, capped := errors.AsType[*LimitError](err)
			if !capped || r.Tried != 0 {
				t.Fatalf("report %+v, error %v", r, err)
			}
			for _, c := range e.Checks {
				if over := c.Name == tt.over || tt.name == "all at once" && c.Name != "per project"; c.Over != over {
					t.Errorf("%s: over %v, want %v", c.Name, c.Over, over)
				}
			}
			if _, err := os.Stat(journalPath(w.path, r.Plan)); err == nil {
				t.Error("there is a journal")
			}
			if diff := cmp.Diff(before, w.metadata()); diff != "" {
				t.Errorf("it wrote:\n%s", diff)
			}
			run.Limits.Confirm = 40
			m, _ := Measure(w.path, func(int, Entry) bool { return true })
			if _, err := run.Limits.Check(r.Plan, m); (err == nil) != (tt.confirm == 40) {
				t.Errorf("confirmed: %v", err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "demo", ownerRules, config.Projects{"own"}, simcloud.Options{}, mixed)
		w.plan()
		before := w.metadata()
		for name, change := range map[string]func(*Run){
			"another cloud": func(r *Run) { r.Cloud = "elsewhere" },
			"the rules":     func(r *Run) { r.Rules = "other" },
			"no journal":    func(r *Run) { r.Resume = true },
			"too old":       func(*Run) { time.Sleep(25 * time.Hour) },
		} {
			if name == "too old" {
				continue
			}
			run := w.run()
			change(&run)
			if _, err := Apply(t.Context(), w.path, run); !isRefused(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		text, err := os.ReadFile(w.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.path, append(text, []byte("{}\n")...), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(t.Context(), w.path, w.run()); !isRefused(err) {
			t.Errorf("changed by hand: %v", err)
		}
		if err := os.WriteFile(w.path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		if _, err := Apply(t.Context(), w.path, w.run()); !isRefused(err) {
			t.Errorf("too old: %v", err)
		}
		if diff := cmp.Diff(before, w.metadata()); diff != "" {
			t.Errorf("it wrote:\n%s", diff)
		}
	})
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok
}

// A run that is killed around any write and resumed ends like one that was not killed, and can be reverted. It is
// killed before the journal announces the write, between that and the write, and before the journal records the write.
func TestKilledAndResumed(t *testing.T) {
	const servers = 4
	fill := func(c *simcloud.Cloud) {
		c.Fill(servers, func(i int, s *simcloud.Server) {
			if i == 1 {
				s.Metadata = map[string]string{"owner": "", "mine": "1"}
			}
		})
	}
	killed := errors.New("killed")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "demo", ownerRules, config.Projects{"own"}, simcloud.Options{}, fill)
		w.plan()
		if _, err := Apply(t.Context(), w.path, w.run()); err != nil {
			t.Fatal(err)
		}
		uninterrupted := w.metadata()
		for kill := range 2 * servers { // records: one before each write and one after it
			for _, lost := range []bool{false, true} { // whether the write that was announced last is never made
				if lost && kill%2 == 0 {
					continue
				}
				w := newWorld(t, "demo", ownerRules, config.Projects{"own"}, simcloud.Options{}, fill)
				before := w.metadata()
				w.plan()
				run, records := w.run(), 0
				run.fault = func() error {
					records++
					if lost && records == kill {
						w.cloud.Inject(simcloud.Fault{Method: "POST", Path: "/metadata", Answer: &simcloud.Answer{Drop: true}})
					}
					if records > kill {
						return killed
					}
					return nil
				}
				if _, err := Apply(t.Context(), w.path, run); !errors.Is(err, killed) {
					t.Fatalf("%d, lost %v: error %v", kill, lost, err)
				}
				w.cloud.ClearFaults()
				written := 0
				for _, m := range w.metadata() {
					if m["env"] == "dev" {
						written++
					}
				}
				if want := (kill + 1) / 2; !lost && written != want || lost && written != want-1 {
					t.Fatalf("%d, lost %v: %d servers were written before", kill, lost, written)
				}
				run.fault, run.Resume = nil, true
				r, err := Apply(t.Context(), w.path, run)
				if err != nil || r.Left != 0 || r.Failed != 0 {
					t.Fatalf("%d, lost %v: report %+v, error %v", kill, lost, r, err)
				}
				if diff := cmp.Diff(uninterrupted, w.metadata()); diff != "" {
					t.Errorf("%d, lost %v: not as uninterrupted (-want +got):\n%s", kill, lost, diff)
				}
				if _, err := Revert(t.Context(), r.Journal, w.run()); err != nil {
					t.Fatalf("%d, lost %v: %v", kill, lost, err)
				}
				if diff := cmp.Diff(before, w.metadata()); diff != "" {
					t.Errorf("%d, lost %v: the revert did not restore (-before +after):\n%s", kill, lost, diff)
				}
			}
		}
	})
}

// A line that was cut off when the process was killed is ignored.
func TestCutOffJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(
			t,
			"demo",
			ownerRules,
			config.Projects{"own"},
			simcloud.Options{},
			func(c *simcloud.Cloud) { c.Fill(3, nil) },
		)
		before := w.metadata()
		w.plan()
		run := w.run()
		run.Canary = 2
		r, err := Apply(t.Context(), w.path, run)
		if err != nil || r.Written != 2 || r.Left != 1 {
			t.Fatalf("report %+v, error %v", r, err)
		}
		text, err := os.ReadFile(r.Journal)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.Journal, text[:len(text)-20], 0o600); err != nil {
			t.Fatal(err)
		}
		run.Canary, run.Resume = 0, true
		if r, err = Apply(t.Context(), w.path, run); err != nil || r.Left != 0 {
			t.Fatalf("report %+v, error %v", r, err)
		}
		if _, err := Revert(t.Context(), r.Journal, w.run()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, w.metadata()); diff != "" {
			t.Errorf("the revert did not restore (-before +after):\n%s", diff)
		}
	})
}

// The response to each write is lost once.
func TestLostResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for skip := range 3 {
			w := newWorld(
				t,
				"demo",
				ownerRules,
				config.Projects{"own"},
				simcloud.Options{},
				func(c *simcloud.Cloud) { c.Fill(3, nil) },
			)
			before := w.metadata()
			w.plan()
			w.cloud.Inject(
				simcloud.Fault{Method: "POST", Path: "/metadata", Skip: skip, Times: 1, Answer: simcloud.DropServed()},
			)
			r, err := Apply(t.Context(), w.path, w.run())
			if err != nil {
				t.Fatal(err)
			}
			if r.Left > 0 {
				run := w.run()
				run.Resume = true
				if r, err = Apply(t.Context(), w.path, run); err != nil || r.Left != 0 {
					t.Fatalf("report %+v, error %v", r, err)
				}
			}
			if _, err := Revert(t.Context(), r.Journal, w.run()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, w.metadata()); diff != "" {
				t.Errorf("%d: the revert did not restore (-before +after):\n%s", skip, diff)
			}
		}
	})
}

func TestMaxFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(
			t,
			"demo",
			ownerRules,
			config.Projects{"own"},
			simcloud.Options{},
			func(c *simcloud.Cloud) { c.Fill(50, nil) },
		)
		w.plan()
		w.cloud.Inject(
			simcloud.Fault{
				Method: "POST",
				Path:   "/metadata",
				Answer: &simcloud.Answer{Status: 403, Body: `{"forbidden": {"code": 403}}`},
			},
		)
		r, err := Apply(t.Context(), w.path, w.run())
		e, stopped := errors.AsType[*StoppedError](err)
		if !stopped || e.Failed != 2 {
			t.Errorf("the error is %v", err)
		}
		if r.Written != 0 || r.Left != 50 {
			t.Errorf("%d written, %d left", r.Written, r.Left)
		}
	})
}

// A cancelled run finishes running corrections and begins no others.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(
			t,
			"demo",
			ownerRules,
			config.Projects{"own"},
			simcloud.Options{},
			func(c *simcloud.Cloud) { c.Fill(20, nil) },
		)
		w.plan()
		ctx, cancel := context.WithCancel(t.Context())
		run := w.run()
		run.Progress = func(tried, _ int) {
			if tried == 3 {
				cancel()
			}
		}
		r, err := Apply(ctx, w.path, run)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		if r.Failed != 0 || r.Written < 3 || r.Written+r.Left != 20 {
			t.Errorf("%d failed, %d written, %d left", r.Failed, r.Written, r.Left)
		}
	})
}

// Resources that could not be read are reported and are not in the plan.
func TestIncomplete(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fault    simcloud.Fault
		complete bool
		listed   int
	}{
		{"a page that fails for good", simcloud.Fault{Path: "/servers/detail", Skip: 1, Answer: simcloud.ServerError()},
			false, 200},
		{"a page that fails once", simcloud.Fault{Path: "/servers/detail", Skip: 1, Times: 1,
			Answer: simcloud.Unavailable(0)}, true, 450},
		{"a page that takes too long", simcloud.Fault{Path: "/servers/detail", Skip: 1, Times: 2,
			Answer: &simcloud.Answer{Status: 504}}, true, 450},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			w := newWorld(
				t,
				"demo",
				ownerRules,
				config.Projects{"own"},
				simcloud.Options{},
				func(c *simcloud.Cloud) { c.Fill(450, nil) },
			)
			w.cloud.Inject(tt.fault)
			s := w.plan()
			if s.Complete != tt.complete || (len(s.Errors) > 0) == tt.complete {
				t.Errorf("complete: %t, errors %q", s.Complete, s.Errors)
			}
			if s.Listed["server"] != tt.listed || s.Resources != tt.listed {
				t.Errorf("%d servers listed, %d resources planned, want %d", s.Listed["server"], s.Resources, tt.listed)
			}
		})
	}
}

// Only projects in the scope and the bounds are planned; the project service must be named by its id.
func TestScope(t *testing.T) {
	projects := []simcloud.Project{{Name: "demo"}, {Name: "admin"}, {Name: "other"}, {Name: "service"}}
	fill := func(c *simcloud.Cloud) {
		for _, name := range []string{"demo", "other", "service"} {
			p, _ := c.Project(name)
			c.PutServer(simcloud.Server{Name: "of-" + name, ProjectID: p.ID})
		}
	}
	c := simcloud.New(simcloud.Options{Projects: projects})
	service, _ := c.Project("service")
	other, _ := c.Project("other")
	for _, tt := range []struct {
		user  string
		scope config.Projects
		want  []string
	}{
		{"demo", config.Projects{"own"}, []string{"of-demo"}},
		{"demo", config.Projects{"*"}, []string{"of-demo"}},
		{"demo", config.Projects{"roles"}, []string{"of-demo"}},
		{"admin", config.Projects{"own"}, []string{"of-demo"}},
		{"admin", config.Projects{"*"}, []string{"of-other", "of-demo"}},
		{"admin", config.Projects{"domain:Default"}, []string{"of-other", "of-demo"}},
		{"admin", config.Projects{other.ID, service.ID}, []string{"of-other", "of-service"}},
	} {
		inBubble(t, tt.user+" "+tt.scope[0], func(t *testing.T) {
			w := newWorld(t, tt.user, ownerRules, tt.scope, simcloud.Options{Projects: projects}, fill)
			if tt.scope.Listed(service.ID) {
				w.Bounds = w.Cloud // * does not stand for the project service
			}
			s := w.plan()
			var names []string
			if err := Entries(
				w.path,
				func(_ int, e Entry) (bool, error) { names = append(names, e.Name); return true, nil },
			); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names); diff != "" || !s.Complete {
				t.Errorf("(-want +got):\n%s%v", diff, s.Errors)
			}
		})
	}
}

// Volumes inherit from servers that were already listed, so a volume costs no call.
func TestParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := "rules:\n- {on: volume.created, inherit: [owner]}\n"
		w := newWorld(t, "demo", text, config.Projects{"own"}, simcloud.Options{}, func(c *simcloud.Cloud) {
			id := c.PutServer(simcloud.Server{Name: "web", Metadata: map[string]string{"owner": "alice"}})
			for i := range 30 {
				c.PutVolume(simcloud.Volume{Name: fmt.Sprintf("data-%d", i), ServerID: id})
			}
			c.PutVolume(simcloud.Volume{Name: "data-of-terraform", ServerID: id, Metadata: map[string]string{"tf": "1"}})
			c.PutVolume(simcloud.Volume{Name: "loose"})
		})
		w.Kinds, w.Name = []lifecycle.Kind{lifecycle.Server, lifecycle.Volume}, "data-*"
		listed := map[lifecycle.Kind]int{}
		w.Listed = func(kind lifecycle.Kind, v metadata.View) error {
			if v.Project == "" || v.Metadata == nil {
				t.Errorf("%+v", v)
			}
			listed[kind]++
			return nil
		}
		s := w.plan()
		if want := map[lifecycle.Kind]int{"server": 1, "volume": 32}; !cmp.Equal(listed, want) {
			t.Errorf("Listed was called for %v, want every resource, including those that --name leaves out: %v", listed, want)
		}
		if s.Resources != 30 || s.States[NotManaged]["volume"] != 1 || s.Calls != 2 {
			t.Errorf("summary %+v", s)
		}
		r, err := Apply(t.Context(), w.path, w.run())
		if err != nil || r.Written != 30 || w.metadata()["data-7"]["owner"] != "alice" {
			t.Errorf("report %+v, error %v", r, err)
		}
	})
}

// A dry run of a large fleet needs one call for each page, and memory that does not depend on the fleet.
func TestLargeFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("a large fleet")
	}
	synctest.Test(t, func(t *testing.T) {
		heap := map[int]uint64{}
		for _, n := range []int{largeFleet / 10, largeFleet} {
			w := newWorld(
				t,
				"demo",
				ownerRules,
				config.Projects{"own"},
				simcloud.Options{},
				func(c *simcloud.Cloud) { c.Fill(n, nil) },
			)
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			base, most := m.HeapAlloc, uint64(0)
			w.Progress = func(read int) {
				if read%(n/4) != 0 {
					return
				}
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc-min(base, m.HeapAlloc))
			}
			s := w.plan()
			if s.Resources != n || s.Calls > n/pageSize+3 {
				t.Errorf("%d servers: %d in the plan, %d calls", n, s.Resources, s.Calls)
			}
			heap[n] = most
			t.Logf("%d servers: %d calls, heap %d KiB over the cloud's", n, s.Calls, most>>10)
		}
		if heap[largeFleet] > 2*heap[largeFleet/10]+largeFleet*32 {
			t.Errorf("memory grows with the fleet: %v", heap)
		}
	})
}

// A key is not missing if an exemption covers it or an alias has it.
func TestExemptionsAndAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
		text := `
required:
- {key: owner, aliases: [Besitzer]}
exemptions:
- {name: tests, match: {project_name: dem*, name: "test-*"}, keys: [owner], reason: tests, by: me, until: ` + until + `}
rules:
- {on: server.created, add: {owner: "${resource.image} ${resource.region}"}}
`
		w := newWorld(t, "demo", text, config.Projects{"own"}, simcloud.Options{}, func(c *simcloud.Cloud) {
			c.PutServer(simcloud.Server{Name: "test-1"})
			c.PutServer(simcloud.Server{Name: "alias", Metadata: map[string]string{"Besitzer": "bob"}})
			c.PutServer(simcloud.Server{Name: "web"})
		})
		w.Region = "RegionOne"
		s := w.plan()
		want := map[State]map[lifecycle.Kind]int{Add: {"server": 1}, Exempt: {"server": 1}, Complete: {"server": 1}}
		if diff := cmp.Diff(want, s.States); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		image, _ := w.cloud.Image("cirros")
		if err := Entries(w.path, func(_ int, e Entry) (bool, error) {
			if got := *e.Keys["owner"].To; e.Name != "web" || got != image.ID+" RegionOne" {
				t.Errorf("%s: %s", e.Name, got)
			}
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
