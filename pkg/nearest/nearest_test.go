package nearest_test

import (
	"slices"
	"testing"

	"github.com/cloudtagger/tagger/pkg/nearest"
)

func TestHint(t *testing.T) {
	words := []string{"name", "on", "when", "add", "set", "remove"}
	for word, want := range map[string]string{
		"wehn":    "; did you mean when?",
		"removes": "; did you mean remove?",
		"tags":    "; known: name, on, when, add, set, remove",
	} {
		if got := nearest.Hint(word, words); got != want {
			t.Errorf("Hint(%q) = %q, want %q", word, got, want)
		}
	}
	if got := nearest.Hint("something", slices.Repeat([]string{"far-away"}, 13)); got != "" {
		t.Errorf("a long list is shown: %q", got)
	}
}
