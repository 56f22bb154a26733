package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/listen"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

func queuesTapCommand(s streams) *cobra.Command {
	var o tapOptions
	cmd := &cobra.Command{
		Use: "tap [--rules FILE] [--save DIR]", Short: "Watch live events, and what the rules want for them",
		Long: "Show the notifications that report a change, as the services send them from now on, and what the rules " +
			"(where there are any) want for each. Nothing is written to the cloud, and a running listener misses nothing: " +
			"the copies come from a queue that is gone when this ends. Interrupt it to end.\n\n" +
			"--save writes each such event, without the credentials that notifications can hold, into a new file of DIR, and " +
			"a case with today's plan into DIR/cases.yaml: the file for tagger rules test. Names of persons, servers and " +
			"projects are in them.",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&o.rules, "rules", "", "`FILE` of tagging rules (default: TAGGER_RULES_FILE or TAGGER_RULES)")
	cmd.Flags().StringVar(&o.save, "save", "", "`FOLDER` to save events and cases in")
	cmd.Flags().BoolVar(&o.all, "all", false, "show the notifications that report no change too")
	cmd.Flags().IntVar(&o.count, "count", 0, "end after so many have been shown (default: when interrupted)")
	out := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.count < 0 {
			return fmt.Errorf("queues tap: --count %d: want 0 or more", o.count)
		}
		t := &tap{streams: s, options: o, printer: printer{streams: s, style: styleFor(s.out), format: *out, fromPages: true}}
		if err := t.open(cmd.Context()); err != nil {
			return err
		}
		return withQueues(cmd.Context(), func(q *listen.Queues) error {
			err := q.Tap(cmd.Context(), t.bound, func(m listen.Message) bool { return t.message(cmd.Context(), m) })
			t.printer.pages("")
			t.summary()
			return errors.Join(err, t.failed)
		})
	}
	return cmd
}

type tapOptions struct {
	rules, save string
	all         bool
	count       int
}

// tap prints the events of each message that it receives.
type tap struct {
	streams
	options tapOptions
	printer printer
	// planner plans, with rules that match nothing if none are given. expecting plans as "tagger rules test" does,
	// without reading from a cloud.
	planner, expecting *tagger.Tagger
	fixtures           *fixtures // nil without --save

	messages, changes, shown, unreadable int
	failed                               error
}

func (t *tap) open(ctx context.Context) error {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return err
	}
	var set *rules.Set
	if t.options.rules == "" && settings.Rules == "" && settings.RulesFile == "" {
		if t.options.save != "" {
			return errors.New("queues tap: --save needs rules, whose plans the cases expect; name a file with --rules")
		}
		fmt.Fprintln(t.err, "tagger: there are no rules, so there are no plans to show; name a file with --rules")
	} else if settings, set, err = configure(ctx, t.options.rules, t.streams); err != nil {
		return err
	}
	parts := tagger.Parts{Region: os.Getenv("OS_REGION_NAME")}
	if set == nil {
		t.planner, err = tagger.Compose(ctx, settings, &rules.Set{}, parts)
		return err
	}
	if t.planner, err = tagger.Compose(ctx, settings, set, parts); err != nil {
		return err
	}
	if t.options.save == "" {
		return nil
	}
	if t.expecting, err = tagger.Compose(ctx, settings, set.WithReadings(caseReadings{}.readings()), parts); err != nil {
		return err
	}
	file := t.options.rules
	if file == "" {
		file = settings.RulesFile
	}
	t.fixtures, err = newFixtures(t.options.save, file)
	return err
}

func (t *tap) bound(exchanges, missing []string) {
	fmt.Fprintf(t.err, "watching the exchanges %s; interrupt to end\n", printable(strings.Join(exchanges, ", ")))
	if len(missing) > 0 {
		fmt.Fprintf(t.err, "there is no exchange %s\n", printable(strings.Join(missing, ", ")))
	}
}

