package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Handler handles one delivered event; [tagger.Tagger] does.
type Handler interface {
	Handle(ctx context.Context, d tagger.Delivery) []tagger.Result
	Unreadable(ctx context.Context, err error) tagger.Result
	Failed(ctx context.Context, d tagger.Delivery, reason string) tagger.Result
}

// Worker works on records. It is what the platforms have in common, and safe for concurrent use.
type Worker struct {
	Tagger   Handler
	Settings config.Settings
	Log      *slog.Logger
}

// How long one call waits for a resource where the settings do not say. What retries little waits to the end instead.
const (
	waitFromQueue = 5 * time.Second
	waitOverHTTP  = 20 * time.Second
	waitToTheEnd  = 15 * time.Minute // the longest that a function runs; its deadline ends the wait before
)

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

func (w *Worker) wait(unset time.Duration) time.Duration {
	if w.Settings.Wait != nil {
		return *w.Settings.Wait
	}
	return unset
}

// results handles all records of a batch that is answered as a whole.
func (w *Worker) results(ctx context.Context, batch ingress.Batch, wait time.Duration) []tagger.Result {
	var all []tagger.Result
	for _, record := range batch.Records {
		all = append(all, w.record(ctx, record, wait)...)
	}
	return all
}

// record handles the events of one record. Each is tried once before any is waited for, so that none of them starves behind one that is not
// ready; the wait is the record's.
func (w *Worker) record(ctx context.Context, record ingress.Record, wait time.Duration) []tagger.Result {
	end := time.Now().Add(wait)
	firstWait := wait
	if len(record.Events) > 1 {
		firstWait = 0
	}
	perEvent := make([][]tagger.Result, len(record.Events))
	for i, e := range record.Events {
		perEvent[i] = w.event(ctx, tagger.Delivery{Event: e, SentAt: record.SentAt, Receives: record.Receives, Wait: firstWait})
	}
	if len(record.Events) > 1 {
		for i, e := range record.Events {
			left := time.Until(end)
			if worst := tagger.Worst(perEvent[i]); worst.Outcome != apply.Deferred || worst.Err != nil {
				continue
			}
			if left <= 0 || ctx.Err() != nil {
				break
			}
			perEvent[i] = w.event(ctx, tagger.Delivery{Event: e, SentAt: record.SentAt, Receives: record.Receives, Wait: left})
		}
	}
	all := slices.Concat(perEvent...)
	switch {
	case record.Err != nil:
		all = append(all, w.Tagger.Unreadable(ctx, record.Err))
	case len(record.Events) == 0:
		all = append(all, tagger.EmptyBatch())
	}
	return all
}

// event handles one event. A panic in it fails it, and nothing else.
func (w *Worker) event(ctx context.Context, d tagger.Delivery) (all []tagger.Result) {
	defer func() {
		if p := recover(); p != nil {
			w.Log.Error("panic", "event_id", d.Event.ID(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			all = []tagger.Result{w.Tagger.Failed(ctx, d, "panic; see the log")}
		}
	}()
	return w.Tagger.Handle(ctx, d)
}
