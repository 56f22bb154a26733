package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

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
	if args := cmd.Flags().Args(); len(args) > 0 && cmd.HasSubCommands() {
		return unknownCommand(cmd, args[0]) // the flag is one of the command that was meant
	}
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
		hint := "did you mean --" + meant + "?"
		if meant == "" {
			hint = strings.Replace(cmd.CommandPath(), "tagger", "tagger help", 1) + " lists them"
		}
		return fmt.Errorf("%sunknown flag --%s; %s", errorPrefix(cmd), unknown.GetSpecifiedName(), hint)
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

// errorPrefix returns the beginning of an error about a command: its name. The program's own name begins each error.
func errorPrefix(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return ""
	}
	return commandName(cmd) + ": "
}

// checkGiven rejects empty arguments and flags that were set to an empty value: commands would treat them as absent,
// and a script with an unset variable would act on more than it names.
func checkGiven(cmd *cobra.Command, args []string) error {
	if cmd.DisableFlagParsing { // completion, whose last argument is empty until something is typed
		return nil
	}
	if slices.Contains(args, "") {
		return fmt.Errorf("%san argument is empty, as from an unset variable", errorPrefix(cmd))
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && isEmpty(f.Value) {
			err = fmt.Errorf("%s--%s is empty, as from an unset variable: give it %s or leave it out", errorPrefix(cmd), f.Name,
				wants(f))
		}
	})
	return err
}

// isEmpty reports whether a flag has an empty value, or a list with one.
func isEmpty(v pflag.Value) bool {
	if list, ok := v.(pflag.SliceValue); ok {
		all := list.GetSlice()
		return len(all) == 0 || slices.Contains(all, "")
	}
	return v.String() == ""
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

// checkDuration rejects a negative duration.
func checkDuration(flag string, value time.Duration) error {
	if value < 0 {
		return fmt.Errorf("%s %s: want 0s or more", flag, value)
	}
	return nil
}

// oneOfWords returns the error for a value that is none of some words.
func oneOfWords(value string, words []string) error {
	last := len(words) - 1
	text := "want " + strings.Join(words[:last], ", ") + " or " + words[last]
	return errors.New(text + suggest.Meant(value, words))
}
