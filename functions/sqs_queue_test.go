//go:build sqs

package functions_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const (
	pollers         = 2
	functionTimeout = 12 * time.Second
	// visibilityTimeout is much shorter than template.yaml's six minutes, because each crash delays the test by it.
	visibilityTimeout = 13 * time.Second
)

// TestQueue sends events of every kind to a queue of a real server. The real function processes them while the cloud
// fails and processes crash. In the end each event is tagged, acknowledged with a reason, in the dead-letter queue with
// a reason, or still in the queue because it needs an operator. Then the test does what an operator would, and redrives
// the dead letters.
func TestQueue(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("three minutes have passed"))
	defer cancel()
	address := startMoto(t)
	e := &queueTest{
		T: t, queues: makeQueues(t, address, "ServerCreated", visibilityTimeout), tap: newTap(t, address),
		ledger:  newLedger(),
		crashes: map[string]func(){}, dead: map[string]types.Message{},
	}
	e.sim = simcloud.New(simcloud.Options{Seed: 4, OnRequest: e.request})
	cloud := httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(cloud.Close)
	e.env = []string{
		"AWS_ENDPOINT_URL=" + e.tap.URL, "AWS_REGION=" + sqsRegion, "AWS_ACCESS_KEY_ID=AKIATEST",
		"AWS_SECRET_ACCESS_KEY=test-secret-key",
		"TAGGER_RULES=" + sqsRules, "TAGGER_SECRET_ARN=" + makeSecret(t, address, e.sim.Env(cloud.URL)),
		"TAGGER_DEAD_LETTER_QUEUE_URL=" + e.queues.deadURL,
	}

	e.all = storm(e.sim, func(server string) context.Context {
		crash, reached := context.WithCancel(ctx)
		e.crashes[server] = reached
		return crash
	})
	badDay(e.sim, 6)
	for _, s := range e.all {
		if s.id == "unsent" {
			e.tap.refuse(s.body, 3) // the number of the SDK's attempts
		}
		for range s.copies {
			e.send(s)
		}
	}
	e.run(ctx, "storm")
	e.takeDeadLetters()
	e.account("after the storm", func(s *sent) []string { return s.want })
	e.checkHandedBack()
	if e.ledger.kills != len(e.crashes) {
		t.Errorf("%d processes were killed; want %d", e.ledger.kills, len(e.crashes))
	}

	// The operator fixes all servers but one. There the API still fails, and the record is now too old for a retry.
	outage := e.repairAll()
	e.run(ctx, "repaired", "TAGGER_GIVE_UP_AFTER=10s")
	e.takeDeadLetters()
	if dead, ok := e.dead[outage.body]; !ok || !strings.Contains(attribute(dead, "reason"), "given up after 10s: ") ||
		!strings.Contains(attribute(dead, "reason"), " 503 ") {
		t.Errorf("%s: dead letter %v, with the reason %q", outage.name, ok, attribute(dead, "reason"))
	}

	// A redriven record counts as new, so the API's next failure is retried.
	e.sim.ClearFaults()
	e.sim.Inject(simcloud.Fault{Path: outage.server, Times: 1, Answer: simcloud.Unavailable(0)})
	e.redrive(ctx)
	e.run(ctx, "redriven", "TAGGER_GIVE_UP_AFTER=10s")
	e.takeDeadLetters()
	e.account("after the redrive", func(s *sent) []string {
		if s.later != "" {
			return []string{s.later}
		}
		return s.want
	})
	e.checkCalls()
}

// queueTest is the state of the test.
type queueTest struct {
	*testing.T
	queues  queues
	tap     *tap
	sim     *simcloud.Cloud
	env     []string
	ledger  *ledger
	all     []*sent
	dead    map[string]types.Message // the dead letters, by body
	crashes map[string]func()        // by server

	calls, failed atomic.Int64
}

func (e *queueTest) request(r simcloud.Request) {
	e.calls.Add(1)
	if r.Status == 0 || r.Status == http.StatusTooManyRequests || r.Status >= http.StatusInternalServerError {
		e.failed.Add(1)
	}
}

func (e *queueTest) serve(w http.ResponseWriter, r *http.Request) {
	for server, reached := range e.crashes {
		if strings.Contains(r.URL.Path, server) {
			reached()
		}
	}
	e.sim.ServeHTTP(w, r)
}

func (e *queueTest) send(s *sent) {
	e.Helper()
	out, err := e.queues.client.SendMessage(e.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(e.queues.url),
		MessageBody: aws.String(s.body)})
	if err != nil {
		e.Fatal(err)
	}
	e.ledger.sending(*out.MessageId, s)
}

// run runs the function until all messages are settled.
func (e *queueTest) run(ctx context.Context, name string, env ...string) {
	e.Helper()
	start, calls, failed, invocations, kills := time.Now(), e.calls.Load(), e.failed.Load(), e.ledger.invocations,
		e.ledger.kills
	m := &mapping{t: e.T, queues: e.queues, timeout: functionTimeout, ledger: e.ledger, env: slices.Concat(e.env, env)}
	if err := m.run(ctx, pollers, func() bool { return e.ledger.settled(e.tap.asked) }); err != nil {
		e.takeDeadLetters()
		e.account(name, func(s *sent) []string { return s.want })
		e.Fatalf("%s: %v", name, err)
	}
	for _, message := range e.ledger.errors {
		e.Errorf("%s: an invocation failed: %s", name, message)
	}
	e.Logf("%s: %.1f s, %d invocations, %d of them ended by a crash, %d calls of the cloud's API, %d of them failed", name,
		time.Since(start).Seconds(),
		e.ledger.invocations-invocations, e.ledger.kills-kills, e.calls.Load()-calls, e.failed.Load()-failed)
}

