// Package scheduled runs unattended reconciles: it plans, checks tighter limits than the command does, and writes only
// with rules that an operator has reviewed.
//
// It keeps no state between passes: the reviewed rules are a setting. So it behaves the same in a function, in one of
// several listeners, and under cron.
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
	// shutdownReserve is the time reserved at the end of a pass for running corrections and the answer.
	shutdownReserve = 70 * time.Second
	// settled is the minimum age of a resource's last change.
	settled = 10 * time.Minute
	// maxFailures is the percentage of resources that may fail.
	maxFailures = 5
	// maxOneValue and maxPerProject are limits as in [reconcile.Limits], in percent. A small number of a project's
	// resources is always allowed.
	maxOneValue   = 20
	maxPerProject = 25
	// shownDigits is the number of digits of the rules' hash that are shown, fewestDigits the minimum in the setting.
	shownDigits  = 12
	fewestDigits = 8
)

// Pass is the result of one pass.
type Pass struct {
	Outcome metrics.ReconcileOutcome `json:"outcome"`
	Reason  string                   `json:"reason,omitempty"`
	// Rules is the beginning of the hash of the current rules.
	Rules string `json:"rules"`
	// Listed counts the resources read, Planned those that lack keys, NotRead the errors while reading.
	Listed  int `json:"listed"`
	Planned int `json:"planned"`
	NotRead int `json:"not_read"`
	// Written, Failed and Left count resources.
	Written int      `json:"written"`
	Failed  int      `json:"failed"`
	Left    int      `json:"left"`
	Errors  []string `json:"errors,omitempty"`
	// Plan is the plan's id.
	Plan    string        `json:"plan,omitempty"`
	Elapsed time.Duration `json:"-"`
}

// Reconciler runs passes, one at a time.
type Reconciler struct {
	app.Composed
	limits   reconcile.Limits
	reviewed string
	// Coverage, if not nil, is called with the coverage of the required keys at the end of each pass. The pass counts the
	// resources that it lists, before it writes. It counts nothing if the rules require no key.
	Coverage func(coverage.Report)
}

// New returns a Reconciler with settings from the environment.
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

// Run makes one pass. It stops before the context's deadline; the outcome shows if that was too early. It returns an
// error only if nothing could be read; the error is also the pass's reason.
func (r *Reconciler) Run(ctx context.Context) (Pass, error) {
	start := time.Now()
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline.Add(-min(shutdownReserve, left/2)), errTime)
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

var errTime = errors.New("the time for the pass is over")

// pass plans, and writes if it may.
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
		return p, fmt.Errorf("create a directory for the plan: %w", err)
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
		p.Reason = "these rules are not reviewed: check the plan of tagger reconcile with them, then set " +
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
		p.Reason = fmt.Sprintf("after %d resources were written; the next pass continues with the other %d", p.Written,
			p.Left)
	case err != nil:
		return p, err
	case p.Failed > 0:
		p.Outcome, p.Reason = metrics.ReconcileStopped, reasons(done.Failures)
	default:
		return p.read(), nil
	}
	return p, nil
}

// listedKinds are the kinds that a pass lists: those with a list of their own.
func listedKinds() []lifecycle.Kind {
	var all []lifecycle.Kind
	for _, kind := range metadata.ListedKinds() {
		all = append(all, lifecycle.Kind(kind))
	}
	return all
}

// counting returns the coverage counter of a pass, nil without Coverage or required keys.
func (r *Reconciler) counting(ctx context.Context, set *rules.Set, scope config.Projects) (*coverage.Pass, error) {
	if r.Coverage == nil {
		return nil, nil
	}
	pass, err := coverage.NewPass(ctx, coverage.Options{
		Rules: set, API: metadata.API(r.Settings.API), Cloud: r.Cloud, Scope: scope, Region: r.Region,
		WriteLocked: r.Settings.WriteLocked, Now: time.Now(),
	})
	switch {
	case errors.Is(err, coverage.ErrNothingRequired):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("count the coverage: %w", err)
	}
	return pass, nil
}

// read returns the outcome of a pass without failures: done, or incomplete if something was not read.
func (p Pass) read() Pass {
	p.Outcome = metrics.ReconcileDone
	if p.NotRead > 0 {
		p.Outcome = metrics.ReconcileIncomplete
		p.Reason = fmt.Sprintf("%d lists or resources could not be read; the others were processed", p.NotRead)
	}
	return p
}

// reasons returns one of the reasons why resources failed, and how often it occurred.
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
