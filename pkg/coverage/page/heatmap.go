package page

import (
	"fmt"

	"github.com/cloudtagger/tagger/pkg/coverage"
)

// heat is a heat map of the OK share: a line for each project, a column for each key and kind.
type heat struct {
	Columns       []heatColumn
	Rows          []heatRow
	Width, Height int
	More          int
}

type heatColumn struct {
	Key, Kind string
	X, Middle int
}

type heatRow struct {
	// Label is shortened to fit into the map, Full is the whole label.
	Label, Full string
	Y, Middle   int
	Cells       []heatCell
}

type heatCell struct {
	Class, Text, Title string
	X, Middle          int
}

const heatLabel, heatCellWidth, heatCellHeight, heatHead = 150, 88, 26, 44

// heatClass returns the CSS class with a share's colour.
func heatClass(share float64) string {
	switch {
	case share >= 99:
		return "h4"
	case share >= 95:
		return "h3"
	case share >= 80:
		return "h2"
	case share >= 50:
		return "h1"
	}
	return "h0"
}

func newHeat(r coverage.Report, label func(int, coverage.Group) string) heat {
	h := heat{Width: heatLabel + heatCellWidth*len(r.Rows), More: max(0, len(r.Projects)-heatProjects)}
	for i, row := range r.Rows {
		x := heatLabel + i*heatCellWidth
		h.Columns = append(h.Columns, heatColumn{cut(row.Key, 11), string(row.Kind), x, x + heatCellWidth/2})
	}
	for n, g := range r.Projects[:min(len(r.Projects), heatProjects)] {
		y := heatHead + n*heatCellHeight
		line := heatRow{Label: cut(label(n, g), 18), Full: label(n, g), Y: y, Middle: y + heatCellHeight/2}
		for i, column := range r.Rows {
			cell := heatCell{Class: "none", Text: "–", Title: "no resources", X: h.Columns[i].X, Middle: h.Columns[i].Middle}
			for _, row := range g.Rows {
				if row.Key == column.Key && row.Kind == column.Kind {
					share := coverage.Share(row.Status[coverage.OK].Count, row.Total.Count)
					cell.Class, cell.Text = heatClass(share), coverage.Percent(share)+" %"
					cell.Title = fmt.Sprintf("%d of %d %ss have %s", row.Status[coverage.OK].Count, row.Total.Count, row.Kind, row.Key)
				}
			}
			line.Cells = append(line.Cells, cell)
		}
		h.Rows = append(h.Rows, line)
	}
	h.Height = heatHead + len(h.Rows)*heatCellHeight + 2
	return h
}
