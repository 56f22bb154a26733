package metrics_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

func observed() *metrics.Metrics {
	m := metrics.New("server-created")
	plan := func(d apply.Decision) tagger.Plan { return tagger.Plan{Decision: &d} }
	tagged, deferred := plan(apply.Decision{Outcome: apply.Tagged}), plan(apply.Decision{Outcome: apply.Deferred})
	unusable := tagged
	unusable.Problems = []rules.Problem{{Rule: "r", Key: "k"}, {Rule: "r"}}
	m.Observe(&tagger.Result{Plan: unusable, Calls: 3, Attempts: 1, Age: 1500 * time.Millisecond})
	m.Observe(&tagger.Result{Plan: tagged, Calls: 9, Attempts: 4, Age: 48 * time.Hour})
	m.Observe(&tagger.Result{Plan: deferred, Calls: 1, Attempts: 1, Age: time.Hour})
	m.Observe(&tagger.Result{Plan: plan(apply.Decision{Outcome: apply.Deferred,
		Fault: apply.Fault{Err: errors.New("refused")}})})
	m.RulesRefused()
	matched := plan(apply.Decision{Outcome: apply.Ignored})
	matched.Rules = []string{`a "rule"`, "b"}
	m.Observe(&tagger.Result{Plan: matched})
	m.RulesInForce(rules.Version{Name: `C:\rules.yaml`, Hash: "0123456789ab", Rules: 2})
	m.Hold(func() bool { return true })
	return m
}

func TestPrometheus(t *testing.T) {
	var b bytes.Buffer
	if err := observed().WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"# TYPE tagger_events_total counter",
		`tagger_events_total{function="server-created",outcome="tagged"} 2`,
		`tagger_events_total{function="server-created",outcome="deferred"} 1`,
		`tagger_events_total{function="server-created",outcome="gone"} 0`,
		`tagger_failures_total{function="server-created"} 1`,
		`tagger_api_calls_total{function="server-created"} 13`,
		`tagger_retries_total{function="server-created"} 3`,
		`tagger_unusable_keys_total{function="server-created"} 1`,
		`tagger_rules_refused_total{function="server-created"} 1`,
		`tagger_rule_matches_total{function="server-created",rule="a \"rule\""} 1`,
		`tagger_rules_info{function="server-created",from="C:\\rules.yaml",hash="0123456789ab"} 1`,
		`tagger_rules{function="server-created"} 2`,
		`tagger_on_hold{function="server-created"} 1`,
		`tagger_api_writes_total{function="server-created"} 0`,
		"# TYPE tagger_build_info gauge",
		"# TYPE go_goroutines gauge",
		`tagger_event_to_tagged_seconds_bucket{function="server-created",le="0.05"} 0`,
		"# TYPE tagger_event_to_tagged_seconds histogram",
		`tagger_event_to_tagged_seconds_bucket{function="server-created",le="1"} 0`,
		`tagger_event_to_tagged_seconds_bucket{function="server-created",le="2"} 1`,
		`tagger_event_to_tagged_seconds_bucket{function="server-created",le="86400"} 1`,
		`tagger_event_to_tagged_seconds_bucket{function="server-created",le="+Inf"} 2`,
		`tagger_event_to_tagged_seconds_count{function="server-created"} 2`,
		`tagger_event_to_tagged_seconds_sum{function="server-created"} 172801.5`,
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, b.String())
		}
	}
}

func TestEMF(t *testing.T) {
	m := observed()
	var b bytes.Buffer
	if err := m.FlushEMF(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("not one line: %q", b.String())
	}
	var line struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
		Function      string
		Tagged        int
		Deferred      int
		Calls         int
		EventToTagged []float64 `json:"event_to_tagged"`
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line.Function != "server-created" || line.AWS.Timestamp == 0 {
		t.Errorf("no function or no time: %s", b.String())
	}
	if line.Tagged != 2 || line.Deferred != 1 || line.Calls != 13 {
		t.Errorf("counts: %s", b.String())
	}
	if diff := cmp.Diff([]float64{1.5, 172800}, line.EventToTagged); diff != "" {
		t.Error(diff)
	}
	// Every metric in the header has a value.
	var values map[string]any
	if err := json.Unmarshal(b.Bytes(), &values); err != nil {
		t.Fatal(err)
	}
	for _, d := range line.AWS.CloudWatchMetrics[0].Metrics {
		if _, ok := values[d.Name]; !ok {
			t.Errorf("no value of %s", d.Name)
		}
	}
	b.Reset()
	if err := m.FlushEMF(&b); err != nil || b.Len() != 0 {
		t.Errorf("a second flush wrote %q, %v", b.String(), err)
	}
	// Flushed counts stay in the totals.
	if err := m.WritePrometheus(&b); err != nil || !strings.Contains(b.String(), `outcome="tagged"} 2`) {
		t.Errorf("totals: %s", b.String())
	}
}

func TestConcurrentUse(t *testing.T) {
	m := metrics.New("f")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				m.Observe(&tagger.Result{Plan: tagger.Plan{Decision: &apply.Decision{Outcome: apply.Tagged}}, Age: time.Second})
				_ = m.FlushEMF(&bytes.Buffer{})
			}
		})
	}
	all.Wait()
	var b bytes.Buffer
	if err := m.WritePrometheus(&b); err != nil || !strings.Contains(b.String(), `outcome="tagged"} 800`) {
		t.Errorf("%s", b.String())
	}
}

// Rules that are renamed again and again do not exhaust memory.
func TestRulesAreBounded(t *testing.T) {
	m := metrics.New("f")
	for i := range 1000 {
		d := apply.Decision{Outcome: apply.Unchanged}
		m.Observe(&tagger.Result{Plan: tagger.Plan{Decision: &d, Rules: []string{fmt.Sprint("rule ", i)}}})
	}
	var b bytes.Buffer
	if err := m.WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\ntagger_rule_matches_total{"); n != 201 {
		t.Errorf("%d rules are counted by name", n-1)
	}
	if !strings.Contains(b.String(), `rule="(others)"} 800`+"\n") {
		t.Error(b.String())
	}
}

// A client that does not read the metrics stops no counting.
func TestSlowClient(t *testing.T) {
	m := observed()
	read, out := io.Pipe()
	written := make(chan error, 1)
	go func() { written <- m.WritePrometheus(out) }()
	first := make([]byte, 1)
	if _, err := io.ReadFull(read, first); err != nil { // it is being written, and waits for its client
		t.Fatal(err)
	}
	m.Observe(&tagger.Result{Plan: tagger.Plan{Decision: &apply.Decision{Outcome: apply.Tagged}}})
	if err := m.WritePrometheus(io.Discard); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if err := <-written; err != nil {
		t.Error(err)
	}
	_ = out.Close()
}
