package listen

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// The plan of a duplicate is never begun. It must not keep its part of the memory for plans, or larger messages would
// be deferred until the listener restarts.
func TestDuplicatesReleaseTheirPlans(t *testing.T) {
	settings := config.Settings{API: "openstack", Verify: true, Grace: 10 * time.Minute, GiveUpAfter: 24 * time.Hour}
	set, err := tagger.Compile(settings, rules.Source{Name: "R",
		Text: []byte("rules: [{on: server.created, when: 'resource.name == \"none\"', set: {a: b}}]")})
	if err != nil {
		t.Fatal(err)
	}
	tg, err := tagger.Compose(t.Context(), settings, set, tagger.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(t, delivery.New(delivery.Options{
		Tagger: tg, Concurrency: 1, GiveUpAfter: 24 * time.Hour, Tolerance: 1, Log: slog.New(slog.DiscardHandler),
	}))
	const duplicates = 6000
	created := func(id string) string {
		return fmt.Sprintf(`{"specversion": "1.0", "id": %q, "source": "//test", "time": "2026-11-20T09:15:04Z",
			"type": "io.github.cloudtagger.server.created", "subject": "8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10"}`, id)
	}
	message := func(tag uint64, contentType, body string) (*broker, amqp.Delivery) {
		b := &broker{}
		return b, amqp.Delivery{Acknowledger: b, DeliveryTag: tag, Body: []byte(body), ContentType: contentType}
	}
	nova, err := os.ReadFile("../../events/nova-server-created.json")
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(duplicates) {
		body := strings.ReplaceAll(string(nova), "6f1d7f0c-0f43-4c7e-9a3f-1d2e3c4b5a60", fmt.Sprint("m-", i))
		b, d := message(i, "application/json", body)
		l.accept(t.Context(), b, d).finish()
	}
	if n := l.counts.duplicates.Load(); n != duplicates-1 {
		t.Fatalf("%d duplicates", n)
	}
	batch := make([]string, 20)
	for i := range batch {
		batch[i] = created(fmt.Sprint("of-a-batch-", i))
	}
	b, d := message(duplicates, "application/cloudevents-batch+json", "["+strings.Join(batch, ",")+"]")
	l.accept(t.Context(), b, d).finish()
	if got, want := fmt.Sprint(b.notes()), fmt.Sprintf("[ack %d]", duplicates); got != want {
		t.Errorf("a batch of 20 events: %s, want %s", got, want)
	}
}
