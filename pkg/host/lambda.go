package host

import (
	"context"
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
		return httpAnswer(l.results(work, batch, l.wait(waitOverHTTP))), nil
	}
	return directAnswer(l.results(work, batch, l.wait(waitToTheEnd)))
}

// queue handles an SQS batch: what is final is acknowledged, what is not comes back after its delay, and what never will be goes to
// the dead-letter queue. The first context is the invocation's, the second the one to work in.
func (l *Lambda) queue(ctx, work context.Context, batch ingress.Batch) (any, error) {
	worked := l.work(work, batch.Records)
	if err := nothingWorks(worked); err != nil {
		// Until somebody mends it: Lambda slows its pollers down, and counts the error. Nothing else is told anybody, for all records come back.
		return nil, &CredentialsError{err}
	}
	finishing, cancel := finishing(ctx)
	defer cancel()
	failed := make([]bool, len(worked))
	var group errgroup.Group
	group.SetLimit(l.Settings.Concurrency)
	for i, record := range batch.Records {
		group.Go(func() error {
			failed[i] = l.settle(finishing, record, worked[i])
			return nil
		})
	}
	_ = group.Wait()
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for i, record := range batch.Records {
		if failed[i] {
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.AckID})
		}
	}
	return answer, nil
}

// work works on the records, several at a time. A record that was not begun in time has no results.
func (l *Lambda) work(ctx context.Context, records []ingress.Record) [][]tagger.Result {
	worked := make([][]tagger.Result, len(records))
	var group errgroup.Group
	group.SetLimit(l.Settings.Concurrency)
	for i, record := range records {
		group.Go(func() error {
			if ctx.Err() == nil {
				worked[i] = l.record(ctx, record, l.wait(waitFromQueue))
			}
			return nil
		})
	}
	_ = group.Wait()
	return worked
}

// nothingWorks returns the fault of configuration or credentials because of which no record of a batch reached the cloud; nil when one did, or
// none is at fault. One server that the credentials may not touch does not hold up its neighbours.
func nothingWorks(worked [][]tagger.Result) error {
	var fault error
	for _, results := range worked {
		for _, r := range results {
			switch {
			case r.Fault.Err != nil:
				fault = r.Fault.Err
			case r.Calls > 0:
				return nil
			}
		}
	}
	return fault
}

// settle tells the queues what became of a record, and reports whether the record must stay in its own.
func (l *Lambda) settle(ctx context.Context, record ingress.Record, results []tagger.Result) (failed bool) {
	if len(results) == 0 {
		l.Log.Info("handed back: the invocation ends", "record", record.AckID)
		return true
	}
	switch worst := tagger.Worst(results); {
	case worst.Fault.Err != nil, worst.Outcome == apply.Deferred:
		l.changeVisibility(ctx, record, worst.Delay)
		return true
	case worst.Outcome == apply.Rejected:
		return !l.deadLetter(ctx, record, worst)
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
func (l *Lambda) deadLetter(ctx context.Context, record ingress.Record, r tagger.Result) bool {
	if l.Settings.DeadLetterQueueURL == "" {
		return false
	}
	attributes := map[string]string{"outcome": string(r.Outcome), "reason": r.Reason, "event_id": r.Event.ID, "source_queue": record.Source}
	if err := l.Queues.Send(ctx, l.Settings.DeadLetterQueueURL, record.Raw, attributes); err != nil {
		l.Log.Error("send to the dead-letter queue", "record", record.AckID, "error", err.Error())
		return false
	}
	return true
}

// finishing is a context for what must still be done when the time to work has ended. It leaves a tenth of what there is for the answer itself.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, margin)
	}
	left := time.Until(deadline)
	return context.WithTimeout(ctx, left-left/10)
}
