//go:build openstack

package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// explain finds the messages of a resource in the broker, leaves them there, and reports queues that it cannot read.
func TestExplainQueues(t *testing.T) {
	address := os.Getenv("OPENSTACK_DEV_AMQP_URL")
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	name := "tagger-test-" + strings.ToLower(rand.Text()[:10])
	put := func(queue, id string, headers amqp.Table) {
		t.Helper()
		body := fmt.Sprintf(`{"specversion": "1.0", "id": "e-1", "source": "/test", "subject": %q,
			"type": "io.github.cloudtagger.server.created", "data": {}}`, id)
		if err := ch.PublishWithContext(t.Context(), "", queue, false, false,
			amqp.Publishing{ContentType: "application/cloudevents+json", Body: []byte(body), Headers: headers}); err != nil {
			t.Fatal(err)
		}
	}
	for _, queue := range []string{name + ".delay.30m", name + ".rejected"} {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = ch.QueueDelete(queue, false, false, false) }()
	}
	sim := onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", fleetRules)
	locked := sim.PutServer(simcloud.Server{Name: "web-7", Locked: true})
	rejected := sim.PutServer(simcloud.Server{Name: "web-8"})
	other := sim.PutServer(simcloud.Server{Name: "web-9"})
	explain := func(id string, wants ...string) {
		t.Helper()
		out, errOut, _ := taggerCommand(t, "", "explain", id)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s%s", want, out, errOut)
			}
		}
	}
	explain(locked, "queues    not checked: TAGGER_AMQP_URL is not set")
	t.Setenv("TAGGER_AMQP_URL", address)
	t.Setenv("TAGGER_AMQP_QUEUE", name)
	put(name+".delay.30m", rejected[:35]+"f", nil)
	put(name+".delay.30m", locked, amqp.Table{
		"x-tagger-receives": int64(5), "x-tagger-sent-at": "2026-11-24T09:15:04Z",
	})
	put(name+".rejected", rejected, amqp.Table{
		"x-tagger-reason": "over quota", "x-tagger-rejected-at": "2026-11-24T10:00:00Z", "x-tagger-event-id": "e-1",
	})
	for range 2 { // twice: the messages stay in their queues
		explain(locked,
			"the server is locked, and Tagger does not write locked servers (TAGGER_WRITE_LOCKED); its event "+
				"(server.created) was tried 5 times and waits in "+name+".delay.30m: next try within 30m.",
			"server.created waits in "+name+".delay.30m, tried 5 times since 2026-11-24 09:15:04",
			"3 messages in the delay queues and the one of rejected ones, 1 about it")
		explain(rejected, "its event (server.created) was rejected: over quota",
			"server.created is in "+name+".rejected since 2026-11-24 10:00:00: over quota")
	}
	explain(other, "0 about it")
	t.Setenv("TAGGER_AMQP_URL", "amqp://127.0.0.1:1/")
	explain(locked, "queues    could not be checked: connect to RabbitMQ at 127.0.0.1:1")
}
