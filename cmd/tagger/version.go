package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

func versionCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
	}
	out := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *out == asJSON {
			return printJSON(s.out, struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				OS      string `json:"os"`
				Arch    string `json:"arch"`
			}{cmd.Root().Version, runtime.Version(), runtime.GOOS, runtime.GOARCH})
		}
		_, err := fmt.Fprintln(s.out, "tagger "+cmd.Root().Version)
		return err
	}
	return cmd
}

// version returns the module's version, or the commit if the build has none.
func version(read func() (*debug.BuildInfo, bool)) string {
	info, ok := read()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return cmp.Or(info.Main.Version, "unknown")
}

// oneOf makes cmd a group of the commands in all. Alone it prints its help, and it rejects unknown subcommands.
func oneOf(cmd *cobra.Command, all ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(all...)
	cmd.Args = cobra.ArbitraryArgs // cobra's own check suggests only the root's commands, on several lines
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}

// unknownCommand returns the error for a name that none of a group's commands has.
func unknownCommand(group *cobra.Command, name string) error {
	var names []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	return fmt.Errorf("unknown command %q for %q%s", name, group.CommandPath(), suggest.Hint(name, names))
}
