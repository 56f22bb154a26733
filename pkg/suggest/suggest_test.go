package suggest_test

import (
	"slices"
	"testing"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

func TestHint(t *testing.T) {
	words := []string{"name", "on", "when", "add", "set", "remove"}
	for word, want := range map[string]string{
		"whem":    "; did you mean when?",
		"removes": "; did you mean remove?",
		"tags":    "; known: name, on, when, add, set, remove",
	} {
		if got := suggest.Hint(word, words); got != want {
			t.Errorf("Hint(%q) = %q, want %q", word, got, want)
		}
	}
	variables := []string{"TAGGER_API", "TAGGER_RATE", "TAGGER_RULES", "OS_TOKEN"}
	for name, want := range map[string]string{
		"TAGGER_RULE":  "; did you mean TAGGER_RULES?",
		"TAGER_RULES":  "; did you mean TAGGER_RULES?",
		"TAGGER_FOO":   "",
		"TAGGER_":      "",
		"TAGGER_TOKEN": "",
		"OS_TOKENS":    "; did you mean OS_TOKEN?",
	} {
		if got := suggest.Variable(name, variables); got != want {
			t.Errorf("Variable(%q) = %q, want %q", name, got, want)
		}
	}
	if got := suggest.Hint("something", slices.Repeat([]string{"far-away"}, 13)); got != "" {
		t.Errorf("a long list is shown: %q", got)
	}
}
