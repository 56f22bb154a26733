package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// printer prints progress and results as they arrive, as text or as JSON.
type printer struct {
	streams
	style    style
	format   output
	embedded *embeddedCloud

	// onlyChanges hides events that need no change.
	onlyChanges bool
	// fromPages means that no cloud was asked. The requests' paths are those of the API reference.
	fromPages bool
	requested bool // requests were shown

	current string // the current file
	shown   string // the file whose name was printed last
	undone  int
	total   int
	before  map[string]string

	// summary counts outcomes and plans.
	summary map[string]int
	// whole holds standard output while streams.out buffers an event's lines.
	whole    io.Writer
	relevant bool // the current event needs a change or attention
	told     time.Time

	// planned counts the problems of a result that were already printed with its plan.
	planned int
}

// begin starts an event, the i-th of n, counted from 0.
func (p *printer) begin(i, n int) {
	if p.told.IsZero() {
		p.told = time.Now()
	}
	if styleFor(p.err) && time.Since(p.told) > progressInterval {
		p.told = time.Now()
		fmt.Fprintf(p.err, "%d of %d events\n", i, n)
	}
	if p.onlyChanges {
		p.whole, p.out, p.relevant = p.out, new(bytes.Buffer), false
	}
}

// progressInterval is how often a command over many events prints its progress on a terminal.
const progressInterval = 5 * time.Second

// end finishes an event, and prints its buffered lines if it needs a change or attention.
func (p *printer) end() {
	lines, ok := p.out.(*bytes.Buffer)
	if !ok || p.whole == nil {
		p.shown = p.current
		return
	}
	p.out, p.whole = p.whole, nil
	if p.relevant {
		p.shown = p.current
		_, _ = lines.WriteTo(p.out)
	}
}

// note counts an outcome, or the outcome that a plan would have.
func (p *printer) note(what string) {
	if p.summary == nil {
		p.summary = map[string]int{}
	}
	p.summary[what]++
	switch what {
	case string(apply.Ignored), string(apply.Unchanged), nothingToWrite:
	default:
		p.relevant = true
	}
}

const (
	toWrite        = "to write"
	nothingToWrite = "nothing to write"
)

// printEmbedded prints that the cloud is the embedded one, if it is.
func (p *printer) printEmbedded() {
	if p.embedded != nil && p.format == asText {
		fmt.Fprintln(p.out, p.style.paint(faint, "The embedded cloud: it lives in this process and ends with it."))
	}
}

func (p *printer) file(name string) {
	if p.format == asText {
		if p.shown != "" || p.embedded != nil {
			fmt.Fprintln(p.out)
		}
		title := name
		if name == "-" {
			title = "standard input"
		}
		if name != p.shown {
			fmt.Fprintln(p.out, p.style.paint(bold, title))
		}
	}
	p.current = name
}

// verdict returns the command's result. After several events, it first prints the number of each outcome.
func (p *printer) verdict() error {
	if p.format == asText && p.total > 1 {
		var parts []string
		for _, what := range slices.Sorted(maps.Keys(p.summary)) {
			parts = append(parts, fmt.Sprintf("%d %s", p.summary[what], what))
		}
		fmt.Fprintf(p.out, "\n%s: %s\n", plural(p.total, "result"), strings.Join(parts, ", "))
	}
	p.pages("; --cloud env shows your cloud's")
	if p.undone > 0 {
		return undone{}
	}
	return nil
}

// pages notes that the printed request paths are those of the API reference, if they are, and how to see the cloud's.
func (p *printer) pages(way string) {
	if p.fromPages && p.requested && p.format == asText {
		fmt.Fprintln(p.out, p.style.paint(faint, "\nThe paths are those of the API pages"+way+"."))
	}
}

// planView is a plan as JSON. It has no results of a run, except the outcome of a change that needs no run.
type planView struct {
	tagger.Plan
	Changes map[string]changeView `json:"changes,omitempty"`
	VMState string                `json:"vm_state,omitempty"`
	// Status is the status of a resource without a vm_state.
	Status string `json:"status,omitempty"`
	// Paths is set if the requests' paths are those of the API reference instead of the cloud's.
	Paths string `json:"paths,omitempty"`
}

