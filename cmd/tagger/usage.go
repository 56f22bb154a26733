package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the longest line of help texts.
const helpWidth = 100

// commandGroups are the groups of tagger --help, in their order.
func commandGroups() []*cobra.Group {
	return []*cobra.Group{
		{ID: "rules", Title: "Rules"}, {ID: "run", Title: "Run"}, {ID: "fleet", Title: "Fleet"},
		{ID: "help", Title: "Check and try"},
	}
}

// addGroup adds commands as one group.
func addGroup(root *cobra.Command, id string, all ...*cobra.Command) {
	for _, cmd := range all {
		cmd.GroupID = id
	}
	root.AddCommand(all...)
}

// flagGroup is the annotation of a flag with the position and the title of its group.
const flagGroup = "group"

// namedFlags is a group of flags in the help of a command.
type namedFlags struct {
	title string
	names []string
}

// groupFlags groups the flags of a command in its help, in this order.
func groupFlags(flags *pflag.FlagSet, groups ...namedFlags) {
	for i, group := range groups {
		for _, name := range group.names {
			_ = flags.SetAnnotation(name, flagGroup, []string{strconv.Itoa(i), group.title}) // fails only without the flag
		}
	}
}

// wrapLong wraps the paragraphs of the help of a command and of its subcommands. Indented ones stay as they are.
func wrapLong(cmd *cobra.Command) {
	paragraphs := strings.Split(cmd.Long, "\n\n")
	for i, text := range paragraphs {
		if !strings.HasPrefix(text, " ") && !strings.Contains(text, "\n ") {
			paragraphs[i] = strings.Join(wrapped(text, helpWidth), "\n")
		}
	}
	cmd.Long = strings.Join(paragraphs, "\n\n")
	for _, sub := range cmd.Commands() {
		wrapLong(sub)
	}
}

// printUsage prints the usage of a command: its syntax, its subcommands and its flags, in groups.
func printUsage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		for i, line := range wrapped(cmd.UseLine(), helpWidth-6) {
			fmt.Fprintf(&b, "  %s%s\n", strings.Repeat("    ", min(i, 1)), line)
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND\n", cmd.CommandPath())
		for _, group := range commandGroups() {
			printCommands(&b, cmd, group.Title, func(c *cobra.Command) bool { return c.GroupID == group.ID })
		}
		printCommands(&b, cmd, "Commands", func(c *cobra.Command) bool { return c.GroupID == "" })
	}
	printFlags(&b, cmd.LocalFlags())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%q shows more about a command.\n", strings.Replace(cmd.CommandPath(), "tagger", "tagger help", 1)+
			" COMMAND")
	}
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err
}

func printCommands(b *strings.Builder, cmd *cobra.Command, title string, in func(*cobra.Command) bool) {
	found := false
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() || !in(c) {
			continue
		}
		if !found {
			fmt.Fprintf(b, "\n%s:\n", title)
		}
		found = true
		fmt.Fprintf(b, "  %-*s %s\n", cmd.NamePadding()+2, c.Name(), c.Short)
	}
}

// printFlags prints flags, those without a group last.
func printFlags(b *strings.Builder, flags *pflag.FlagSet) {
	const last = "9" // the position of flags without a group
	groups := map[string]*pflag.FlagSet{}
	titles := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		position, title := last, "Flags"
		if of := f.Annotations[flagGroup]; len(of) > 0 {
			position, title = of[0], of[1]
		}
		if groups[position] == nil {
			groups[position], titles[position] = pflag.NewFlagSet(title, pflag.ContinueOnError), title
		}
		groups[position].AddFlag(f)
	})
	if len(groups) > 1 {
		titles[last] = "Always"
	}
	for _, position := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(b, "\n%s:\n%s", titles[position], groups[position].FlagUsagesWrapped(helpWidth))
	}
}
