package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// script returns for each event the outcome that its subject names.
type script struct {
	mu      sync.Mutex
	seen    []tagger.Delivery
	running atomic.Int32
	most    atomic.Int32
	work    time.Duration
	entered chan struct{} // if not nil, receives when an event is being worked on,
	release chan struct{} // which then goes on until this is closed
}

func (s *script) Plan(context.Context, ce.Event) []*tagger.Plan { return []*tagger.Plan{{}} }

func (s *script) Apply(ctx context.Context, p *tagger.Plan, d tagger.Delivery) *tagger.Result {
	s.most.Store(max(s.most.Load(), s.running.Add(1)))
	defer s.running.Add(-1)
	s.mu.Lock()
	s.seen = append(s.seen, d)
	s.mu.Unlock()
	if s.entered != nil {
		s.entered <- struct{}{}
		<-s.release
	}
	timer := time.NewTimer(s.work)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	r := result(d.Event.ID(), apply.Decision{Outcome: apply.Outcome(d.Event.Subject()), Reason: "because"})
	switch r.Outcome {
	case "panic":
		panic("boom")
	case "broken":
		r.Outcome, r.Delay = apply.Deferred, time.Minute
		r.Fault = apply.Fault{Err: errors.New("credentials refused"), Scope: fault.Resource}
	case "locked out":
		r.Outcome, r.Delay = apply.Deferred, time.Minute
		r.Fault = apply.Fault{Err: errors.New("credentials refused"), Scope: fault.Everything}
	case apply.Deferred:
		r.Delay = 90500 * time.Millisecond
	case apply.Tagged:
		r.Calls = 2
	}
	return r
}

func result(id string, d apply.Decision) *tagger.Result {
	r := &tagger.Result{Plan: tagger.Plan{Decision: &d}}
	r.Event.ID = id
	return r
}

func (s *script) Failed(_ context.Context, d tagger.Delivery, reason string) *tagger.Result {
	return result(d.Event.ID(), apply.Decision{Outcome: apply.Deferred, Reason: reason, Delay: 15 * time.Second})
}

func (s *script) Unreadable(_ context.Context, err error) *tagger.Result {
	return result("", apply.Decision{Outcome: apply.Rejected, Reason: err.Error()})
}

func (s *script) GivenUp(_ context.Context, d tagger.Delivery, last *tagger.Result) *tagger.Result {
	return result(d.Event.ID(), apply.Decision{Outcome: apply.Rejected, Reason: "given up: " + last.Fault.Err.Error(),
		Internal: true})
}

// queues records the calls, and fails on request.
type queues struct {
	mu      sync.Mutex
	changed []string
	sent    []map[string]string
	bodies  []string
	err     error
}

func (q *queues) ChangeVisibility(_ context.Context, queue, receipt string, delay time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed = append(q.changed, fmt.Sprintf("%s %s %s", queue, receipt, delay))
	return q.err
}

func (q *queues) Send(_ context.Context, url string, body []byte, attributes map[string]string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return q.err
	}
	attributes["to"] = url
	q.sent, q.bodies = append(q.sent, attributes), append(q.bodies, string(body))
	return nil
}

func newLambda(s delivery.Tagger, q host.Queues, concurrency int) *host.Lambda {
	return &host.Lambda{Processor: processor(s, concurrency), Queues: q, DeadLetterQueueURL: "dead",
		Log: slog.New(slog.DiscardHandler)}
}

func processor(s delivery.Tagger, concurrency int) *delivery.Processor {
	return delivery.New(delivery.Options{
		Tagger: s, Concurrency: concurrency, GiveUpAfter: 24 * time.Hour, Tolerance: 1, Log: slog.New(slog.DiscardHandler),
	})
}

// event returns an event with the given outcome.
func event(outcome string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "id": "e-%s", "source": "/s", "type": "t", "subject": %q}`, outcome,
		outcome)
}

func record(name, body string) string {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"messageId": %q, "receiptHandle": "r-%s", "body": %s, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:1:q",
		"attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "%d"}}`, name, name, text,
		time.Now().Add(-time.Minute).UnixMilli())
}

func batch(records ...string) []byte {
	return []byte(`{"Records": [` + strings.Join(records, ",") + `]}`)
}

func failed(t *testing.T, answer any) []string {
	t.Helper()
	response, ok := answer.(events.SQSEventResponse)
	if !ok {
		t.Fatalf("answer %T", answer)
	}
	names := []string{}
	for _, f := range response.BatchItemFailures {
		names = append(names, f.ItemIdentifier)
	}
	slices.Sort(names)
	return names
}

