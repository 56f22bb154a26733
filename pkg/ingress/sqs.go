package ingress

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// records takes the event of an SQS event source mapping apart
// (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event). A body is a
// structured event, a batch, a notification or a trace, or what SNS or EventBridge wrap one in. There is no CloudEvents
// binding for SQS, so attributes of the message are not looked at.
func (d *decoder) records(payload, array []byte) Batch {
	list, err := elements(array, maxRecords)
	switch {
	case err != nil:
		return failed(Direct, payload, fmt.Errorf("read payload: Records: %w", err))
	case len(list) == 0:
		return failed(Direct, payload, errors.New("read payload: Records: holds no record"))
	}
	var (
		batch = Batch{Carrier: SQS, Records: make([]Record, 0, len(list))}
		known bool
	)
	for _, element := range list {
		r, ok := d.record(element)
		known = known || ok
		batch.Records = append(batch.Records, r)
	}
	if !known {
		return failed(Direct, payload, errors.New("read payload: Records: none is of an SQS queue "+
			"(eventSource is not aws:sqs); put a queue between"))
	}
	return batch
}

// record reports whether the element is of an SQS queue.
func (d *decoder) record(element []byte) (Record, bool) {
	if kindOf(element) != '{' {
		return Record{Raw: element, Err: errors.New("read SQS record: is not an object")}, false
	}
	object, err := members(element)
	if err != nil {
		return Record{Raw: element, Err: fmt.Errorf("read SQS record: %w", err)}, false
	}
	r := Record{
		AckID:   unquote(object["messageId"]),
		Receipt: unquote(object["receiptHandle"]),
		Source:  unquote(object["eventSourceARN"]),
		Raw:     element,
	}
	if kindOf(object["attributes"]) == '{' {
		if attributes, err := members(object["attributes"]); err == nil {
			r.Group = group(r.Source, unquote(attributes["MessageGroupId"]))
			r.Receives, _ = strconv.Atoi(unquote(attributes["ApproximateReceiveCount"]))
			if ms, err := strconv.ParseInt(unquote(attributes["SentTimestamp"]), 10, 64); err == nil && ms > 0 {
				r.SentAt = time.UnixMilli(ms).UTC()
			}
		}
	}
	name := "read SQS record"
	if r.AckID != "" {
		name = fmt.Sprintf("read SQS record %.60q", r.AckID)
	}
	if unquote(object["eventSource"]) != "aws:sqs" {
		r.Err = errors.New(name + ": eventSource is not aws:sqs")
		return r, false
	}
	if kindOf(object["body"]) != '"' {
		r.Err = errors.New(name + ": body is missing")
		return r, true
	}
	body := []byte(unquote(object["body"]))
	r.Raw = body
	err = check(body)
	if err == nil {
		r.Events, err = d.unwrap(body, 0)
	}
	if err != nil {
		r.Err = fmt.Errorf("%s: body: %w", name, err)
	}
	return r, true
}

// group is a record's message group where its queue keeps the order of groups: a FIFO queue, whose name ends so. Standard
// queues have message groups too, for a fair share only
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html).
func group(queue, id string) string {
	if !strings.HasSuffix(queue, ".fifo") {
		return ""
	}
	return id
}
