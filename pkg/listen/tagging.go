package listen

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Handler handles one event; [tagger.Tagger] does.
type Handler interface {
	Plan(ctx context.Context, e event.Event) []tagger.Planned
	Handle(ctx context.Context, d tagger.Delivery) []tagger.Result
	Unreadable(ctx context.Context, err error) tagger.Result
	// Login asks whether the credentials are good.
	Login(ctx context.Context) error
}

// Tagging is the worker that tags by itself.
type Tagging struct {
	Handler Handler
	// Wait is how long a resource that is not ready is waited for before its event is deferred.
	Wait time.Duration
}

// DefaultWait is the Wait where the settings do not say: that of the other queues.
const DefaultWait = 5 * time.Second

// Describe says what the rules want.
func (t *Tagging) Describe(ctx context.Context, m Message) Description {
	if len(m.Events) != 1 || m.Err != nil {
		return Description{Pending: true}
	}
	plans := t.Handler.Plan(ctx, m.Events[0])
	if len(plans) != 1 {
		return Description{Pending: true}
	}
	return Description{Key: plans[0].Key(), Pending: plans[0].Outcome == ""}
}

// Work handles each event of the message; the worst result is the message's.
func (t *Tagging) Work(ctx context.Context, m Message) Verdict {
	var all []tagger.Result
	for _, e := range m.Events {
		all = append(all, t.Handler.Handle(ctx, tagger.Delivery{Event: e, SentAt: m.SentAt, Receives: m.Receives, Wait: t.Wait})...)
	}
	switch {
	case m.Err != nil:
		all = append(all, t.Handler.Unreadable(ctx, m.Err))
	case len(m.Events) == 0:
		all = append(all, tagger.EmptyBatch())
	}
	worst := tagger.Worst(all)
	v := Verdict{Outcome: worst.Outcome, Reason: worst.Reason, Delay: worst.Delay, Fault: worst.Err, Reached: worst.Calls > 0}
	switch _, refused := errors.AsType[*cloud.RefusedError](v.Fault); {
	case v.Fault == nil:
	case metadata.IsClass(v.Fault, metadata.Unauthenticated):
		v.NothingWorks = true
	case refused: // by one project of several perhaps: TAGGER_PROJECTS may name one that the user has no role in
		v.NothingWorks = t.Handler.Login(ctx) != nil
		v.OneProject = !v.NothingWorks
	}
	return v
}

var _ Worker = (*Tagging)(nil)

// again is the verdict on what did not work for now, or no more after so long.
func again(giveUpAfter time.Duration, m Message, class metadata.Class, message string, retryAfter time.Duration) Verdict {
	v := apply.Options{GiveUpAfter: giveUpAfter}.Judge(apply.Situation{
		Class: class, Message: message, CarrierAge: time.Since(m.SentAt), Receives: m.Receives, RetryAfter: retryAfter,
	})
	return Verdict{Outcome: v.Outcome, Reason: v.Reason, Delay: v.Delay}
}