// Each outcome of an SQS record.
func TestQueue(t *testing.T) {
	s, q := &script{}, &queues{}
	l := newLambda(s, q, 10)
	var records []string
	for _, o := range apply.Outcomes() {
		records = append(records, record(string(o), event(string(o))))
	}
	records = append(records, record("panic", event("panic")), record("junk", "{"))
	answer, err := l.Handle(t.Context(), batch(records...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"deferred", "panic"}, failed(t, answer)); diff != "" {
		t.Errorf("handed back (-want +got):\n%s", diff)
	}
	slices.Sort(q.changed)
	if diff := cmp.Diff([]string{"arn:aws:sqs:eu-central-1:1:q r-deferred 1m30.5s",
		"arn:aws:sqs:eu-central-1:1:q r-panic 15s"}, q.changed); diff != "" {
		t.Errorf("visibility (-want +got):\n%s", diff)
	}
	slices.Sort(q.bodies)
	if diff := cmp.Diff([]string{"{", event("rejected")}, q.bodies); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	for _, attributes := range q.sent {
		if attributes["reason"] == "" {
			t.Errorf("no reason: %v", attributes)
		}
		for name, want := range map[string]string{
			"to": "dead", "outcome": "rejected", "source_queue": "arn:aws:sqs:eu-central-1:1:q",
		} {
			if attributes[name] != want {
				t.Errorf("%s is %q, want %q", name, attributes[name], want)
			}
		}
	}
	for _, d := range s.seen {
		if d.Receives != 2 || d.SentAt.IsZero() || d.Wait != 5*time.Second {
			t.Errorf("delivery %+v", d)
		}
	}
}

// A dead letter that cannot be sent stays in its queue. A failed change of visibility has no other effect.
func TestQueuesFail(t *testing.T) {
	q := &queues{err: errors.New("no such queue")}
	l := newLambda(&script{}, q, 10)
	answer, err := l.Handle(t.Context(), batch(record("a", event("rejected")), record("b", event("deferred")),
		record("c", event("tagged"))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, failed(t, answer)); diff != "" {
		t.Error(diff)
	}
}

// If nothing works, the whole batch fails with an error, and no dead letters are sent, so that redeliveries do not
// repeat them.
func TestNothingWorks(t *testing.T) {
	q := &queues{}
	l := newLambda(&script{}, q, 10)
	_, err := l.Handle(t.Context(), batch(record("a", event("rejected")), record("b", event("broken")),
		record("c", event("broken"))))
	var refused *host.CredentialsError
	if !errors.As(err, &refused) || len(q.sent) != 0 || len(q.changed) != 0 {
		t.Errorf("error %v, %d dead letters, %d visibilities", err, len(q.sent), len(q.changed))
	}
}

// A fault with scope everything fails the batch even after successful records.
func TestCredentialsRefusedInTheMiddle(t *testing.T) {
	q := &queues{}
	_, err := newLambda(&script{}, q, 10).Handle(t.Context(),
		batch(record("a", event("tagged")), record("b", event("locked out")), record("c", event("rejected"))))
	var refused *host.CredentialsError
	if !errors.As(err, &refused) || len(q.sent) != 0 || len(q.changed) != 0 {
		t.Errorf("error %v, %d dead letters, %d visibilities", err, len(q.sent), len(q.changed))
	}
}

// A fault of one server does not affect the other records.
func TestOneIsForbidden(t *testing.T) {
	q := &queues{}
	l := newLambda(&script{}, q, 10)
	answer, err := l.Handle(t.Context(), batch(record("a", event("tagged")), record("b", event("rejected")),
		record("c", event("broken"))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"c"}, failed(t, answer)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"arn:aws:sqs:eu-central-1:1:q r-c 1m0s"}, q.changed); diff != "" || len(q.sent) != 1 {
		t.Errorf("%d dead letters; visibility (-want +got):\n%s", len(q.sent), diff)
	}
}

// Records after a failed one in a FIFO group fail too, even if they were already done.
func TestGroups(t *testing.T) {
	in := func(group, name, outcome string) string {
		r := strings.Replace(record(name, event(outcome)), `"attributes": {`, `"attributes": {"MessageGroupId": "`+group+
			`", `, 1)
		return strings.Replace(r, "1:q", "1:q.fifo", 1)
	}
	payload := batch(
		in("a", "a1", "tagged"), in("a", "a2", "rejected"), in("a", "a3", "tagged"), in("b", "b1", "deferred"),
		in("b", "b2", "tagged"), in("c", "c1", "tagged"),
		in("b", "b3", "rejected"),
	)
	for _, tt := range []struct {
		name string
		err  error // of the dead-letter queue
		want []string
		dead int
	}{
		{"with a dead-letter queue", nil, []string{"b1", "b2", "b3"}, 1},
		{"without", errors.New("no such queue"), []string{"a2", "a3", "b1", "b2", "b3"}, 0},
	} {
		q := &queues{err: tt.err}
		answer, err := newLambda(&script{}, q, 10).Handle(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, failed(t, answer)); diff != "" || len(q.sent) != tt.dead || len(q.changed) != 1 {
			t.Errorf("%s: %d dead letters, visibility %q, handed back (-want +got):\n%s", tt.name, len(q.sent), q.changed, diff)
		}
	}
}

