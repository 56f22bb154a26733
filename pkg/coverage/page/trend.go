package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/coverage"
)

// trend is a line chart of the allocated share.
type trend struct {
	Points []trendPoint
	// Line has the points of the line in SVG units; the chart is 600 wide and 160 high.
	Line string
	// Top and Bottom are the shares at the upper and lower edges, in percent.
	Top, Bottom string
	// Mean is weighted by how long each figure held.
	Mean     string
	From, To string
	// LeftOut is the note about incomplete runs that are left out, "" for none.
	LeftOut string
}

type trendPoint struct {
	Date, Share string
	X, Y        float64
}

const trendWidth, trendHeight = 600, 160

// allocated returns a run's allocated share, from the first row of its key.
func allocated(p coverage.Point) (float64, bool) {
	for _, row := range p.Rows {
		if row.Key != p.Key {
			continue
		}
		if row.Total.Size > 0 {
			return coverage.Share(row.Allocated.Size, row.Total.Size), true
		}
		if row.Total.Count > 0 {
			return coverage.Share(row.Allocated.Count, row.Total.Count), true
		}
		return 0, false
	}
	return 0, false
}

func newTrend(r coverage.Report, history []coverage.Point) *trend {
	t := &trend{}
	incomplete := 0
	type at struct {
		when  time.Time
		share float64
	}
	var all []at
	for _, p := range append(history[:len(history):len(history)], r.Point()) {
		share, ok := allocated(p)
		switch {
		case !p.Complete:
			incomplete++
		case ok && p.Key == r.Key && (len(all) == 0 || p.At.After(all[len(all)-1].when)):
			all = append(all, at{p.At, share})
		}
	}
	if len(all) < 2 {
		return nil
	}
	first, last := all[0].when, all[len(all)-1].when
	sum, low, high := 0.0, 100.0, 0.0
	for i, p := range all {
		if i+1 < len(all) {
			sum += p.share * all[i+1].when.Sub(p.when).Seconds()
		}
		low, high = math.Min(low, p.share), math.Max(high, p.share)
	}
	bottom, top := math.Max(0, math.Floor(low/5)*5), math.Min(100, math.Ceil(high/5)*5)
	if bottom == top {
		bottom = math.Max(0, top-5)
		top = bottom + 5
	}
	switch {
	case incomplete == 1:
		t.LeftOut = "One incomplete run is left out."
	case incomplete > 1:
		t.LeftOut = fmt.Sprintf("%d incomplete runs are left out.", incomplete)
	}
	step := max(1, (len(all)+trendPoints-1)/trendPoints)
	var line []string
	for i, p := range all {
		if i%step != 0 && i != len(all)-1 {
			continue
		}
		x := trendWidth * p.when.Sub(first).Seconds() / last.Sub(first).Seconds()
		y := trendHeight * (top - p.share) / (top - bottom)
		t.Points = append(t.Points, trendPoint{p.when.UTC().Format("2 Jan 2006 15:04"), coverage.Percent(p.share), x, y})
		line = append(line, fmt.Sprintf("%.1f,%.1f", x, y))
	}
	t.Line, t.Mean = strings.Join(line, " "), coverage.Percent(sum/last.Sub(first).Seconds())
	t.Top, t.Bottom = fmt.Sprintf("%g", top), fmt.Sprintf("%g", bottom)
	t.From, t.To = first.UTC().Format("2 Jan 2006"), last.UTC().Format("2 Jan 2006")
	return t
}
