//go:build rabbitmq

package rabbitmq_test

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
)

// Commits that stand for older versions: the last one whose main queue is for any number of active consumers, and the
// first one with a single active consumer.
const (
	anyNumber    = "695a32cd3fc58472f0daf550c478e3cad8acc02a"
	singleActive = "35c7ecf6b7253a9fb5f64868a2150107623c3cff"
)

var older = flag.String("older", singleActive, "the commit or tag of the older version that TestUpgrade begins with")

// build builds the command of a commit, which the clone must have.
func build(t *testing.T, commit string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "tagger")
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", `
		git -C ../.. archive "$1^{commit}" | tar -x -C "$2"
		cd "$2" && go build -buildvcs=false -o "$3" ./cmd/tagger`, "sh", commit, dir, program).CombinedOutput()
	if err != nil {
		t.Fatalf("build tagger of commit %s (the clone needs the full history): %v\n%s", commit, err, out)
	}
	return program
}

// The new version starts beside the older one, on one queue, and takes over when that one is stopped; then the same in
// reverse. Servers are created all the time.
func TestUpgrade(t *testing.T) {
	f := newFleet(t, rabbitmqtest.Start(t, rabbitmqtest.Options{}).URL())
	before := build(t, *older)
	one := listen(t, before, f.environ)
	one.WaitFor(t, "consuming")
	f.create(t, 100)
	two := listen(t, tagger, f.environ)
	two.WaitFor(t, "consuming")
	f.create(t, 100)
	if n := tagged(two); n != 0 {
		t.Errorf("the new version has tagged %d events beside the older one", n)
	}
	one.Stop(t, syscall.SIGTERM)
	f.create(t, 100)
	f.settled(t, one, two)
	upgraded := tagged(two)

	three := listen(t, before, f.environ)
	three.WaitFor(t, "consuming")
	f.create(t, 100)
	two.Stop(t, syscall.SIGTERM)
	f.create(t, 100)
	if f.settled(t, one, two, three) == 0 {
		t.Error("no event went through a delay queue")
	}
	t.Logf("tagged by %s: %d; after the upgrade by the new version: %d; after it was rolled back: %d", *older,
		tagged(one), upgraded, tagged(three))
	if upgraded == 0 || tagged(three) == 0 {
		t.Error("one of the versions has tagged no event")
	}
}

// The queue of an older version has other arguments, which cannot be changed. The older version is stopped first.
// Messages that arrive before the new one has started wait in the queue. The empty queue is then deleted and created
// again.
func TestUpgradeOfAQueue(t *testing.T) {
	f := newFleet(t, rabbitmqtest.Start(t, rabbitmqtest.Options{}).URL())
	before := build(t, anyNumber)
	one := listen(t, before, f.environ)
	one.WaitFor(t, "consuming")
	f.create(t, 100)
	one.Stop(t, syscall.SIGTERM)
	f.create(t, 100)
	two := listen(t, tagger, f.environ)
	two.WaitFor(t, "consuming")
	two.WaitFor(t, "queue created by an older version")
	three := listen(t, tagger, f.environ)
	f.create(t, 100)
	two.Stop(t, syscall.SIGKILL)
	three.WaitFor(t, "consuming")
	f.create(t, 100)
	if f.settled(t, one, two, three) == 0 {
		t.Error("no event went through a delay queue")
	}

	three.Stop(t, syscall.SIGTERM)
	if out, status := f.run(t, "queues", "delete", "--yes"); status != 0 {
		t.Fatalf("tagger queues delete: status %d: %s", status, out)
	}
	four := listen(t, tagger, f.environ)
	four.WaitFor(t, "consuming")
	if out := four.Output(); strings.Contains(out, "queue created by an older version") {
		t.Errorf("the queue was not renewed: %s", out)
	}
	f.create(t, 100)
	if f.settled(t, one, two, three, four) == 0 {
		t.Error("no event went through a delay queue")
	}
}

// Of two hosts, one is active. If it is lost (its process is killed, or the whole host hangs, so that the broker misses
// its heartbeats), the other one takes over, with the messages that the first had under way.
func TestTwoHosts(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "hung": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, rabbitmqtest.Start(t, rabbitmqtest.Options{}).URL())
			one := listen(t, tagger, f.environ)
			one.WaitFor(t, "consuming")
			two := listen(t, tagger, f.environ)
			two.WaitFor(t, "consuming")
			f.create(t, 100)
			if a, b := tagged(one), tagged(two); a == 0 || b != 0 {
				t.Errorf("the first has tagged %d events, the other one %d", a, b)
			}
			one.Signal(t, signal)
			lost := time.Now()
			f.create(t, 100)
			f.settled(t, one, two)
			t.Logf("the first was %s after it had tagged %d; the other one tagged its first after %.1f s, and %d in all",
				name, tagged(one), first(lost, two).Sub(lost).Seconds(), tagged(two))
			one.Stop(t, syscall.SIGKILL) // a stopped process handles no other signal
		})
	}
}
