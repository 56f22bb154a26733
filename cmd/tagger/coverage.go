package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/coverage/page"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// exitBelow is the exit status if a figure is below the requested minimum.
const exitBelow = 3

// coverageFlags are the flags of tagger coverage.
type coverageFlags struct {
	rulesFile, scope, key, form, by string
	minimum                         float64
	journals, logs                  []string
	prices                          string
	history, prometheus, html       string
	perProject                      bool
	names                           string
}

func coverageCommand(s streams) *cobra.Command {
	var f coverageFlags
	cmd := &cobra.Command{
		Use:   "coverage [--scope own|IDS|domain:NAME|roles|all] [--min-coverage PERCENT] [--html FILE]",
		Short: "Count how much of the fleet has the required metadata",
		Long: "List servers, volumes and snapshots, and count for each key that required: names how many have it, by " +
			"number and by size. Nothing is written to the cloud. The exit status is 3 when a figure is below " +
			"--min-coverage, and 5 when something could not be read. See docs/coverage.md.",
		Args: noArguments,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rulesFile, "rules", "", "`FILE` of tagging rules (default: TAGGER_RULES_FILE or TAGGER_RULES)")
	flags.StringVar(&f.scope, "scope", "",
		"whose resources: own, project ids, domain:NAME, roles or all, separated by commas "+
			"(default: TAGGER_PROJECTS, or own)")
	flags.StringVar(&f.key, "key", "", "required key that says who pays (default: the first)")
	flags.StringVarP(&f.form, "output", "o", "text",
		"form of the output: text, json, or csv with a row for each resource and key")
	flags.StringVar(&f.by, "by", "", "show a second table by project, key, kind or owner")
	flags.Float64Var(&f.minimum, "min-coverage", 0,
		"exit with status 3 if less than this many percent of the resources of a kind have a key")
	flags.StringVar(&f.prices, "prices", "", "`FILE` of prices a month, to estimate what is not allocated in money")
	flags.StringArrayVar(&f.journals, "journal", nil,
		"journal, or directory of them: shows which keys were lost this week (default: TAGGER_AUDIT_FILE); can be repeated")
	flags.StringArrayVar(&f.logs, "log", nil,
		"file or directory of Tagger's JSON log, or - for standard input: shows who removed keys; can be repeated")
	flags.StringVar(&f.history, "history", "", "`FILE` to compare with, and to append this run to")
	flags.StringVar(&f.prometheus, "prometheus", "",
		"`FILE` for metrics, for the textfile collector of Prometheus' node exporter")
	flags.BoolVar(&f.perProject, "prometheus-projects", false, "with --prometheus: series for each project too")
	flags.StringVar(&f.html, "html", "", "`FILE` for a page that needs no network")
	flags.StringVar(&f.names, "names", "id", "what the page and the CSV call things by: none, id or full")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		if flags.Changed("names") && f.html == "" && f.form != "csv" {
			return errors.New("coverage: --names needs --html FILE or -o csv")
		}
		return f.run(cmd.Context(), s)
	}
	return cmd
}

func (f coverageFlags) check() error {
	for _, one := range []struct {
		flag, value string
		words       []string
	}{
		{"--output", f.form, []string{"text", "json", "csv"}},
		{"--by", f.by, []string{"", "project", "key", "kind", "owner"}},
		{"--names", f.names, []string{"none", "id", "full"}},
	} {
		if !slices.Contains(one.words, one.value) {
			words := slices.DeleteFunc(slices.Clone(one.words), func(w string) bool { return w == "" })
			return fmt.Errorf("coverage: %s %q: %w", one.flag, one.value, oneOfWords(one.value, words))
		}
	}
	if !(f.minimum >= 0 && f.minimum <= 100) { // this form also rejects NaN
		return fmt.Errorf("coverage: --min-coverage %g: want percent between 0 and 100", f.minimum)
	}
	for _, one := range []struct {
		flag, path string
		check      func(flag, path string) error
	}{
		{"--html", f.html, checkReplaced},
		{"--prometheus", f.prometheus, checkReplaced},
		{"--history", f.history, checkFile},
	} {
		if one.path == "" {
			continue
		}
		if err := one.check(one.flag, one.path); err != nil {
			return fmt.Errorf("coverage: %w", err)
		}
	}
	if f.perProject && f.prometheus == "" {
		return errors.New("coverage: --prometheus-projects needs --prometheus FILE")
	}
	return nil
}

