// Package rabbitmqtest starts installed RabbitMQ brokers on loopback, one or a cluster, and stops them when the test
// ends. It touches no other broker of the machine: ports, names, the cookie and all files are the test's own.
package rabbitmqtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// longestStart limits the start of a broker on a busy machine.
const longestStart = 3 * time.Minute

// Options describe each broker. With the zero value, brokers accept only connections without TLS.
type Options struct {
	// Settings are lines of rabbitmq.conf.
	Settings string
	// CertFile, KeyFile and CAFile are PEM files. With them, the brokers accept TLS connections too.
	CertFile, KeyFile, CAFile string
}

// Broker is a started broker.
type Broker struct {
	// Node is the name of its Erlang node.
	Node string
	// Address is its host and port, TLSAddress those for TLS, "" without TLS.
	Address, TLSAddress string

	installation *installation
	dir          string
	environ      []string
	cmd          *exec.Cmd
	ended        chan struct{}
}

// installation is the installed RabbitMQ, and what the brokers of one test share.
type installation struct {
	library string // RabbitMQ's own directory
	dir     string
	environ []string
}

// Start starts a broker and waits until it accepts connections.
func Start(t testing.TB, o Options) *Broker {
	t.Helper()
	return StartCluster(t, 1, o)[0]
}

// StartCluster starts brokers that form one cluster.
func StartCluster(t testing.TB, size int, o Options) []*Broker {
	t.Helper()
	in := install(t)
	var all []*Broker
	for i := range size {
		b := in.broker(t, fmt.Sprintf("tagger-%d-%d@localhost", os.Getpid(), i+1), o)
		b.Start(t)
		all = append(all, b)
	}
	for _, b := range all[1:] {
		b.Ctl(t, "stop_app")
		b.Ctl(t, "join_cluster", all[0].Node)
		b.Ctl(t, "start_app")
	}
	return all
}

// install finds RabbitMQ and starts Erlang's port mapper, on a port of its own.
func install(t testing.TB) *installation {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
	if len(found) == 0 {
		t.Fatal("RabbitMQ is not installed: apt-get install rabbitmq-server")
	}
	in := &installation{library: found[0], dir: t.TempDir()}
	// Inherited RABBITMQ_* variables would point to the files of another broker.
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "RABBITMQ_") {
			in.environ = append(in.environ, line)
		}
	}
	mapper := strconv.Itoa(freePort(t))
	in.environ = append(in.environ, "HOME="+in.dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+mapper,
		"RABBITMQ_CONF_ENV_FILE=/dev/null")
	if err := os.WriteFile(filepath.Join(in.dir, ".erlang.cookie"), []byte(rand.Text()), 0o400); err != nil {
		t.Fatal(err)
	}
	epmd := exec.Command("epmd", "-address", "127.0.0.1", "-port", mapper)
	if err := epmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = epmd.Process.Kill()
		_ = epmd.Wait()
	})
	return in
}

// broker writes the settings of a broker.
func (in *installation) broker(t testing.TB, node string, o Options) *Broker {
	t.Helper()
	dir := filepath.Join(in.dir, node)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	address := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	b := &Broker{Node: node, Address: address(), installation: in, dir: dir}
	settings := "listeners.tcp.1 = " + b.Address + "\n" + o.Settings
	if o.CertFile != "" {
		b.TLSAddress = address()
		settings += fmt.Sprintf("\nlisteners.ssl.1 = %s\nssl_options.cacertfile = %s\nssl_options.certfile = %s\n"+
			"ssl_options.keyfile = %s\nssl_options.verify = verify_none\n", b.TLSAddress, o.CAFile, o.CertFile, o.KeyFile)
	}
	file := filepath.Join(dir, "rabbitmq.conf")
	if err := os.WriteFile(file, []byte(settings+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.environ = append(in.environ[:len(in.environ):len(in.environ)], "RABBITMQ_NODENAME="+node,
		"RABBITMQ_DIST_PORT="+strconv.Itoa(freePort(t)),
		"RABBITMQ_CONFIG_FILE="+file, "RABBITMQ_BASE="+dir, "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+dir, "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		"RABBITMQ_PLUGINS_DIR="+filepath.Join(in.library, "plugins"),
		// With this, the script execs the broker instead of supervising it.
		"RABBITMQ_ALLOW_INPUT=true")
	return b
}

// Start starts a killed broker again, with its files, and waits until it accepts connections.
func (b *Broker) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	b.cmd, b.ended = exec.Command(filepath.Join(b.installation.library, "sbin/rabbitmq-server"), "-noinput"),
		make(chan struct{})
	b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr = b.environ, log, log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		_ = log.Close()
		close(ended)
	}(b.cmd, b.ended)
	t.Cleanup(b.Kill)
	end := time.Now().Add(longestStart)
	for {
		conn, err := amqp.Dial(b.URL())
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-b.ended:
			err = errors.Join(err, errors.New("the process has ended"))
		case <-time.After(200 * time.Millisecond):
			if time.Now().Before(end) {
				continue
			}
		}
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("start RabbitMQ: %v\n%s", err, text[max(0, len(text)-4000):])
	}
}

// URL returns the address of the broker, with an administrator.
func (b *Broker) URL() string { return "amqp://guest:guest@" + b.Address + "/" }

// Kill kills the broker, as a power failure would. What it has not written to disk is lost.
func (b *Broker) Kill() {
	_ = b.cmd.Process.Kill()
	<-b.ended
}

// CtlCommand returns the command line of rabbitmqctl for the broker. Run it with [Broker.Environ].
func (b *Broker) CtlCommand() []string {
	return []string{filepath.Join(b.installation.library, "sbin/rabbitmqctl"), "--quiet", "--node", b.Node}
}

// Environ returns the environment of the broker and of its commands.
func (b *Broker) Environ() []string { return b.environ[:len(b.environ):len(b.environ)] }

// Ctl runs rabbitmqctl for the broker, and returns its output.
func (b *Broker) Ctl(t testing.TB, args ...string) string {
	t.Helper()
	line := append(b.CtlCommand(), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = b.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rabbitmqctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