type changeView struct {
	From *string `json:"from"`
	To   *string `json:"to"`
}

// previewed prints a plan, and what it would change, if that is known.
func (p *printer) previewed(v tagger.Preview) {
	if v.Pending() {
		p.total++
		if d := v.Diff; d != nil && len(d.Write)+len(d.Remove) == 0 {
			p.note(nothingToWrite)
		} else {
			p.note(toWrite)
		}
	} else {
		p.count(v.Outcome)
	}
	if p.format == asJSON {
		view := planView{Plan: v.Plan}
		if p.fromPages && len(v.Requests) > 0 {
			view.Paths = "api-pages"
		}
		if v.Diff != nil {
			view.Changes = changes(*v.Diff)
			if v.Diff.StateName == "vm_state" {
				view.VMState = v.Diff.State
			} else {
				view.Status = v.Diff.State
			}
		}
		_ = printJSON(p.out, view)
		return
	}
	p.plan(&v.Plan)
	if v.Diff != nil {
		p.diff(*v.Diff)
	}
	if len(v.Requests) > 0 {
		p.requested = true
		p.requests(v.Requests)
	}
	if p.fromPages && v.Pending() && dependsOnMetadata(v.Keys) {
		p.line("unknown", p.style.paint(yellow, "more requests if the resource has keys to rename, or to remove by a "+
			"pattern; --cloud env reads it"))
	}
	if !v.Pending() {
		p.line("outcome", p.outcome(v.Outcome)+reason(v.Reason))
	}
}

// dependsOnMetadata reports whether a plan renames keys or removes some by a pattern: then the requests depend on the
// resource's metadata.
func dependsOnMetadata(keys tagger.PlanRef) bool {
	return len(keys.Rename) > 0 ||
		slices.ContainsFunc(keys.Remove, func(key string) bool { return strings.ContainsAny(key, "*?") })
}

func changes(d apply.Diff) map[string]changeView {
	all := map[string]changeView{}
	have := func(key string) *string {
		if value, ok := d.Current[key]; ok {
			return &value
		}
		return nil
	}
	for key, value := range d.Write {
		all[key] = changeView{have(key), &value}
	}
	for _, key := range d.Remove {
		all[key] = changeView{have(key), nil}
	}
	return all
}

// progress returns functions that print the steps of a run.
func (p *printer) progress() tagger.Progress {
	if p.format == asJSON {
		return tagger.Progress{}
	}
	first := true
	var body []byte
	shorten := strings.NewReplacer()
	return tagger.Progress{
		Planned: func(planned *tagger.Plan) {
			p.plan(planned)
			if id := planned.Resource.ID; len(id) > 8 {
				shorten = strings.NewReplacer(id, id[:8]+"…")
			}
			if p.embedded != nil {
				p.before = p.embedded.metadata(planned.Resource)
			}
		},
		Called: func(c metadata.Call) {
			label := ""
			if first {
				label, first = "calls", false
			}
			status := p.style.paint(green, fmt.Sprint(c.Status))
			why := ""
			if c.Err != nil {
				status, why = p.style.paint(yellow, fmt.Sprint(c.Status)), callError(c)
			}
			if c.Status == 0 {
				status = p.style.paint(red, "no answer")
			}
			p.line(label, shorten.Replace(fmt.Sprintf("%-6s %s %s%s", c.Request.Method, c.Request.Path, status, why)))
			if c.Request.Body != nil && !bytes.Equal(c.Request.Body, body) {
				body = c.Request.Body // printed once; a repeat has the same body
				p.line("", "       "+string(body))
			}
		},
		Pausing: func(reason string, pause time.Duration) {
			p.line("", p.style.paint(faint, fmt.Sprintf("waiting %s: %s", pause.Round(100*time.Millisecond),
				shorten.Replace(reason))))
		},
	}
}

