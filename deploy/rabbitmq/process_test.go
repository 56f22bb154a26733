//go:build rabbitmq

// Package rabbitmq_test runs the built command with RabbitMQ: over TLS, with a cluster that loses nodes, beside a
// listener of an older version, and on two hosts, one of them lost. The cloud is the embedded one.
package rabbitmq_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/internal/processtest"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// tagger is the path of the command, built from the checked-out sources.
var tagger string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tagger-rabbitmq")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		tagger = filepath.Join(dir, "tagger")
		build := exec.Command("go", "build", "-o", tagger, "../../cmd/tagger")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build tagger:", err)
			return 1
		}
		return m.Run()
	}())
}

const rules = `rules:
- name: owner
  on: [server.created]
  set: {owner: "${actor.name}", project: "${resource.project}"}
`

// fleet is a cloud in which servers are created, and the service that publishes notifications about them.
type fleet struct {
	sim     *simcloud.Cloud
	environ []string // the environment of a listener
	brokers []string // URLs
	created []string // ids of servers

	conn     *amqp.Connection
	channel  *amqp.Channel
	returned chan amqp.Return
	repeated int // notifications published again, because the broker had not confirmed them
}

func newFleet(t *testing.T, brokers ...string) *fleet {
	t.Helper()
	f := &fleet{sim: simcloud.New(simcloud.Options{JournalSize: -1}), brokers: brokers}
	server := httptest.NewServer(f.sim)
	t.Cleanup(server.Close)
	f.environ = append(f.sim.Env(server.URL), "PATH="+os.Getenv("PATH"), "TAGGER_RULES="+rules, "TAGGER_WAIT=1s",
		"TAGGER_RATE=0", "TAGGER_LOG_LEVEL=debug",
		"TAGGER_AMQP_URL="+strings.Join(brokers, ","), "TAGGER_AMQP_EXCHANGES=nova")
	f.connect(t)
	t.Cleanup(func() { _ = f.conn.Close() })
	return f
}

// connect connects to the first reachable broker, and declares the exchange as Nova does.
func (f *fleet) connect(t *testing.T) {
	t.Helper()
	processtest.Until(t, "the service connects to a broker", time.Minute, interval, func() bool {
		for _, address := range f.brokers {
			conn, err := amqp.Dial(address)
			if err != nil {
				continue
			}
			if f.channel, err = conn.Channel(); err == nil {
				err = f.channel.Confirm(false)
			}
			if err == nil {
				err = f.channel.ExchangeDeclare("nova", "topic", false, false, false, false, nil)
			}
			if err == nil {
				f.conn, f.returned = conn, f.channel.NotifyReturn(make(chan amqp.Return, 1))
				return true
			}
			_ = conn.Close()
		}
		return false
	})
}

// create creates servers and publishes a notification for each, as Nova does: without the broker's confirm, it
// publishes again. Every fifth server takes so long to build that its event is deferred.
func (f *fleet) create(t *testing.T, servers int) {
	t.Helper()
	for range servers {
		n := len(f.created)
		server := simcloud.Server{Name: fmt.Sprintf("server-%d", n)}
		if n%5 == 4 {
			server.VMState, server.BuildTime = "building", 10*time.Second
		}
		id := f.sim.PutServer(server)
		f.created = append(f.created, id)
		s, _ := f.sim.Server(id)
		body := notification(id, s.ProjectID, n)
		for f.publish(t, body) != nil {
			f.repeated++
			_ = f.conn.Close()
			f.connect(t)
		}
	}
}

func (f *fleet) publish(t *testing.T, body []byte) error {
	t.Helper()
	p := amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body}
	confirmation, err := f.channel.PublishWithDeferredConfirm("nova", "notifications.info", true, false, p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	acknowledged, err := confirmation.WaitContext(ctx)
	if err == nil && !acknowledged {
		err = errors.New("the broker refused the message")
	}
	select {
	case r, open := <-f.returned:
		if open && err == nil {
			err = fmt.Errorf("no queue accepted the message: %s", r.ReplyText)
		}
	default:
	}
	return err
}

