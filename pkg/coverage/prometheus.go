package coverage

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WritePrometheus writes gauges in Prometheus' text format, for the textfile collector of its node exporter
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Series have a project label only if perProject is
// set: each project adds six series for each key and kind. An incomplete report has no figures, so that alerts do not
// mistake unread resources for a change.
func WritePrometheus(w io.Writer, r Report, perProject bool) error {
	out := bufio.NewWriter(w)
	gauge := func(name, help string) {
		fmt.Fprintf(out, "# HELP tagger_coverage_%s %s\n# TYPE tagger_coverage_%s gauge\n", name, help, name)
	}
	complete := 0
	if r.Complete {
		complete = 1
	}
	gauge("complete", "1 if the last run read everything, 0 if not.")
	fmt.Fprintf(out, "tagger_coverage_complete %d\n", complete)
	gauge("last_run_timestamp_seconds", "When the last run began.")
	fmt.Fprintf(out, "tagger_coverage_last_run_timestamp_seconds %d\n", r.At.Unix())
	if !r.Complete {
		return out.Flush()
	}
	gauge("resources", "Resources by the status of a required key.")
	for _, row := range r.Rows {
		for _, s := range Statuses() {
			fmt.Fprintf(out, "tagger_coverage_resources{%s,status=\"%s\"} %d\n", labels(row), s, row.Status[s].Count)
		}
	}
	gauge("size", "Size of resources by the status of a required key, in vCPU or GiB.")
	for _, row := range r.Rows {
		for _, s := range Statuses() {
			fmt.Fprintf(out, "tagger_coverage_size{%s,status=\"%s\",unit=\"%s\"} %d\n", labels(row), s, row.Unit,
				row.Status[s].Size)
		}
	}
	if r.Prices != nil {
		gauge("monthly_cost", "Estimated cost a month by the status of a required key.")
		for _, row := range r.Rows {
			for _, s := range Statuses() {
				fmt.Fprintf(out, "tagger_coverage_monthly_cost{%s,status=\"%s\",currency=\"%s\"} %.2f\n", labels(row), s,
					r.Prices.Currency, row.Status[s].Cost)
			}
		}
	}
	gauge("ratio", "Share of the resources that have a required key, between 0 and 1.")
	for _, row := range r.Rows {
		if row.Total.Count > 0 {
			fmt.Fprintf(out, "tagger_coverage_ratio{%s} %g\n", labels(row), Share(row.Status[OK].Count, row.Total.Count)/100)
		}
	}
	if r.Lost != nil && !r.Lost.Unknown() {
		gauge("lost_keys", "Keys that Tagger wrote and that were lost in the last week.")
		counts := maps.Clone(r.Lost.PerKey)
		for _, row := range r.Rows { // a required key without losses has a series too
			counts[row.Key] += 0
		}
		for _, key := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(out, "tagger_coverage_lost_keys{key=\"%s\"} %d\n", labelValue(key), counts[key])
		}
	}
	gauge("exemption_end_timestamp_seconds", "When an exemption ends.")
	for _, x := range r.Exemptions {
		fmt.Fprintf(out, "tagger_coverage_exemption_end_timestamp_seconds{exemption=\"%s\"} %d\n", labelValue(x.Name),
			x.Until.AddDate(0, 0, 1).Unix())
	}
	if perProject {
		gauge("project_resources", "Resources of a project by the status of a required key.")
		for _, g := range r.Projects {
			for _, row := range g.Rows {
				for _, s := range Statuses() {
					fmt.Fprintf(out, "tagger_coverage_project_resources{%s,status=\"%s\",project=\"%s\"} %d\n",
						labels(row), s, labelValue(g.ID), row.Status[s].Count)
				}
			}
		}
	}
	return out.Flush()
}

func labels(row Row) string {
	return fmt.Sprintf(`key="%s",kind="%s"`, labelValue(row.Key), row.Kind)
}

// labelValue escapes characters that are special in the format.
func labelValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}
