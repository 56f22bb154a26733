package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/config"
)

const environmentName = "environment"

// environmentSection is a part of "tagger help environment".
type environmentSection struct {
	title     string
	variables []config.Variable
}

func environmentSections() []environmentSection {
	return []environmentSection{
		{"Settings", config.Variables[config.Settings]()},
		{"tagger listen and tagger queues", config.Variables[config.Listen]()},
		{"A scheduled reconcile", config.Variables[config.Reconcile]()},
		{"Credentials (or OS_CLOUD, the name of a cloud in clouds.yaml)", config.Variables[config.Credentials]()},
	}
}

// environmentTopic returns the command behind "tagger help environment".
func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Variables that Tagger reads. docs/configuration.md has the same as tables; tagger help environment " +
		"NAME\nshows one.\n")
	for _, section := range environmentSections() {
		fmt.Fprintf(&b, "\n%s\n", section.title)
		for _, v := range section.variables {
			b.WriteString(describeVariable(v))
		}
	}
	return &cobra.Command{Use: environmentName, Short: "The environment variables that Tagger reads",
		Long: strings.TrimSpace(b.String())}
}

func describeVariable(v config.Variable) string {
	name := v.Name
	if v.Default != "" {
		name += " (" + v.Default + ")"
	}
	text := fmt.Sprintf("\n  %s\n", name)
	for _, line := range wrapped(v.Description, environmentWidth) {
		text += fmt.Sprintf("      %s\n", line)
	}
	return text
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
