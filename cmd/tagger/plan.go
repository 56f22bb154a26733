package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

func planCommand(s streams) *cobra.Command {
	var rulesFile, cloudName string
	cmd := &cobra.Command{
		Use:   "plan [--rules FILE] [--cloud env] EVENT...",
		Short: "Show what the rules would do with events, and each request",
		Long: "Decode events, match the rules and show the requests, byte for byte. No cloud is asked. With --cloud env, " +
			"the resources are read, and the difference to the plan is shown; nothing is written.\n\n" +
			"EVENT is a file, or - for standard input, with any payload that a function takes.",
		Args: needEvents,
	}
	cmd.Flags().StringVar(&rulesFile, "rules", "", "`FILE` of tagging rules (default: TAGGER_RULES_FILE or TAGGER_RULES)")
	cmd.Flags().StringVar(&cloudName, "cloud", "", "env: read the resources from the cloud that the OS_* variables name")
	onlyChanges := cmd.Flags().Bool("only-changes", false,
		"leave out events that need nothing: ignored and unchanged ones")
	out := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		started := time.Now()
		switch cloudName {
		case "", "env":
		case "embedded":
			return errors.New(`--cloud "embedded": a plan reads from env, or from no cloud at all: leave --cloud out, or use ` +
				"tagger invoke --cloud embedded")
		default:
			return fmt.Errorf("--cloud %q: a plan reads from env, or from no cloud at all", cloudName)
		}
		settings, set, err := configure(cmd.Context(), rulesFile, s)
		if err != nil {
			return err
		}
		parts := tagger.Parts{Region: os.Getenv("OS_REGION_NAME")}
		if cloudName == "env" {
			if parts, err = connect(cmd.Context(), settings, s); err != nil {
				return err
			}
		}
		t, err := tagger.Compose(cmd.Context(), settings, set, parts)
		if err != nil {
			return err
		}
		events, err := readEvents(cmd.Context(), files, s.in)
		if err != nil {
			return err
		}
		p := &printer{streams: s, style: styleFor(s.out), format: *out, onlyChanges: *onlyChanges, fromPages: cloudName == ""}
		if len(events) == 0 {
			return p.noEvents()
		}
		for i, d := range events {
			p.begin(i, len(events))
			p.file(d.file)
			p.deadLetter(d.event)
			switch {
			case d.err != nil:
				p.previewed(tagger.Preview{Plan: t.Unreadable(cmd.Context(), d.err).Plan})
			case cloudName == "env":
				for _, preview := range t.Preview(cmd.Context(), tagger.Delivery{Event: d.event, ReceivedAt: started}) {
					p.previewed(preview)
				}
			default:
				for _, planned := range t.Plan(cmd.Context(), d.event) {
					p.previewed(tagger.Preview{Plan: *t.Requests(planned)})
				}
			}
			p.end()
		}
		return p.verdict()
	}
	return cmd
}

// needEvents checks that there are arguments, with a clearer error than cobra's.
func needEvents(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s: no event; name a file such as events/server-created.json, or - for standard input", cmd.Name())
	}
	return nil
}

// isUndone reports whether an outcome leaves work to do.
func isUndone(o apply.Outcome) bool { return o == apply.Deferred || o == apply.Rejected }
