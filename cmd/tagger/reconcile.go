package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// reconcileFlags are the flags of tagger reconcile.
type reconcileFlags struct {
	rulesFile, scope, name, created, out string
	kinds, overwrite, protected          []string
	pastDates                            bool
	settled                              time.Duration

	apply, revert, show, project string
	limits                       reconcile.Limits
	perProject                   string
	canary                       int
	canaryWait                   time.Duration
	maxFailures                  float64
	rate                         float64
	concurrency                  int
	resume                       bool
	writtenBy, writtenBetween    string
	scheduled                    bool
	output                       *output
	// explains reports that tagger explain uses the flags, which writes no plan.
	explains bool
	// flags are those of the command line.
	flags *pflag.FlagSet
}

func reconcileCommand(s streams) *cobra.Command {
	f := reconcileFlags{limits: reconcile.DefaultLimits()}
	cmd := &cobra.Command{
		Use: "reconcile --scope own|IDS|domain:NAME|roles|all [--out FILE] | --apply FILE | --revert JOURNAL | --show " +
			"FILE | --scheduled",
		Short: "Find resources that lack metadata, and correct them",
		Long: "List servers, volumes and snapshots, plan each as its creation would have been planned, and write a plan " +
			"to a file. Nothing else is written. --apply sends what such a file says, after all limits were checked. " +
			"--revert takes back what a run wrote. See docs/reconcile.md.",
		Args: noArguments,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rulesFile, "rules", "", "`FILE` of tagging rules (default: TAGGER_RULES_FILE or TAGGER_RULES)")
	flags.StringVar(
		&f.scope,
		"scope",
		"",
		"required for a plan: own, project ids, domain:NAME, roles or all, separated by commas",
	)
	flags.StringSliceVar(&f.kinds, "kind", words(metadata.ListedKinds()), "kinds of resources")
	flags.StringVar(&f.name, "name", "",
		"pattern of names; * stands for any characters, ? for one, all others for themselves")
	flags.StringVar(&f.created, "created-between", "", "two times (RFC 3339), separated by a comma")
	flags.StringVar(&f.out, "out", "plan.jsonl", "`FILE` for the plan")
	flags.StringSliceVar(
		&f.overwrite,
		"overwrite",
		nil,
		"keys that may replace another value, as set: or on_differs: overwrite says",
	)
	flags.StringSliceVar(&f.protected, "protected", nil, "protected keys that may be written")
	flags.BoolVar(&f.pastDates, "allow-past-dates", false, "allow values that are dates in the past")
	flags.DurationVar(&f.settled, "settled", 10*time.Minute, "how long ago the last change of a resource must be")
	flags.StringVar(&f.apply, "apply", "", "`FILE` of the plan to apply")
	flags.StringVar(&f.revert, "revert", "", "`FILE` of the journal of the run to take back")
	flags.StringVar(
		&f.writtenBy,
		"written-by",
		"",
		"with --revert: only what this run, or rules of this hash, wrote; the first digits are enough",
	)
	flags.StringVar(
		&f.writtenBetween,
		"written-between",
		"",
		"with --revert: only what was written between two times (RFC 3339), separated by a comma",
	)
	flags.StringVar(&f.show, "show", "", "`FILE` of the plan to show")
	flags.StringVar(&f.project, "project", "", "with --show: only this project's resources")
	flags.IntVar(&f.limits.Resources, "max", f.limits.Resources, "how many resources may be written")
	flags.Float64Var(
		&f.limits.Percent,
		"max-percent",
		f.limits.Percent,
		"maximum percentage of the resources read, a number without %",
	)
	flags.StringVar(
		&f.perProject,
		"max-per-project",
		"25%",
		"maximum percentage of the resources of one project, such as 25%",
	)
	flags.IntVar(
		&f.limits.Confirm,
		"confirm",
		f.limits.Confirm,
		"the exact number of resources: lifts every limit but --max-per-project",
	)
	flags.IntVar(&f.canary, "canary", 0, "write this many resources, wait, verify them, and stop")
	flags.DurationVar(&f.canaryWait, "canary-wait", 30*time.Second, "how long a canary waits before it verifies")
	flags.Float64Var(&f.maxFailures, "max-failures", 5, "stop when more than this many in a hundred resources fail")
	flags.Float64Var(&f.rate, "rate", 0, "writes a second to one API (default: TAGGER_RATE)")
	flags.IntVar(
		&f.concurrency,
		"concurrency",
		0,
		"how many resources are written at a time (default: TAGGER_CONCURRENCY)",
	)
	flags.BoolVar(&f.resume, "resume", false, "go on with the journal of a run that was stopped")
	flags.BoolVar(
		&f.scheduled,
		"scheduled",
		false,
		"one unattended pass, for cron: only reviewed rules write (TAGGER_RECONCILE_RULES)",
	)
	f.output = outputFlag(flags)
	groupFlags(flags,
		namedFlags{"To make a plan (--out)", []string{
			"out", "scope", "kind", "name", "created-between", "settled", "overwrite", "protected", "allow-past-dates",
		}},
		namedFlags{"To look at a plan (--show)", []string{"show", "project"}},
		namedFlags{"To apply a plan (--apply)", []string{
			"apply", "max", "max-percent", "max-per-project", "confirm", "canary", "canary-wait",
		}},
		namedFlags{"To revert a run (--revert)", []string{"revert", "written-by", "written-between"}},
		namedFlags{"To apply or to revert", []string{"resume", "max-failures", "rate", "concurrency"}},
		namedFlags{"Unattended", []string{"scheduled"}})
	cmd.MarkFlagsMutuallyExclusive("apply", "revert", "show", "scheduled")
	f.flags = flags
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.scheduled {
			return runScheduled(cmd.Context(), cmd.Flags(), f.rulesFile)
		}
		if err := f.checkMode(); err != nil {
			return err
		}
		if f.show != "" {
			return showPlan(s, f)
		}
		if f.revert != "" {
			return revert(cmd.Context(), s, f)
		}
		d, err := openReconciler(cmd.Context(), s, &f)
		if err != nil {
			return err
		}
		if f.apply != "" {
			return d.apply(cmd.Context(), f)
		}
		return d.plan(cmd.Context(), f)
	}
	return cmd
}

