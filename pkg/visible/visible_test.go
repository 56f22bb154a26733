package visible_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/cloudtagger/tagger/pkg/visible"
)

func TestLine(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"as it is", "Größe: 5 – «ok» 日本", "Größe: 5 – «ok» 日本"},
		{"white space", "  a\r\n\tb\u00a0\u2028c  ", "a b c"},
		{"terminal escapes", "\x1b[31mred\x1b[0m\a\x9b2J", `\u001b[31mred\u001b[0m\u0007\x9b2J`},
		{"C1 in UTF-8", "\u009b2J", `\u009b2J`},
		{"direction", "a\u202eb\u200bc", `a\u202eb\u200bc`},
		{"beyond the BMP", "\U000e0001x", `\U000e0001x`},
		{"cut", strings.Repeat("é", 30), strings.Repeat("é", 20) + "…"},
		{"an escape is not cut in half", strings.Repeat("x", 18) + "\x1b", strings.Repeat("x", 18) + "…"},
	} {
		limit := 200
		if strings.HasSuffix(tt.want, "…") {
			limit = 20
		}
		if got := visible.Line(tt.in, limit); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b]0;x\a \xff", 10)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(0, min(limit, 1000))
		got := visible.Line(s, limit)
		if utf8.RuneCountInString(got) > limit+1 || !utf8.ValidString(got) {
			t.Errorf("%q, limit %d: %q", s, limit, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %q has %q", s, got, r)
			}
		}
	})
}
