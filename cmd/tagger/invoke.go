package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// readyTimeout limits the wait of "tagger invoke" for a server to become ready.
const readyTimeout = 10 * time.Minute

func invokeCommand(s streams) *cobra.Command {
	var rulesFile, cloudName string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "invoke --cloud embedded|env [--rules FILE] EVENT...",
		Short: "Process events now: write the metadata",
		Long: "Decode events, match the rules, and write the metadata, waiting while a server is not ready and reading " +
			"back what was written. --cloud env is the cloud that the OS_* variables (or OS_CLOUD) name. --cloud embedded is " +
			"a cloud in this process, in which the events' own resources exist, building for a moment.\n\n" +
			"EVENT is a file, or - for standard input, with any payload that a function takes.",
		Args: needEvents,
	}
	cmd.Flags().StringVar(&rulesFile, "rules", "", "`FILE` of tagging rules (default: TAGGER_RULES_FILE or TAGGER_RULES)")
	cmd.Flags().StringVar(&cloudName, "cloud", "", "embedded or env: the cloud to write to")
	cmd.Flags().DurationVar(&wait, "wait", readyTimeout, "how long to wait for a resource to become ready")
	onlyChanges := cmd.Flags().Bool("only-changes", false,
		"leave out events that need nothing: ignored and unchanged ones")
	out := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		ctx, started := cmd.Context(), time.Now()
		if err := checkDuration("--wait", wait); err != nil {
			return fmt.Errorf("invoke: %w", err)
		}
		settings, set, err := configure(ctx, rulesFile, s)
		if err != nil {
			return err
		}
		if settings.Wait != nil && !cmd.Flags().Changed("wait") {
			wait = *settings.Wait
		}
		events, err := readEvents(ctx, files, s.in)
		if err != nil {
			return err
		}
		var parts tagger.Parts
		var embedded *embeddedCloud
		switch cloudName {
		case "embedded":
			planner, err := tagger.Compose(ctx, settings, set, parts)
			if err != nil {
				return err
			}
			embedded = embed(ctx, planner, events)
			parts = embedded.parts()
		case "env":
			if parts, err = connect(ctx, settings, s); err != nil {
				return err
			}
		case "":
			return errors.New("invoke: say which cloud to write to: --cloud embedded, or --cloud env for the one that the " +
				"OS_* variables name")
		default:
			return fmt.Errorf("--cloud %q: want embedded or env", cloudName)
		}
		t, err := tagger.Compose(ctx, settings, set, parts)
		if err != nil {
			return err
		}
		p := &printer{streams: s, style: styleFor(s.out), format: *out, embedded: embedded, onlyChanges: *onlyChanges}
		if len(events) == 0 {
			return p.noEvents()
		}
		p.printEmbedded()
		for i, d := range events {
			if err := context.Cause(ctx); err != nil {
				return undone{fmt.Errorf("%d of %d events were not tried: %w", len(events)-i, len(events), err)}
			}
			p.begin(i, len(events))
			p.file(d.file)
			if d.err != nil {
				p.result(t.Unreadable(ctx, d.err))
				p.end()
				continue
			}
			waited := false
			given := tagger.Delivery{Event: d.event, ReceivedAt: started, Wait: wait, Progress: p.progress()}
			for _, r := range t.Handle(ctx, given) {
				p.result(r)
				waited = waited || r.Outcome == apply.Deferred && len(r.Written)+len(r.Removed) == 0
			}
			p.end()
			if waited && ctx.Err() != nil {
				text := "nothing was written while it waited"
				if left := len(events) - i - 1; left > 0 {
					text += fmt.Sprintf(", and %d of %d events were not tried", left, len(events))
				}
				return undone{fmt.Errorf("%s: %w", text, context.Cause(ctx))}
			}
		}
		return p.verdict()
	}
	return cmd
}
