package ingress_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

const event1 = `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`

// TestSQSRecord checks that each record keeps what its answer needs, even if it cannot be read.
func TestSQSRecord(t *testing.T) {
	b := sqs(t, event1, `{"specversion":"1.0","id":"2"`, strings.Replace(event1, `"1"`, `"3"`, 1))
	if b.Carrier != ingress.SQS {
		t.Errorf("carrier %q", b.Carrier)
	}
	var got []ingress.Record
	for i, r := range b.Records {
		if (r.Err != nil) != (i == 1) || (len(r.Events) == 1) != (i != 1) {
			t.Errorf("record %d: %d events, err %v", i, len(r.Events), r.Err)
		}
		r.Events, r.Err = nil, nil
		got = append(got, r)
	}
	record := func(n, raw string) ingress.Record {
		return ingress.Record{
			AckID: "m" + n, Receipt: "r" + n, Source: "arn:aws:sqs:eu-central-1:123456789012:q", Receives: 3,
			SentAt: time.Date(2026, 11, 20, 9, 15, 5, 123e6, time.UTC), Raw: ingress.Raw(raw),
		}
	}
	want := []ingress.Record{
		record("1", event1), record("2", `{"specversion":"1.0","id":"2"`),
		record("3", strings.Replace(event1, `"1"`, `"3"`, 1)),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSQSGroup checks that only FIFO queues keep the order of their message groups.
func TestSQSGroup(t *testing.T) {
	for queue, want := range map[string]string{"q.fifo": "g-1", "q": ""} {
		b := ingress.Decode(fmt.Appendf(nil,
			`{"Records": [{"messageId": "m1", "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:%s",
			"body": %q, "attributes": {"MessageGroupId": "g-1"}}]}`, queue, event1))
		if got := b.Records[0].Group; got != want {
			t.Errorf("%s: group %q, want %q", queue, got, want)
		}
	}
}

// TestGoodEventsOfABadRecord checks that several events in one record are acknowledged together and processed
// separately.
func TestGoodEventsOfABadRecord(t *testing.T) {
	b := sqs(t, `{"events":[`+event1+`,{"specversion":"1.0","id":"2"},`+event1+`,null,5,"x",{}]}`)
	if n := len(b.Records[0].Events); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	want := `read SQS record "m1"` + ": body: EventGrid batch: event 2 of 7: CloudEvent: source and type are missing; " +
		"event 4 of 7: is neither a JSON object nor an array; event 5 of 7: is neither a JSON object nor an array; and 2 more"
	if got := fmt.Sprint(b.Records[0].Err); got != want {
		t.Errorf("error\n%s, want\n%s", got, want)
	}
}

func TestSQSPayloadsThatAreNone(t *testing.T) {
	for _, c := range []struct{ name, payload, want string }{
		{"of SNS", `{"Records":[{"EventSource":"aws:sns","Sns":{}}]}`,
			"read payload: Records: none is from an SQS queue (eventSource is not aws:sqs); put a queue between"},
		{"nulls", `{"Records":[null]}`,
			"read payload: Records: none is from an SQS queue (eventSource is not aws:sqs); put a queue between"},
		{"too many", `{"Records":[` + strings.Repeat("1,", 10_000) + `1]}`,
			"read payload: Records: has more than 10000 elements"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := ingress.Decode([]byte(c.payload))
			if len(b.Records) != 1 || b.Records[0].Err == nil || b.Records[0].Err.Error() != c.want {
				t.Errorf("%d records, error %v, want %q", len(b.Records), b.Records[0].Err, c.want)
			}
		})
	}
}

// TestSQSRecordOfAnotherKind checks that a record of another kind does not keep the others from being read.
func TestSQSRecordOfAnotherKind(t *testing.T) {
	good := strings.TrimSuffix(strings.TrimPrefix(sqsPayload(t, event1), `{"Records":[`), `]}`)
	many := `{` + strings.Repeat(`"a":1,`, 3) + `"messageId":"m9","eventSource":"aws:s3"}`
	b := ingress.Decode([]byte(`{"Records":[null,` + many + `,{"messageId":"m8","eventSource":"aws:sqs"},` + good + `]}`))
	var got []string
	for _, r := range b.Records {
		got = append(got, fmt.Sprintf("%s %d %v", r.AckID, len(r.Events), r.Err))
	}
	want := []string{
		" 0 read SQS record: is not an object",
		`m9 0 read SQS record "m9": eventSource is not aws:sqs`,
		`m8 0 read SQS record "m8": body is missing`,
		"m1 1 <nil>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestLambdaDestination checks a failed asynchronous invocation that is replayed from its dead-letter queue.
func TestLambdaDestination(t *testing.T) {
	record := `{"version":"1.0","timestamp":"2026-11-20T09:15:05.123Z","requestContext":{"requestId":"r",` +
		`"functionArn":"arn:aws:lambda:eu-central-1:1:function:f:$LATEST",` +
		`"condition":"RetriesExhausted","approximateInvokeCount":3},"requestPayload":` + event1 +
		`,"responseContext":{"statusCode":200,"functionError":"Unhandled"},"responsePayload":{"errorType":"DeferredError"}}`
	for name, b := range map[string]ingress.Batch{"SQS": sqs(t, record), "direct": ingress.Decode([]byte(record))} {
		if r := b.Records[0]; r.Err != nil || len(r.Events) != 1 || r.Events[0].ID() != "1" {
			t.Errorf("%s: %d events, %v", name, len(r.Events), r.Err)
		}
	}
	b := sqs(t, strings.Replace(record, event1, `{"a":1}`, 1))
	if got := fmt.Sprint(b.Records[0].Err); !strings.Contains(got, "Lambda destination record: requestPayload: is "+
		"not a CloudEvent") {
		t.Errorf("error %s", got)
	}
}