const user = "3d9a1b7f6c4e4d0fa2b81c5e7f90ab12"

// notification returns Nova's notification that a server was created.
func notification(id, project string, n int) []byte {
	inner, _ := json.Marshal(map[string]any{
		"message_id": fmt.Sprintf("m-%d", n), "publisher_id": "compute.host", "event_type": "compute.instance.create.end",
		"priority":            "INFO",
		"timestamp":           time.Now().UTC().Format("2006-01-02 15:04:05.000000"),
		"_context_request_id": fmt.Sprintf("req-%d", n), "_context_user_id": user, "_context_user_name": "alice",
		"_context_project_id": project,
		"payload": map[string]any{"instance_id": id, "tenant_id": project, "user_id": user,
			"display_name": fmt.Sprintf("server-%d", n), "state": "active"},
	})
	outer, _ := json.Marshal(map[string]any{"oslo.version": "2.0", "oslo.message": string(inner)})
	return outer
}

// missing returns the servers whose metadata is not exactly what the rules set.
func (f *fleet) missing() (ids []string) {
	for _, id := range f.created {
		s, _ := f.sim.Server(id)
		if len(s.Metadata) != 2 || s.Metadata["owner"] != "alice" || s.Metadata["project"] != s.ProjectID {
			ids = append(ids, id)
		}
	}
	return ids
}

// interval is the time between two checks of what a test waits for.
const interval = 50 * time.Millisecond

// longestSettled allows for a busy machine; the shortest delay queue alone takes 15 s.
const longestSettled = 4 * time.Minute

// settled waits until every server has its metadata and all queues are empty. It logs the outcomes of the events, and
// returns how many were deferred.
func (f *fleet) settled(t *testing.T, listeners ...*processtest.Process) (deferred int) {
	t.Helper()
	processtest.Until(t, "every server has its metadata", longestSettled, interval,
		func() bool { return len(f.missing()) == 0 })
	processtest.Until(t, "all queues are empty", time.Minute, interval, func() bool { return f.waiting(t) == 0 })
	counts := map[string]int{}
	for _, l := range listeners {
		for _, line := range l.Log() {
			if line.Kind == "server" && line.Outcome != "" {
				counts[line.Outcome]++
			}
		}
	}
	t.Logf("%d servers: %d without their metadata; outcomes %v; %d notifications were published again",
		len(f.created), len(f.missing()), counts, f.repeated)
	if n := counts["rejected"] + counts["gone"] + counts["blocked"] + counts["ignored"]; n > 0 {
		t.Errorf("%d events were not applied", n)
	}
	return counts["deferred"]
}

// waiting returns the number of messages in all queues, -1 if tagger queues list fails.
func (f *fleet) waiting(t *testing.T) (sum int) {
	t.Helper()
	out, status := f.run(t, "queues", "list", "-o", "json")
	if status != 0 {
		return -1
	}
	for line := range strings.Lines(out) {
		var queue struct{ Messages int }
		if err := json.Unmarshal([]byte(line), &queue); err != nil {
			t.Fatalf("tagger queues list: %v: %s", err, line)
		}
		sum += queue.Messages
	}
	return sum
}

// run runs a command of tagger.
func (f *fleet) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tagger, args...)
	cmd.Env = f.environ
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// listen starts a listener.
func listen(t *testing.T, program string, environ []string) *processtest.Process {
	t.Helper()
	return processtest.Start(t, processtest.Options{Environ: environ}, program, "listen")
}

// tagged returns the number of events that a listener has tagged.
func tagged(l *processtest.Process) (n int) {
	for _, line := range l.Log() {
		if line.Outcome == "tagged" {
			n++
		}
	}
	return n
}
