//go:build rabbitmq

package rabbitmq_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/internal/processtest"
	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
)

// A policy of the cloud lets queues and messages expire. The policy of deploy/kolla has a higher priority: events wait
// longer than that in Tagger's queue while no listener runs, and are then processed.
func TestPolicies(t *testing.T) {
	b := rabbitmqtest.Start(t, rabbitmqtest.Options{})
	b.Ctl(t, "set_policy", "ha-all", `^(?!(amq\.)|(.*_fanout_)|(reply_)).*`, `{"message-ttl": 2000, "expires": 4000}`,
		"--apply-to", "queues")
	// A replacement for Docker that runs the command after "exec rabbitmq".
	engine := filepath.Join(t.TempDir(), "engine")
	script := "#!/bin/sh\nshift 3\nexec " + strings.Join(b.CtlCommand(), " ") + " \"$@\"\n"
	if err := os.WriteFile(engine, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	policies := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), "../kolla/policies.sh")
		cmd.Env = append(b.Environ(), "KOLLA_CONTAINER_ENGINE="+engine)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := policies(); err != nil || !strings.Contains(out, "there are no queues of Tagger yet") {
		t.Fatalf("%v: %s", err, out)
	}

	f := newFleet(t, b.URL())
	one := listen(t, tagger, f.environ)
	one.WaitFor(t, "consuming")
	out, err := policies()
	if err != nil || strings.Count(out, "\ttagger\n") != 11 {
		t.Errorf("after the queues were made: %v: %s", err, out)
	}
	one.Stop(t, syscall.SIGTERM)
	if _, err := f.channel.QueueDeclare("another", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	f.create(t, 20)
	gone := time.Now()
	processtest.Until(t, "another queue has expired", time.Minute, interval, func() bool {
		return !strings.Contains(b.Ctl(t, "list_queues", "name"), "another")
	})
	t.Logf("a queue without our policy was gone after %.0f s; Tagger's has %d messages", time.Since(gone).Seconds(),
		f.waiting(t))
	if n := f.waiting(t); n != 20 {
		t.Errorf("%d of 20 messages wait", n)
	}
	two := listen(t, tagger, f.environ)
	two.WaitFor(t, "consuming")
	f.settled(t, two)
}
