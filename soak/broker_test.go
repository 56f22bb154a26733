//go:build soak

package soak_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// startBroker starts a RabbitMQ of our own on loopback, with Erlang's port mapper, and returns its URL.
func startBroker(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
	if len(found) == 0 {
		t.Fatal("RabbitMQ is not installed: apt-get install rabbitmq-server")
	}
	dir := t.TempDir()
	port, distribution, mapper := freePort(t), freePort(t), freePort(t)
	environ := append(os.Environ(), "HOME="+dir, "ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprint("ERL_EPMD_PORT=", mapper),
		fmt.Sprintf("RABBITMQ_NODENAME=tagger-soak-%d@localhost", os.Getpid()), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprint("RABBITMQ_NODE_PORT=", port), fmt.Sprint("RABBITMQ_DIST_PORT=", distribution), "RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_BASE="+dir, "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_PLUGINS_DIR="+filepath.Join(found[0], "plugins"),
		// With this the script becomes the broker instead of watching it.
		"RABBITMQ_ALLOW_INPUT=true")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	start := func(argv ...string) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ, log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	start("epmd", "-address", "127.0.0.1", "-port", fmt.Sprint(mapper))
	start(filepath.Join(found[0], "sbin/rabbitmq-server"), "-noinput")
	url := fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		conn, err := amqp.Dial(url)
		if err == nil {
			_ = conn.Close()
			return url
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("RabbitMQ does not start: %v\n%s", err, text[max(0, len(text)-4000):])
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