func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{work: time.Second}
		l := newLambda(s, &queues{}, 3)
		var records []string
		for i := range 10 {
			records = append(records, record(strconv.Itoa(i), event("tagged")))
		}
		start := time.Now()
		if _, err := l.Handle(t.Context(), batch(records...)); err != nil {
			t.Fatal(err)
		}
		if s.most.Load() != 3 || time.Since(start) != 4*time.Second {
			t.Errorf("%d at a time, %s", s.most.Load(), time.Since(start))
		}
	})
}

// Records that cannot be started in time return to the queue.
func TestTheInvocationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{work: 20 * time.Second}
		l := newLambda(s, &queues{}, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		var records []string
		for i := range 5 {
			records = append(records, record(strconv.Itoa(i), event("tagged")))
		}
		start := time.Now()
		answer, err := l.Handle(ctx, batch(records...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"3", "4"}, failed(t, answer)); diff != "" || len(s.seen) != 3 {
			t.Errorf("%d started, handed back (-want +got):\n%s", len(s.seen), diff)
		}
		if d := time.Since(start); d != 45*time.Second {
			t.Errorf("answered after %s of 50 s", d)
		}
	})
}

// Each outcome of a direct invocation.
func TestDirect(t *testing.T) {
	l := newLambda(&script{}, &queues{}, 10)
	for _, o := range append(apply.Outcomes(), "broken", "panic") {
		answer, err := l.Invoke(t.Context(), []byte(event(string(o))))
		var deferred *host.DeferredError
		var rejected *host.RejectedError
		var refused *host.CredentialsError
		switch o {
		case apply.Deferred, "panic":
			if !errors.As(err, &deferred) {
				t.Errorf("%s: %v", o, err)
			}
		case apply.Rejected:
			if !errors.As(err, &rejected) {
				t.Errorf("%s: %v", o, err)
			}
		case "broken":
			if !errors.As(err, &refused) {
				t.Errorf("%s: %v", o, err)
			}
		default:
			if err != nil || !strings.HasPrefix(string(answer), `{"outcome":"`+string(o)+`","results":[{"event"`) {
				t.Errorf("%s: %s, %v", o, answer, err)
			}
		}
	}
}

// The wait depends on the trigger unless it is set.
func TestWaits(t *testing.T) {
	payload := func(body string) string {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"requestContext": {"http": {"method": "POST"}}, "headers": {"content-type": `+
			`"application/cloudevents+json"}, "body": %s}`, text)
	}
	for _, tt := range []struct {
		name, payload string
		want          time.Duration
	}{
		{"queue", string(batch(record("a", event("tagged")))), 5 * time.Second},
		{"HTTP", payload(event("tagged")), 20 * time.Second},
		{"direct", event("tagged"), 15 * time.Minute},
	} {
		for _, set := range []*time.Duration{nil, new(7 * time.Second)} {
			s := &script{}
			l := newLambda(s, &queues{}, 10)
			l.Wait = set
			if _, err := l.Handle(t.Context(), []byte(tt.payload)); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if set != nil {
				want = *set
			}
			if got := s.seen[0].Wait; got != want {
				t.Errorf("%s: waits %s, want %s", tt.name, got, want)
			}
		}
	}
}

// Each outcome over a function URL, whose responses are those of tagger serve. None is 404 or 409, which Knative would
// retry.
func TestFunctionURL(t *testing.T) {
	l := newLambda(&script{}, &queues{}, 10)
	for outcome, want := range map[string]int{
		"tagged": 204, "unchanged": 204, "ignored": 204, "unrecognised": 204, "gone": 204, "blocked": 204, "deferred": 503,
		"rejected": 422, "broken": 500, "": 400,
	} {
		for _, accept := range []string{"*/*", "application/json"} {
			body := event(outcome)
			if outcome == "" {
				body = "{"
			}
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			payload := fmt.Sprintf(`{"version": "2.0", "routeKey": "$default", "rawPath": "/",
				"headers": {"content-type": "application/cloudevents+json", "accept": %q},
				"requestContext": {"http": {"method": "POST", "path": "/"}}, "body": %s, "isBase64Encoded": false}`, accept, text)
			answer, err := l.Handle(t.Context(), []byte(payload))
			response, ok := answer.(events.LambdaFunctionURLResponse)
			status, inBody := want, accept == "application/json"
			if inBody && want == 204 {
				status = 200
			}
			if err != nil || !ok || response.StatusCode != status {
				t.Errorf("%s, %s: %+v, %v; want %d", outcome, accept, answer, err, status)
			}
			if inBody != strings.HasPrefix(response.Body, `{"outcome":"`) || status == 204 && response.Body != "" {
				t.Errorf("%s, %s: body %q", outcome, accept, response.Body)
			}
			if after := response.Headers["Retry-After"]; (outcome == "deferred") != (after == "91") {
				t.Errorf("%s: Retry-After %q", outcome, after)
			}
			if got := response.Headers["Tagger-Outcome"]; want == 204 && got != outcome {
				t.Errorf("%s: Tagger-Outcome %q", outcome, got)
			}
		}
	}
}

