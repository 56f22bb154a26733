package listen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// back returns the message as the broker redelivers it.
func back(p amqp.Publishing) amqp.Delivery {
	return amqp.Delivery{Headers: p.Headers, Body: p.Body, ContentType: p.ContentType, RoutingKey: "tagger"}
}

// A deferred or replayed message decodes to the same events as the original.
func TestMessageRoundTrip(t *testing.T) {
	taken := time.Date(2026, 11, 20, 9, 15, 5, 0, time.UTC)
	for _, body := range []string{
		string(notification("m-1")), string(notification("")),
		`{"specversion": "1.0", "id": "1", "source": "/s", "type": "io.github.cloudtagger.server.created", "subject": "x",
			"traceparent": "00-1", "data": {"a": "<&>é"}}`,
		`[{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"},
			{"specversion": "1.0", "id": "2", "source": "/s", "type": "t"}]`,
	} {
		m := read(amqp.Delivery{Body: []byte(body), ContentType: "application/json", Exchange: "nova",
			RoutingKey: "notifications.info"}, taken)
		if m.Err != nil || len(m.Events) == 0 {
			t.Fatalf("%d events, %v", len(m.Events), m.Err)
		}
		if m.Receives != 1 || !m.SentAt.Equal(taken) {
			t.Errorf("delivery %d, sent at %s", m.Receives, m.SentAt)
		}
		waited := read(back(m.deferred()), taken.Add(time.Hour))
		again := read(back(waited.deferred()), taken.Add(2*time.Hour))
		if !again.SentAt.Equal(taken) || again.Receives != 3 {
			t.Errorf("delivery %d, sent at %s", again.Receives, again.SentAt)
		}
		if again.exchange != "nova" || again.routingKey != "notifications.info" {
			t.Errorf("exchange %s, routing key %s", again.exchange, again.routingKey)
		}
		rejected := again.rejected(decided(apply.Rejected), taken.Add(3*time.Hour))
		replayed := read(back(rejected), taken.Add(4*time.Hour))
		if !replayed.SentAt.Equal(taken.Add(4*time.Hour)) || replayed.Receives != 1 ||
			replayed.routingKey != "notifications.info" {
			t.Errorf("%s %d %s", replayed.SentAt, replayed.Receives, replayed.routingKey)
		}
		for _, got := range []Message{waited, again, replayed} {
			if len(got.Events) != len(m.Events) || got.Err != nil {
				t.Fatalf("%d events: %v", len(got.Events), got.Err)
			}
			for i := range got.Events {
				if diff := cmp.Diff(m.Events[i].String(), got.Events[i].String()); diff != "" {
					t.Errorf("(-came +again):\n%s", diff)
				}
			}
		}
	}
}

