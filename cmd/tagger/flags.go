package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// wanted describes the values of the flag types that several commands have.
var wanted = map[string]string{
	"duration": "a duration such as 5s or 10m",
	"int":      "a whole number",
	"float64":  "a number",
	"bool":     "true or false",
}

// flagError rewrites an error of the flags of any command.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var needs *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		meant := suggest.Word(unknown.GetSpecifiedName(), names)
		if meant == "" {
			return fmt.Errorf("%s: unknown flag --%s; tagger help %s lists them", commandName(cmd), unknown.GetSpecifiedName(),
				commandName(cmd))
		}
		return fmt.Errorf("%s: unknown flag --%s; did you mean --%s?", commandName(cmd), unknown.GetSpecifiedName(), meant)
	case errors.As(err, &needs):
		f := needs.GetFlag()
		return fmt.Errorf("--%s needs %s", f.Name, wants(f))
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		if wanted[f.Value.Type()] == "" { // a value with an error of its own
			return fmt.Errorf("--%s %q: %w", f.Name, invalid.GetValue(), invalid.Unwrap())
		}
		return fmt.Errorf("--%s %q: want %s", f.Name, invalid.GetValue(), wants(f))
	}
	return err
}

var setTogether = regexp.MustCompile(`^if any flags in the group \[.*\[(.*)\] were all set$`)

// exclusive rewrites cobra's error about flags that exclude each other.
func exclusive(err error) error {
	if err == nil {
		return nil
	}
	if m := setTogether.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("--%s exclude each other", strings.ReplaceAll(m[1], " ", " and --"))
	}
	return err
}

// wants describes a flag's value: by its type, or by the name that its help gives it, such as FILE.
func wants(f *pflag.Flag) string {
	if text := wanted[f.Value.Type()]; text != "" {
		return text
	}
	name, _ := pflag.UnquoteUsage(f)
	name = strings.ToLower(name)
	switch {
	case name == "url":
		return "an address such as http://127.0.0.1:8080"
	case name == "addr":
		return "an address such as 127.0.0.1:8080"
	case name == "" || strings.Contains(name, "string"):
		return "a value"
	case strings.Contains(name, "|"): // a choice
		return strings.ReplaceAll(name, "|", " or ")
	case strings.HasSuffix(name, "s"):
		return name
	case strings.ContainsAny(name[:1], "aeio"):
		return "an " + name
	}
	return "a " + name
}

// commandName returns a command's name without that of the program.
func commandName(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return cmp.Or(name, cmd.Name())
}

// noArguments rejects arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if cmd.Flags().Lookup("scope") != nil {
		if scope, err := decodeScope(args[0]); err == nil && len(scope) > 0 {
			hint = "; did you mean --scope " + args[0] + "?"
		}
	}
	return fmt.Errorf("%s takes no argument %q%s", commandName(cmd), args[0], hint)
}

// oneOfWords returns the error for a value that is none of some words.
func oneOfWords(value string, words []string) error {
	last := len(words) - 1
	text := "want " + strings.Join(words[:last], ", ") + " or " + words[last]
	return errors.New(text + suggest.Meant(value, words))
}
