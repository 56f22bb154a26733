package listen

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/internal/lambdatest"
	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
)

const queueAddress = "https://sqs.eu-west-3.amazonaws.com/123456789012/tagger"

// newAWS starts fakes of AWS's services and sets their address in the environment. The client does not retry failed
// calls.
func newAWS(t *testing.T) *lambdatest.AWS {
	t.Helper()
	aws := lambdatest.NewAWS()
	t.Cleanup(aws.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": aws.URL, "AWS_REGION": "", "AWS_MAX_ATTEMPTS": "1", "AWS_ACCESS_KEY_ID": "AKIATEST",
		"AWS_SECRET_ACCESS_KEY": "hunter2",
		"AWS_SESSION_TOKEN":     "",
	} {
		t.Setenv(name, value)
	}
	return aws
}

// A queue gets the same event as an HTTP receiver. In a FIFO queue, each resource is a message group, and an event that
// is sent twice counts once.
func TestSinkSendsToQueues(t *testing.T) {
	aws := newAWS(t)
	other := strings.ReplaceAll(strings.ReplaceAll(string(notification("m-2")), "8c1f0a6e", "9c1f0a6e"), "web-1",
		"web-\ufffe")
	type sentMessage struct{ group, id string }
	seen := map[string][]sentMessage{}
	for _, address := range []string{queueAddress, queueAddress + ".fifo"} {
		s := newSink(t, SinkOptions{URL: address, Overrides: `{"extensions": {"cluster": "é1"}}`})
		for _, body := range []string{string(notification("m-1")), string(notification("m-1")), other} {
			d := post(t, s, read(amqp.Delivery{Body: []byte(body)}, time.Now()))
			if d.Outcome != sent || !d.Reached {
				t.Fatalf("%+v", d)
			}
		}
		for _, call := range aws.Calls() {
			text, _ := call.Body["MessageBody"].(string)
			type attributes struct{ Specversion, Type, Cluster string }
			var e attributes
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Errorf("%v: %s", err, text)
			}
			if e != (attributes{"1.0", "org.openstack.compute.instance.create.end", "é1"}) {
				t.Errorf("the event is %s", text)
			}
			if call.Target != "AmazonSQS.SendMessage" || call.Scope != "eu-west-3/sqs" || call.Body["QueueUrl"] != address {
				t.Errorf("%s, signed for %s, to %v", call.Target, call.Scope, call.Body["QueueUrl"])
			}
			if strings.Contains(text, "hunter2") || strings.Contains(text, "\ufffe") {
				t.Errorf("a credential, or a character that SQS refuses, is in %s", text)
			}
			group, _ := call.Body["MessageGroupId"].(string)
			id, _ := call.Body["MessageDeduplicationId"].(string)
			seen[address] = append(seen[address], sentMessage{group, id})
		}
	}
	if diff := cmp.Diff(make([]sentMessage, 3), seen[queueAddress], cmp.AllowUnexported(sentMessage{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	fifo := seen[queueAddress+".fifo"]
	if len(fifo) != 3 || len(fifo[0].group) != 64 || len(fifo[0].id) != 64 {
		t.Fatalf("%v", fifo)
	}
	if fifo[0] != fifo[1] {
		t.Errorf("one event has two ids: %v", fifo)
	}
	if fifo[2].group == fifo[0].group || fifo[2].id == fifo[0].id {
		t.Errorf("two events of two resources share a group or an id: %v", fifo)
	}
}

// An SQS error is about the message, about throttling or an outage, or about the queue and the access key.
func TestSinkQueueErrors(t *testing.T) {
	aws := newAWS(t)
	s := newSink(t, SinkOptions{URL: queueAddress})
	for _, tt := range []struct {
		status int
		name   string
		want   apply.Outcome
		fault  bool
	}{
		{400, "com.amazonaws.sqs#InvalidMessageContents", apply.Rejected, false},
		// larger than the queue allows
		{400, "com.amazon.coral.service#InvalidParameterValueException", apply.Rejected, false},
		{400, "com.amazonaws.sqs#RequestThrottled", apply.Deferred, false},
		{400, "com.amazonaws.sqs#KmsThrottled", apply.Deferred, false},
		{400, "ThrottlingException", apply.Deferred, false},
		{503, "com.amazonaws.sqs#ServiceUnavailable", apply.Deferred, false},
		{400, "com.amazonaws.sqs#QueueDoesNotExist", apply.Deferred, true},
		{400, "AWS.SimpleQueueService.NonExistentQueue", apply.Deferred, true},
		{400, "com.amazonaws.sqs#KmsDisabled", apply.Deferred, true},
		{403, "AccessDeniedException", apply.Deferred, true},
		{403, "ExpiredTokenException", apply.Deferred, true},
	} {
		aws.Fail("AmazonSQS.SendMessage", lambdatest.Error{Status: tt.status, Type: tt.name})
		d := post(t, s, created(t))
		if d.Outcome != tt.want || (d.Fault.Scope == fault.Everything) != tt.fault || !d.Reached {
			t.Errorf("%s: %+v", tt.name, d)
		}
		if d.Outcome == apply.Deferred && d.Delay <= 0 {
			t.Errorf("%s: deferred without a delay", tt.name)
		}
		if !strings.Contains(d.Reason, tt.name[strings.LastIndexAny(tt.name, "#")+1:]) {
			t.Errorf("%s: the reason is %q", tt.name, d.Reason)
		}
	}
	aws.Close()
	if d := post(t, s, created(t)); d.Outcome != apply.Deferred || d.Fault.Err != nil || d.Reached {
		t.Errorf("no server: %+v", d)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if d := post(t, s, created(t)); d.Fault.Scope != fault.Everything || !strings.Contains(d.Reason, "AWS_ACCESS_KEY_ID") {
		t.Errorf("no key: %+v", d)
	}
}

// The events of one resource are sent one after the other, in order of arrival. Those of other resources do not wait.
func TestSinkKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns keyedQueue
		var order []string
		finish := map[string]func(){}
		for _, name := range []string{"a1", "a2", "b1", "a3"} {
			before, done := turns.enqueue(name[:1])
			proceed := make(chan struct{})
			finish[name] = func() { close(proceed); synctest.Wait() }
			go func() {
				<-before
				order = append(order, name)
				<-proceed
				done()
			}()
			synctest.Wait()
		}
		for _, name := range []string{"a2", "b1", "a1", "a3"} { // a2 may end, and has not begun
			finish[name]()
		}
		if got := fmt.Sprint(order); got != "[a1 b1 a2 a3]" {
			t.Error(got)
		}
		if len(turns.last) != 0 {
			t.Errorf("%d keys are left", len(turns.last))
		}
	})
}

// A Sink sends messages in the order of their Begin calls, whichever of them is waited for first.
func TestSinkSendsInOrder(t *testing.T) {
	aws := newAWS(t)
	s := newSink(t, SinkOptions{URL: queueAddress + ".fifo"})
	var finish []func() []delivery.Decision
	for i := range 3 {
		m := read(amqp.Delivery{Body: notification(fmt.Sprint("m-", i))}, time.Now())
		finish = append(finish, s.Begin(t.Context(), []delivery.Plan{s.Plan(t.Context(), m.Message)}))
	}
	ended := make(chan struct{})
	for _, f := range []int{2, 1, 0} {
		go func() { f := finish[f]; f(); ended <- struct{}{} }()
	}
	for range 3 {
		<-ended
	}
	var got []string
	for _, call := range aws.Calls() {
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(call.Body["MessageBody"].(string)), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID)
	}
	if diff := cmp.Diff([]string{"m-0", "m-1", "m-2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
