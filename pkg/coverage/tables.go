package coverage

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

type worstRow struct {
	Label, Owner, Amount, Share, Of, Change string
}

type paidRow struct {
	Value   string
	Amounts []string
	Share   string
}

type exemptRow struct {
	ExemptionUse
	Day, State string
}

func (p *page) worst(r Report, label func(int, Group) string) {
	if r.Changes != nil {
		p.Since = r.Changes.Since.Format("2 Jan")
	}
	for n, g := range r.Projects[:min(len(r.Projects), worstProjects)] {
		a := g.unallocated(r.Key)
		share, ok := g.share(r.Key)
		if !ok || a.Count == 0 {
			continue
		}
		row := worstRow{
			Label: label(n, g), Owner: g.Owner, Amount: thousands(a.Size), Share: percent(share),
			Of: string(rowsOf(g.Rows, r.Key)[0].Unit),
		}
		if a.Size == 0 {
			row.Amount, row.Of = thousands(a.Count), "resources"
		}
		if r.Changes != nil {
			row.Change = "new"
			if points, ok := r.Changes.Projects[g.ID]; ok {
				row.Change = signed(points)
			}
		}
		p.Worst = append(p.Worst, row)
	}
}

func (p *page) paid(r Report, names Names) {
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
			row.Amounts = append(row.Amounts, thousands(x.Sizes[unit].Size))
		}
		row.Share = percent(Share(x.Sizes[units[0]].Size, totals[units[0]]))
		p.Paid = append(p.Paid, row)
	}
}

// search makes the data of the search: a list for each project, with its label, what is not allocated, and the share that
// is ok in each column, null without resources.
func (p *page) search(r Report, label func(int, Group) string) {
	for _, row := range r.Rows {
		p.Columns = append(p.Columns, row.Key+", "+string(row.Kind)+"s")
	}
	size := 0
	for n, g := range r.Projects {
		a := g.unallocated(r.Key)
		item := []any{cut(label(n, g), 64), a.Count, a.Size}
		for _, column := range r.Rows {
			var share any
			for _, row := range g.Rows {
				if row.Key == column.Key && row.Kind == column.Kind {
					share = math.Floor(Share(row.Status[OK].Count, row.Total.Count)*10) / 10
				}
			}
			item = append(item, share)
		}
		text, _ := json.Marshal(item) // texts and numbers: it cannot fail
		if size += len(text) + 1; size > maxPageData || n >= maxPageProjects {
			p.LeftOut = len(r.Projects) - n
			return
		}
		p.Projects = append(p.Projects, item)
	}
}