// The modes of tagger reconcile. A flag of this name chooses each, except the one that makes a plan.
const (
	planMode   = "making a plan"
	showMode   = "--show"
	applyMode  = "--apply"
	revertMode = "--revert"
)

// modesOf returns the modes in which a flag has an effect, nil for all. Limits and pace of a run have one on a
// plan too: its summary shows the limits, and suggests the command that applies the plan with these flags.
func modesOf(flag string) []string {
	switch flag {
	case "out", "scope", "kind", "name", "created-between", "settled", "overwrite", "protected", "allow-past-dates":
		return []string{planMode}
	case "project":
		return []string{showMode}
	case "confirm", "canary", "canary-wait":
		return []string{applyMode}
	case "written-by", "written-between":
		return []string{revertMode}
	case "resume":
		return []string{applyMode, revertMode}
	case "rules", "max", "max-percent", "max-per-project":
		return []string{planMode, applyMode}
	case "max-failures", "rate", "concurrency":
		return []string{planMode, applyMode, revertMode}
	}
	return nil
}

// checkMode rejects flags that have no effect in the mode of the command.
func (f *reconcileFlags) checkMode() error {
	mode, command := planMode, "reconcile"
	switch {
	case f.show != "":
		mode = showMode
	case f.apply != "":
		mode = applyMode
	case f.revert != "":
		mode = revertMode
	}
	if mode != planMode {
		command += " " + mode
	}
	var err error
	f.flags.Visit(func(flag *pflag.Flag) {
		if modes := modesOf(flag.Name); err == nil && modes != nil && !slices.Contains(modes, mode) {
			err = fmt.Errorf("%s: --%s has no effect here: it is for %s", command, flag.Name, list(modes))
		}
	})
	return err
}

// reconciler has what the modes of tagger reconcile share.
type reconciler struct {
	streams
	options   reconcile.Options
	settings  config.Settings
	eventOnly []rules.EventOnly
	session   *cloud.Session
}