// A message may have the encodings that other carriers accept: a byte order mark, AMQP 1.0's envelope, an empty batch.
func TestMessageEncodings(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 15, 5, 0, time.UTC)
	message := func(body string) Message { return read(amqp.Delivery{Body: []byte(body)}, at) }
	plain := string(notification("m-1"))
	want := message(plain)
	for name, body := range map[string]string{
		"a byte order mark":          "\uFEFF" + plain,
		"AMQP 1.0":                   `{"request": ` + plain + `, "context": {}}`,
		"AMQP 1.0 with a mark":       "\uFEFF" + `{"request": ` + plain + `, "context": {}}`,
		"a batch":                    "[" + plain + "]",
		"a batch with a mark":        "\uFEFF[" + plain + "]",
		"a document in a string":     quoted(t, plain),
		"a mark in a string's value": quoted(t, "\uFEFF"+plain),
	} {
		got := message(body)
		if len(got.Events) != 1 || got.Err != nil {
			t.Errorf("%s: %d events, %v", name, len(got.Events), got.Err)
		} else if diff := cmp.Diff(want.Events[0].String(), got.Events[0].String()); diff != "" {
			t.Errorf("%s (-without +with):\n%s", name, diff)
		}
	}
	for _, body := range []string{"[]", "\uFEFF[]", `{"events": []}`} {
		if got := message(body); len(got.Events) != 0 || got.Err != nil {
			t.Errorf("%q: %d events, %v; want an empty batch", body, len(got.Events), got.Err)
		}
	}
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNoCredentialsInOtherQueues(t *testing.T) {
	m := read(amqp.Delivery{Body: notification("m-1"), ContentType: "application/json"}, time.Now())
	for _, p := range []amqp.Publishing{m.deferred(), m.rejected(decided(apply.Rejected), time.Now())} {
		if bytes.Contains(p.Body, []byte("hunter2")) || p.DeliveryMode != amqp.Persistent ||
			p.ContentType != "application/cloudevents+json" {
			t.Errorf("%s: %s", p.ContentType, p.Body)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", m, m, m.Raw); strings.Contains(s, "hunter2") ||
		strings.Contains(s, "104 117 110 116 101 114 50") {
		t.Error(s)
	}
}

func TestRejectedHeaders(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 15, 5, 0, time.UTC)
	m := read(amqp.Delivery{Body: []byte("{"), ContentType: "application/json", Exchange: "nova",
		RoutingKey: "notifications.info"}, at)
	if m.Err == nil {
		t.Fatal("read")
	}
	p := m.rejected(delivery.Decision{Decision: apply.Decision{Outcome: apply.Rejected, Reason: "bad \xff " +
		strings.Repeat("é", 2000)}}, at)
	reason := p.Headers[headerReason].(string)
	if !strings.HasPrefix(reason, "bad \uFFFD é") || len(reason) > longestHeader || !strings.HasSuffix(reason, "é") {
		t.Errorf("%d bytes: %q", len(reason), reason)
	}
	delete(p.Headers, headerReason)
	want := amqp.Table{
		headerOutcome: "rejected", headerEventID: "", headerExchange: "nova", headerRoutingKey: "notifications.info",
		headerRejectedAt: "2026-11-20T09:15:05Z",
	}
	if diff := cmp.Diff(want, p.Headers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if string(p.Body) != "{" || p.ContentType != "application/json" {
		t.Errorf("%s: %q", p.ContentType, p.Body)
	}
}

// Invalid headers are ignored.
func TestOddHeaders(t *testing.T) {
	now := time.Now()
	for _, h := range []amqp.Table{
		{headerSentAt: "yesterday", headerReceives: "3"}, {headerSentAt: 5, headerReceives: int64(-4)},
		{headerSentAt: now.Add(time.Hour).Format(time.RFC3339), headerReceives: nil},
	} {
		if m := read(amqp.Delivery{Headers: h, Body: []byte("{}")}, now); !m.SentAt.Equal(now) || m.Receives != 1 {
			t.Errorf("%v: %s, %d", h, m.SentAt, m.Receives)
		}
	}
	if m := read(amqp.Delivery{Headers: amqp.Table{headerReceives: int64(1) << 62}}, now); m.Receives != maxReceives+1 {
		t.Errorf("%d receives", m.Receives)
	}
}

func TestSteps(t *testing.T) {
	var labels []string
	for _, step := range steps() {
		labels = append(labels, label(step))
	}
	if got, want := strings.Join(labels, " "), "15s 30s 1m 2m 4m 8m 15m 30m 1h"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for delay, want := range map[time.Duration]time.Duration{
		-time.Second: 15 * time.Second, 0: 15 * time.Second, 15 * time.Second: 15 * time.Second,
		15*time.Second + 1: 30 * time.Second,
		16 * time.Minute:   30 * time.Minute, time.Hour: time.Hour, 25 * time.Hour: time.Hour,
	} {
		if got := stepFor(delay); got != want {
			t.Errorf("%s: %s, want %s", delay, got, want)
		}
	}
}

// The arguments of the queues fit together.
func TestQueues(t *testing.T) {
	top := newTopology(config.Listen{Queue: "tagger"}, nil)
	all := top.queues()
	if len(all) != len(steps())+2 || all[0].name != "tagger" || all[len(all)-1].name != "tagger.rejected" {
		t.Fatalf("%v", all)
	}
	for _, q := range all {
		if q.arguments[amqp.QueueTypeArg] != "quorum" || q.arguments["x-max-length-bytes"].(int64) <= ingress.MaxPayload {
			t.Errorf("%s: %v", q.name, q.arguments)
		}
		if err := q.arguments.Validate(); err != nil {
			t.Errorf("%s: %v", q.name, err)
		}
		delays := strings.HasPrefix(q.name, "tagger.delay.")
		if (q.arguments["x-overflow"] == "reject-publish") != delays {
			t.Errorf("%s: only our own publisher may meet a refusal: %v", q.name, q.arguments)
		}
		if expires := q.arguments["x-expires"] != nil; expires != (q.name == "tagger") {
			t.Errorf("%s: only the queue that has consumers may expire: %v", q.name, slices.Sorted(maps.Keys(q.arguments)))
		}
	}
}
