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
	if got := suggest.Hint("something", slices.Repeat([]string{"far-away"}, 13)); got != "" {
		t.Errorf("a long list is shown: %q", got)
	}
}
