package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// helpCommand is tagger help. Unlike cobra's own, it rejects unknown topics, and shows single variables.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|environment [VARIABLE...]]",
		Short: "Help about a command or the environment variables",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == root.Name() {
				args = args[1:]
			}
			topic, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			switch {
			case topic.Name() == environmentName && len(rest) > 0:
				return helpVariables(cmd, rest)
			case len(rest) > 0:
				var known []string
				for _, c := range topic.Commands() {
					if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
						known = append(known, c.Name())
					}
				}
				return fmt.Errorf("unknown help topic %q%s", strings.Join(args, " "), suggest.Meant(rest[0], known))
			}
			topic.InitDefaultHelpFlag()
			topic.InitDefaultVersionFlag()
			return topic.Help()
		},
	}
}

// helpVariables shows single environment variables.
func helpVariables(cmd *cobra.Command, names []string) error {
	var all []config.Variable
	for _, section := range environmentSections() {
		all = append(all, section.variables...)
	}
	var known []string
	for _, v := range all {
		known = append(known, v.Name)
	}
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return fmt.Errorf("unknown variable %q%s", name, suggest.Variable(name, known))
		}
		cmd.Println(strings.TrimSpace(describeVariable(all[i])))
	}
	return nil
}
