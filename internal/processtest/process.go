// Package processtest runs Tagger as a process of its own, reads its log, and stops it when the test ends.
package processtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	longestWait = time.Minute     // for a log message
	longestStop = 3 * time.Minute // after a signal
	// graceAtCleanup is the time between SIGTERM and SIGKILL when the test ends.
	graceAtCleanup = 10 * time.Second
)

// Line is a log line, with the attributes that tests read.
type Line struct {
	Time    time.Time
	Level   string
	Msg     string
	Error   string
	Address string // of a server that listens
	Broker  string

	EventID  string `json:"event_id"`
	Type     string
	Kind     string
	ID       string `json:"resource_id"`
	Outcome  string
	Reason   string
	Age      string
	Calls    int
	Receives int

	Bytes int64  // of a memory limit
	By    string // what set the memory limit
}

// Process is a started process.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	tail  int

	mu     sync.Mutex
	output []string
	size   int64  // of all output, in bytes
	lines  []Line // the output's log lines
	first  []Line // the first line of each message
}

// Options change how a process is run.
type Options struct {
	// Environ is the whole environment: the process inherits none.
	Environ []string
	// Tail is the number of lines to keep of the output and of the log. With 0, all are kept.
	Tail int
}

// Start starts a process. When the test ends, the process is stopped, and if the test failed, its last lines are
// logged.
func Start(t testing.TB, o Options, argv ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{}), tail: o.Tail}
	p.cmd.Env = o.Environ
	// A test that times out runs no cleanup.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			p.add(line)
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM, graceAtCleanup)
		if t.Failed() {
			text := p.Output()
			t.Logf("%s: %s; the end of its output:\n%s", strings.Join(argv, " "), p.State(), text[max(0, len(text)-3000):])
		}
	})
	return p
}

// add adds a line of output.
func (p *Process) add(text []byte) {
	var line Line
	err := json.Unmarshal(text, &line)
	// An attribute can have another type elsewhere. The others are decoded.
	isLog := err == nil || errors.As(err, new(*json.UnmarshalTypeError))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size += int64(len(text))
	p.output = append(p.output, string(text))
	if isLog {
		p.lines = append(p.lines, line)
		if !slices.ContainsFunc(p.first, func(l Line) bool { return l.Msg == line.Msg }) {
			p.first = append(p.first, line)
		}
	}
	if p.tail > 0 {
		p.output = p.output[max(0, len(p.output)-p.tail):]
		p.lines = p.lines[max(0, len(p.lines)-p.tail):]
	}
}

// WaitFor waits for the first log line whose message contains a text, and returns it.
func (p *Process) WaitFor(t testing.TB, message string) Line {
	t.Helper()
	var found Line
	Until(t, fmt.Sprintf("%q is logged", message), longestWait, 50*time.Millisecond, func() bool {
		running := p.Running() // before the log is read, which is then complete
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.IndexFunc(p.first, func(l Line) bool { return strings.Contains(l.Msg, message) })
		if i < 0 && !running {
			t.Fatalf("the process has ended without logging %q: %s\n%s", message, p.State(), strings.Join(p.output, ""))
		}
		if i >= 0 {
			found = p.first[i]
		}
		return i >= 0
	})
	return found
}

// Log returns the log lines so far.
func (p *Process) Log() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// Output returns the output so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.output, "")
}

// OutputSize returns the number of bytes written so far, including lines that are no longer kept.
func (p *Process) OutputSize() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running reports whether the process runs.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// State returns the state of a process that has ended, otherwise nil.
func (p *Process) State() *os.ProcessState {
	if p.Running() {
		return nil
	}
	return p.cmd.ProcessState
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Errorf("send %s to process %d: %v", signal, p.PID(), err)
	}
}

// Stop sends a signal and waits until the process has ended. If it does not end, the test fails.
func (p *Process) Stop(t testing.TB, signal os.Signal) {
	t.Helper()
	if !p.stop(signal, longestStop) {
		t.Errorf("process %d did not end within %s after %s", p.PID(), longestStop, signal)
	}
}

// stop sends a signal, and SIGKILL to a process that does not end within a time. It reports whether the first sufficed.
func (p *Process) stop(signal os.Signal, longest time.Duration) bool {
	_ = p.cmd.Process.Signal(signal) // an error means that the process has ended
	select {
	case <-p.ended:
		return true
	case <-time.After(longest):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return false
}

// Until calls done every interval until it reports true. The test fails if that takes longer than longest.
func Until(t testing.TB, what string, longest, interval time.Duration, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, longest)
		}
	}
}
