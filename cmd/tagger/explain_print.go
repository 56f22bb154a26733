package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/tagger"
	"github.com/cloudtagger/tagger/pkg/visible"
)

func (e *explanation) print() {
	fmt.Fprintln(e.out, visible.Line(e.answer(), maxComplaint))
	fmt.Fprintln(e.out)
	v := e.view
	project := v.Project
	if e.session.Project == project && e.session.ProjectName != "" {
		project = e.session.ProjectName + " (" + project + ")"
	}
	e.line(string(e.kind), "%s %s  project %s, created %s", v.ID, v.Name, project, v.Created.UTC().Format(time.RFC3339))
	state := v.State
	if metadata.Kind(e.kind).HasTasks() {
		state += ", " + cmp.Or(v.Task, "no task")
	}
	if v.Locked {
		state += ", locked"
	}
	e.line("state", "%s", state)
	e.line("creator", "%s", e.creator)
	e.line("rights", "%s", e.rights())
	if e.unread != nil {
		e.line("rules", "%.8s; what they want is unknown: %s", e.options.Rules, e.unread)
		return
	}
	e.printRules()
	e.printKeys()
	e.printActions(e.actions)
	e.printLog(v.Created)
	e.printRequests()
	e.line("next", "%s", e.next())
}

// answer returns the explanation in one sentence.
func (e *explanation) answer() string {
	name := cmp.Or(e.view.Name, e.view.ID)
	if e.unread != nil {
		return name + " is unknown: something could not be read: " + e.unread.Error()
	}
	a, lacks := e.assessment, e.lacking()
	if metadata.Kind(e.kind).Readiness(e.view.State) == metadata.Deleted {
		return name + " is deleted: nothing can be written on it any more."
	}
	if len(lacks) == 0 {
		switch {
		case a.State == reconcile.NoRule:
			return name + " gets no metadata: " + a.Why + "."
		case a.State == reconcile.Exempt:
			return name + " has every key that the rules want and that it is not exempt from."
		case len(a.Plan.EventOnly) > 0:
			return fmt.Sprintf(
				"%s has every key that can be computed now; %s can be computed only from an event.",
				name,
				strings.Join(a.Plan.EventOnly, ", "),
			)
		}
		return name + " has every key that the rules want."
	}
	text := name + " lacks " + list(lacks) + ": "
	if e.unwritten != nil {
		return text + e.unwritten.Error() + "."
	}
	if e.view.Locked && !e.settings.WriteLocked && (a.State == reconcile.NotWritable || a.State == reconcile.Busy ||
		a.State == reconcile.TooYoung) {
		return text + "the server is locked, and Tagger does not write locked servers (TAGGER_WRITE_LOCKED)" +
			e.waiting() + "."
	}
	switch a.State {
	case reconcile.Add:
		return text + e.cause() + "."
	case reconcile.NotWritable, reconcile.Busy:
		return text + a.Why + e.waiting() + "."
	case reconcile.TooYoung:
		return fmt.Sprintf("%sit was created %s ago, so its event may still be on its way (%s).", text,
			time.Since(e.view.Created).Round(time.Second), e.cause())
	case reconcile.Differs, reconcile.Exempt:
		for _, p := range a.Problems {
			if p.Key == lacks[0] {
				return fmt.Sprintf("%s differs from the rules: %s %s.", name, p.Key, p.Why)
			}
		}
	}
	return text + cmp.Or(a.Why, e.cause()) + "."
}

func (e *explanation) printRules() {
	p := e.assessment.Plan
	e.line("rules", "%.8s", e.options.Rules)
	for _, name := range p.Rules {
		e.line("  match", "%s", name)
	}
	for _, skip := range p.Skipped {
		e.line("  skip", "%s: %s", skip.Rule, skip.Why)
	}
	if len(p.Rules) == 0 && len(p.Skipped) == 0 && p.Decision != nil {
		e.line("  none", "%s", p.Reason)
	}
}

// keys returns the keys that the rules want or could want, and those that are there, each once.
func (e *explanation) keys() []keyView {
	a := e.assessment
	why := map[string]string{}
	for _, p := range a.Problems {
		why[p.Key] = p.Why
	}
	all := []keyView{}
	seen := map[string]bool{}
	add := func(k keyView) {
		if value, there := e.view.Metadata[k.Key]; there {
			k.Value = &value
		}
		if !seen[k.Key] {
			seen[k.Key] = true
			all = append(all, k)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.Wanted)) {
		want := a.Wanted[key]
		have, there := e.view.Metadata[key]
		k := keyView{Key: key, Wanted: &want, DecidedBy: byRules, Status: keyMissing, Why: why[key]}
		switch {
		case there && have == want:
			k.Status, k.Why = keyOK, ""
		case isExempt(why[key]):
			k.Status = keyExempt
		case there && have != "":
			k.Status = keyDiffers
		case there && k.Why == "":
			k.Why = "missing: its value is empty"
		}
		add(k)
	}
	for _, key := range a.Plan.EventOnly {
		add(keyView{Key: key, DecidedBy: byEvent, Status: keyUnknown,
			Why: "of events only: its value depends on the event, and is not known afterwards"})
	}
	for _, key := range slices.Sorted(maps.Keys(why)) {
		if key != "" {
			add(keyView{Key: key, DecidedBy: byRules, Status: keyUnknown, Why: why[key]})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.view.Metadata)) {
		add(keyView{Key: key, DecidedBy: byOthers, Status: keyUnknown, Why: "not ours"})
	}
	for _, r := range e.options.Policy.Required {
		if slices.Contains(r.Kinds, e.kind) {
			add(keyView{Key: r.Key, DecidedBy: byRequired, Status: keyMissing,
				Why: "required, and missing: no rule writes it here"})
		}
	}
	return all
}