// decodeScope parses --scope: the syntax of TAGGER_PROJECTS, with all in place of *.
func decodeScope(flag string) (scope config.Projects, err error) {
	var words config.List
	_ = words.Decode(flag) // never fails
	for i, word := range words {
		if word == "all" {
			words[i] = config.AnyProject
		}
	}
	if err := scope.Decode(strings.Join(words, ",")); err != nil {
		return nil, fmt.Errorf("--scope: %w", err)
	}
	return scope, nil
}

// checkScope reports an entry of a scope, from --scope or TAGGER_PROJECTS, that names no project or domain. A single
// project that cannot be opened makes the result incomplete instead.
func checkScope(ctx context.Context, from string, scope *cloud.Cloud) error {
	entries, err := scope.CheckProjects(ctx)
	if err != nil {
		return undone{err}
	}
	for _, e := range entries {
		if !e.Unknown && (!e.NoRole || strings.HasPrefix(e.Entry, "domain:")) {
			return fmt.Errorf("%s %s: %s", from, e.Entry, e.Why)
		}
	}
	return nil
}

// onlyOwn notes that a scope of all projects contains only the project of the credentials, "" if it contains more.
func onlyOwn(scope config.Projects, own *cloud.Session) string {
	if !scope.Any() || scope.Roles() || own.Admin() {
		return ""
	}
	return "these credentials see only their project " + cmp.Or(own.ProjectName, own.Project) +
		"; --scope roles reads every project in which they have a role"
}

// openReconciler reads the settings and rules, and logs in.
func openReconciler(ctx context.Context, s streams, f *reconcileFlags) (*reconciler, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	settings, set, err := configure(ctx, f.rulesFile, s)
	if err != nil {
		return nil, err
	}
	if err := f.checkKeys(set); err != nil {
		return nil, err
	}
	if f.apply == "" {
		inputs := []namedFile{rulesInput(f.rulesFile, settings), {"TAGGER_AUDIT_FILE", settings.AuditFile}}
		if err := checkOutput(namedFile{"--out", f.out}, inputs...); err != nil {
			return nil, fmt.Errorf("reconcile: %w", err)
		}
	}
	settings.Rate = cmp.Or(f.rate, settings.Rate)
	scope, err := decodeScope(f.scope)
	if err != nil {
		return nil, err
	}
	if len(scope) == 0 && f.apply == "" {
		return nil, errors.New("reconcile: say whose resources: --scope own, project ids, domain:NAME, roles or all")
	}
	d, err := connectReconciler(ctx, s, settings, set, scope)
	if err != nil {
		return nil, err
	}
	d.options.Name, d.options.Overwrite, d.options.Protected = f.name, f.overwrite, f.protected
	d.options.AllowPastDates, d.options.Settled = f.pastDates, f.settled
	for _, kind := range lifecycle.Kinds() { // ordered: parents first
		if slices.Contains(f.kinds, string(kind)) {
			d.options.Kinds = append(d.options.Kinds, kind)
		}
	}
	if f.apply == "" {
		if err := checkScope(ctx, "--scope", d.options.Cloud); err != nil {
			return nil, err
		}
	}
	d.options.CreatedFrom, d.options.CreatedTo, err = parsePeriod("--created-between", f.created)
	return d, err
}

// connectReconciler logs in to the configured cloud.
func connectReconciler(
	ctx context.Context,
	s streams,
	settings config.Settings,
	set *rules.Set,
	scope config.Projects,
) (*reconciler, error) {
	existing, eventOnly, err := set.ForExisting()
	if err != nil {
		return nil, err
	}
	credentials, err := cloudsyaml.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := credentials.Resolve(); err != nil {
		return nil, err
	}
	bounds := cloud.New(options(settings, credentials))
	session, err := bounds.Bounded(ctx)
	if errors.Is(err, cloud.ErrNoBounds) {
		return nil, err
	}
	if err != nil {
		return nil, undone{err}
	}
	within := options(settings, credentials)
	within.Projects = scope
	audit, err := openAudit(settings, s)
	if err != nil {
		return nil, err
	}
	t, err := tagger.Compose(ctx, settings, existing, tagger.Parts{
		Cloud: bounds, Region: credentials.RegionName, Journal: audit,
	})
	if err != nil {
		return nil, err
	}
	return &reconciler{
		streams: s, settings: settings, eventOnly: eventOnly, session: session,
		options: reconcile.Options{
			Tagger: t, Policy: set.Policy(), Rules: set.Hash(), API: metadata.API(settings.API),
			Region: credentials.RegionName,
			Cloud:  cloud.New(within), Bounds: bounds, Scope: scope, Grace: settings.Grace,
		},
	}, nil
}

