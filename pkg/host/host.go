// Package host has the doors of the platforms that call: AWS Lambda, FunctionGraph and HTTP. A door translates a
// payload into messages, and the decisions on them into the platform's acknowledgement. What happens between is
// [delivery.Processor]'s.
package host

import (
	"context"
	"errors"
	"time"

	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// Processor works on messages; [delivery.Processor] does. The decisions are in the order of the messages.
type Processor interface {
	Process(ctx context.Context, messages []delivery.Message) []delivery.Decision
}

// Work is what an invocation does in place of working on events, whatever its payload. The answer is encoded as JSON.
type Work func(ctx context.Context) (answer any, err error)

// WorkError says that the work of an invocation failed.
type WorkError struct{ Err error }

func (e *WorkError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *WorkError) Unwrap() error { return e.Err }

// do does the work.
func (w Work) do(ctx context.Context) (any, error) {
	answer, err := w(ctx)
	if err != nil {
		return nil, &WorkError{err}
	}
	return answer, nil
}

// How long a message waits for a resource where the settings do not say. What retries little waits to the end instead.
const (
	waitFromQueue = 5 * time.Second
	waitOverHTTP  = 20 * time.Second
	waitToTheEnd  = 15 * time.Minute // the longest that a function runs; its deadline ends the wait before
)

// waitOr returns the wait of the settings, or the one that fits the door when they have none.
func waitOr(set *time.Duration, unset time.Duration) time.Duration {
	if set != nil {
		return *set
	}
	return unset
}

// margin is what is left of an invocation's time for its answer.
const margin = 5 * time.Second

var errEnding = errors.New("the invocation ends")

// inTime returns a context that ends so long before an invocation's own that there is time to answer.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, deadline.Add(-min(margin, time.Until(deadline)/4)), errEnding)
}

// messages translates the records of a batch.
func messages(batch ingress.Batch, wait time.Duration) []delivery.Message {
	now := time.Now()
	all := make([]delivery.Message, len(batch.Records))
	for i, r := range batch.Records {
		all[i] = delivery.Message{
			ID: r.AckID, Events: r.Events, Err: r.Err, SentAt: r.SentAt, ReceivedAt: now, Receives: r.Receives, Group: r.Group,
			Wait: wait,
		}
	}
	return all
}

// whole works on a batch that is answered as a whole, and returns the decision on it: the worst of its messages'.
func whole(ctx context.Context, p Processor, batch ingress.Batch, wait time.Duration) delivery.Decision {
	return delivery.Whole(p.Process(ctx, messages(batch, wait)))
}
