// Package suggest finds the known word that a misspelt one most likely stands for.
package suggest

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// Word returns the candidate closest to word, "" when none is close enough to be a misspelling of it.
func Word(word string, candidates []string) string {
	best, bestDistance := "", 4*(len(word)/3+1)+1
	for _, c := range candidates {
		d := 4 * levenshtein.ComputeDistance(word, c)
		// Two swapped letters count as two changes. An equal length and first letter make up for that.
		if len(c) == len(word) {
			d--
		}
		if c != "" && word != "" && c[0] == word[0] {
			d--
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// Variable is [Hint] for names of environment variables. Their common prefix, such as TAGGER_, does not count as
// similarity: TAGGER_FOO is not a misspelling of TAGGER_API.
func Variable(name string, candidates []string) string {
	prefix := name[:strings.Index(name, "_")+1]
	var rest []string
	for _, c := range candidates {
		if after, ok := strings.CutPrefix(c, prefix); ok {
			rest = append(rest, after)
		}
	}
	if prefix == "" || len(rest) == 0 {
		return Hint(name, candidates)
	}
	if best := Word(name[len(prefix):], rest); best != "" {
		return "; did you mean " + prefix + best + "?"
	}
	return ""
}

// Meant returns "; did you mean X?" if a candidate is close to word, else "". Use it in errors that list the
// candidates.
func Meant(word string, candidates []string) string {
	if best := Word(word, candidates); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

// Hint returns "; did you mean X?" if a candidate is close to word, else "; known: A, B, C" unless they are many, else
// "".
func Hint(word string, candidates []string) string {
	if meant := Meant(word, candidates); meant != "" {
		return meant
	}
	const maxListed = 12
	if len(candidates) == 0 || len(candidates) > maxListed {
		return ""
	}
	return "; known: " + strings.Join(candidates, ", ")
}
