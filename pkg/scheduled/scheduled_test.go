package scheduled_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/scheduled"
	"github.com/cloudtagger/tagger/pkg/simcloud"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const ownerRules = `rules: [{name: owner, on: server.created, add: {owner: "team-${resource.name}"}}]`

// fleet is an embedded cloud in which some of 400 servers lack their owner, with the parts of a reconcile.
type fleet struct {
	sim *simcloud.Cloud
	set *rules.Set
	log bytes.Buffer
	app.Composed
}

func newFleet(t *testing.T, lacking int, audit tagger.Journal) *fleet {
	t.Helper()
	sim := simcloud.New(simcloud.Options{Seed: 1})
	sim.Fill(400, func(i int, s *simcloud.Server) {
		s.Created = time.Now().Add(-48 * time.Hour)
		if i >= lacking {
			s.Metadata = map[string]string{"owner": "team-" + s.Name}
		}
	})
	time.Sleep(time.Hour) // until the last change is long enough ago
	set, err := rules.Compile([]byte(ownerRules), rules.Options{Name: "rules"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{sim: sim, set: set}
	f.Log = slog.New(slog.NewJSONHandler(&f.log, nil))
	f.Metrics, f.Rules = metrics.New("reconcile"), set
	f.Settings = config.Settings{API: "openstack", Concurrency: 4, Grace: 10 * time.Minute}
	f.Cloud = cloud.New(cloud.Options{Transport: sim.Transport(), Credentials: config.Credentials{
		AuthURL: simcloud.DefaultEndpoint + "/identity/v3", Username: "demo", Password: config.NewSecret("secret"),
		UserDomainName: "Default", ProjectName: "demo", RegionName: "RegionOne",
	}})
	f.Tagger = tagger.New(tagger.Options{
		Registry: lifecycle.New(lifecycle.Options{}), Rules: set, Cloud: f.Cloud, Log: f.Log, Observe: f.Metrics.Observe,
		Apply: apply.Options{Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}, Journal: audit,
	})
	return f
}

func (f *fleet) tagged() (n int) {
	for _, s := range f.sim.Servers() {
		if s.Metadata["owner"] != "" {
			n++
		}
	}
	return n
}

func (f *fleet) prometheus(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := f.Metrics.WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A pass depends on the reviewed rules, the limits and the hold, not on earlier passes.
func TestPass(t *testing.T) {
	for name, tt := range map[string]struct {
		lacking  int
		reviewed string // digits of the hash, "right" for those of the rules
		settings map[string]string
		change   func(f *fleet)
		want     metrics.ReconcileOutcome
		reason   string
		written  int
	}{
		"reviewed":       {lacking: 8, reviewed: "right", want: "done", written: 8},
		"nothing to do":  {lacking: 0, want: "done"},
		"not reviewed":   {lacking: 8, want: "dry", reason: "TAGGER_RECONCILE_RULES="},
		"other rules":    {lacking: 8, reviewed: "0123456789ab", want: "dry", reason: "not reviewed"},
		"over the share": {lacking: 9, reviewed: "right", want: "capped", reason: "share: 2.2 %, the limit is 2 %"},
		"over the number": {lacking: 8, reviewed: "right", settings: map[string]string{"TAGGER_RECONCILE_MAX": "7"},
			want: "capped", reason: "8 planned, the limit is 7"},
		"a higher limit": {lacking: 40, reviewed: "right",
			settings: map[string]string{"TAGGER_RECONCILE_MAX_PERCENT": "10"}, want: "done", written: 40},
		"on hold": {lacking: 8, reviewed: "right", change: func(f *fleet) { f.Held = func() bool { return true } },
			want: "dry", reason: "TAGGER_HOLD_FILE"},
		"a dry run": {lacking: 8, reviewed: "right", change: func(f *fleet) { f.Settings.DryRun = true },
			want: "dry", reason: "TAGGER_DRY_RUN"},
		"volumes unreadable": {lacking: 8, reviewed: "right", change: func(f *fleet) { f.fault("GET", "/volumes", 403) },
			want: "incomplete", reason: "1 lists or resources could not be read", written: 8},
		"writes refused": {lacking: 8, reviewed: "right", change: func(f *fleet) { f.fault("POST", "/metadata", 403) },
			want: "stopped", reason: "failed"},
		"no login": {lacking: 8, reviewed: "right", change: func(f *fleet) { f.fault("POST", "/auth/tokens", 401) },
			want: "failed", reason: "401"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, tt.lacking, nil)
				for key, value := range tt.settings {
					t.Setenv(key, value)
				}
				if tt.reviewed == "right" {
					tt.reviewed = f.set.Hash()[:12]
				}
				t.Setenv("TAGGER_RECONCILE_RULES", tt.reviewed)
				if tt.change != nil {
					tt.change(f)
				}
				before := f.tagged()
				r, err := scheduled.New(f.Composed)
				if err != nil {
					t.Fatal(err)
				}
				p, err := r.Run(t.Context())
				if p.Outcome != tt.want || !strings.Contains(p.Reason, tt.reason) || (err != nil) != (tt.want == "failed") {
					t.Errorf("%+v, error %v", p, err)
				}
				if n := f.tagged() - before; n != tt.written || p.Written != tt.written {
					t.Errorf("%d written, %d in the pass, want %d", n, p.Written, tt.written)
				}
				if !strings.Contains(f.log.String(), `"msg":"reconcile `+string(tt.want)+`"`) {
					t.Errorf("the log lacks the outcome:\n%s", f.log.String())
				}
				if text := f.prometheus(t); !strings.Contains(text, fmt.Sprintf("outcome=%q} 1\n", tt.want)) ||
					!strings.Contains(text, fmt.Sprintf("tagger_reconcile_written_total{function=\"reconcile\"} %d\n", tt.written)) {
					t.Errorf("the metrics lack the pass:\n%s", text)
				}
			})
		})
	}
}

