package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/visible"
)

func (d *reconciler) run(f reconcileFlags) (reconcile.Run, error) {
	if d.settings.DryRun {
		return reconcile.Run{}, errors.New("reconcile: TAGGER_DRY_RUN is set: unset it to write")
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
		Concurrency: cmp.Or(f.concurrency, d.settings.Concurrency),
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
		err = fmt.Errorf("%d of %d written (%w); go on with: %s", r.Written, r.Planned, context.Cause(ctx),
			f.nextCommand(f.apply))
	}
	if *f.output == asText {
		d.printReport(r, "written")
		if r.Left > 0 && ctx.Err() == nil {
			fmt.Fprintf(d.out, "%s left. To go on:  %s\n", plural(r.Left, "resource"), f.nextCommand(f.apply))
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
			"%s not as written when read again: another writer undoes what is written\n",
			plural(r.Lost, "resource"),
		)
	}
	if r.Unknown > 0 {
		fmt.Fprintf(
			d.out,
			"%s with keys whose values before were not read when they were written: those are left alone\n",
			plural(r.Unknown, "resource"),
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
	settings.Rate = cmp.Or(f.rate, settings.Rate)
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
		err = fmt.Errorf("%d of %d restored (%w); go on with: tagger reconcile --revert %s --resume%s", r.Written, r.Planned,
			context.Cause(ctx), shellWord(f.revert), f.selected())
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