// isExempt reports whether a problem of a key is that the resource is exempt from it.
func isExempt(why string) bool { return strings.HasPrefix(why, "exempt") }

func (e *explanation) printKeys() {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	keys, heading := e.keys(), "keys      KEY\tWANTED\tTHERE\tSTATUS"
	if slices.ContainsFunc(keys, func(k keyView) bool { return k.Why != "" }) {
		heading += "\tWHY"
	}
	fmt.Fprintln(w, heading)
	for _, k := range keys {
		want, there := "?", "-"
		switch {
		case k.Wanted != nil:
			want = cmp.Or(*k.Wanted, "-")
		case k.DecidedBy == byOthers:
			want = "-"
		}
		if k.Value != nil {
			there = cmp.Or(*k.Value, "-")
		}
		cells := []string{k.Key, want, there, k.Status, k.Why}
		for i, cell := range cells {
			cells[i] = visible.Line(cell, maxComplaint)
		}
		fmt.Fprintf(w, "          %s\n", strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	for row := range strings.Lines(table.String()) {
		fmt.Fprintln(e.out, strings.TrimRight(row, " \n")) // a key without a reason has an empty last cell
	}
	if most := metadata.Kind(e.kind).MaxItems(); most > 0 {
		fmt.Fprintf(e.out, "          %s used; %d are Nova's default quota\n", plural(len(e.view.Metadata), "item"), most)
	}
}

// requests returns the requests that Tagger would send, without the version and the project in their paths. The error
// says why it would send none although keys are missing.
func (e *explanation) requests() ([]tagger.RequestRef, error) {
	keys := map[string]string{}
	for key, r := range e.assessment.Keys {
		keys[key] = *r.To
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if e.unwritten != nil {
		return nil, errors.New("its project is out of bounds")
	}
	kind := metadata.Kind(e.kind)
	resource, recorder, err := metadata.NewRecorder(kind, e.view.ID, kind.Family(e.options.API), e.view)
	if err == nil {
		_, err = resource.Write(context.Background(), keys)
	}
	if err != nil {
		return nil, err
	}
	var all []tagger.RequestRef
	for _, r := range recorder.Requests() {
		all = append(all, tagger.RequestRef{Method: r.Method, Path: "/" + r.Path, Body: r.Body})
	}
	return all, nil
}

func (e *explanation) printRequests() {
	all, err := e.requests()
	if err != nil {
		e.line("send", "nothing: %s", err)
	}
	for _, r := range all {
		e.line("send", "%s %s %s", r.Method, r.Path, r.Body)
	}
}

// next suggests what to do.
func (e *explanation) next() string {
	a, v := e.assessment, e.view
	correct := fmt.Sprintf(
		"tagger reconcile --scope %s --kind %s --name %s --out plan.jsonl",
		v.Project,
		e.kind,
		quoted(v.Name),
	)
	switch {
	case metadata.Kind(e.kind).Readiness(v.State) == metadata.Deleted:
		return "nothing to do"
	case len(e.lacking()) == 0 && a.State == reconcile.NoRule:
		return "if it should get metadata: write a rule for it, and try it with tagger plan"
	case len(e.lacking()) == 0:
		return "nothing to do"
	case e.unwritten != nil:
		return "have TAGGER_PROJECTS name its project, or leave it alone"
	case a.State == reconcile.Add:
		return correct
	case v.Locked:
		return "openstack server unlock " + v.ID + " (or ask who locked it; then " + correct + ")"
	case strings.HasPrefix(v.State, "shelved"):
		return "openstack server unshelve " + v.ID + ", then " + correct
	case a.State == reconcile.NotWritable && metadata.Kind(e.kind).Readiness(v.State) == metadata.Stuck:
		return "bring it out of state " + v.State + " (openstack " + string(
			e.kind,
		) + " show " + v.ID + "), then " + correct
	case a.State == reconcile.TooYoung:
		return fmt.Sprintf("leave it to its event; if that does not come, reconcile takes it once it is older than "+
			"TAGGER_GRACE (%s)", e.options.Grace)
	case a.State == reconcile.NotWritable, a.State == reconcile.Busy:
		return "wait until it is ready, then explain it again"
	case a.State == reconcile.Differs:
		var replaced []string
		for _, key := range e.lacking() {
			if e.options.Overwrites(key, a.Plan.Set) {
				replaced = append(replaced, key)
			}
		}
		if len(replaced) == 0 {
			return "nothing, if the value is right: the rules have the key under add:, which never replaces a value " +
				"(set: does, or on_differs: overwrite under required:)"
		}
		return "if the rules are right: " + correct + " --overwrite " + strings.Join(replaced, ",")
	case a.State == reconcile.NotManaged:
		return "write the keys where the program that manages it has them, or set volumes: {write: all}"
	}
	return correct
}

// shownActions limits the actions that are shown.
const shownActions = 5

func (e *explanation) printActions(a recordedActions) {
	if a.err != nil {
		e.line("actions", "unknown: the cloud does not tell them to these credentials")
		return
	}
	for i, action := range a.all {
		if i == shownActions {
			e.line("", "and %s", plural(len(a.all)-i, "earlier one"))
			return
		}
		name := first(i, "actions")
		text := fmt.Sprintf(
			"%s  %s by %s, %s",
			action.Start,
			action.Action,
			cmp.Or(action.User, "an unknown user"),
			action.Request,
		)
		if action.Message != "" {
			text += ": " + action.Message
		}
		e.line(name, "%s", text)
	}
}