// callError returns the API's answer to a call, in short.
func callError(c metadata.Call) string {
	text := c.Err.Error()
	if _, after, ok := strings.Cut(text, ": "); ok {
		text = after
	}
	return "  " + strings.TrimPrefix(text, fmt.Sprint(c.Status)+" ")
}

// result prints the result of a change.
func (p *printer) result(r *tagger.Result) {
	p.count(r.Outcome)
	if p.format == asJSON {
		_ = printJSON(p.out, r)
		return
	}
	if p.embedded != nil && r.Resource.ID != "" {
		p.metadata("before", p.before)
		p.metadata("after", p.embedded.metadata(r.Resource))
	} else if r.Outcome == apply.Tagged {
		p.metadata("written", r.Written)
		if len(r.Removed) > 0 {
			p.line("removed", strings.Join(r.Removed, ", "))
		}
	}
	if len(r.Problems) > p.planned { // the plan's own problems were printed with it
		p.problems(r.Problems[p.planned:])
	}
	p.planned = 0
	text := p.outcome(r.Outcome) + reason(r.Reason)
	if r.Calls > 0 {
		text += p.style.paint(faint, fmt.Sprintf("  (%s, waited %s)", plural(r.Calls, "call"), r.Waited))
	}
	p.line("outcome", text)
}

func (p *printer) count(o apply.Outcome) {
	p.total++
	p.note(string(o))
	if isUndone(o) {
		p.undone++
	}
}

// deadLetter prints why Knative stopped delivering an event. The reason is in attributes of the dead letter
// (https://knative.dev/docs/eventing/event-delivery/#dead-letter-events), with the receiver's answer in base64.
func (p *printer) deadLetter(e event.Event) {
	if e.Context == nil || p.format != asText {
		return
	}
	const longest = 300
	label := "knative"
	for _, attribute := range [...]string{"knativeerrordest", "knativeerrorcode", "knativeerrordata"} {
		value, ok := e.Extensions()[attribute]
		if !ok {
			continue
		}
		text := fmt.Sprint(value)
		if decoded, err := base64.StdEncoding.DecodeString(text); attribute == "knativeerrordata" && err == nil &&
			utf8.Valid(decoded) {
			text = string(decoded)
		}
		if len(text) > longest {
			text = strings.ToValidUTF8(text[:longest], "") + "…"
		}
		p.line(label, strings.TrimPrefix(attribute, "knativeerror")+": "+text)
		label = ""
	}
}

// plan prints an event, its change, the rules that match and the metadata that they want.
func (p *printer) plan(v *tagger.Plan) {
	if v.Event.ID != "" {
		p.line("event", v.Event.Type+"  "+p.style.paint(faint, v.Event.ID))
	}
	if v.Action == "" {
		return
	}
	what := fmt.Sprintf("%s  %s %s", v.Action, v.Resource.Kind, v.Resource.ID)
	if v.Resource.Name != "" {
		what += fmt.Sprintf(" %q", v.Resource.Name)
	}
	p.line("change", what)
	p.line("", describeOrigin(v))
	for i, name := range v.Rules {
		p.line(first(i, "rules"), name)
	}
	p.skipped(v.Skipped)
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(v.Keys.Add)) {
		rows = append(rows, []string{"add", key, v.Keys.Add[key]})
	}
	for _, key := range slices.Sorted(maps.Keys(v.Keys.Set)) {
		rows = append(rows, []string{"set", key, v.Keys.Set[key]})
	}
	for _, key := range v.Keys.Remove {
		rows = append(rows, []string{"remove", key, ""})
	}
	for _, key := range slices.Sorted(maps.Keys(v.Keys.Rename)) {
		rows = append(rows, []string{"rename", key, "→ " + v.Keys.Rename[key]})
	}
	p.table("plan", rows)
	if len(v.Needs) > 0 {
		p.line("unknown", p.style.paint(yellow, strings.Join(v.Needs, ", ")+
			": only the cloud has it, and the plan depends on it; --cloud env reads it"))
	}
	p.problems(v.Problems)
	p.planned = len(v.Problems)
}

