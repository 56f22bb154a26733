// Package rabbittest starts a RabbitMQ for tests and measurements.
package rabbittest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Start starts a RabbitMQ of its own on loopback, with Erlang's port mapper, which keeps what it has in a directory.
// It takes messages of up to maxMessage bytes. stop ends both.
func Start(ctx context.Context, dir string, maxMessage int) (url string, stop func(), err error) {
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
	if len(found) == 0 {
		return "", nil, errors.New("start RabbitMQ: it is not installed: apt-get install rabbitmq-server")
	}
	settings := filepath.Join(dir, "rabbitmq.conf")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "max_message_size = %d\n", maxMessage), 0o600); err != nil {
		return "", nil, fmt.Errorf("write RabbitMQ's settings: %w", err)
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(ctx); err != nil {
			return "", nil, fmt.Errorf("find a port for RabbitMQ: %w", err)
		}
	}
	port, distribution, mapper := ports[0], ports[1], ports[2]
	environ := append(os.Environ(), "HOME="+dir, "ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprint("ERL_EPMD_PORT=", mapper),
		fmt.Sprintf("RABBITMQ_NODENAME=tagger-test-%d@localhost", os.Getpid()), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprint("RABBITMQ_NODE_PORT=", port), fmt.Sprint("RABBITMQ_DIST_PORT=", distribution),
		"RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_CONFIG_FILE="+settings, "RABBITMQ_BASE="+dir,
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_PLUGINS_DIR="+filepath.Join(found[0], "plugins"),
		// With this the script becomes the broker instead of watching it.
		"RABBITMQ_ALLOW_INPUT=true")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, fmt.Errorf("create RabbitMQ's log: %w", err)
	}
	var running []*exec.Cmd
	stop = func() {
		for _, cmd := range running {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = log.Close()
	}
	for _, argv := range [][]string{
		{"epmd", "-address", "127.0.0.1", "-port", fmt.Sprint(mapper)},
		{filepath.Join(found[0], "sbin/rabbitmq-server"), "-noinput"},
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ, log, log
		if err := cmd.Start(); err != nil {
			stop()
			return "", nil, fmt.Errorf("start %s: %w", argv[0], err)
		}
		running = append(running, cmd)
	}
	url = fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		conn, err := amqp.Dial(url)
		if err == nil {
			_ = conn.Close()
			return url, stop, nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			stop()
			text, _ := os.ReadFile(log.Name())
			return "", nil, fmt.Errorf("start RabbitMQ: %w\n%s", err, text[max(0, len(text)-4000):])
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