func (f coverageFlags) run(ctx context.Context, s streams) error {
	o, err := f.options(ctx, s)
	if err != nil {
		return err
	}
	own, err := o.Cloud.Login(ctx)
	if err != nil {
		return undone{err}
	}
	from := "--scope"
	if f.scope == "" {
		from = "TAGGER_PROJECTS"
	}
	if err := checkScope(ctx, from, o.Cloud); err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	o.Note = onlyOwn(o.Scope, own)
	var history []coverage.Point
	if f.history != "" { // fail on an unreadable file before reading the cloud, which takes minutes
		if history, err = coverage.ReadHistory(f.history); err != nil {
			return err
		}
	}
	var rows *coverage.CSV
	if f.form == "csv" {
		rows = coverage.NewCSV(s.out, f.names == "full")
		o.Each = rows.Write
	}
	r, err := coverage.Read(ctx, o)
	if errors.Is(err, coverage.ErrNothingRequired) {
		return err
	}
	if err != nil {
		return ended{exitUnread, err}
	}
	r.Changes = coverage.Compare(r, history)
	if err := f.print(s, r, rows); err != nil {
		return err
	}
	if err := f.files(r, history); err != nil {
		return ended{exitUndone, err}
	}
	switch {
	case !r.Complete:
		if f.form != "text" {
			return ended{exitUnread, fmt.Errorf("incomplete: %s", strings.Join(r.Errors, "; "))}
		}
		return ended{status: exitUnread}
	case len(r.Below(f.minimum)) > 0:
		return ended{status: exitBelow}
	}
	return nil
}

// options reads the settings and rules, and opens a cloud whose bounds are the scope. Coverage only reads it.
func (f coverageFlags) options(ctx context.Context, s streams) (coverage.Options, error) {
	settings, set, err := configure(ctx, f.rulesFile, s)
	if err != nil {
		return coverage.Options{}, err
	}
	if err := f.checkOutputs(settings); err != nil {
		return coverage.Options{}, fmt.Errorf("coverage: %w", err)
	}
	required := set.Policy().RequiredKeys()
	if f.key != "" && len(required) > 0 && !slices.Contains(required, f.key) {
		return coverage.Options{}, fmt.Errorf("coverage: --key %s: required: does not list it; it lists %s%s", f.key,
			strings.Join(required, ", "), suggest.Meant(f.key, required))
	}
	scope := settings.Projects
	if f.scope != "" {
		if scope, err = decodeScope(f.scope); err != nil {
			return coverage.Options{}, fmt.Errorf("coverage: %w", err)
		}
	}
	if len(scope) == 0 {
		scope = config.Projects{config.OwnProject}
	}
	now := time.Now()
	trail, err := readTrail(f.records(settings), f.logs, interruptible{ctx, s.in}, now)
	if err != nil {
		return coverage.Options{}, err
	}
	var prices *coverage.Prices
	if f.prices != "" {
		if prices, err = coverage.ReadPrices(f.prices); err != nil {
			return coverage.Options{}, err
		}
	}
	credentials, err := cloudsyaml.Complete(ctx)
	if err != nil {
		return coverage.Options{}, err
	}
	if _, err := credentials.Resolve(); err != nil {
		return coverage.Options{}, err
	}
	within := options(settings, credentials)
	within.Projects = scope
	return coverage.Options{
		Rules: set, API: metadata.API(settings.API), Cloud: cloud.New(within), Scope: scope, Region: credentials.RegionName,
		Key: f.key, Owners: f.by == "owner", WriteLocked: settings.WriteLocked, Now: now, Trail: trail, Prices: prices,
	}, nil
}

// checkOutputs checks that no file to write is one to read, or another file to write.
func (f coverageFlags) checkOutputs(settings config.Settings) error {
	inputs := []namedFile{rulesInput(f.rulesFile, settings), {"--prices", f.prices}}
	for _, path := range f.journals {
		inputs = append(inputs, namedFile{"--journal", path})
	}
	if len(f.journals) == 0 {
		inputs = append(inputs, namedFile{"TAGGER_AUDIT_FILE", settings.AuditFile})
	}
	for _, path := range f.logs {
		inputs = append(inputs, namedFile{"--log", path})
	}
	for _, out := range []namedFile{{"--history", f.history}, {"--prometheus", f.prometheus}, {"--html", f.html}} {
		if out.path == "" {
			continue
		}
		if err := checkOutput(out, inputs...); err != nil {
			return err
		}
		inputs = append(inputs, out)
	}
	return nil
}

// records returns the journals to read. Without --journal, that is the audit file, if it exists.
func (f coverageFlags) records(settings config.Settings) []string {
	if len(f.journals) > 0 || settings.AuditFile == "" {
		return f.journals
	}
	if _, err := os.Stat(settings.AuditFile); errors.Is(err, os.ErrNotExist) {
		return nil // nothing was written yet
	}
	return []string{settings.AuditFile}
}

// print writes the report to standard output.
func (f coverageFlags) print(s streams, r coverage.Report, rows *coverage.CSV) error {
	switch f.form {
	case "csv":
		return rows.Close()
	case "json":
		if f.by != "project" {
			r.Projects = nil
		}
		return printJSON(s.out, r)
	}
	return coverage.WriteText(s.out, r, coverage.By(f.by), f.minimum)
}

// files writes the report's files.
func (f coverageFlags) files(r coverage.Report, history []coverage.Point) error {
	if f.prometheus != "" {
		err := replaceFile(f.prometheus, 0o644, func(w io.Writer) error {
			return coverage.WritePrometheus(w, r, f.perProject)
		})
		if err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	if f.html != "" {
		err := replaceFile(f.html, 0o600, func(w io.Writer) error {
			return page.Write(w, r, page.Options{Names: page.Names(f.names), History: history})
		})
		if err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
	}
	if f.history != "" {
		return coverage.AppendHistory(f.history, r.Point())
	}
	return nil
}
