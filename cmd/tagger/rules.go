package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

func rulesCommand(s streams) *cobra.Command {
	return oneOf(&cobra.Command{Use: "rules", Short: "Check rules, and test them"}, rulesCheckCommand(s),
		rulesTestCommand(s))
}

func rulesCheckCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Compile rules, and show every fault and probable mistake",
		Long: "Compile rules (files, or those of the environment) and show every fault with its line. Warned about are " +
			"values that look like expressions without ${ }, conditions that can never be true, rules that never have an " +
			"effect, keys that a later rule always overwrites, and keys that bare metal refuses. The exit status is 2 when " +
			"there is a fault; warnings do not change it.",
	}
	out := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		settings, err := config.SettingsFromEnv()
		if err != nil {
			return err
		}
		sources, err := sourcesOf(cmd.Context(), settings, files)
		if err != nil {
			return err
		}
		report := func(r remark, text string) {
			if *out == asJSON {
				_ = printJSON(s.out, r)
				return
			}
			fmt.Fprintln(s.out, text)
		}
		faults := 0
		for _, source := range sources {
			set, err := compileRules(settings, source)
			if all, ok := errors.AsType[rules.Errors](err); ok {
				faults += len(all)
				for _, e := range all {
					report(remark{e.Name, "fault", e.Line, e.Rule, e.Text}, e.Error())
				}
				continue
			}
			for _, w := range set.Warnings() {
				report(remark{source.Name, "warning", w.Line, w.Rule, w.Text}, source.Name+":"+w.String())
			}
			compile := "they compile"
			if set.Len() == 1 {
				compile = "it compiles"
			}
			compile = plural(set.Len(), "rule") + ", " + compile
			report(remark{source.Name, "ok", 0, "", compile}, source.Name+": "+compile)
			if reads := readsText(set.Reads()); reads != "" {
				report(remark{source.Name, "reads", 0, "", reads}, source.Name+": "+reads)
			}
		}
		if faults > 0 {
			return fmt.Errorf("rules check: %s", plural(faults, "fault"))
		}
		return nil
	}
	return cmd
}

// remark is a message about rules, as JSON.
type remark struct {
	File  string `json:"file"`
	Level string `json:"level"` // fault, warning, ok or reads
	Line  int    `json:"line,omitempty"`
	Rule  string `json:"rule,omitempty"`
	Text  string `json:"text"`
}

// readsText describes what rules read from the cloud and which rights that needs. It is "" if they read nothing.
func readsText(n rules.Needs) string {
	if !n.Any() {
		return ""
	}
	text := "reads from the cloud where the event does not say: " + strings.Join(n.Names(), ", ")
	if n.ActorName || n.Project {
		text += "; names and projects need the right to read users and projects in Keystone"
	}
	return text
}

func sourcesOf(ctx context.Context, settings config.Settings, files []string) ([]rules.Source, error) {
	if len(files) == 0 {
		source, err := settings.ReadRules(ctx, nil)
		if err != nil {
			err = fmt.Errorf("%w, or name a FILE", err)
		}
		return []rules.Source{source}, err
	}
	var all []rules.Source
	for _, file := range files {
		source, err := config.ReadRulesFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, source)
	}
	return all, nil
}

func rulesTestCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Compare the plans of events with those that cases expect",
		Long: "Plan the event of each case and compare. What set, add, remove and rename do not name must not be in the " +
			"plan; rules (those that match) and outcome (of an event that needs no request: ignored, unrecognised, rejected) " +
			"are compared where they are given. rules: and event: are paths relative to the file of cases; an event can be " +
			"written out in the case, too. The exit status is 1 when a case fails, 2 when rules or cases are wrong.\n\n" +
			"  rules: rules.yaml\n  cases:\n  - name: a person's server\n    event: events/server-created.json\n    " +
			"expect:\n      add: {owner: alice}",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("rules test: no file of cases")
			}
			return nil
		},
	}
	out := asText
	cmd.Flags().VarP(&testOutput{&out}, "output", "o", "form of the output; junit is the XML that CI systems read")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		settings, err := config.SettingsFromEnv()
		if err != nil {
			return err
		}
		st := styleFor(s.out)
		total, failed := 0, 0
		var results []caseResult
		for _, file := range files {
			cases, set, err := openSuite(cmd.Context(), settings, file)
			if err != nil {
				return err
			}
			for _, c := range cases.Cases {
				t, err := tagger.Compose(cmd.Context(), settings, set.WithReadings(c.Readings.readings()), tagger.Parts{})
				if err != nil {
					return err
				}
				diffs, err := c.run(cmd.Context(), t, filepath.Dir(file))
				if err != nil {
					return fmt.Errorf("%s: %s: %w", file, c.Name, err)
				}
				total++
				results = append(results, caseResult{file, c.Name, len(diffs) == 0, diffs})
				mark := st.paint(green, "ok    ")
				if len(diffs) > 0 {
					failed++
					mark = st.paint(red, "FAILED")
				}
				if out != asText {
					continue
				}
				fmt.Fprintf(s.out, "%s  %s: %s\n", mark, file, c.Name)
				for _, d := range diffs {
					fmt.Fprintln(s.out, "          "+d)
				}
			}
		}
		switch out {
		case asJUnit:
			if err := printJUnit(s.out, results); err != nil {
				return err
			}
		case asJSON:
			for _, r := range results {
				if err := printJSON(s.out, r); err != nil {
					return err
				}
			}
		default:
			fmt.Fprintf(s.out, "%s, %d failed\n", plural(total, "case"), failed)
		}
		if failed > 0 {
			return undone{}
		}
		return nil
	}
	return cmd
}

// run returns the differences from the expected result.
func (c ruleCase) run(ctx context.Context, t *tagger.Tagger, dir string) ([]string, error) {
	payload, err := c.payload(dir)
	if err != nil {
		return nil, err
	}
	var planned []*tagger.Plan
	for _, record := range ingress.Decode(payload).Records {
		for _, e := range record.Events {
			planned = append(planned, t.Plan(ctx, e)...)
		}
		if record.Err != nil {
			planned = append(planned, &t.Unreadable(ctx, record.Err).Plan)
		}
	}
	if len(planned) != 1 {
		return nil, fmt.Errorf("its event reports %d changes; a case is about one", len(planned))
	}
	p := planned[0]
	var diffs []string
	var d apply.Decision // empty if there is something to write
	if !p.Pending() {
		d = *p.Decision
	}
	if string(d.Outcome) != c.Expect.Outcome && (c.Expect.Outcome != "" || d.Outcome != "") {
		diffs = append(diffs, fmt.Sprintf("outcome: want %s, got %s%s", orNothing(c.Expect.Outcome),
			orNothing(string(d.Outcome)), reason(d.Reason)))
	}
	if c.Expect.Rules != nil && !slices.Equal(c.Expect.Rules, p.Rules) {
		diffs = append(diffs, fmt.Sprintf("rules: want %s, got %s", strings.Join(c.Expect.Rules, ", "),
			orNothing(strings.Join(p.Rules, ", "))))
	}
	diffs = append(diffs, mapDiff("set", c.Expect.Set, p.Keys.Set)...)
	diffs = append(diffs, mapDiff("add", c.Expect.Add, p.Keys.Add)...)
	want, got := slices.Sorted(slices.Values(c.Expect.Remove)), p.Keys.Remove
	if !slices.Equal(want, got) {
		diffs = append(diffs, fmt.Sprintf("remove: want %s, got %s", orNothing(strings.Join(want, ", ")),
			orNothing(strings.Join(got, ", "))))
	}
	diffs = append(diffs, mapDiff("rename", c.Expect.Rename, p.Keys.Rename)...)
	if len(diffs) > 0 {
		for _, problem := range p.Problems {
			diffs = append(diffs, "("+problem.String()+")")
		}
	}
	return diffs, nil
}

func mapDiff(section string, want, got map[string]string) []string {
	keys := slices.Sorted(maps.Keys(want))
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			keys = append(keys, key)
		}
	}
	var diffs []string
	for _, key := range keys {
		w, wanted := want[key]
		g, there := got[key]
		if w == g && wanted == there {
			continue
		}
		if wanted {
			w = fmt.Sprintf("%q", w)
		}
		if there {
			g = fmt.Sprintf("%q", g)
		}
		diffs = append(diffs, fmt.Sprintf("%s %s: want %s, got %s", section, key, orNothing(w), orNothing(g)))
	}
	return diffs
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// plural returns "1 rule", "2 rules".
func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}
