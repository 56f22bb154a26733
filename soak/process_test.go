//go:build soak

package soak_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/internal/processtest"
)

// binaries holds tagger and the function server-created, built as they are released.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tagger-soak")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binaries = dir
		build := exec.Command("go", "build", "-tags", "lambda.norpc,nethttpomithttp2", "-trimpath", "-ldflags", "-s -w", "-o",
			dir, "../cmd/tagger", "../functions/server-created")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build tagger and the function:", err)
			return 1
		}
		return m.Run()
	}())
}

// process is a Tagger process in a control group with a manifest's limit.
type process struct {
	*processtest.Process
	name  string
	limit int64 // in bytes
	group *group

	mu    sync.Mutex
	peaks [2]int64 // of the halves
	half  int
}

// run starts a process in a group with a limit in MiB. The process does not inherit the test's environment.
func run(t *testing.T, name string, mebibytes int64, environ []string, argv ...string) *process {
	t.Helper()
	p := &process{name: name, limit: mebibytes << 20}
	p.group = newGroup(t, name, p.limit)
	o := processtest.Options{Environ: append([]string{"TAGGER_LOG_LEVEL=debug"}, environ...), Tail: 20}
	p.Process = processtest.Start(t, o, p.group.command(argv...)...)
	go p.watch()
	return p
}

func binary(name string) string { return filepath.Join(binaries, name) }

// watch records the peaks.
func (p *process) watch() {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.Ended():
			return
		case <-ticker.C:
			now := resident(p.PID())
			p.mu.Lock()
			p.peaks[p.half] = max(p.peaks[p.half], now)
			p.mu.Unlock()
		}
	}
}

func (p *process) secondHalf() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.half = 1
}

// cpu returns the CPU time of an ended process.
func (p *process) cpu() time.Duration { return p.State().UserTime() + p.State().SystemTime() }

// listens waits for the process to listen and returns its URL.
func (p *process) listens(t *testing.T) string {
	t.Helper()
	return "http://" + p.WaitFor(t, "listening").Address
}

// isLimited waits for the log line about the memory limit and compares it with the group's limit.
func (p *process) isLimited(t *testing.T, by string) {
	t.Helper()
	line := p.WaitFor(t, "memory limit set")
	if line.Bytes != p.limit || !strings.Contains(line.By, by) {
		t.Errorf("%s uses a limit of %d bytes by %s, want %d by %s", p.name, line.Bytes, line.By, p.limit, by)
	}
}