func (f *reconcileFlags) check() error {
	if f.apply == "" && f.revert == "" && !f.explains {
		if err := checkReplaced("--out", f.out); err != nil {
			return err
		}
	}
	known := lifecycle.Kinds()
	for _, kind := range f.kinds {
		if !slices.Contains(known, lifecycle.Kind(kind)) {
			return fmt.Errorf("--kind %s: %w", kind, oneOfWords(kind, words(metadata.ListedKinds())))
		}
	}
	share, err := strconv.ParseFloat(strings.TrimSuffix(f.perProject, "%"), 64)
	if err != nil || share < 0 || share > 100 {
		return fmt.Errorf("--max-per-project %s: want a share such as 25%%", f.perProject)
	}
	f.limits.PerProject = share
	for _, one := range []struct {
		flag  string
		value float64
	}{{"--max-percent", f.limits.Percent}, {"--max-failures", f.maxFailures}} {
		if !(one.value >= 0 && one.value <= 100) { // this form also rejects NaN
			return fmt.Errorf("%s %g: want a share between 0 and 100", one.flag, one.value)
		}
	}
	if f.flags != nil && f.flags.Changed("confirm") && f.limits.Confirm < 0 { // -1 stands for a flag that is not set
		return fmt.Errorf("--confirm %d: want 0 or more", f.limits.Confirm)
	}
	for _, one := range []struct {
		flag  string
		value int
	}{{"--max", f.limits.Resources}, {"--canary", f.canary}} {
		if one.value < 0 {
			return fmt.Errorf("%s %d: want 0 or more", one.flag, one.value)
		}
	}
	for _, one := range []struct {
		flag  string
		value time.Duration
	}{{"--settled", f.settled}, {"--canary-wait", f.canaryWait}} {
		if err := checkDuration(one.flag, one.value); err != nil {
			return err
		}
	}
	if f.concurrency != 0 {
		if err := config.CheckConcurrency("--concurrency", f.concurrency); err != nil {
			return err
		}
	}
	return config.CheckRate("--rate", f.rate)
}

// parsePeriod parses two times separated by a comma. For an empty text, both are zero.
func parsePeriod(flag, times string) (from, to time.Time, err error) {
	if times == "" {
		return from, to, nil
	}
	first, second, ok := strings.Cut(times, ",")
	if !ok {
		return from, to, fmt.Errorf("%s %.40q: want two times separated by a comma, such as "+
			"2026-11-18T02:10Z,2026-11-18T02:48Z", flag, times)
	}
	for _, one := range []struct {
		text string
		at   *time.Time
	}{{first, &from}, {second, &to}} {
		text := strings.TrimSpace(one.text)
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
			if *one.at, err = time.Parse(layout, text); err == nil {
				break
			}
		}
		if err != nil {
			return from, to, fmt.Errorf("%s: %.40q is not a time such as 2026-11-18T02:10Z", flag, text)
		}
	}
	if from.After(to) {
		return from, to, fmt.Errorf("%s %.60q: the first time is after the second", flag, times)
	}
	return from, to, nil
}

// progress returns a function that shows a run's progress, on a terminal only.
func (d *reconciler) progress(what string) func(done, of int) {
	file, ok := d.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	start, last := time.Now(), time.Time{}
	return func(done, of int) {
		if time.Since(last) < 500*time.Millisecond && done != of {
			return
		}
		last = time.Now()
		rate := float64(done) / max(time.Since(start).Seconds(), 0.001)
		if of == 0 {
			fmt.Fprintf(d.err, "\r%s %d, %.0f/s ", what, done, rate)
			return
		}
		left := time.Duration(float64(of-done) / max(rate, 0.001) * float64(time.Second))
		fmt.Fprintf(d.err, "\r%s %d of %d, %.1f/s, %s left ", what, done, of, rate, left.Round(time.Second))
		if done == of {
			fmt.Fprintln(d.err)
		}
	}
}