func (p *printer) problems(all []rules.Problem) {
	for i, problem := range all {
		p.line(first(i, "problems"), p.style.paint(yellow, problem.String()))
	}
}

// skipped prints why rules did not match. Rules for other actions share one line.
func (p *printer) skipped(all []rules.Skip) {
	var lines, others []string
	for _, s := range all {
		if s.OtherAction {
			others = append(others, s.Rule)
		} else {
			lines = append(lines, s.Rule+": "+s.Why)
		}
	}
	if len(others) > 0 {
		lines = append(lines, strings.Join(others, ", ")+": for other actions")
	}
	for i, text := range lines {
		p.line(first(i, "skipped"), p.style.paint(faint, text))
	}
}

func describeOrigin(v *tagger.Plan) string {
	actor := v.Actor.Name
	if actor == "" {
		actor = v.Actor.ID
	}
	if actor == "" {
		actor = "unknown"
	}
	if kind := string(v.Actor.Kind); kind != "" && kind != actor {
		actor += " (" + kind + ")"
	}
	project := v.Resource.Project
	if project == "" {
		project = "unknown"
	}
	return fmt.Sprintf("project %s, by %s", project, actor)
}

// diff prints what would change on the resource.
func (p *printer) diff(d apply.Diff) {
	if d.StateName != "" {
		p.line(d.StateName, d.State)
	}
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(d.Write)) {
		have, ok := d.Current[key]
		if !ok {
			have = "(none)"
		}
		rows = append(rows, []string{key + ":", have, "→ " + d.Write[key]})
	}
	for _, key := range d.Remove {
		rows = append(rows, []string{key + ":", d.Current[key], "→ (removed)"})
	}
	if len(rows) == 0 {
		rows = [][]string{{"nothing"}}
	}
	p.table("changes", rows)
}

func (p *printer) requests(all []tagger.RequestRef) {
	for i, r := range all {
		p.line(first(i, "requests"), fmt.Sprintf("%-6s %s", r.Method, r.Path))
		if r.Body != nil {
			p.line("", "       "+string(r.Body))
		}
	}
}

func (p *printer) metadata(label string, m map[string]string) {
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		rows = append(rows, []string{key, m[key]})
	}
	if len(rows) == 0 {
		rows = [][]string{{p.style.paint(faint, "(no metadata)")}}
	}
	p.table(label, rows)
}

func (p *printer) outcome(o apply.Outcome) string {
	colour := green
	switch o {
	case apply.Rejected, apply.Blocked:
		colour = red
	case apply.Deferred, apply.Unrecognised, apply.Gone:
		colour = yellow
	case apply.Ignored, apply.Unchanged:
		colour = bold
	}
	return p.style.paint(colour, string(o))
}

func reason(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// table prints rows under a label, with aligned columns.
func (p *printer) table(label string, rows [][]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	for i, line := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		if line != "" {
			p.line(first(i, label), strings.TrimRight(line, " "))
		}
	}
}

func (p *printer) line(label, text string) {
	_, _ = io.WriteString(p.out, "  "+p.style.paint(faint, fmt.Sprintf("%-9s", label))+" "+printable(text)+"\n")
}

// printable makes terminal escapes visible instead of passing them on, because names and values come from outside.
// Tagger's own colours pass.
func printable(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		if colour := ownColour.FindString(text); colour != "" {
			b.WriteString(colour)
			text = text[len(colour):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		if unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteToASCII(text[:size]), `"`))
		}
		text = text[size:]
	}
	return b.String()
}

// ownColour matches the colours that paint uses, and no escape that hides text or moves the cursor.
var ownColour = regexp.MustCompile("^\x1b\\[(0|1|2|31|32|33)m")

// first returns label for the first of several lines, and "" for the others.
func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}
