package listen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// queueReceiver sends events to an SQS queue. In a FIFO queue, the resource is the message group, and an event's source
// and id are its deduplication id.
type queueReceiver struct {
	client awsapi.Client
	queue  awsapi.Queue
}

func (q *queueReceiver) send(ctx context.Context, e event.Event, resource string, body []byte) response {
	err := q.client.SendEvent(ctx, q.queue, body, resource, e.Source()+"\n"+e.ID())
	if err == nil {
		return response{reached: true}
	}
	a := response{class: metadata.Unavailable, reason: "send to the queue: " + withoutAddress(err).Error()}
	if errors.Is(err, awsapi.ErrCredentials) {
		a.fault = err
	}
	if e, ok := errors.AsType[*awsapi.Error](err); ok {
		a.reached = true
		a.class, a.fault = q.classify(e)
	}
	return a
}

// classify classifies an SQS error. An error that is not about throttling, an outage or the message is about the queue
// or the access key, and would fail every message: the queue does not exist, its KMS key is disabled, the access key
// has expired or may not send (API reference, "SendMessage" and "Common Error Types").
func (q *queueReceiver) classify(e *awsapi.Error) (metadata.Class, error) {
	code := e.Code[strings.LastIndexByte(e.Code, '.')+1:] // of AWS.SimpleQueueService.X and KMS.X
	switch {
	case code == "ThrottlingException" || code == "Throttling" || code == "RequestThrottled" || code == "KmsThrottled" ||
		e.Status == http.StatusTooManyRequests:
		return metadata.Throttled, nil
	case e.Status >= 500:
		return metadata.Unavailable, nil
	case code == "InvalidMessageContents" || code == "InvalidParameterValue" || code == "InvalidParameterValueException":
		return metadata.Invalid, nil
	}
	return "", fmt.Errorf("send to the queue: %w: the queue of --sink must exist, and the access key of "+
		"AWS_ACCESS_KEY_ID needs sqs:SendMessage on it", e)
}
