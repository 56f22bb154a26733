package host

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/document"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// Queues has the calls of SQS that handling a batch needs.
type Queues interface {
	// ChangeVisibility makes a message that was received from the queue (an ARN) visible again after the delay.
	ChangeVisibility(ctx context.Context, queueARN, receipt string, delay time.Duration) error
	// Send sends a message with attributes to a queue (a URL).
	Send(ctx context.Context, queueURL string, body []byte, attributes map[string]string) error
}

// Lambda handles AWS Lambda's invocations by any trigger. It is safe for concurrent use.
type Lambda struct {
	Processor Processor
	Queues    Queues
	// DeadLetterQueueURL is the queue for rejected records. If it is "", they stay in their own queue.
	DeadLetterQueueURL string
	// Wait is how long a record waits for its resource; nil means the trigger's default.
	Wait *time.Duration
	// Flush, if not nil, is called at the end of each invocation.
	Flush func()
	Log   *slog.Logger
}

// Invoke accepts any payload, JSON or not. It implements lambda.Handler of aws-lambda-go, because that package's
// function handlers would reject a payload that is not JSON without a useful error.
func (l *Lambda) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := l.Handle(ctx, payload)
	if err != nil {
		return nil, err
	}
	return encode(answer)
}

// LambdaWork handles AWS Lambda's invocations by doing work.
type LambdaWork struct {
	Work Work
	// Flush, if not nil, is called at the end of each invocation.
	Flush func()
}

// Invoke implements lambda.Handler.
func (l *LambdaWork) Invoke(ctx context.Context, _ []byte) ([]byte, error) {
	work, cancel := withMargin(ctx)
	defer cancel()
	if l.Flush != nil {
		defer l.Flush()
	}
	result, err := l.Work.do(work)
	if err != nil {
		return nil, err
	}
	return encode(result)
}

// Handle accepts any payload. Its result depends on the trigger: a partial batch response for SQS, a response for HTTP,
// and for a direct invocation the results, or an error if they are not final.
func (l *Lambda) Handle(ctx context.Context, payload []byte) (any, error) {
	work, cancel := withMargin(ctx)
	defer cancel()
	if l.Flush != nil {
		defer l.Flush()
	}
	batch := ingress.Decode(payload)
	switch batch.Carrier {
	case ingress.SQS:
		return l.queue(ctx, work, batch)
	case ingress.HTTP:
		return gatewayResponse(processWhole(work, l.Processor, batch, waitOr(l.Wait, waitOverHTTP)), batch, payload), nil
	}
	return directResponse(processWhole(work, l.Processor, batch, waitOr(l.Wait, waitToDeadline)))
}

// gatewayResponse returns the response to a request from a function URL, an HTTP API, a REST API, a load balancer or
// Huawei Cloud's APIG. A load balancer that sends all values of each header, and headers in no other form, requires
// that form of the response:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#multi-value-headers
func gatewayResponse(d delivery.Decision, batch ingress.Batch, payload []byte) any {
	var request struct {
		Headers           map[string]string
		MultiValueHeaders map[string][]string
	}
	_ = json.Unmarshal(document.TrimMark(payload), &request) // without headers, the defaults apply
	header := http.Header{}
	for name, value := range request.Headers {
		header.Set(name, value)
	}
	for name, values := range request.MultiValueHeaders {
		header[http.CanonicalHeaderKey(name)] = values
	}
	a := newHTTPResponse(d, header).forBatch(batch)
	if len(request.MultiValueHeaders) > 0 && len(request.Headers) == 0 {
		return events.APIGatewayProxyResponse{StatusCode: a.status, MultiValueHeaders: a.header, Body: string(a.body)}
	}
	headers := map[string]string{}
	for name := range a.header {
		headers[name] = a.header.Get(name)
	}
	return events.LambdaFunctionURLResponse{StatusCode: a.status, Headers: headers, Body: string(a.body)}
}

// queue handles an SQS batch. It acknowledges final records, makes deferred ones visible after their delay, and sends
// rejected ones to the dead-letter queue. ctx is the invocation's context; work ends earlier.
func (l *Lambda) queue(ctx, work context.Context, batch ingress.Batch) (any, error) {
	decisions := l.Processor.Process(work, messages(batch, waitOr(l.Wait, waitFromQueue)))
	if err := delivery.StopsEverything(decisions); err != nil {
		// SQS redelivers the whole batch. Lambda counts the error and slows down its pollers.
		return nil, &CredentialsError{err}
	}
	settleCtx, cancel := settleContext(ctx)
	defer cancel()
	failed := make([]bool, len(decisions))
	var group errgroup.Group
	group.SetLimit(maxSettling)
	for i, record := range batch.Records {
		if acknowledged(decisions[i]) {
			continue
		}
		group.Go(func() error {
			failed[i] = l.settle(settleCtx, record, decisions[i])
			return nil
		})
	}
	_ = group.Wait()
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	failedGroups := map[string]bool{}
	for i, record := range batch.Records {
		// Records that follow a failed one in its FIFO group fail too, to keep the order. That includes a finished record
		// after a rejected one that could not be sent to a dead-letter queue.
		if failed[i] || record.Group != "" && failedGroups[record.Group] {
			failedGroups[record.Group] = true
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.AckID})
		}
	}
	return answer, nil
}

// acknowledged reports whether acknowledging a record is all that is left to do.
func acknowledged(d delivery.Decision) bool {
	return d.Fault.Err == nil && d.Outcome != apply.Deferred && d.Outcome != apply.Rejected
}

// maxSettling limits the concurrent calls of SQS.
const maxSettling = 10

// settle applies the decision to a record that is not [acknowledged]. It reports whether the record must stay in its
// queue.
func (l *Lambda) settle(ctx context.Context, record ingress.Record, d delivery.Decision) (failed bool) {
	if d.Fault.Err == nil && d.Outcome == apply.Rejected {
		return !l.deadLetter(ctx, record, d)
	}
	l.changeVisibility(ctx, record, d.Delay)
	return true
}

// changeVisibility is best effort: if it fails, the queue's visibility timeout applies.
func (l *Lambda) changeVisibility(ctx context.Context, record ingress.Record, delay time.Duration) {
	if record.Receipt == "" || record.Source == "" || delay <= 0 {
		return
	}
	if err := l.Queues.ChangeVisibility(ctx, record.Source, record.Receipt, delay); err != nil {
		l.Log.Warn("cannot change the visibility of a record", "record", record.AckID, "error", err.Error())
	}
}

// deadLetter sends a record to the dead-letter queue and reports whether that succeeded.
func (l *Lambda) deadLetter(ctx context.Context, record ingress.Record, d delivery.Decision) bool {
	if l.DeadLetterQueueURL == "" {
		return false
	}
	attributes := map[string]string{
		"outcome": string(d.Outcome), "reason": d.Reason, "event_id": d.EventID, "source_queue": record.Source,
	}
	if err := l.Queues.Send(ctx, l.DeadLetterQueueURL, record.Raw, attributes); err != nil {
		l.Log.Error("cannot send a record to the dead-letter queue", "record", record.AckID, "error", err.Error())
		return false
	}
	return true
}

// settleContext returns a context for settling records after processing has ended. It leaves a tenth of the remaining
// time for the response.
func settleContext(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, margin)
	}
	left := time.Until(deadline)
	return context.WithTimeout(ctx, left-left/10)
}
