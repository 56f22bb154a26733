// Package scheduled runs a reconcile from time to time, unattended: it plans, checks tighter limits than
// those of the command, and writes only by rules that a person has reviewed.
//
// It remembers nothing from pass to pass: which rules were reviewed is a setting. So it is the same in a function, in
// one of several listeners, and by cron.
package scheduled

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
)

const (
	// forTheEnd is what is left of the time for what is under way when a pass stops, and for its answer.
	forTheEnd = 70 * time.Second
	// settled is how long ago the last change of a resource must be.
	settled = 10 * time.Minute
	// maxFailures is how many resources in a hundred may fail.
	maxFailures = 5
	// maxOneValue and maxPerProject are those of [reconcile.Limits]; few resources of a project are always allowed.
	maxOneValue   = 20
	maxPerProject = 25
	// shownDigits is how many digits of the rules' hash are shown, fewestDigits how many a setting must have.
	shownDigits  = 12
	fewestDigits = 8
)

// Pass is what became of one pass.
type Pass struct {
	Outcome metrics.ReconcileOutcome `json:"outcome"`
	Reason  string                   `json:"reason,omitempty"`
	// Rules is the beginning of the hash of the rules in force.
	Rules string `json:"rules"`
	// Listed counts the resources that were read, Planned those that lack keys, NotRead what could not be read.
	Listed  int `json:"listed"`
	Planned int `json:"planned"`
	NotRead int `json:"not_read"`
	// Written, Failed and Left count resources.
	Written int      `json:"written"`
	Failed  int      `json:"failed"`
	Left    int      `json:"left"`
	Errors  []string `json:"errors,omitempty"`
	// Plan is the id of the plan.
	Plan    string        `json:"plan,omitempty"`
	Elapsed time.Duration `json:"-"`
}

// Reconciler runs passes. Run one at a time.
type Reconciler struct {
	app.Composed
	limits   reconcile.Limits
	reviewed string
	// Coverage, if not nil, is called with the coverage of the required keys at the end of each pass. The pass counts the
	// resources that it lists anyway, before it writes; it counts nothing if the rules require no key.
	Coverage func(coverage.Report)
}

// New returns a Reconciler with the settings of the environment.
func New(c app.Composed) (*Reconciler, error) {
	settings, err := config.ReconcileFromEnv()
	if err != nil {
		return nil, err
	}
	return &Reconciler{
		Composed: c, reviewed: strings.ToLower(settings.Rules),
		limits: reconcile.Limits{
			Resources: settings.Max, Percent: settings.MaxPercent, OneValue: maxOneValue, PerProject: maxPerProject, Confirm: -1,
		},
	}, nil
}

// Run makes one pass. It ends before the context does, and says so where that was too early. An error says that nothing
// could be read at all; the pass has it as its reason.
func (r *Reconciler) Run(ctx context.Context) (Pass, error) {
	start := time.Now()
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline.Add(-min(forTheEnd, left/2)), errTime)
		defer cancel()
	}
	p, err := r.pass(ctx)
	p.Elapsed = time.Since(start)
	if err != nil {
		p.Outcome, p.Reason = metrics.ReconcileFailed, err.Error()
	}
	r.report(ctx, p)
	return p, err
}

var errTime = errors.New("the time for one pass is over")

