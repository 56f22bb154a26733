// Package nearest finds the word that somebody most likely meant.
package nearest

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// Word returns the candidate closest to word, "" when none is close enough to be what was meant.
func Word(word string, candidates []string) string {
	best, bestDistance := "", 4*(len(word)/3+1)+1
	for _, c := range candidates {
		d := 4 * levenshtein.ComputeDistance(word, c)
		// Two letters swapped count as two changes; that length and first letter are right then is what tells.
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

// Hint returns "; did you mean X?" where a candidate is close, else "; known: A, B, C" unless that is long.
func Hint(word string, candidates []string) string {
	if best := Word(word, candidates); best != "" {
		return "; did you mean " + best + "?"
	}
	const many = 12
	if len(candidates) == 0 || len(candidates) > many {
		return ""
	}
	return "; known: " + strings.Join(candidates, ", ")
}
