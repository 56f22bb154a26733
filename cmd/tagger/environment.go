package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/config"
)

// environmentTopic returns the command behind "tagger help environment".
func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Variables that Tagger reads. docs/configuration.md has the same as tables.\n")
	section := func(title string, all []config.Variable) {
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, v := range all {
			name := v.Name
			if v.Default != "" {
				name += " (" + v.Default + ")"
			}
			fmt.Fprintf(&b, "\n  %s\n", name)
			for _, line := range wrapped(v.Description, environmentWidth) {
				fmt.Fprintf(&b, "      %s\n", line)
			}
		}
	}
	section("Settings", config.Variables[config.Settings]())
	section("tagger listen and tagger queues", config.Variables[config.Listen]())
	section("A scheduled reconcile", config.Variables[config.Reconcile]())
	section("Credentials (or OS_CLOUD, the name of a cloud in clouds.yaml)", config.Variables[config.Credentials]())
	return &cobra.Command{Use: "environment", Short: "The environment variables that Tagger reads",
		Long: strings.TrimSpace(b.String())}
}

const environmentWidth = 90

// wrapped breaks a text into lines of at most width bytes. A longer word gets a line of its own.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