// A pass counts the resources that it lists once, before it writes, and also if it does not write.
func TestCoverageOfAPass(t *testing.T) {
	const required = "required: [{key: owner, kinds: [server]}]\n"
	for name, tt := range map[string]struct {
		rules    string
		change   func(f *fleet)
		complete bool
		missing  int
		none     bool
	}{
		"reviewed or not":    {rules: required + ownerRules, complete: true, missing: 8},
		"nothing required":   {rules: ownerRules, none: true},
		"servers unreadable": {rules: required + ownerRules, change: func(f *fleet) { f.fault("GET", "/servers", 403) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 8, nil)
				set, err := rules.Compile([]byte(tt.rules), rules.Options{Name: "rules"})
				if err != nil {
					t.Fatal(err)
				}
				f.Rules = set
				if tt.change != nil {
					tt.change(f)
				}
				r, err := scheduled.New(f.Composed)
				if err != nil {
					t.Fatal(err)
				}
				var reports []coverage.Report
				r.Coverage = func(report coverage.Report) { reports = append(reports, report) }
				before := len(f.sim.Requests())
				if _, err := r.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if tt.none {
					if len(reports) != 0 {
						t.Errorf("reports %+v", reports)
					}
					return
				}
				if len(reports) != 1 {
					t.Fatalf("%d reports", len(reports))
				}
				report := reports[0]
				if report.Complete != tt.complete {
					t.Errorf("complete: %v", report.Complete)
				}
				if !tt.complete {
					return
				}
				row := report.Rows[0]
				if row.Key != "owner" || row.Total.Count != 400 {
					t.Errorf("row %+v", row)
				}
				if n := row.Status[coverage.Missing].Count; n != tt.missing {
					t.Errorf("%d servers lack owner, want %d", n, tt.missing)
				}
				lists := 0
				for _, request := range f.sim.Requests()[before:] {
					if request.Method == "GET" && strings.HasSuffix(request.Path, "/servers/detail") {
						lists++
					}
				}
				if lists != 3 { // 400 servers in pages of 200, and the empty page at the end
					t.Errorf("the servers were listed with %d requests", lists)
				}
			})
		})
	}
}

func (f *fleet) fault(method, path string, status int) {
	f.sim.Inject(simcloud.Fault{Method: method, Path: path, Answer: &simcloud.Answer{Status: status, Body: "{}"}})
}

// A pass with too little time stops and reports its progress. The next pass continues.
func TestOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 8, nil)
		f.Settings.Concurrency = 1
		t.Setenv("TAGGER_RECONCILE_RULES", f.set.Hash())
		r, err := scheduled.New(f.Composed)
		if err != nil {
			t.Fatal(err)
		}
		f.sim.Inject(simcloud.Fault{Method: "POST", Path: "/metadata", Delay: 30 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		p, err := r.Run(ctx)
		if err != nil || p.Outcome != metrics.ReconcileOutOfTime {
			t.Fatalf("%+v, error %v", p, err)
		}
		if p.Written == 0 || p.Written >= 8 || p.Left != 8-p.Written {
			t.Fatalf("%d written, %d left", p.Written, p.Left)
		}
		if ctx.Err() != nil {
			t.Error("the pass used all of its time")
		}
		if n := f.tagged() - 392; n != p.Written {
			t.Errorf("%d are written, the pass reports %d", n, p.Written)
		}
		next, err := r.Run(t.Context())
		if err != nil || next.Outcome != metrics.ReconcileDone || next.Written != 8-p.Written {
			t.Errorf("%+v, error %v", next, err)
		}

		f = newFleet(t, 8, nil)
		f.sim.Inject(simcloud.Fault{Method: "GET", Path: "/servers/detail", Delay: time.Minute})
		if r, err = scheduled.New(f.Composed); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		p, err = r.Run(ctx)
		if err != nil || p.Outcome != metrics.ReconcileOutOfTime || !strings.Contains(p.Reason, "nothing was written") {
			t.Errorf("%+v, error %v", p, err)
		}
		if n := f.tagged(); n != 392 {
			t.Errorf("%d servers are tagged", n)
		}
	})
}

// The writes of a pass are in the audit file and the log, and the coverage counter sees every resource.
func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Setenv("TMPDIR", t.TempDir())
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		audit, err := journal.OpenAudit(path, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		defer audit.Close()
		f := newFleet(t, 3, audit)
		t.Setenv("TAGGER_RECONCILE_RULES", f.set.Hash())
		r, err := scheduled.New(f.Composed)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := r.Run(t.Context()); err != nil || p.Written != 3 {
			t.Fatalf("%+v, error %v", p, err)
		}
		ends := 0
		if _, err := journal.Read(path, func(_ journal.Header, r journal.Record) error {
			if r.Phase == journal.End && r.Keys["owner"].To != nil && r.Rules == f.set.Hash() {
				ends++
			}
			return nil
		}); err != nil || ends != 3 {
			t.Errorf("%d writes in the audit file, error %v", ends, err)
		}
		if n := strings.Count(f.log.String(), `"msg":"correction tagged"`); n != 3 {
			t.Errorf("%d corrections in the log:\n%s", n, f.log.String())
		}
		left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
}

func TestSettings(t *testing.T) {
	for name, value := range map[string]string{
		"TAGGER_RECONCILE_RULES": "9f3c1a2", "TAGGER_RECONCILE_MAX": "0", "TAGGER_RECONCILE_MAX_PERCENT": "NaN",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := scheduled.New(app.Composed{}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		})
	}
}
