package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
)

func clearListen(t *testing.T) {
	t.Helper()
	clearEnv(t)
	for _, v := range config.Variables[config.Listen]() {
		t.Setenv(v.Name, "")
	}
	t.Setenv("PORT", "")
}

// A configuration error is one line without passwords, printed before any connection.
func TestListenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name      string
		url       string
		arguments []string
		want      string
	}{
		{"no address", "", nil, "TAGGER_AMQP_URL is not set"},
		{"a flag that is a command now", "", []string{"--delete-topology"}, "tagger queues delete"},
		{"another", "", []string{"--replay-rejected"}, "tagger queues replay"},
		{"not an address", "hunter2", nil, "address 1 of 1 is not amqp://"},
		{"an odd parameter", "amqp://a:hunter2@127.0.0.1:1/?heartbeat=hunter2", []string{"--sink", "http://127.0.0.1:1/"},
			"address 1 of 1 cannot be read"},
		{"no rules", "amqp://a:hunter2@127.0.0.1:1/", nil, "read the rules: there are none"},
		{"not a sink", "amqp://a:hunter2@127.0.0.1:1/", []string{"--sink", "hunter2"}, "the sink's address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearListen(t)
			t.Setenv("TAGGER_AMQP_URL", tt.url)
			out, errOut, status := taggerCommand(t, "", append([]string{"listen"}, tt.arguments...)...)
			if status != exitUsage || !strings.Contains(errOut, tt.want) || strings.Contains(errOut+out, "hunter2") ||
				strings.Count(errOut, "\n") != 1 {
				t.Errorf("status %d: %s%s", status, out, errOut)
			}
		})
	}
}

// An address without TLS is a warning of check, even if the broker cannot be reached. 0.0.0.0 is no loopback address,
// but refuses the connection at once.
func TestCheckWarnsAboutABrokerWithoutTLS(t *testing.T) {
	clearListen(t)
	for address, warned := range map[string]bool{
		"amqp://a:hunter2@0.0.0.0:1/":   true,
		"amqp://a:hunter2@127.0.0.1:1/": false,
	} {
		t.Setenv("TAGGER_AMQP_URL", address)
		out, errOut, _ := taggerCommand(t, "", "check")
		const text = "TAGGER_AMQP_URL has addresses without TLS: the password and all events go to 0.0.0.0 unencrypted"
		if strings.Contains(out+errOut, text) != warned || strings.Contains(out+errOut, "hunter2") ||
			!strings.Contains(out+errOut, "connect to RabbitMQ") {
			t.Errorf("%s: %s%s", address, out, errOut)
		}
	}
}

// With a sink, neither rules nor credentials are checked.
func TestCheckOfASink(t *testing.T) {
	clearListen(t)
	t.Setenv("TAGGER_AMQP_URL", "amqp://a:hunter2@127.0.0.1:1/")
	for sink, want := range map[string]string{
		"http://receiver.example.com/events": "ok      listen sends the events to receiver.example.com; rules and credentials",
		"receiver.example.com":               "failed  read the sink's address: it is not http://host/path",
	} {
		t.Setenv("K_SINK", sink)
		out, errOut, _ := taggerCommand(t, "", "check")
		if !strings.Contains(out, want) || strings.Contains(out, "credentials  ") || strings.Contains(out, "rules  ") ||
			strings.Contains(out+errOut, "hunter2") {
			t.Errorf("%s: %s%s", sink, out, errOut)
		}
	}
}

func TestQueuesWithoutABroker(t *testing.T) {
	clearListen(t)
	for _, arguments := range [][]string{{"list"}, {"show"}, {"replay"}, {"drop", "--all", "--yes"}, {"delete", "--yes"},
		{"tap"}} {
		t.Run(arguments[0], func(t *testing.T) {
			t.Setenv("TAGGER_AMQP_URL", "")
			_, errOut, status := taggerCommand(t, "", append([]string{"queues"}, arguments...)...)
			if status != exitUsage || !strings.Contains(errOut, "TAGGER_AMQP_URL is not set") {
				t.Errorf("no address: status %d: %s", status, errOut)
			}
			t.Setenv("TAGGER_AMQP_URL", "amqp://a:hunter2@127.0.0.1:1/")
			_, errOut, status = taggerCommand(t, "", append([]string{"queues"}, arguments...)...)
			if status != exitUndone || !strings.Contains(errOut, "connect to RabbitMQ at 127.0.0.1:1: ") ||
				strings.Contains(errOut, "hunter2") {
				t.Errorf("status %d: %s", status, errOut)
			}
		})
	}
}

// A listener that is stopped while it tries to reach its broker exits with status 0. With a sink, it needs neither
// rules nor credentials.
func TestListenEnds(t *testing.T) {
	clearListen(t)
	t.Setenv("TAGGER_AMQP_URL", "amqp://a:hunter2@127.0.0.1:1/")
	t.Setenv("K_SINK", "http://127.0.0.1:1/")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out, errOut bytes.Buffer
	if status := run(ctx, []string{"listen", "--listen", "127.0.0.1:0"}, streams{strings.NewReader(""), &out, &errOut}); status != exitDone {
		t.Errorf("status %d: %s", status, errOut.String())
	}
}
