package processtest_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cloudtagger/tagger/internal/processtest"
)

func TestProcess(t *testing.T) {
	const script = `
		echo 'no JSON'
		echo '{"msg": "listening", "address": "127.0.0.1:1"}'
		echo '{"msg": "keys were removed", "by": {"name": "alice"}, "outcome": "unchanged"}'
		for i in 1 2 3 4 5; do echo '{"msg": "event"}'; done
		echo "{\"msg\": \"consuming\", \"reason\": \"$REASON\"}" >&2
		trap 'echo "{\"msg\": \"ended\"}"; exit 3' TERM
		while :; do sleep 0.05; done`
	start := func(tail int) *processtest.Process {
		o := processtest.Options{Environ: []string{"PATH=/usr/bin:/bin", "REASON=test"}, Tail: tail}
		return processtest.Start(t, o, "sh", "-c", script)
	}
	all, tail := start(0), start(3)
	for _, p := range []*processtest.Process{all, tail} {
		if line := p.WaitFor(t, "consuming"); line.Reason != "test" {
			t.Errorf("the log line is %+v", line)
		}
		if line := p.WaitFor(t, "listening"); line.Address != "127.0.0.1:1" {
			t.Errorf("the log line is %+v", line)
		}
		if !p.Running() || p.State() != nil {
			t.Errorf("the process does not run: %s", p.State())
		}
	}
	removed := func(l processtest.Line) bool { return l.Msg == "keys were removed" && l.Outcome == "unchanged" }
	if lines := all.Log(); len(lines) != 8 || !slices.ContainsFunc(lines, removed) {
		t.Errorf("the log is %+v", lines)
	}
	if !strings.HasPrefix(all.Output(), "no JSON\n{") {
		t.Errorf("the output is %q", all.Output())
	}
	if lines := tail.Log(); len(lines) != 3 || lines[2].Msg != "consuming" {
		t.Errorf("the end of the log is %+v", lines)
	}
	if a, b := all.OutputSize(), tail.OutputSize(); a != int64(len(all.Output())) || a != b {
		t.Errorf("%d and %d bytes were written, and the output is %q", a, b, all.Output())
	}

	all.Stop(t, syscall.SIGTERM)
	all.WaitFor(t, "ended")
	if all.Running() || all.State().ExitCode() != 3 {
		t.Errorf("the process ended with %s", all.State())
	}
	tail.Stop(t, syscall.SIGKILL)
	if status := tail.State().Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %s", tail.State())
	}
}