// pass plans and, where it may, writes.
func (r *Reconciler) pass(ctx context.Context) (Pass, error) {
	var p Pass
	set := r.Rules.Current(ctx)
	p.Rules = set.Hash()[:shownDigits]
	if r.Held != nil && r.Held() {
		p.Outcome, p.Reason = metrics.ReconcileDry, "writing is on hold (TAGGER_HOLD_FILE)"
		return p, nil
	}
	existing, _, err := set.ForExisting()
	if err != nil {
		return p, err
	}
	dir, err := os.MkdirTemp("", "tagger-reconcile-")
	if err != nil {
		return p, fmt.Errorf("make a folder for the plan: %w", err)
	}
	defer os.RemoveAll(dir)
	session, err := r.Cloud.Login(ctx)
	if err != nil {
		return p, err
	}
	scope := r.Settings.Projects
	if len(scope) == 0 {
		scope = config.Projects{config.OwnProject}
	}
	counting, err := r.counting(ctx, set, scope)
	if err != nil {
		return p, err
	}
	var listed func(kind lifecycle.Kind, v metadata.View) error
	if counting != nil {
		listed = func(kind lifecycle.Kind, v metadata.View) error { return counting.Listed(ctx, kind, v) }
	}
	t := r.Tagger.WithRules(existing)
	path := filepath.Join(dir, "plan.jsonl")
	s, err := reconcile.Plan(ctx, reconcile.Options{
		Tagger: t, Policy: set.Policy(), Rules: set.Hash(), API: metadata.API(r.Settings.API), Region: r.Region,
		Cloud: r.Cloud, Bounds: r.Cloud, Scope: scope,
		Kinds: listedKinds(), Grace: r.Settings.Grace, Settled: settled, Listed: listed,
	}, path)
	p.Listed, p.Planned, p.NotRead, p.Errors, p.Plan, p.Left = s.Total(), s.Resources, s.NotRead, s.Errors, s.ID,
		s.Resources
	switch {
	case errors.Is(err, errTime):
		p.Outcome = metrics.ReconcileOutOfTime
		p.Reason = fmt.Sprintf("after %d resources were read; nothing was written", p.Listed)
		return p, nil
	case err != nil:
		return p, err
	}
	if counting != nil {
		r.Coverage(counting.Report(s.Complete, s.Errors))
	}
	switch {
	case p.Planned == 0:
		return p.read(), nil
	case r.Settings.DryRun:
		p.Outcome, p.Reason = metrics.ReconcileDry, "TAGGER_DRY_RUN is set"
		return p, nil
	case !r.isReviewed(set.Hash()):
		p.Outcome = metrics.ReconcileDry
		p.Reason = "these rules are not reviewed: look at what tagger reconcile plans with them, then set " +
			"TAGGER_RECONCILE_RULES=" + p.Rules
		return p, nil
	}
	done, err := reconcile.Apply(ctx, path, reconcile.Run{
		Tagger: t, Cloud: session.CloudName(), Rules: set.Hash(), Operator: session.User, Limits: r.limits,
		MaxFailures: maxFailures, Concurrency: r.Settings.Concurrency,
	})
	p.Written, p.Failed, p.Left = done.Written, done.Failed, done.Left
	_, capped := errors.AsType[*reconcile.LimitError](err)
	_, stopped := errors.AsType[*reconcile.StoppedError](err)
	switch {
	case capped:
		p.Outcome, p.Reason, p.Left = metrics.ReconcileCapped, err.Error(), p.Planned
	case stopped:
		p.Outcome, p.Reason = metrics.ReconcileStopped, err.Error()
	case errors.Is(err, errTime):
		p.Outcome = metrics.ReconcileOutOfTime
		p.Reason = fmt.Sprintf("after %d resources were written; the next pass finds the other %d", p.Written, p.Left)
	case err != nil:
		return p, err
	case p.Failed > 0:
		p.Outcome, p.Reason = metrics.ReconcileStopped, reasons(done.Failures)
	default:
		return p.read(), nil
	}
	return p, nil
}

// listedKinds are the kinds that a pass lists.
func listedKinds() []lifecycle.Kind {
	return []lifecycle.Kind{lifecycle.Server, lifecycle.Volume, lifecycle.Snapshot}
}

// counting returns what counts the coverage during a pass, nil if nothing asks for it or the rules require no key.
func (r *Reconciler) counting(ctx context.Context, set *rules.Set, scope config.Projects) (*coverage.Pass, error) {
	if r.Coverage == nil || len(set.Policy().Required) == 0 {
		return nil, nil
	}
	pass, err := coverage.NewPass(ctx, coverage.Options{
		Rules: set, API: metadata.API(r.Settings.API), Cloud: r.Cloud, Scope: scope, Region: r.Region,
		Kinds: listedKinds(), WriteLocked: r.Settings.WriteLocked, Now: time.Now(),
	})
	if err != nil {
		return nil, fmt.Errorf("count the coverage: %w", err)
	}
	return pass, nil
}

// read is the outcome of a pass that wrote what it was to write: whether everything was read.
func (p Pass) read() Pass {
	p.Outcome = metrics.ReconcileDone
	if p.NotRead > 0 {
		p.Outcome = metrics.ReconcileIncomplete
		p.Reason = fmt.Sprintf("%d lists or resources could not be read; what was read is right", p.NotRead)
	}
	return p
}

// reasons is one of the reasons for which resources failed, and how often.
func reasons(failures map[string]int) string {
	reason, most, all := "", 0, 0
	for why, n := range failures {
		all += n
		if n > most || n == most && why < reason {
			reason, most = why, n
		}
	}
	return fmt.Sprintf("%d resources failed, %d of them: %s", all, most, reason)
}

// isReviewed reports whether the setting names the rules by the beginning of their hash.
func (r *Reconciler) isReviewed(hash string) bool {
	return len(r.reviewed) >= fewestDigits && strings.HasPrefix(hash, r.reviewed)
}

// report logs and counts a pass.
func (r *Reconciler) report(ctx context.Context, p Pass) {
	level := slog.LevelError
	switch p.Outcome {
	case metrics.ReconcileDone:
		level = slog.LevelInfo
	case metrics.ReconcileDry, metrics.ReconcileIncomplete:
		level = slog.LevelWarn
	}
	r.Log.LogAttrs(ctx, level, "reconcile "+string(p.Outcome),
		slog.String("reason", p.Reason), slog.String("rules_hash", p.Rules), slog.String("plan", p.Plan),
		slog.Int("listed", p.Listed), slog.Int("planned", p.Planned), slog.Int("written", p.Written),
		slog.Int("failed", p.Failed), slog.Int("left", p.Left), slog.Int("not_read", p.NotRead),
		slog.Any("errors", p.Errors), slog.String("took", p.Elapsed.Round(time.Millisecond).String()))
	r.Metrics.Reconciled(p.Outcome, p.Written, p.Left)
}