// A load balancer with multi-value headers gets its response in that form. A REST API sends and takes both.
func TestMultiValueHeaders(t *testing.T) {
	l := newLambda(&script{}, &queues{}, 10)
	const multi = `"multiValueHeaders": {"content-type": ["application/cloudevents+json"], "Accept": ["text/html", ` +
		`"application/json"]}`
	const single = `"headers": {"content-type": "application/cloudevents+json", "Accept": "application/json"}`
	for _, tt := range []struct {
		name, headers string
		multi         bool
	}{
		{"load balancer", multi, true},
		{"load balancer, null", `"headers": null, ` + multi, true},
		{"load balancer, single", single, false},
		{"REST API", single + ", " + multi, false},
	} {
		for _, mark := range []string{"", "\uFEFF"} {
			payload := fmt.Sprintf(`%s{"requestContext": {"elb": {}}, %s, "body": %q, "isBase64Encoded": false}`, mark,
				tt.headers, event("deferred"))
			answer, err := l.Invoke(t.Context(), []byte(payload))
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				StatusCode        int
				Headers           map[string]string
				MultiValueHeaders map[string][]string
				Body              string
			}
			if err := json.Unmarshal(answer, &got); err != nil {
				t.Fatal(err)
			}
			retry := got.Headers["Retry-After"]
			if tt.multi {
				retry = strings.Join(got.MultiValueHeaders["Retry-After"], ",")
			}
			if got.StatusCode != 503 || retry != "91" || !strings.HasPrefix(got.Body, `{"outcome":"deferred"`) {
				t.Errorf("%s: %s", tt.name, answer)
			}
			if (len(got.MultiValueHeaders) > 0) != tt.multi || (len(got.Headers) == 0) != tt.multi {
				t.Errorf("%s: form of the headers: %s", tt.name, answer)
			}
		}
	}
}

// A record of several events has the worst outcome of them. The good ones are still processed, and do not wait for one
// that is not ready.
func TestRecordOfSeveralEvents(t *testing.T) {
	s := &script{}
	answer, err := newLambda(s, &queues{}, 10).Handle(t.Context(),
		batch(record("a", "["+event("deferred")+","+event("panic")+","+event("tagged")+"]")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, failed(t, answer)); diff != "" {
		t.Error(diff)
	}
	var waits []string
	for _, d := range s.seen {
		waits = append(waits, d.Event.Subject()+" "+d.Wait.Round(time.Second).String())
	}
	slices.Sort(waits[:3]) // they are worked on at the same time
	slices.Sort(waits[3:])
	if diff := cmp.Diff([]string{"deferred 0s", "panic 0s", "tagged 0s", "deferred 5s", "panic 5s"}, waits); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The response is sent before the invocation ends, even if the queues' calls are slow.
func TestAnswerInTime(t *testing.T) {
	for _, timeout := range []time.Duration{3 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{work: time.Hour}
			l := newLambda(s, stuck{}, 10)
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			start := time.Now()
			if _, err := l.Handle(ctx, batch(record("a", event("rejected")), record("b", event("deferred")))); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d >= timeout {
				t.Errorf("answered after %s of %s", d, timeout)
			}
		})
	}
}

// stuck are queues that do not respond.
type stuck struct{}

func (stuck) ChangeVisibility(ctx context.Context, _, _ string, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

func (stuck) Send(ctx context.Context, _ string, _ []byte, _ map[string]string) error {
	<-ctx.Done()
	return ctx.Err()
}
