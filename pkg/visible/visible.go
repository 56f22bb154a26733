// Package visible makes text from outside safe to show on a terminal and in a log: one line, no control characters,
// bounded.
package visible

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one line of at most limit characters. White space becomes single blanks. Characters that do not
// print (terminal escapes, marks that change the direction of text, bytes that are no UTF-8) become visible escapes
// such as \u001b. What is cut off is replaced by "…".
func Line(s string, limit int) string {
	var b strings.Builder
	n, blank := 0, false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if unicode.IsSpace(r) {
			blank = n > 0
			i += size
			continue
		}
		shown := s[i : i+size]
		switch {
		case r == utf8.RuneError && size == 1:
			shown = fmt.Sprintf(`\x%02x`, s[i])
		case !unicode.IsPrint(r) && r > 0xffff:
			shown = fmt.Sprintf(`\U%08x`, r)
		case !unicode.IsPrint(r):
			shown = fmt.Sprintf(`\u%04x`, r)
		}
		if blank {
			shown, blank = " "+shown, false
		}
		if n += utf8.RuneCountInString(shown); n > limit {
			return b.String() + "…"
		}
		b.WriteString(shown)
		i += size
	}
	return b.String()
}
