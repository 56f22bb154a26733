//go:build sqs

package functions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/listen"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// TestQueueOfListener: the sink of tagger listen sends events to queues of a real server, from which the real function
// processes them.
func TestQueueOfListener(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := startMoto(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": address, "AWS_REGION": "", "AWS_ACCESS_KEY_ID": "AKIATEST",
		"AWS_SECRET_ACCESS_KEY": "test-secret-key",
	} {
		t.Setenv(name, value)
	}
	q := makeQueues(t, address, "ServerCreated", time.Minute)
	sim := simcloud.New(simcloud.Options{})
	cloud := httptest.NewServer(sim)
	t.Cleanup(cloud.Close)

	post := func(queue string, body string) delivery.Decision {
		t.Helper()
		sink, err := listen.NewSink(listen.SinkOptions{
			URL:         "https://sqs." + sqsRegion + ".amazonaws.com/123456789012/" + queue,
			Registry:    lifecycle.New(lifecycle.Options{}),
			GiveUpAfter: time.Hour, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		record := ingress.Decode([]byte(body)).Records[0]
		m := delivery.Message{Events: record.Events, Err: record.Err, SentAt: time.Now(), Receives: 1}
		return sink.Begin(ctx, []delivery.Plan{sink.Plan(ctx, m)})()[0]
	}
	event := func(id string, server int, name string) string {
		return cloudEvent(id, "io.github.cloudtagger.server.created", serverOf(server), name, time.Now())
	}

	// The function tags the resources of the sink's events.
	for i := range 3 {
		sim.PutServer(simcloud.Server{ID: serverOf(i), Name: fmt.Sprint("web-", i)})
		if d := post("tagger", event(fmt.Sprint("e-", i), i, fmt.Sprint("web-", i))); d.Outcome != "sent" {
			t.Fatalf("%+v", d)
		}
	}
	var processes sync.WaitGroup
	defer processes.Wait()
	life, end := context.WithCancel(ctx)
	defer end()
	b, err := startBootstrap(life, t, &processes, []string{
		"AWS_ENDPOINT_URL=" + address, "AWS_REGION=" + sqsRegion, "AWS_ACCESS_KEY_ID=AKIATEST",
		"AWS_SECRET_ACCESS_KEY=test-secret-key",
		"TAGGER_RULES=" + sqsRules, "TAGGER_SECRET_ARN=" + makeSecret(t, address, sim.Env(cloud.URL)),
	}, func(map[string]any) {})
	if err != nil {
		t.Fatal(err)
	}
	messages := receiveAll(t, q.client, q.url)
	payload, err := json.Marshal((&mapping{queues: q}).event(messages))
	if err != nil {
		t.Fatal(err)
	}
	a, err := b.runtime.Invoke(ctx, payload, functionTimeout)
	if err != nil || len(messages) != 3 || len(acknowledged(a, messages)) != 3 {
		t.Fatalf("%d messages: %s %s %v", len(messages), a.Body, a.Message, err)
	}
	for i := range 3 {
		if got := sim.Metadata("server", serverOf(i)); got["env"] != "dev" || got["origin"] != fmt.Sprint("web-", i) {
			t.Errorf("server %d: %v", i, got)
		}
	}

	// A FIFO queue has a message group for each resource, and accepts an event once.
	fifo, err := q.client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String("tagger.fifo"), Attributes: map[string]string{"FifoQueue": "true",
			"MaximumMessageSize": "1024"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{event("a-1", 1, "a"), event("a-2", 1, "a"), event("a-1", 1, "a"), event("b-1", 2, "b")} {
		if d := post("tagger.fifo", e); d.Outcome != "sent" {
			t.Fatalf("%+v", d)
		}
	}
	groups := map[string][]string{}
	for range 2 { // a receive may return only one group
		out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: fifo.QueueUrl, MaxNumberOfMessages: 10,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameMessageGroupId},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Messages {
			var e struct{ ID string }
			if err := json.Unmarshal([]byte(*m.Body), &e); err != nil {
				t.Fatal(err)
			}
			group := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
			groups[group] = append(groups[group], e.ID)
		}
	}
	var orders []string
	for _, ids := range groups {
		orders = append(orders, strings.Join(ids, " "))
	}
	if len(orders) != 2 || orders[0] != "a-1 a-2" && orders[1] != "a-1 a-2" || orders[0] != "b-1" && orders[1] != "b-1" {
		t.Errorf("the groups of the FIFO queue have %q", orders)
	}

	// An event that the queue rejects is rejected; a missing queue is a configuration fault.
	if d := post("tagger.fifo", event("long", 1, strings.Repeat("x", 1000))); d.Outcome != apply.Rejected ||
		!strings.Contains(d.Reason, "InvalidParameterValue") {
		t.Errorf("too long: %+v", d)
	}
	if d := post("none", event("e", 1, "a")); d.Fault.Scope != fault.Everything || d.Outcome != apply.Deferred {
		t.Errorf("no queue: %+v", d)
	}
}
