// Package metrics counts Tagger's work and writes the counts for Prometheus and CloudWatch.
//
// It uses no client library, which would be a seventh of a function's size.
package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Metrics counts since the process started, and since the last flush. It is safe for concurrent use.
type Metrics struct {
	function string

	mu    sync.Mutex
	total counts
	since counts
	// latencies are the seconds from event to tagged since the last flush, up to the limit of one EMF line.
	latencies []float64
	rules     rules.Version
	held      func() bool // nil without a hold switch
	// reconciled is when the last pass ended, zero before the first; left is how many resources it left.
	reconciled time.Time
	left       int
}

type counts struct {
	outcomes map[apply.Outcome]int64
	// failures counts results caused by configuration or credentials. They are not outcomes of events.
	failures, calls, writes, retries, throttles, unusableKeys, rulesRefused, auditFailures int64
	// perRule counts changes by matching rule.
	perRule map[string]int64
	// passes counts scheduled reconciles by outcome, corrected the resources that they wrote.
	passes    map[ReconcileOutcome]int64
	corrected int64
	// buckets and sum are the histogram of the seconds from event to tagged.
	buckets []int64
	sum     float64
}

// bounds returns the upper bounds of the latency histogram in seconds, from a server that is ready at once to one that
// Tagger gives up on.
func bounds() []float64 {
	return []float64{0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400}
}

// New returns the metrics of one function.
func New(function string) *Metrics {
	return &Metrics{function: function, total: newCounts(), since: newCounts()}
}

func newCounts() counts {
	return counts{outcomes: map[apply.Outcome]int64{}, perRule: map[string]int64{}, passes: map[ReconcileOutcome]int64{},
		buckets: make([]int64, len(bounds())+1)}
}

// Observe counts the outcome of a change.
func (m *Metrics) Observe(r *tagger.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.observe(r)
	m.since.observe(r)
	if r.Outcome == apply.Tagged && r.Age > 0 && len(m.latencies) < maxValues {
		m.latencies = append(m.latencies, r.Age.Seconds())
	}
}

// RulesRefused counts a reload whose version of the rules did not compile. The last good version stays in use.
func (m *Metrics) RulesRefused() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.rulesRefused++
	m.since.rulesRefused++
}

// AuditFailed counts a record that could not be written to the audit file.
func (m *Metrics) AuditFailed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.auditFailures++
	m.since.auditFailures++
}

// RulesInForce records the current rules.
func (m *Metrics) RulesInForce(v rules.Version) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = v
}

// Hold sets the function that reports whether writing is on hold; nil without a hold switch. Call it before metrics are
// written.
func (m *Metrics) Hold(on func() bool) { m.held = on }

// maxRules limits how many rule names are counted since the process started; a renamed rule is a new one. Further rules
// are counted together as otherRules, which is not a valid rule name.
const (
	maxRules   = 200
	otherRules = "(others)"
)

func (c *counts) observe(r *tagger.Result) {
	c.calls += int64(r.Calls)
	c.writes += int64(r.Writes())
	for _, name := range r.Rules {
		if _, known := c.perRule[name]; !known && len(c.perRule) >= maxRules {
			name = otherRules
		}
		c.perRule[name]++
	}
	c.retries += int64(max(0, r.Attempts-1))
	c.throttles += int64(r.Throttled())
	for _, p := range r.Problems {
		if p.Key != "" {
			c.unusableKeys++
		}
	}
	if r.Fault.Err != nil {
		c.failures++
		return
	}
	c.outcomes[r.Outcome]++
	if r.Outcome == apply.Tagged && r.Age > 0 {
		seconds := r.Age.Seconds()
		i, _ := slices.BinarySearch(bounds(), seconds)
		c.buckets[i]++
		c.sum += seconds
	}
}

