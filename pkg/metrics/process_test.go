package metrics_test

import (
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/metrics"
)

// sample is a line of Prometheus' text format with a value and no time
// (https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information).
var sample = regexp.MustCompile(
	`^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*\})? (\S+)$`)

// One line that is none of the format, and Prometheus takes nothing of the whole answer.
func TestEveryLineIsASample(t *testing.T) {
	var b strings.Builder
	if err := metrics.New("f").WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	if err := metrics.WriteProcess(&b); err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "# HELP ") || strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		parts := sample.FindStringSubmatch(line)
		if parts == nil {
			t.Errorf("%q is no sample", line)
			continue
		}
		value, err := strconv.ParseFloat(parts[1], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		name, _, _ := strings.Cut(line, " ")
		values[name] = value
	}
	if values["go_goroutines"] < 1 || runtime.GOOS == "linux" && (values["process_resident_memory_bytes"] < 1<<20 ||
		values["process_open_fds"] < 1) {
		t.Errorf("%v", values)
	}
}
