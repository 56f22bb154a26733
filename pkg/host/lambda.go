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
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// Queues is what a batch needs of SQS beyond its answer.
type Queues interface {
	// ChangeVisibility makes a message that was received from the queue (an ARN) come back after the delay.
	ChangeVisibility(ctx context.Context, queueARN, receipt string, delay time.Duration) error
	// Send puts a message into a queue (a URL), with attributes.
	Send(ctx context.Context, queueURL string, body []byte, attributes map[string]string) error
}

// Lambda answers AWS Lambda's invocations, whatever triggered them. It is safe for concurrent use.
type Lambda struct {
	Processor Processor
	Queues    Queues
	// DeadLetterQueueURL is the queue that takes rejected records; "" when they are to stay in their own.
	DeadLetterQueueURL string
	// Wait is how long a record waits for its resource; nil for what fits the trigger.
	Wait *time.Duration
	// Flush, if not nil, is called at the end of each invocation.
	Flush func()
	Log   *slog.Logger
}

// Invoke takes any payload, JSON or not. It makes Lambda a lambda.Handler of aws-lambda-go, whose function handlers
// would refuse what is not JSON before anybody could say what is wrong with it.
func (l *Lambda) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := l.Handle(ctx, payload)
	if err != nil {
		return nil, err
	}
	return encode(answer)
}

// LambdaWork answers AWS Lambda's invocations by work.
type LambdaWork struct {
	Work Work
	// Flush, if not nil, is called at the end of each invocation.
	Flush func()
}

// Invoke makes it a lambda.Handler.
func (l *LambdaWork) Invoke(ctx context.Context, _ []byte) ([]byte, error) {
	work, cancel := inTime(ctx)
	defer cancel()
	if l.Flush != nil {
		defer l.Flush()
	}
	answer, err := l.Work.do(work)
	if err != nil {
		return nil, err
	}
	return encode(answer)
}

// Handle takes any payload. The answer's form follows the trigger: a partial batch response for SQS, a response for
// HTTP, and for a direct invocation the results, or an error when they are not final.
func (l *Lambda) Handle(ctx context.Context, payload []byte) (any, error) {
	work, cancel := inTime(ctx)
	defer cancel()
	if l.Flush != nil {
		defer l.Flush()
	}
	batch := ingress.Decode(payload)
	switch batch.Carrier {
	case ingress.SQS:
		return l.queue(ctx, work, batch)
	case ingress.HTTP:
		return gatewayAnswer(whole(work, l.Processor, batch, waitOr(l.Wait, waitOverHTTP)), batch, payload), nil
	}
	return directAnswer(whole(work, l.Processor, batch, waitOr(l.Wait, waitToTheEnd)))
}

// gatewayAnswer is the answer to a request that a function URL or an HTTP API handed over.
func gatewayAnswer(d delivery.Decision, batch ingress.Batch, payload []byte) events.LambdaFunctionURLResponse {
	var request struct{ Headers map[string]string }
	_ = json.Unmarshal(payload, &request) // what cannot be read asks for nothing special
	header := http.Header{}
	for name, value := range request.Headers {
		header.Set(name, value)
	}
	a := answerHTTP(d, header).of(batch)
	headers := map[string]string{}
	for name := range a.header {
		headers[name] = a.header.Get(name)
	}
	return events.LambdaFunctionURLResponse{StatusCode: a.status, Headers: headers, Body: string(a.body)}
}

// queue handles an SQS batch: what is final is acknowledged, what is not comes back after its delay, and what never
// will be goes to the dead-letter queue. The first context is the invocation's, the second the one to work in.
func (l *Lambda) queue(ctx, work context.Context, batch ingress.Batch) (any, error) {
	decisions := l.Processor.Process(work, messages(batch, waitOr(l.Wait, waitFromQueue)))
	if err := delivery.StopsEverything(decisions); err != nil {
		// The whole batch comes back; single records need no visibility of their own. Lambda slows its pollers down, and
		// counts the error.
		return nil, &CredentialsError{err}
	}
	finishing, cancel := finishing(ctx)
	defer cancel()
	failed := make([]bool, len(decisions))
	var group errgroup.Group
	group.SetLimit(settling)
	for i, record := range batch.Records {
		group.Go(func() error {
			failed[i] = l.settle(finishing, record, decisions[i])
			return nil
		})
	}
	_ = group.Wait()
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	groups := map[string]bool{} // that had a failure
	for i, record := range batch.Records {
		// What follows a failed record of a FIFO group is handed back too, or it would overtake it: even a record that was
		// done, behind one that was rejected and that no dead-letter queue took.
		if failed[i] || record.Group != "" && groups[record.Group] {
			groups[record.Group] = true
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.AckID})
		}
	}
	return answer, nil
}

// settling is how many records the queues are told of at a time.
const settling = 10

// settle tells the queues what became of a record, and reports whether the record must stay in its own.
func (l *Lambda) settle(ctx context.Context, record ingress.Record, d delivery.Decision) (failed bool) {
	switch {
	case d.Fault.Err != nil, d.Outcome == apply.Deferred:
		l.changeVisibility(ctx, record, d.Delay)
		return true
	case d.Outcome == apply.Rejected:
		return !l.deadLetter(ctx, record, d)
	}
	return false
}

// changeVisibility is best effort: where it fails, the queue's own visibility timeout serves.
func (l *Lambda) changeVisibility(ctx context.Context, record ingress.Record, delay time.Duration) {
	if record.Receipt == "" || record.Source == "" || delay <= 0 {
		return
	}
	if err := l.Queues.ChangeVisibility(ctx, record.Source, record.Receipt, delay); err != nil {
		l.Log.Warn("change visibility", "record", record.AckID, "error", err.Error())
	}
}

// deadLetter reports whether the dead-letter queue has the record now.
func (l *Lambda) deadLetter(ctx context.Context, record ingress.Record, d delivery.Decision) bool {
	if l.DeadLetterQueueURL == "" {
		return false
	}
	attributes := map[string]string{
		"outcome": string(d.Outcome), "reason": d.Reason, "event_id": d.EventID, "source_queue": record.Source,
	}
	if err := l.Queues.Send(ctx, l.DeadLetterQueueURL, record.Raw, attributes); err != nil {
		l.Log.Error("send to the dead-letter queue", "record", record.AckID, "error", err.Error())
		return false
	}
	return true
}

// finishing is a context for what must still be done when the time to work has ended. It leaves a tenth of what there
// is for the answer itself.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, margin)
	}
	left := time.Until(deadline)
	return context.WithTimeout(ctx, left-left/10)
}
