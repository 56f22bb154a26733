package host

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/tagger"
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
	Worker
	Queues Queues
	// Flush, if not nil, is called at the end of each invocation.
	Flush func()
}

// Invoke takes any payload, JSON or not. It makes Lambda a lambda.Handler of aws-lambda-go, whose function handlers would refuse what is
// not JSON before anybody could say what is wrong with it.
func (l *Lambda) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := l.Handle(ctx, payload)
	if err != nil {
		return nil, err
	}
	return encode(answer)
}

// Handle takes any payload. The answer's form follows the trigger: a partial batch response for SQS, a response for HTTP, and for a
// direct invocation the results, or an error when they are not final.
func (l *Lambda) Handle(ctx context.Context, payload []byte) (any, error) {
	ctx, cancel := inTime(ctx)
	defer cancel()
	if l.Flush != nil {
		defer l.Flush()
	}
	batch := ingress.Decode(payload)
	switch batch.Carrier {
	case ingress.SQS:
		return l.queue(ctx, batch)
	case ingress.HTTP:
		return httpAnswer(l.results(ctx, batch, l.wait(waitOverHTTP))), nil
	}
	return directAnswer(l.results(ctx, batch, l.wait(waitToTheEnd)))
}

// queue handles an SQS batch: what is final is acknowledged, what is not comes back after its delay, and what never will be goes to
// the dead-letter queue.
func (l *Lambda) queue(ctx context.Context, batch ingress.Batch) (any, error) {
	var mu sync.Mutex
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	var broken error
	var group errgroup.Group
	group.SetLimit(l.Settings.Concurrency)
	for _, record := range batch.Records {
		group.Go(func() error {
			failed, err := l.queued(ctx, record)
			mu.Lock()
			defer mu.Unlock()
			if failed {
				answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.AckID})
			}
			if err != nil {
				broken = err
			}
			return nil
		})
	}
	_ = group.Wait()
	if broken != nil {
		// Nothing works until somebody mends it: Lambda slows its pollers down and counts the error.
		return nil, &CredentialsError{broken}
	}
	return answer, nil
}

// queued handles one record of a queue. failed asks the queue to keep it; err says that nothing works at all.
func (l *Lambda) queued(ctx context.Context, record ingress.Record) (failed bool, err error) {
	if ctx.Err() != nil {
		l.Log.Info("handed back: the invocation ends", "record", record.AckID)
		return true, nil
	}
	worst := tagger.Worst(l.record(ctx, record, l.wait(waitFromQueue)))
	switch {
	case worst.Err != nil:
		return true, worst.Err
	case worst.Outcome == apply.Deferred:
		l.changeVisibility(ctx, record, worst.Delay)
		return true, nil
	case worst.Outcome == apply.Rejected:
		return !l.deadLetter(ctx, record, worst), nil
	}
	return false, nil
}

// changeVisibility is best effort: where it fails, the queue's own visibility timeout serves.
func (l *Lambda) changeVisibility(ctx context.Context, record ingress.Record, delay time.Duration) {
	if record.Receipt == "" || record.Source == "" || delay <= 0 {
		return
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	if err := l.Queues.ChangeVisibility(ctx, record.Source, record.Receipt, delay); err != nil {
		l.Log.Warn("change visibility", "record", record.AckID, "error", err.Error())
	}
}

// deadLetter reports whether the dead-letter queue has the record now.
func (l *Lambda) deadLetter(ctx context.Context, record ingress.Record, r tagger.Result) bool {
	if l.Settings.DeadLetterQueueURL == "" {
		return false
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	attributes := map[string]string{"outcome": string(r.Outcome), "reason": r.Reason, "event_id": r.Event.ID, "source_queue": record.Source}
	if err := l.Queues.Send(ctx, l.Settings.DeadLetterQueueURL, record.Raw, attributes); err != nil {
		l.Log.Error("send to the dead-letter queue", "record", record.AckID, "error", err.Error())
		return false
	}
	return true
}

// finishing is a context for what must still be done when the invocation's own has ended: there is the margin for it.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), margin/2)
}