// takeDeadLetters checks the body and the reason of the new dead letters.
func (e *queueTest) takeDeadLetters() {
	e.Helper()
	for _, message := range receiveAll(e.T, e.queues.client, e.queues.deadURL) {
		i := slices.IndexFunc(e.all, func(s *sent) bool { return s.body == *message.Body })
		if i < 0 {
			e.Errorf("a dead letter that was never sent: %.200s", *message.Body)
			continue
		}
		s := e.all[i]
		if _, again := e.dead[s.body]; again {
			e.Errorf("%s: is in the dead-letter queue twice", s.name)
		}
		e.dead[s.body] = message
		if got := attribute(message, "outcome"); got != "rejected" {
			e.Errorf("%s: the dead letter's outcome is %q", s.name, got)
		}
		if got := attribute(message, "reason"); got == "" || !strings.Contains(got, s.why) {
			e.Errorf("%s: the dead letter's reason is %q; want %q in it", s.name, got, s.why)
		}
		if got, want := attribute(message, "event_id"), strings.ReplaceAll(s.id, "\ufffe", "\ufffd"); got != want {
			e.Errorf("%s: the dead letter's event_id is %q; want %q", s.name, got, want)
		}
		if got := attribute(message, "source_queue"); got != e.queues.arn {
			e.Errorf("%s: the dead letter's source_queue is %q; want %q", s.name, got, e.queues.arn)
		}
	}
}

func attribute(message types.Message, name string) string {
	return aws.ToString(message.MessageAttributes[name].StringValue)
}

// checkHandedBack compares the queue with the ledger: failed messages are there, and invisible for the requested time.
func (e *queueTest) checkHandedBack() {
	e.Helper()
	waiting := 0
	for _, m := range e.ledger.waiting() {
		waiting++
		// 15 minutes ± 20 %
		if d := e.tap.asked(m.receipt); d < 12*time.Minute || d > 18*time.Minute {
			e.Errorf("%s: visible again after %s", m.sent.name, d)
		}
	}
	for name, want := range map[types.QueueAttributeName]int{
		types.QueueAttributeNameApproximateNumberOfMessages:           0,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible: waiting,
	} {
		if got := queueAttribute(e.T, e.queues.client, e.queues.url, name); got != strconv.Itoa(want) {
			e.Errorf("%s is %s; want %d", name, got, want)
		}
	}
}

// repairAll makes every server ready and all failed messages visible. It returns the event of the one server whose API
// fails.
func (e *queueTest) repairAll() *sent {
	e.Helper()
	e.sim.ClearFaults()
	for _, s := range e.all {
		if s.later == "" {
			continue
		}
		e.sim.SetServerLocked(s.server, false)
		e.sim.SetServerState(s.server, "active", "")
		own := maps.Clone(s.planned)
		delete(own, "env")
		delete(own, "origin")
		e.sim.SetServerMetadata(s.server, own)
	}
	waiting := e.ledger.waiting()
	if len(waiting) == 0 {
		e.Fatal("nothing was handed back")
	}
	for _, m := range waiting {
		_, err := e.queues.client.ChangeMessageVisibility(e.Context(), &sqs.ChangeMessageVisibilityInput{
			QueueUrl: aws.String(e.queues.url), ReceiptHandle: aws.String(m.receipt), VisibilityTimeout: 0,
		})
		if err != nil {
			e.Fatal(err)
		}
		m.receipt = "" // the next receive has a new one
	}
	outage := waiting[0].sent
	e.sim.Inject(simcloud.Fault{Path: outage.server, Answer: simcloud.Unavailable(0)})
	return outage
}

// redrive moves the dead letters to the queue as new messages, as SQS does for "make redrive". moto cannot do it.
func (e *queueTest) redrive(ctx context.Context) {
	e.Helper()
	for body, message := range e.dead {
		e.send(e.all[slices.IndexFunc(e.all, func(s *sent) bool { return s.body == body })])
		if _, err := e.queues.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: aws.String(e.queues.deadURL),
			ReceiptHandle: message.ReceiptHandle}); err != nil {
			e.Fatal(err)
		}
		delete(e.dead, body)
	}
}

// checkCalls checks that AWS is called only for failed messages and dead letters.
func (e *queueTest) checkCalls() {
	e.Helper()
	e.Logf("calls of AWS by the function: %v", e.tap.calls)
	for operation, n := range e.tap.calls {
		switch operation {
		case "AmazonSQS.ChangeMessageVisibility", "AmazonSQS.SendMessage", "secretsmanager.GetSecretValue":
		default:
			e.Errorf("the function called %s %d times", operation, n)
		}
	}
}

func (e *queueTest) account(title string, want func(*sent) []string) {
	e.Helper()
	e.ledger.account(e.T, title, e.all, func(s *sent) string {
		_, dead := e.dead[s.body]
		return e.ledger.became(s, dead, e.sim)
	}, want)
}
