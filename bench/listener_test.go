package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/internal/rabbitmqtest"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// notifications are captured notifications of Nova and Cinder.
const notifications = "../pkg/lifecycle/testdata/"

// created is the notification that a server has been created, in both formats.
var created = []string{"docs/zed-unversioned.compute.instance.create.end.json",
	"docs/zed-versioned.instance.create.end.json"}

// otherNotifications are the other notifications that Nova sends when it creates a server, in both formats.
var otherNotifications = []string{
	"zed/compute_task.build_instances.json", "zed/scheduler.select_destinations.start.json",
	"zed/compute.instance.create.start.json", "zed/compute.instance.update.building-active.json",
	"zed/instance.update.building-active.json", "zed/compute.instance.update.building-active.json",
	"zed/instance.update.building-active.json", "zed/compute.instance.update.building-active.json",
	"zed/instance.update.building-active.json",
}

// irrelevant are notifications that match no rule.
var irrelevant = append([]string{
	"zed/compute.instance.reboot.end.json", "zed/instance.power_on.end.json", "zed/volume.create.start.json",
	"zed/volume.update.end.json", "zed/instance.volume_attach.end.json", "zed/compute.instance.volume.detach.json",
	"zed/volume.attach.start.by-nova.json", "zed/snapshot.create.start.json", "zed/compute.instance.delete.end.json",
	"zed/instance.lock.json",
}, otherNotifications...)

// load is a set of messages for a listener.
type load struct {
	name     string
	messages []string // files of each server, in order
	servers  int
}

var (
	runs     = flag.Int("runs", 3, "number of measurements of each load")
	messages = flag.Int("messages", 12_000, "number of messages of a load")
)

// TestListener measures "tagger listen" on one CPU with its own RabbitMQ.
func TestListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tagger")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/tagger")
	build.Dir = ".." // the command is in another module
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tagger: %v: %s", err, out)
	}
	broker := rabbitmqtest.Start(t, rabbitmqtest.Options{}).URL()
	// One message in twenty is a creation. The same change in the other format is irrelevant.
	mixed := []string{created[0]}
	for i := range 19 {
		mixed = append(mixed, irrelevant[i%len(irrelevant)])
	}
	for _, l := range []load{
		{"95 % irrelevant", mixed, *messages / len(mixed)},
		{"servers, all of Nova's notifications, both formats", append(append([]string{}, otherNotifications...), created...),
			*messages / (len(otherNotifications) + len(created))},
		{"servers, created in both formats", created, *messages / len(created)},
	} {
		var all []cost
		for range *runs {
			c, err := listen(t.Context(), path, broker, l)
			if err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			all = append(all, c)
		}
		sent := float64(l.servers * len(l.messages))
		t.Logf("%s: %.0f messages, medians of %d", l.name, sent, *runs)
		row := func(what string, value func(cost) float64) { t.Logf("  %-28s %10.2f", what, median(all, value)) }
		row("Messages/Second", func(c cost) float64 { return sent / c.elapsed.Seconds() })
		row("messages a second of CPU", func(c cost) float64 { return sent / c.cpu.Seconds() })
		row("CPU a message, µs", func(c cost) float64 { return c.cpu.Seconds() * 1e6 / sent })
		row("CPU a server, ms", func(c cost) float64 { return c.cpu.Seconds() * 1e3 / float64(l.servers) })
		row("memory, MiB", func(c cost) float64 { return float64(c.memory) / mebibyte })
	}
}

var (
	serverIn  = regexp.MustCompile(`(?:instance_id|uuid|instance_uuid)\\*": \\*"([0-9a-f-]{36})`)
	projectIn = regexp.MustCompile(`(?:tenant_id|project_id)\\*": \\*"([0-9a-f]{32})`)
	messageIn = regexp.MustCompile(`message_id\\*": \\*"([0-9a-f-]{36})`)
)

// about replaces the server, project and message ids in a captured notification.
func about(text []byte, message, server, project string) []byte {
	replace := func(in *regexp.Regexp, by string) {
		if m := in.FindSubmatch(text); m != nil {
			text = regexp.MustCompile(string(m[1])).ReplaceAllLiteral(text, []byte(by))
		}
	}
	replace(serverIn, server)
	replace(projectIn, project)
	replace(messageIn, message)
	return text
}

// listen runs a listener on a load and stops it. Its startup is not counted.
func listen(ctx context.Context, path, broker string, l load) (cost, error) {
	sim := simcloud.New(simcloud.Options{JournalSize: -1})
	cloud := httptest.NewServer(sim)
	defer cloud.Close()
	demo, _ := sim.Project("demo")
	var bodies [][]byte
	server := func(n int) string { return fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012d", n) }
	for n := range l.servers {
		sim.PutServer(simcloud.Server{ID: server(n)})
		for i, file := range l.messages {
			text, err := os.ReadFile(notifications + file)
			if err != nil {
				return cost{}, fmt.Errorf("read a notification: %w", err)
			}
			message := fmt.Sprintf("2fe50dba-de9b-45d1-%04d-%012d", i, n)
			bodies = append(bodies, about(text, message, server(n), demo.ID))
		}
	}
	conn, err := amqp.Dial(broker)
	if err != nil {
		return cost{}, fmt.Errorf("connect to the broker: %w", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return cost{}, fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.ExchangeDeclare("nova", "topic", false, false, false, false, nil); err != nil {
		return cost{}, fmt.Errorf("declare the exchange: %w", err)
	}

	cmd := exec.CommandContext(ctx, path, "listen")
	cmd.Env = append(sim.Env(cloud.URL), "TAGGER_RULES="+rules, "TAGGER_RATE=0", "TAGGER_LOG_LEVEL=warn", "GOMAXPROCS=1",
		"TAGGER_AMQP_URL="+broker, "TAGGER_AMQP_EXCHANGES=nova")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return cost{}, fmt.Errorf("start tagger: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	queue := func() (amqp.Queue, error) {
		ch, err := conn.Channel()
		if err != nil {
			return amqp.Queue{}, fmt.Errorf("open a channel: %w", err)
		}
		defer ch.Close()
		return ch.QueueDeclarePassive("tagger", true, false, false, false, nil)
	}
	if err := poll(ctx, func() bool { q, err := queue(); return err == nil && q.Consumers == 1 }); err != nil {
		return cost{}, fmt.Errorf("wait for the listener: %w", err)
	}
	base, err := used(cmd.Process.Pid)
	if err != nil {
		return cost{}, err
	}
	began := time.Now()
	for _, body := range bodies {
		p := amqp.Publishing{ContentType: "application/json", Body: body}
		if err := ch.PublishWithContext(ctx, "nova", "notifications.info", false, false, p); err != nil {
			return cost{}, fmt.Errorf("publish: %w", err)
		}
	}
	if err := poll(ctx, func() bool {
		for n := l.servers - 1; n >= 0; n-- {
			if s, _ := sim.Server(server(n)); s.Metadata["env"] != "dev" {
				return false
			}
		}
		q, err := queue()
		return err == nil && q.Messages == 0
	}); err != nil {
		return cost{}, fmt.Errorf("wait until all servers are tagged: %w", err)
	}
	c := cost{elapsed: time.Since(began)}
	now, err := used(cmd.Process.Pid)
	c.cpu = now - base
	memory, failed := peak(cmd.Process.Pid)
	c.memory = memory
	return c, cmp.Or(err, failed)
}

// poll waits until a condition holds, at most two minutes.
func poll(ctx context.Context, done func() bool) error {
	for end := time.Now().Add(2 * time.Minute); !done(); {
		if time.Now().After(end) {
			return errors.New("timeout after two minutes")
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
