package ingress

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/document"
)

// holdsRecords reports whether an array is the payload of EventBridge Pipes from a queue: the records without an
// envelope. The response has the event source mapping's form
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-sqs.html, "Partial batch failures").
func holdsRecords(array []byte) bool {
	first, _ := document.CutValue(document.SkipSpace(array)[1:])
	if document.Kind(first) != '{' {
		return false
	}
	record, err := document.Members(first)
	return err == nil && record.Text("eventSource") == eventSourceSQS && record.Has("messageId")
}

const eventSourceSQS = "aws:sqs"

// records splits the event of an SQS event source mapping
// (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event). A body is a
// structured event, a batch, a notification or a trace, possibly wrapped by SNS or EventBridge. Message attributes are
// ignored: CloudEvents has no binding for SQS.
func (d *decoder) records(payload, array []byte) Batch {
	list, err := document.Elements(array, maxRecords)
	switch {
	case err != nil:
		return failed(Direct, payload, fmt.Errorf("read payload: Records: %w", err))
	case len(list) == 0:
		return Batch{Direct, []Record{{Raw: payload}}}
	}
	var (
		batch = Batch{Carrier: SQS, Records: make([]Record, 0, len(list))}
		known bool
	)
	for _, element := range list {
		d.events = maxEvents
		r, ok := d.record(element)
		known = known || ok
		batch.Records = append(batch.Records, r)
	}
	if !known {
		return failed(Direct, payload, errors.New("read payload: Records: none is from an SQS queue "+
			"(eventSource is not aws:sqs); put a queue between"))
	}
	return batch
}

// record reports whether the element is from an SQS queue.
func (d *decoder) record(element []byte) (Record, bool) {
	if document.Kind(element) != '{' {
		return Record{Raw: element, Err: errors.New("read SQS record: is not an object")}, false
	}
	object, err := document.Members(element)
	if err != nil {
		return Record{Raw: element, Err: fmt.Errorf("read SQS record: %w", err)}, false
	}
	r := Record{
		AckID:   object.Text("messageId"),
		Receipt: object.Text("receiptHandle"),
		Source:  object.Text("eventSourceARN"),
		Raw:     element,
	}
	if object.Kind("attributes") == '{' {
		if attributes, err := document.Members(object.Member("attributes")); err == nil {
			r.Group = group(r.Source, attributes.Text("MessageGroupId"))
			r.Receives, _ = strconv.Atoi(attributes.Text("ApproximateReceiveCount"))
			if ms, err := strconv.ParseInt(attributes.Text("SentTimestamp"), 10, 64); err == nil && ms > 0 {
				r.SentAt = time.UnixMilli(ms).UTC()
			}
		}
	}
	failed := func(what string) string {
		if r.AckID == "" {
			return "read SQS record: " + what
		}
		return fmt.Sprintf("read SQS record %.60q: %s", r.AckID, what)
	}
	if object.Text("eventSource") != eventSourceSQS {
		r.Err = errors.New(failed("eventSource is not " + eventSourceSQS))
		return r, false
	}
	if object.Kind("body") != '"' {
		r.Err = errors.New(failed("body is missing"))
		return r, true
	}
	r.Raw = document.Content(object.Member("body"))
	body := document.TrimMark(r.Raw)
	err = document.Check(body)
	if err == nil {
		r.Events, err = d.unwrap(body, 0)
	}
	if err != nil {
		r.Err = fmt.Errorf("%s: %w", failed("body"), err)
	}
	return r, true
}

// group returns a record's message group if its queue keeps the order of groups: a FIFO queue, which has the suffix
// .fifo. Standard queues use message groups only for fairness
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html).
func group(queue, id string) string {
	if !strings.HasSuffix(queue, ".fifo") {
		return ""
	}
	return id
}
