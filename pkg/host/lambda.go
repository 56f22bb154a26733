package host

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Handler handles one delivered event; [tagger.Tagger] does.
type Handler interface {
	Handle(ctx context.Context, d tagger.Delivery) []tagger.Result
	Unreadable(ctx context.Context, err error) tagger.Result
}

// Queues is what a batch needs of SQS beyond its answer.
type Queues interface {
	// ChangeVisibility makes a message that was received from the queue (an ARN) come back after the delay.
	ChangeVisibility(ctx context.Context, queueARN, receipt string, delay time.Duration) error
	// Send puts a message into a queue (a URL), with attributes.
	Send(ctx context.Context, queueURL string, body []byte, attributes map[string]string) error
}

// Lambda answers AWS Lambda's invocations, whatever triggered them. It is safe for concurrent use.
type Lambda struct {
	Tagger   Handler
	Settings config.Settings
	Queues   Queues
	Log      *slog.Logger
}

// How long one invocation waits for a resource where the settings do not say. What retries little waits to the end instead.
const (
	waitFromQueue = 5 * time.Second
	waitOverHTTP  = 20 * time.Second
	waitToTheEnd  = 15 * time.Minute // the longest that Lambda runs; the deadline ends it before
)

// margin is what is left of an invocation's time for its answer.
const margin = 5 * time.Second

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
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline.Add(-min(margin, time.Until(deadline)/4)), errEnding)
		defer cancel()
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

var errEnding = fmt.Errorf("the invocation ends")

func (l *Lambda) wait(unset time.Duration) time.Duration {
	if l.Settings.Wait != nil {
		return *l.Settings.Wait
	}
	return unset
}

// results handles all records of a batch that is answered as a whole.
func (l *Lambda) results(ctx context.Context, batch ingress.Batch, wait time.Duration) []tagger.Result {
	var all []tagger.Result
	for _, record := range batch.Records {
		all = append(all, l.record(ctx, record, wait)...)
	}
	return all
}

// record handles the events of one record. A panic in it fails it, and nothing else.
func (l *Lambda) record(ctx context.Context, record ingress.Record, wait time.Duration) (all []tagger.Result) {
	defer func() {
		if p := recover(); p != nil {
			l.Log.Error("panic", "record", record.AckID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			all = append(all, tagger.Result{Outcome: apply.Deferred, Reason: "panic; see the log"})
		}
	}()
	for _, e := range record.Events {
		all = append(all, l.Tagger.Handle(ctx, tagger.Delivery{Event: e, SentAt: record.SentAt, Receives: record.Receives, Wait: wait})...)
	}
	if record.Err != nil {
		all = append(all, l.Tagger.Unreadable(ctx, record.Err))
	}
	return all
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
