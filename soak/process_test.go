//go:build soak

package soak_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
	name  string
	limit int64
	group *group
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended

	logged  atomic.Int64 // bytes
	address chan string  // that it listens on
	counted chan limited

	mu    sync.Mutex
	peaks [2]int64 // of the halves
	half  int
	tail  []string // the last lines of its log
}

// limited is the log entry about the memory limit.
type limited struct {
	Bytes int64
	By    string
}

// run starts a process in a group with a limit in MiB. It does not inherit the test's environment.
func run(t *testing.T, name string, mebibytes int64, environ []string, argv ...string) *process {
	t.Helper()
	p := &process{
		name: name, limit: mebibytes << 20, ended: make(chan struct{}), address: make(chan string, 1),
		counted: make(chan limited, 1),
	}
	p.group = newGroup(t, name, p.limit)
	line := p.group.command(argv...)
	p.cmd = exec.Command(line[0], line[1:]...)
	p.cmd.Env = append([]string{"TAGGER_LOG_LEVEL=debug"}, environ...)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.read(out) })
	go func() {
		reading.Wait()
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	go p.watch()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s: %s; the end of its log:\n%s", p.name, p.cmd.ProcessState, strings.Join(p.tail, "\n"))
		}
	})
	return p
}

func binary(name string) string { return filepath.Join(binaries, name) }

// read reads the log.
func (p *process) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		p.logged.Add(int64(len(line)))
		if err != nil {
			return
		}
		p.mu.Lock()
		p.tail = append(p.tail, strings.TrimSpace(line[:min(len(line), 400)]))
		p.tail = p.tail[max(0, len(p.tail)-20):]
		p.mu.Unlock()
		var entry struct {
			Msg, Address string
			limited
		}
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		switch entry.Msg {
		case "listening":
			p.address <- entry.Address
		case "memory is limited":
			p.counted <- entry.limited
		}
	}
}

// watch records the peaks.
func (p *process) watch() {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-ticker.C:
			now := resident(p.cmd.Process.Pid)
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

func (p *process) isRunning() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// end shuts the process down gracefully and waits for it.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(3 * time.Minute):
		return fmt.Errorf("%s does not end", p.name)
	}
	return nil
}

// cpu returns the CPU time of an ended process.
func (p *process) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// listens waits for the process to listen and returns its URL.
func (p *process) listens(t *testing.T) string {
	t.Helper()
	select {
	case address := <-p.address:
		return "http://" + address
	case <-p.ended:
		t.Fatalf("%s ended: %s", p.name, p.cmd.ProcessState)
	case <-time.After(time.Minute):
		t.Fatalf("%s does not listen", p.name)
	}
	return ""
}

// isLimited waits for the log entry about the memory limit and compares it with the group's limit.
func (p *process) isLimited(t *testing.T, by string) {
	t.Helper()
	select {
	case l := <-p.counted:
		if l.Bytes != p.limit || !strings.Contains(l.By, by) {
			t.Errorf("%s counts with %d bytes by %s, want %d by %s", p.name, l.Bytes, l.By, p.limit, by)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s has not found its memory limit", p.name)
	}
}
