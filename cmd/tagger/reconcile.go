package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
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
	"github.com/cloudtagger/tagger/pkg/visible"
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
		Use: "reconcile --scope own|IDS|domain:NAME|roles|all [--out FILE] | --apply FILE | --revert JOURNAL | --show FILE " +
			"| --scheduled",
		Short: "Find resources that lack metadata, and correct them",
		Long: "List servers, volumes and snapshots, plan each as its creation would have been planned, and write a plan to " +
			"a file. " +
			"Nothing else is written. --apply sends what such a file says, after all limits were checked. --revert takes back " +
			"what " +
			"a run wrote. See docs/reconcile.md.",
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
	flags.StringVar(&f.name, "name", "", "pattern of names; * stands for any characters, ? for one")
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
		if f.show != "" {
			return showPlan(s, f)
		}
		if f.scheduled {
			return runScheduled(cmd.Context(), cmd.Flags(), f.rulesFile)
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
	if err := scope.Decode(strings.ReplaceAll(","+flag+",", ",all,", ",*,")); err != nil {
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

// checkFile checks that a file can be made at a path.
func checkFile(flag, path string) error {
	if path == "" {
		return fmt.Errorf("%s needs a file", flag)
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s %s: there is no directory %s", flag, path, dir)
	}
	return nil
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
	if f.rate > 0 {
		settings.Rate = f.rate
	}
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
		if err := checkFile("--out", f.out); err != nil {
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
	for _, one := range []struct {
		flag  string
		value int
	}{{"--max", f.limits.Resources}, {"--canary", f.canary}, {"--concurrency", f.concurrency}} {
		if one.value < 0 {
			return fmt.Errorf("%s %d: want 0 or more", one.flag, one.value)
		}
	}
	return nil
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

func (d *reconciler) plan(ctx context.Context, f reconcileFlags) error {
	if _, err := os.Stat(f.out); err == nil {
		return fmt.Errorf("reconcile: %s exists: apply it, remove it, or name another file with --out", f.out)
	}
	if shown := d.progress("read"); shown != nil {
		d.options.Progress = func(read int) { shown(read, 0) }
	}
	summary, err := reconcile.Plan(ctx, d.options, f.out)
	if _, past := errors.AsType[*reconcile.PastDateError](err); past {
		return err
	}
	if err != nil {
		return ended{exitUnread, err}
	}
	measures, err := reconcile.Measure(f.out, func(int, reconcile.Entry) bool { return true })
	if err != nil {
		return ended{exitUnread, err}
	}
	checks, capped := f.limits.Check(summary.Header, measures)
	if *f.output == asJSON {
		out := struct {
			Outcome string `json:"outcome"`
			File    string `json:"file"`
			reconcile.Summary
			EventOnly []rules.EventOnly `json:"event_only"`
			Checks    []reconcile.Check `json:"checks"`
		}{"planned", f.out, summary, d.eventOnly, checks}
		if err := printJSON(d.out, out); err != nil {
			return err
		}
	} else {
		d.printSummary(f, summary, measures, checks, capped)
	}
	if !summary.Complete {
		return ended{status: exitUnread}
	}
	return nil
}

// printSummary shows the summary of a plan.
func (d *reconciler) printSummary(f reconcileFlags, s reconcile.Summary, m reconcile.Measures, checks []reconcile.Check,
	capped error) {
	st := styleFor(d.out)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(d.out, "%-10s%s\n", name, visible.Line(fmt.Sprintf(format, args...), maxComplaint))
	}
	var listed []string
	for _, kind := range d.options.Kinds {
		listed = append(listed, plural(s.Listed[kind], string(kind)))
	}
	line("cloud", "%s, user %s, scope %s", s.Cloud, s.User, strings.Join(s.Scope, ","))
	if note := onlyOwn(d.options.Scope, d.session); note != "" {
		line("", "%s", note)
	}
	line(
		"read",
		"%s in %s, %s; %s; %s",
		strings.Join(listed, ", "),
		plural(s.Calls, "call"),
		s.Elapsed.Round(time.Second/10),
		plural(s.ProjectCount, "project"),
		plural(s.NotRead, "error"),
	)
	if s.OlderCloud {
		line("", "this cloud's API is older than 2.69: servers of a cell that is down are in no list")
	}
	text := fmt.Sprintf("%.8s", s.Rules)
	if len(d.eventOnly) > 0 {
		var names []string
		for _, e := range d.eventOnly {
			names = append(names, e.String())
		}
		text += "; events only: " + strings.Join(names, ", ")
	}
	line("rules", "%s", text)
	d.printStates(s, m)
	for _, reason := range slices.Sorted(maps.Keys(s.LeftOut)) {
		line("left out", "%s ×%d", reason, s.LeftOut[reason])
	}
	d.printValues(line, s, m)
	if m.Resources > 0 {
		took := ""
		if d.settings.Rate > 0 {
			took = fmt.Sprintf(
				"; %s at %g writes a second",
				time.Duration(float64(m.Resources)/d.settings.Rate*float64(time.Second)).
					Round(time.Second),
				d.settings.Rate,
			)
		}
		line("cost", "about %d calls%s", callsPerResource*m.Resources, took)
	}
	for _, e := range s.Errors {
		line(st.paint(red, "error     "), "%s", e)
	}
	if more := s.NotRead - len(s.Errors); more > 0 {
		line("", "and %d more errors", more)
	}
	line(
		"plan",
		"%s, id %s, valid until %s, file mode 0600",
		f.out,
		s.ID,
		s.Made.Add(reconcile.Validity).Format("2 Jan 15:04 MST"),
	)
	if !s.Complete {
		fmt.Fprintln(d.out, "INCOMPLETE: what could not be read is unknown. It does not count as missing.")
	}
	if m.Resources == 0 {
		fmt.Fprintln(d.out, "Nothing was written.")
		return
	}
	line("limits", "%s", "of one run:")
	printChecks(d.out, checks)
	fmt.Fprintf(d.out, "Nothing was written. To apply:  %s\n", f.applyCommand(f.out, false, capped))
}

// callsPerResource counts three API calls: read, write and verify.
const callsPerResource = 3

func (d *reconciler) printStates(s reconcile.Summary, m reconcile.Measures) {
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, kind := range d.options.Kinds {
		fmt.Fprintf(w, "%s\t", kind)
	}
	fmt.Fprintln(w)
	for _, state := range reconcile.States() {
		counts, ok := s.States[state]
		if !ok {
			continue
		}
		fmt.Fprintf(w, "%s\t", state)
		for _, kind := range d.options.Kinds {
			fmt.Fprintf(w, "%d\t", counts[kind])
		}
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(s.Why[state])) {
			why = append(why, fmt.Sprintf("%s %d", visible.Line(reason, maxComplaint), s.Why[state][reason]))
		}
		text := strings.Join(why, ", ")
		if state == reconcile.Add {
			text = plural(m.Resources, "resource") + ", " + plural(m.Keys, "key")
		}
		if text != "" {
			text = "  " + text
		}
		fmt.Fprintf(w, "%s\n", text)
	}
	_ = w.Flush()
}

const (
	// shownValues limits the values of a key that a summary shows.
	shownValues = 3
	// warnedShare is the percentage of the planned resources in one project above which there is a warning.
	warnedShare = 40
)

// printValues names the most frequent values of each key.
func (d *reconciler) printValues(
	line func(name, format string, args ...any),
	s reconcile.Summary,
	m reconcile.Measures,
) {
	shown := map[string][]string{}
	for _, v := range m.Values {
		if len(shown[v.Key]) < shownValues {
			shown[v.Key] = append(shown[v.Key], fmt.Sprintf("%s ×%d", v.Value, v.Count))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		text := key + " " + strings.Join(shown[key], ", ")
		if others := m.Others[key] - len(shown[key]); others > 0 {
			text += fmt.Sprintf(", %d others", others)
		}
		line("values", "%s", text)
	}
	if len(m.Values) > 0 {
		v := m.Values[0]
		if v.Project != "" && s.ProjectCount > 1 && v.Count > 10 && 100*v.Count >= warnedShare*m.Resources {
			name := s.ProjectName(v.Project)
			line("warning", "%s=%s goes to %d resources of one project (%s)", v.Key, v.Value, v.Count, name)
		}
	}
}

func (d *reconciler) run(f reconcileFlags) (reconcile.Run, error) {
	if d.settings.DryRun {
		return reconcile.Run{}, errors.New("reconcile: TAGGER_DRY_RUN is set: unset it to write")
	}
	concurrency := f.concurrency
	if concurrency == 0 {
		concurrency = d.settings.Concurrency
	}
	return reconcile.Run{
		Tagger:      d.options.Tagger,
		Cloud:       d.session.CloudName(),
		Rules:       d.options.Rules,
		Operator:    operator(d.session),
		Limits:      f.limits,
		Canary:      f.canary,
		CanaryWait:  f.canaryWait,
		MaxFailures: f.maxFailures,
		Concurrency: concurrency,
		Resume:      f.resume,
		Progress:    d.progress("tried"),
	}, nil
}

// operator returns who runs the command: the user of the cloud and that of the machine.
func operator(s *cloud.Session) string {
	if name := os.Getenv("USER"); name != "" {
		return s.User + " (" + name + ")"
	}
	return s.User
}

func (d *reconciler) apply(ctx context.Context, f reconcileFlags) error {
	run, err := d.run(f)
	if err != nil {
		return err
	}
	r, err := reconcile.Apply(ctx, f.apply, run)
	if _, refused := errors.AsType[*reconcile.RefusedError](err); refused {
		return err
	}
	if *f.output == asJSON {
		if err := printJSON(d.out, r); err != nil {
			return err
		}
	}
	if e, capped := errors.AsType[*reconcile.LimitError](err); capped {
		if *f.output == asText {
			d.printLimits(f, r, e)
		}
		return ended{status: exitCapped}
	}
	if err == nil && !r.Finished.IsZero() {
		if *f.output == asText {
			fmt.Fprintln(d.out, "Nothing is left to do: every resource of the plan is done.")
		}
		return nil
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("interrupted: %d of %d written; go on with: %s", r.Written, r.Planned, f.nextCommand(f.apply))
	}
	if *f.output == asText {
		d.printReport(r, "written")
		if r.Left > 0 && ctx.Err() == nil {
			fmt.Fprintf(d.out, "%d are left. To go on:  %s\n", r.Left, f.nextCommand(f.apply))
		}
		if r.Written > 0 {
			fmt.Fprintf(d.out, "To undo:  tagger reconcile --revert %s\n", r.Journal)
		}
	}
	return d.status(r, err)
}

// status returns the command's exit status after a run, as an error.
func (d *reconciler) status(r reconcile.Report, err error) error {
	_, stopped := errors.AsType[*reconcile.StoppedError](err)
	switch {
	case stopped:
		return ended{exitCapped, err}
	case err != nil:
		return undone{err}
	case r.Failed > 0 || r.Lost > 0:
		return undone{}
	}
	return nil
}

// printReport shows the figures of a run. written is the word for what it did.
func (d *reconciler) printReport(r reconcile.Report, written string) {
	fmt.Fprintf(
		d.out,
		"%d of %d tried: %d %s, %d as planned already, %d changed since and left alone, %d gone, %d failed\n",
		r.Tried,
		r.Planned,
		r.Written,
		written,
		r.Unchanged,
		r.Changed,
		r.Gone,
		r.Failed,
	)
	for _, reason := range slices.Sorted(maps.Keys(r.Failures)) {
		fmt.Fprintf(d.out, "  failed ×%d: %s\n", r.Failures[reason], visible.Line(reason, maxComplaint))
	}
	if r.Lost > 0 {
		fmt.Fprintf(
			d.out,
			"%d were not as written when they were read again: another writer undoes what is written\n",
			r.Lost,
		)
	}
	if r.Unknown > 0 {
		fmt.Fprintf(
			d.out,
			"%d have keys whose values before were not read when they were written: those are left alone\n",
			r.Unknown,
		)
	}
	fmt.Fprintf(d.out, "Journal: %s\n", r.Journal)
}

// shownCanary is the canary size that a stopped run suggests, if the limits allow it.
const shownCanary = 20

// printLimits shows which limits a plan exceeds, and how to proceed.
func (d *reconciler) printLimits(f reconcileFlags, r reconcile.Report, e *reconcile.LimitError) {
	fmt.Fprintln(d.out, styleFor(d.out).paint(red, "STOPPED before the first write.")+" Nothing was written.")
	printChecks(d.out, e.Checks)
	if e.Confirm >= 0 && e.Confirm != e.Resources {
		fmt.Fprintf(d.out, "--confirm %d is not the number of resources, %d.\n", e.Confirm, e.Resources)
	}
	review := ""
	if e.Project != "" {
		review = " --project " + e.Project
	}
	fmt.Fprintf(d.out, "Review:    tagger reconcile --show %s%s\n", shellWord(f.apply), review)
	few := min(
		shownCanary,
		r.Planned,
		f.limits.Resources,
		int(min(f.limits.Percent, f.limits.OneValue)*float64(r.Plan.Total())/100),
	)
	if few > 0 {
		fmt.Fprintf(d.out, "Canary:    %s --canary %d%s\n", applying(f.apply, f.resume), few, f.repeated())
	}
	limits := f.limits
	limits.Confirm = -1 // a wrong number is not repeated
	_, capped := reconcile.CheckLeft(f.apply, limits)
	if f.canary > 0 {
		capped = e
	}
	fmt.Fprintf(d.out, "All:       %s\n", f.applyCommand(f.apply, f.resume, capped))
}

// anyResource are rules that write nothing themselves, and with which every resource that a run wrote may be reverted.
const anyResource = "volumes: {write: all}\nrules: []"

// revert takes a journal's writes back. It needs no rules.
func revert(ctx context.Context, s streams, f reconcileFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	settings, err := readSettings(s)
	if err != nil {
		return err
	}
	set, err := rules.Compile([]byte(anyResource), rules.Options{Name: "revert"})
	if err != nil {
		return err
	}
	if f.rate > 0 {
		settings.Rate = f.rate
	}
	d, err := connectReconciler(ctx, s, settings, set, nil)
	if err != nil {
		return err
	}
	return d.revert(ctx, f)
}

func (d *reconciler) revert(ctx context.Context, f reconcileFlags) error {
	run, err := d.run(f)
	if err != nil {
		return err
	}
	run.Selection.By = f.writtenBy
	run.Selection.From, run.Selection.To, err = parsePeriod("--written-between", f.writtenBetween)
	if err != nil {
		return err
	}
	r, err := reconcile.Revert(ctx, f.revert, run)
	if _, refused := errors.AsType[*reconcile.RefusedError](err); refused {
		return err
	}
	if *f.output == asJSON {
		if err := printJSON(d.out, r); err != nil {
			return err
		}
	} else if err == nil && !r.Finished.IsZero() {
		fmt.Fprintf(d.out, "Nothing is left to do: it was reverted at %s (%s).\n", r.Finished.Format(time.RFC3339), r.Journal)
	} else {
		d.printReport(r, "restored")
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("interrupted: %d of %d restored; go on with: tagger reconcile --revert %s --resume%s", r.Written,
			r.Planned, shellWord(f.revert), f.selected())
	}
	return d.status(r, err)
}

// selected returns the flags that select records of a journal, as a command line.
func (f *reconcileFlags) selected() string {
	text := f.repeated()
	if f.writtenBy != "" {
		text += " --written-by " + shellWord(f.writtenBy)
	}
	if f.writtenBetween != "" {
		text += " --written-between " + shellWord(f.writtenBetween)
	}
	return text
}

// showPlan prints a plan's entries.
func showPlan(s streams, f reconcileFlags) error {
	h, err := reconcile.ReadHeader(f.show)
	if err != nil {
		return err
	}
	if *f.output == asText {
		fmt.Fprintf(s.out, "plan %s of %s, cloud %s, rules %.8s: %d resources, %d keys\n",
			h.ID, h.Made.Format(time.RFC3339), visible.Line(h.Cloud, maxComplaint), h.Rules, h.Resources, h.Changes)
	}
	return reconcile.Entries(f.show, func(_ int, e reconcile.Entry) (bool, error) {
		if f.project != "" && f.project != e.Project {
			return true, nil
		}
		if *f.output == asJSON {
			return true, printJSON(s.out, e)
		}
		return true, printEntry(s.out, e)
	})
}

func printEntry(w io.Writer, e reconcile.Entry) error {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(e.Keys)) {
		r := e.Keys[key]
		text := key + "=" + *r.To
		if r.From != nil {
			text += fmt.Sprintf(" (was %q)", *r.From)
		}
		keys = append(keys, text)
	}
	text := fmt.Sprintf("%s %s %s  project %s  %s", e.Kind, e.ID, e.Name, e.Project, strings.Join(keys, ", "))
	_, err := fmt.Fprintln(w, visible.Line(text, maxComplaint))
	return err
}
