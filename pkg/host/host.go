// Package host has the entry points for AWS Lambda, FunctionGraph and HTTP. An entry point converts a payload to
// messages, passes them to a [delivery.Processor], and converts the decisions to the platform's acknowledgement.
package host

import (
	"context"
	"errors"
	"time"

	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// Processor processes messages, as [delivery.Processor] does. The decisions are in the order of the messages.
type Processor interface {
	Process(ctx context.Context, messages []delivery.Message) []delivery.Decision
}

// Work is what an invocation does instead of processing events. It ignores the payload. The result is encoded as JSON.
type Work func(ctx context.Context) (result any, err error)

// WorkError means that the work of an invocation failed.
type WorkError struct{ Err error }

func (e *WorkError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *WorkError) Unwrap() error { return e.Err }

// do calls w and wraps its error.
func (w Work) do(ctx context.Context) (any, error) {
	result, err := w(ctx)
	if err != nil {
		return nil, &WorkError{err}
	}
	return result, nil
}

// The default time that a message waits for a resource. Platforms that retry little wait until the invocation ends.
const (
	waitFromQueue  = 5 * time.Second
	waitOverHTTP   = 20 * time.Second
	waitToDeadline = 15 * time.Minute // the longest time of a function; its deadline ends the wait earlier
)

// waitOr returns the wait in the settings, or the entry point's default if it is not set.
func waitOr(set *time.Duration, unset time.Duration) time.Duration {
	if set != nil {
		return *set
	}
	return unset
}

// margin is the part of an invocation's time that is kept for its response.
const margin = 5 * time.Second

var errEnding = errors.New("the invocation ends")

// withMargin returns a context that ends before the invocation's context, so that there is time to respond.
func withMargin(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, deadline.Add(-min(margin, time.Until(deadline)/4)), errEnding)
}

// messages converts the records of a batch.
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

// processWhole processes a batch that is acknowledged as a whole. It returns the worst decision of its messages.
func processWhole(ctx context.Context, p Processor, batch ingress.Batch, wait time.Duration) delivery.Decision {
	return delivery.Whole(p.Process(ctx, messages(batch, wait)))
}
