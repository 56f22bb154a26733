package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/visible"
)

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
	if e, unwritten := errors.AsType[*reconcile.FileError](err); unwritten {
		if e.New {
			err = fmt.Errorf("%w (its directory cannot be written; name another file with --out)", err)
		}
		return undone{err}
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
		line("", "and %s", plural(more, "more error"))
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
			text += ", " + plural(others, "other")
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

// showPlan prints a plan's entries.
func showPlan(s streams, f reconcileFlags) error {
	h, err := reconcile.ReadHeader(f.show)
	if err != nil {
		return err
	}
	if *f.output == asText {
		fmt.Fprintf(s.out, "plan %s of %s, cloud %s, rules %.8s: %s, %s\n", h.ID, h.Made.Format(time.RFC3339),
			visible.Line(h.Cloud, maxComplaint), h.Rules, plural(h.Resources, "resource"), plural(h.Changes, "key"))
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