// WritePrometheus writes everything since the process started in Prometheus' text format.
// https://prometheus.io/docs/instrumenting/exposition_formats/
func (m *Metrics) WritePrometheus(w io.Writer) error {
	var b strings.Builder
	m.collect(&b)
	if err := WriteProcess(&b); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// collect writes the counts. The client is not written to under the lock: one that does not read would stop all
// counting, and with it all work.
func (m *Metrics) collect(b *strings.Builder) {
	held := m.held != nil && m.held()
	m.mu.Lock()
	defer m.mu.Unlock()
	label := `function=` + strconv.Quote(m.function)
	head := func(name, kind, help string) { fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }

	head("tagger_events_total", "counter", "Changes that events reported, by outcome.")
	for _, o := range apply.Outcomes() {
		fmt.Fprintf(b, "tagger_events_total{%s,outcome=%q} %d\n", label, o, m.total.outcomes[o])
	}
	for _, c := range []struct {
		name, help string
		value      int64
	}{
		{"tagger_failures_total", "Changes that failed because configuration or credentials are wrong.",
			m.total.failures},
		{"tagger_api_calls_total", "Calls to the cloud's API.", m.total.calls},
		{"tagger_api_writes_total", "Calls to the cloud's API that write.", m.total.writes},
		{"tagger_retries_total", "Attempts at a change after the first.", m.total.retries},
		{"tagger_throttles_total", "Calls that the API throttled.", m.total.throttles},
		{"tagger_unusable_keys_total", "Keys that were left out, or altered to fit.", m.total.unusableKeys},
		{"tagger_rules_refused_total", "Reloads at which the rules did not compile; a bad version counts each time.",
			m.total.rulesRefused},
		{"tagger_audit_failures_total", "Records that could not be written to the audit file.", m.total.auditFailures},
	} {
		head(c.name, "counter", c.help)
		fmt.Fprintf(b, "%s{%s} %d\n", c.name, label, c.value)
	}
	head("tagger_rule_matches_total", "counter", "Changes that a rule matched.")
	for _, name := range slices.Sorted(maps.Keys(m.total.perRule)) {
		fmt.Fprintf(b, "tagger_rule_matches_total{%s,rule=%s} %d\n", label, quoted(name), m.total.perRule[name])
	}
	if m.rules.Hash != "" {
		head("tagger_rules_info", "gauge", "Source and hash of the rules in force.")
		fmt.Fprintf(b, "tagger_rules_info{%s,from=%s,hash=%s} 1\n", label, quoted(m.rules.Name), quoted(m.rules.Hash))
		head("tagger_rules", "gauge", "Number of rules in force.")
		fmt.Fprintf(b, "tagger_rules{%s} %d\n", label, m.rules.Rules)
	}
	if m.held != nil {
		head("tagger_on_hold", "gauge", "1 while writing is on hold, else 0.")
		fmt.Fprintf(b, "tagger_on_hold{%s} %d\n", label, number(held))
	}
	if len(m.total.passes) > 0 {
		head("tagger_reconcile_passes_total", "counter", "Scheduled reconciles, by outcome.")
		for _, o := range reconcileOutcomes() {
			fmt.Fprintf(b, "tagger_reconcile_passes_total{%s,outcome=%q} %d\n", label, o, m.total.passes[o])
		}
		head("tagger_reconcile_written_total", "counter", "Resources that scheduled reconciles wrote.")
		fmt.Fprintf(b, "tagger_reconcile_written_total{%s} %d\n", label, m.total.corrected)
		head("tagger_reconcile_left", "gauge", "Resources without the planned metadata after the last scheduled reconcile.")
		fmt.Fprintf(b, "tagger_reconcile_left{%s} %d\n", label, m.left)
		head("tagger_reconcile_done_timestamp_seconds", "gauge",
			"Time of the last complete scheduled reconcile, in seconds since 1970.")
		done := int64(0)
		if !m.reconciled.IsZero() {
			done = m.reconciled.Unix()
		}
		fmt.Fprintf(b, "tagger_reconcile_done_timestamp_seconds{%s} %d\n", label, done)
	}
	head("tagger_event_to_tagged_seconds", "histogram", "Time from an event to its resource being tagged.")
	var sum int64
	for i, bound := range bounds() {
		sum += m.total.buckets[i]
		fmt.Fprintf(b, "tagger_event_to_tagged_seconds_bucket{%s,le=\"%g\"} %d\n", label, bound, sum)
	}
	sum += m.total.buckets[len(bounds())]
	fmt.Fprintf(b, "tagger_event_to_tagged_seconds_bucket{%s,le=\"+Inf\"} %d\n", label, sum)
	fmt.Fprintf(b, "tagger_event_to_tagged_seconds_sum{%s} %g\ntagger_event_to_tagged_seconds_count{%s} %d\n", label,
		m.total.sum, label, sum)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// quoted quotes a label value. Only backslash, quote and line feed are escaped.
// https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "?")) + `"`
}

// maxValues is the limit of values for one metric in a line (CloudWatch embedded metric format, MetricTarget).
const maxValues = 100

// FlushEMF writes the counts since the last flush as one line in CloudWatch's embedded metric format. It writes nothing
// if there are none.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (m *Metrics) FlushEMF(w io.Writer) error {
	m.mu.Lock()
	c, latencies, left := m.since, m.latencies, m.left
	m.since, m.latencies = newCounts(), nil
	m.mu.Unlock()

	values := map[string]any{}
	for outcome, n := range c.outcomes {
		values[string(outcome)] = n
	}
	for name, n := range map[string]int64{
		"failures": c.failures, "calls": c.calls, "retries": c.retries, "throttles": c.throttles,
		"unusable_keys": c.unusableKeys, "rules_refused": c.rulesRefused,
		"audit_failures": c.auditFailures,
	} {
		if n > 0 {
			values[name] = n
		}
	}
	for outcome, n := range c.passes {
		values["reconcile_"+string(outcome)] = n
	}
	if len(c.passes) > 0 {
		values["reconcile_written"], values["reconcile_left"] = c.corrected, left
	}
	if len(latencies) > 0 {
		values["event_to_tagged"] = latencies
	}
	if len(values) == 0 {
		return nil
	}
	return WriteEMF(w, time.Now(), map[string]string{"function": m.function}, values)
}

// WriteEMF writes values, which are numbers or lists of at most 100 numbers by metric, as one line in CloudWatch's
// embedded metric format, with one set of dimensions. A metric is a count unless its name ends in _percent, or is
// event_to_tagged.
func WriteEMF(w io.Writer, at time.Time, dimensions map[string]string, values map[string]any) error {
	type definition struct {
		Name string
		Unit string
	}
	type directive struct {
		Dimensions [][]string
		Metrics    []definition
		Namespace  string
	}
	type header struct {
		CloudWatchMetrics []directive
		Timestamp         int64
	}
	line := make(map[string]any, len(values)+len(dimensions)+1)
	var definitions []definition
	for _, name := range slices.Sorted(maps.Keys(values)) {
		unit := "Count"
		switch {
		case name == "event_to_tagged":
			unit = "Seconds"
		case strings.HasSuffix(name, "_percent"):
			unit = "Percent"
		}
		definitions = append(definitions, definition{name, unit})
		line[name] = values[name]
	}
	for name, value := range dimensions {
		line[name] = value
	}
	line["_aws"] = header{[]directive{{[][]string{slices.Sorted(maps.Keys(dimensions))}, definitions, "Tagger"}},
		at.UnixMilli()}
	return json.NewEncoder(w).Encode(line)
}
