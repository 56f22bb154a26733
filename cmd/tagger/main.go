// Command tagger is Tagger's command line. It previews and applies what the rules do with events, reconciles and
// explains resources, runs the listener and the HTTP server, and has an embedded cloud to try rules on.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// Exit statuses. Scripts rely on them: do not renumber.
const (
	exitDone   = 0 // all done, or nothing to do
	exitUndone = 1 // something was deferred or rejected, or a check failed
	exitUsage  = 2 // wrong usage, configuration or rules
	exitCapped = 4 // a limit stopped the run; nothing more was written
	exitUnread = 5 // something could not be read: the result is incomplete
)

func main() {
	ctx, stop := app.UntilInterrupted(context.Background())
	status := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(status)
}

// undone ends a command with exitUndone. Only err, if set, is still to be printed.
type undone struct{ err error }

func (u undone) Error() string {
	if u.err == nil {
		return ""
	}
	return u.err.Error()
}

func (u undone) Unwrap() error { return u.err }

// ended ends a command with the given exit status. Only err, if set, is still to be printed.
type ended struct {
	status int
	err    error
}

func (e ended) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e ended) Unwrap() error { return e.err }

// run executes the command and returns its exit status. Tests call it instead of main.
func run(ctx context.Context, args []string, s streams) int {
	checked := &checkedOutput{Writer: s.out}
	s.out = checked
	root := &cobra.Command{
		Use:   "tagger",
		Short: "Put metadata on servers, volumes and snapshots when they are created",
		Long: "Tagger puts metadata on OpenStack and Huawei Cloud servers, volumes and snapshots when events report that " +
			"they were created or changed. Use this command to test rules, to process events, to run Tagger as a service, " +
			"and to try all of this on an embedded cloud.",
		Version:       version(debug.ReadBuildInfo),
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetVersionTemplate("tagger {{.Version}}\n")
	root.AddGroup(commandGroups()...)
	addGroup(root, "rules", planCommand(s), invokeCommand(s), rulesCommand(s))
	addGroup(root, "run", serveCommand(), listenCommand(), queuesCommand(s))
	addGroup(root, "fleet", explainCommand(s), reconcileCommand(s), coverageCommand(s))
	addGroup(root, "help", checkCommand(s), simcloudCommand(s), versionCommand(s), environmentTopic())
	oneOf(root)
	root.PersistentPreRunE = checkGiven // for every command
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand(root))
	root.SetHelpCommandGroupID("help")
	root.SetCompletionCommandGroupID("help")
	root.SetUsageFunc(printUsage)
	wrapLong(root)
	err := interrupted(ctx, exclusive(root.ExecuteContext(ctx)))
	if checked.err != nil {
		err = undone{fmt.Errorf("write the output: %w", checked.err)}
	}
	u, isUndone := errors.AsType[undone](err)
	switch e, hasStatus := errors.AsType[ended](err); {
	case err == nil:
		return exitDone
	case hasStatus:
		if e.err != nil {
			complain(s, e.err)
		}
		return e.status
	case isUndone:
		if u.err != nil {
			complain(s, u.err)
		}
		return exitUndone
	default:
		complain(s, err)
		return exitUsage
	}
}

// interrupted marks the error of a command that an interrupt ended, in the same words for all commands. Others stay as
// they are. The error says what was under way or done, and wraps the cause of the context.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) && !errors.Is(err, context.Cause(ctx)) {
		return err
	}
	err = fmt.Errorf("interrupted: %w", err)
	if e, ok := errors.AsType[ended](err); ok {
		return ended{e.status, err}
	}
	return undone{err}
}

// maxComplaint limits the characters of an error message on the terminal.
const maxComplaint = 2000

// complain prints an error in one line, without terminal escapes that it may have from outside.
func complain(s streams, err error) {
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	fmt.Fprintln(s.err, "tagger:", visible.Line(text, maxComplaint))
}
