package page

import (
	"fmt"
	"strings"

	"github.com/cloudtagger/tagger/pkg/coverage"
)

// segmentNames are the names of a bar's parts, in order.
var segmentNames = [...]struct{ class, name string }{
	{"ok", "have the key"}, {"paid", "exempt, with a payer"}, {"exempt", "exempt, no payer"}, {"differs", "another value"},
	{"placeholder", "placeholder"}, {"missing", "missing"}, {"locked", "not writable"},
}

// bar is a stacked bar for one required key on one kind.
type bar struct {
	Title    string
	Of       string
	Total    int
	Size     string // Total as text
	Segments []segment
	Summary  string
}

type segment struct {
	Class, Name   string
	X, Width      float64 // of barWidth
	Amount, Count int
	Percent       string
}

// barWidth is the width of a bar in SVG units.
const barWidth = 1000

// parts returns a tally's amounts in the order of segmentNames. They add up to the total.
func parts(t coverage.Tally) [len(segmentNames)]coverage.Amount {
	s := t.Status
	return [...]coverage.Amount{
		s[coverage.OK], t.Paid, {Count: s[coverage.Exempt].Count - t.Paid.Count, Size: s[coverage.Exempt].Size - t.Paid.Size},
		s[coverage.Differs], s[coverage.Placeholder],
		s[coverage.Missing], s[coverage.NotWritable],
	}
}

// tenths splits 1000 tenths of a percent in proportion, so that the shares on the page add up to exactly 100 %. The
// largest remainders receive the rest that rounding leaves.
func tenths(parts []int) []int {
	total := 0
	for _, n := range parts {
		total += n
	}
	out := make([]int, len(parts))
	if total == 0 {
		return out
	}
	left := 1000
	for i, n := range parts {
		out[i] = n * 1000 / total
		left -= out[i]
	}
	for ; left > 0; left-- {
		best := -1
		for i, n := range parts {
			if rest := n*1000 - out[i]*total; rest > 0 && (best < 0 || rest > parts[best]*1000-out[best]*total) {
				best = i
			}
		}
		out[best]++
	}
	return out
}

func newBar(row coverage.Row) bar {
	b := bar{Title: fmt.Sprintf("%s, %ss", row.Key, row.Kind), Of: string(row.Unit), Total: row.Total.Size}
	bySize := row.Total.Size > 0
	if !bySize {
		b.Of, b.Total = string(row.Kind)+"s", row.Total.Count
	}
	b.Size = coverage.Thousands(b.Total)
	parts := parts(row.Tally)
	amounts := make([]int, len(parts))
	for i, a := range parts {
		if amounts[i] = a.Count; bySize {
			amounts[i] = a.Size
		}
	}
	shares := tenths(amounts)
	x := 0.0
	var words []string
	for i, n := range amounts {
		s := segment{Class: segmentNames[i].class, Name: segmentNames[i].name, X: x, Amount: n, Count: parts[i].Count}
		if b.Total > 0 {
			s.Width = barWidth * float64(n) / float64(b.Total)
		}
		x += s.Width
		s.Percent = fmt.Sprintf("%d.%d", shares[i]/10, shares[i]%10)
		if n > 0 {
			words = append(words, s.Percent+" % "+s.Name)
		}
		b.Segments = append(b.Segments, s)
	}
	b.Summary = unbroken(strings.Join(words, "; "))
	return b
}
