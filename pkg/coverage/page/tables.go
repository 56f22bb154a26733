package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// lostKeys is the page's section about lost keys.
type lostKeys struct {
	Sentence string
	Rows     []lostRow
	More     int
}

type lostRow struct {
	By, Keys, Count, Last string
}

// newLostKeys labels users the way the page labels projects.
func newLostKeys(l *coverage.Lost, names Names) *lostKeys {
	switch {
	case l == nil:
		return nil
	case l.Unknown():
		return &lostKeys{Sentence: "Unknown: Tagger's records do not cover this week."}
	}
	out := &lostKeys{Sentence: "No key that Tagger wrote this week was lost."}
	if l.Count > 0 {
		out.Sentence = fmt.Sprintf("%s that Tagger wrote %s gone, from %s.", coverage.Numbered(l.Count, "key", "keys"),
			isOrAre(l.Count), coverage.Numbered(l.Resources, "resource", "resources"))
	}
	if late := l.Late(); late != "" {
		out.Sentence += " The log is incomplete, so some users are unknown: " + late + "."
	}
	for i, by := range l.By {
		if i >= lostRows && by.Known() {
			out.More += max(by.Others, 1)
			continue
		}
		row := lostRow{By: "unknown", Keys: cut(strings.Join(keysOf(by.PerKey), ", "), 80),
			Count: coverage.Thousands(by.Count), Last: "–"}
		switch {
		case by.Others > 0:
			row.By = coverage.Thousands(by.Others) + " other users"
		case by.Known() && names == NoNames:
			row.By = fmt.Sprintf("user %d", i+1)
		case by.Known():
			row.By = by.Label(names == FullNames)
		}
		if !by.Last.IsZero() {
			row.Last = by.Last.Format("2 Jan 15:04")
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// keysOf returns the keys of a count, the most frequent first.
func keysOf(counts map[string]int) []string {
	keys := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
	return keys
}

// amountOf formats an amount of money without the currency, which is in the column header.
func amountOf(money float64) string { return coverage.Thousands(int(math.Round(money))) }

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

type worstRow struct {
	Label, Owner, Amount, Share, Of, Cost, Change string
}

type paidRow struct {
	Value   string
	Amounts []string
	Cost    string
	Share   string
}

type exemptRow struct {
	coverage.ExemptionUse
	Day, State string
}

func (p *content) worst(r coverage.Report, label func(int, coverage.Group) string) {
	if r.Changes != nil {
		p.Since = r.Changes.Since.Format("2 Jan")
	}
	for n, g := range r.Projects[:min(len(r.Projects), worstProjects)] {
		a := g.Unallocated(r.Key)
		share, ok := g.Share(r.Key)
		if !ok || a.Count == 0 && g.UnallocatedCost(r.Key) == 0 {
			continue
		}
		row := worstRow{
			Label: label(n, g), Owner: g.Owner, Amount: coverage.Thousands(a.Size), Share: coverage.Percent(share),
			Of: string(g.AllocationRows(r.Key)[0].Unit),
		}
		if a.Size == 0 {
			row.Amount, row.Of = coverage.Thousands(a.Count), "resources"
		}
		if r.Prices != nil {
			row.Cost = amountOf(g.UnallocatedCost(r.Key))
		}
		if r.Changes != nil {
			row.Change = "new"
			if points, ok := r.Changes.Projects[g.ID]; ok {
				row.Change = coverage.Signed(points)
			}
		}
		p.Worst = append(p.Worst, row)
	}
}

func (p *content) paid(r coverage.Report, names Names) {
	var units []metadata.Unit
	totals := map[metadata.Unit]int{}
	for _, row := range r.AllocationRows() {
		if _, there := totals[row.Unit]; !there {
			units = append(units, row.Unit)
			p.PaidUnit = append(p.PaidUnit, string(row.Unit))
		}
		totals[row.Unit] += row.Total.Size
	}
	p.PaidMore = max(0, len(r.Paid)-paidRows)
	for i, x := range r.Paid[:min(len(r.Paid), paidRows)] {
		row := paidRow{Value: cut(x.Value, 60)}
		if names == NoNames {
			row.Value = fmt.Sprintf("payer %d", i+1)
		}
		for _, unit := range units {
			row.Amounts = append(row.Amounts, coverage.Thousands(x.Sizes[unit].Size))
		}
		row.Share = coverage.Percent(coverage.Share(x.Sizes[units[0]].Size, totals[units[0]]))
		if r.Prices != nil {
			row.Cost = amountOf(x.Cost())
		}
		p.Paid = append(p.Paid, row)
	}
}

// search builds the data of the project search: for each project its label, its unallocated amount, and the OK share in
// each column (null without resources).
func (p *content) search(r coverage.Report, label func(int, coverage.Group) string) {
	for _, row := range r.Rows {
		p.Columns = append(p.Columns, row.Key+", "+string(row.Kind)+"s")
	}
	size := 0
	for n, g := range r.Projects {
		a := g.Unallocated(r.Key)
		item := []any{cut(label(n, g), 64), a.Count, a.Size}
		for _, column := range r.Rows {
			var share any
			for _, row := range g.Rows {
				if row.Key == column.Key && row.Kind == column.Kind {
					share = math.Floor(coverage.Share(row.Status[coverage.OK].Count, row.Total.Count)*10) / 10
				}
			}
			item = append(item, share)
		}
		text, _ := json.Marshal(item) // only strings and numbers: cannot fail
		if size += len(text) + 1; size > maxPageData || n >= maxPageProjects {
			p.LeftOut = len(r.Projects) - n
			return
		}
		p.Projects = append(p.Projects, item)
	}
}
