package coverage

import (
	"io"
	"sync"

	"github.com/cloudtagger/tagger/pkg/metrics"
)

// Gauges serves the report of the last run to a scraper. It is safe for concurrent use.
type Gauges struct {
	perProject bool

	mu   sync.Mutex
	last *Report
}

// NewGauges returns gauges without a report. Series have a project label only if perProject is set.
func NewGauges(perProject bool) *Gauges { return &Gauges{perProject: perProject} }

// Set replaces the report.
func (g *Gauges) Set(r Report) {
	if !g.perProject {
		r.Projects = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = &r
}

// WritePrometheus writes the last report as the function [WritePrometheus] does, and nothing before the first report.
func (g *Gauges) WritePrometheus(w io.Writer) error {
	g.mu.Lock()
	last := g.last
	g.mu.Unlock()
	if last == nil {
		return nil
	}
	return WritePrometheus(w, *last, g.perProject)
}

// WriteEMF writes a report's figures in CloudWatch's embedded metric format: a line with coverage_complete, 1 or 0, and
// a line for each key and kind with the resources in each status (coverage_ok, coverage_missing, …) and the OK share in
// percent (coverage_percent). An incomplete report has only the first line.
func WriteEMF(w io.Writer, r Report, function string) error {
	complete := 0
	if r.Complete {
		complete = 1
	}
	dimensions := map[string]string{"function": function}
	if err := metrics.WriteEMF(w, r.At, dimensions, map[string]any{"coverage_complete": complete}); err != nil ||
		!r.Complete {
		return err
	}
	for _, row := range r.Rows {
		dimensions["key"], dimensions["kind"] = row.Key, string(row.Kind)
		values := map[string]any{}
		for _, s := range Statuses() {
			values["coverage_"+string(s)] = row.Status[s].Count
		}
		if row.Total.Count > 0 {
			values["coverage_percent"] = Share(row.Status[OK].Count, row.Total.Count)
		}
		if err := metrics.WriteEMF(w, r.At, dimensions, values); err != nil {
			return err
		}
	}
	return nil
}