// message prints a message, and reports whether to continue.
func (t *tap) message(ctx context.Context, m listen.Message) bool {
	t.messages++
	var planned []*tagger.Plan
	for _, e := range m.Events {
		for _, p := range t.planner.Plan(ctx, e) {
			planned = append(planned, p)
			if p.Action == "" {
				continue
			}
			t.changes++
			if t.fixtures != nil {
				if t.failed = t.fixtures.save(e, t.expecting.Plan(ctx, e)); t.failed != nil {
					return false
				}
			}
		}
	}
	if m.Err != nil {
		t.unreadable++
		planned = append(planned, &t.planner.Unreadable(ctx, m.Err).Plan)
	}
	for _, p := range planned {
		if p.Action == "" && m.Err == nil && !t.options.all {
			continue
		}
		if t.printer.format == asText {
			fmt.Fprintln(t.out, t.printer.style.paint(bold, time.Now().Format(time.TimeOnly)))
		}
		t.printer.previewed(tagger.Preview{Plan: *p})
		if t.shown++; t.options.count > 0 && t.shown >= t.options.count {
			return false
		}
	}
	return true
}

func (t *tap) summary() {
	text := plural(t.messages, "notification") + ", " + plural(t.changes, "change")
	if t.unreadable > 0 {
		text += fmt.Sprintf(", %d unreadable", t.unreadable)
	}
	if t.fixtures != nil {
		text += fmt.Sprintf(", %s saved in %s", plural(t.fixtures.saved, "case"), t.options.save)
	}
	fmt.Fprintln(t.err, text)
}

// fixtures is a directory of events with a case file about them.
type fixtures struct {
	dir, rules string
	saved      int
	titles     map[string]int // how many cases have this name, before its number
}

const casesName = "cases.yaml"

func newFixtures(dir, rulesFile string) (*fixtures, error) {
	file := filepath.Join(dir, casesName)
	if _, err := os.Stat(file); err == nil {
		return nil, fmt.Errorf("queues tap: %s exists; name another folder", file)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("queues tap: %w", err)
	}
	f := &fixtures{dir: dir, titles: map[string]int{}}
	if rulesFile == "" {
		return f, nil
	}
	from, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("queues tap: %w", err)
	}
	to, err := filepath.Abs(rulesFile)
	if err != nil {
		return nil, fmt.Errorf("queues tap: %w", err)
	}
	if f.rules, err = filepath.Rel(from, to); err != nil {
		f.rules = to
	}
	return f, nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// save writes an event, and a case about it if the event reports one change.
func (f *fixtures) save(e event.Event, planned []*tagger.Plan) error {
	if len(planned) != 1 {
		return nil // a case is about one change
	}
	p := planned[0]
	name := fmt.Sprintf("%s-%.8s-%.40s.json", p.Action, p.Resource.ID, notInName.ReplaceAllString(e.ID(), "-"))
	body, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("save event %s: %w", e.ID(), err)
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil { // not before there is something to save
		return fmt.Errorf("make the folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // a duplicate event
	}
	if err != nil {
		return fmt.Errorf("save an event: %w", err)
	}
	_, err = file.Write(append(body, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("save an event: %w", err)
	}
	if err := f.addCase(name, p); err != nil {
		return fmt.Errorf("save a case: %w", err)
	}
	f.saved++
	return nil
}

// addCase appends a case to the case file, as JSON, which is valid YAML.
func (f *fixtures) addCase(name string, p *tagger.Plan) error {
	x := expectation{Rules: p.Rules, Set: p.Keys.Set, Add: p.Keys.Add, Remove: p.Keys.Remove, Rename: p.Keys.Rename}
	if !p.Pending() {
		x.Outcome = string(p.Outcome)
	}
	var b strings.Builder
	write := func(indent string, v any) error {
		b.WriteString(indent)
		return printJSON(&b, v)
	}
	if f.saved == 0 {
		if f.rules != "" {
			if err := write("rules: ", f.rules); err != nil {
				return err
			}
		}
		b.WriteString("cases:\n")
	}
	title := string(p.Action)
	if p.Resource.Name != "" {
		title += ": " + p.Resource.Name
	}
	if f.titles[title]++; f.titles[title] > 1 { // the other format of the same notification, or another of the same name
		title += fmt.Sprintf(" (%d)", f.titles[title])
	}
	if err := errors.Join(write("- name: ", title), write("  event: ", name), write("  expect: ", x)); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(f.dir, casesName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(b.String())
	return errors.Join(err, file.Close())
}
