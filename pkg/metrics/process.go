package metrics

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// WriteProcess writes the process metrics of Prometheus' client libraries, on Linux only.
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
func WriteProcess(w io.Writer) error {
	var b strings.Builder
	one := func(name, kind, help string, value float64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s %[3]s\n%[1]s %[4]s\n", name, help, kind,
			strconv.FormatFloat(value, 'f', -1, 64))
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && (version == "" || version == "(devel)") {
				version = s.Value
			}
		}
	}
	const build = "tagger_build_info"
	fmt.Fprintf(&b, "# HELP %s The version.\n# TYPE %[1]s gauge\n%[1]s{version=%s,goversion=%s} 1\n", build,
		quoted(version), quoted(runtime.Version()))
	one("go_goroutines", "gauge", "Number of goroutines.", float64(runtime.NumGoroutine()))
	if s, ok := readStat(); ok {
		one("process_cpu_seconds_total", "counter", "Processor time used, in seconds.", s.cpu)
		one("process_resident_memory_bytes", "gauge", "Resident memory.", s.resident)
		if s.started > 0 {
			one("process_start_time_seconds", "gauge", "Start of the process, in seconds since 1970.", s.started)
		}
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		one("process_open_fds", "gauge", "Open file descriptors.", float64(len(files)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stat holds this process's figures from /proc.
type stat struct{ cpu, resident, started float64 }

// ticks is USER_HZ, which is 100 on every Linux architecture that Go supports.
const ticks = 100

// readStat reads /proc/self/stat and the boot time; see proc(5).
func readStat() (stat, bool) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return stat{}, false
	}
	_, rest, _ := bytes.Cut(text, []byte(") ")) // the name before it may contain spaces
	fields := strings.Fields(string(rest))
	number := func(field int) float64 { // numbered as in proc(5); the state is field 3
		if field-3 >= len(fields) {
			return 0
		}
		n, _ := strconv.ParseFloat(fields[field-3], 64)
		return n
	}
	s := stat{cpu: (number(14) + number(15)) / ticks, resident: number(24) * float64(os.Getpagesize())}
	if system, err := os.ReadFile("/proc/stat"); err == nil {
		for line := range strings.Lines(string(system)) {
			if boot, ok := strings.CutPrefix(line, "btime "); ok {
				n, _ := strconv.ParseFloat(strings.TrimSpace(boot), 64)
				s.started = n + number(22)/ticks
			}
		}
	}
	return s, true
}
