package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/cloudtagger/tagger/pkg/reconcile"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/suggest"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// repeatedFlags are the flags that every later command of the same plan needs if they were given.
var repeatedFlags = []string{"rules", "max", "max-percent", "max-per-project", "max-failures", "rate", "concurrency"}

// repeated returns the given flags of repeatedFlags as a command line, each with a space before it, without some.
func (f *reconcileFlags) repeated(without ...string) string {
	var b strings.Builder
	f.flags.Visit(func(flag *pflag.Flag) {
		if slices.Contains(repeatedFlags, flag.Name) && !slices.Contains(without, flag.Name) {
			b.WriteString(" --" + flag.Name + " " + shellWord(flag.Value.String()))
		}
	})
	return b.String()
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:,%+=@-]+$`)

// shellWord quotes a word for a shell if it needs that.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return quoted(word)
}

// quoted quotes a word for a shell.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// applying returns the beginning of a command that applies a plan, or the rest of it.
func applying(plan string, resume bool) string {
	text := "tagger reconcile --apply " + shellWord(plan)
	if resume {
		text += " --resume"
	}
	return text
}

// applyCommand returns the command that applies a plan, or the rest of it. capped is the error of its limits, nil if it
// keeps them.
func (f *reconcileFlags) applyCommand(plan string, resume bool, capped error) string {
	text := applying(plan, resume)
	e, over := errors.AsType[*reconcile.LimitError](capped)
	if !over {
		return text + f.repeated()
	}
	if e.Over {
		text += fmt.Sprintf(" --confirm %d", e.Resources)
	}
	if e.Project == "" {
		return text + f.repeated()
	}
	return text + fmt.Sprintf(" --max-per-project %d%%", int(math.Ceil(e.Share))) + f.repeated("max-per-project")
}

// nextCommand returns the command that applies what a plan's journal has not finished.
func (f *reconcileFlags) nextCommand(plan string) string {
	limits := f.limits
	limits.Confirm = -1
	_, capped := reconcile.CheckLeft(plan, limits)
	return f.applyCommand(plan, true, capped)
}

// printChecks prints the table of limits.
func printChecks(out io.Writer, checks []reconcile.Check) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, c := range checks {
		verdict := "ok"
		switch {
		case c.Lifted:
			verdict = "confirmed"
		case c.Over:
			verdict = "over"
		}
		planned := visible.Line(c.Planned, maxComplaint)
		fmt.Fprintf(w, "  %s\t%s\tlimit %s\t(%s)\t%s\n", c.Name, planned, c.Limit, c.Flag, verdict)
	}
	_ = w.Flush()
}

// checkKeys checks the keys of --overwrite and --protected against the rules, in which each must have an effect.
func (f *reconcileFlags) checkKeys(set *rules.Set) error {
	replaced, others := set.WrittenKeys()
	for _, r := range set.Policy().Required {
		if r.Overwrite {
			replaced = append(replaced, r.Key)
		}
	}
	for _, key := range f.overwrite {
		switch {
		case slices.Contains(replaced, key):
		case slices.Contains(others, key):
			return fmt.Errorf("--overwrite %s: has no effect: no rule has the key under set:, and required: does not have it "+
				"with on_differs: overwrite", key)
		default:
			return fmt.Errorf("--overwrite %s: no rule writes this key%s", key, suggest.Hint(key, replaced))
		}
	}
	policy := set.Policy()
	for _, key := range f.protected {
		if !policy.Protects(key) {
			return fmt.Errorf("--protected %s: protected_keys: does not have it%s", key, suggest.Hint(key, policy.ProtectedKeys))
		}
	}
	return nil
}
