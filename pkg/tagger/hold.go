package tagger

import (
	"context"
	"errors"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
)

// holdDelay is how long a change is deferred while writing is on hold.
const holdDelay = time.Minute

func heldDecision() *apply.Decision {
	return &apply.Decision{Outcome: apply.Deferred, Reason: "writing is on hold (TAGGER_HOLD_FILE)", Delay: holdDelay}
}

func (t *Tagger) held() bool { return t.options.Held != nil && t.options.Held() }

// applyUnlessHeld applies a job. It stops before the first write if writing is on hold by then.
func (t *Tagger) applyUnlessHeld(ctx context.Context, resource apply.Resource, job apply.Job) apply.Result {
	if t.options.Held == nil {
		return t.applier.Apply(ctx, resource, job)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	held := &heldResource{Resource: resource, held: t.options.Held, stop: cancel}
	done := t.applier.Apply(ctx, held, job)
	if held.refused {
		done.Decision = *heldDecision()
	}
	return done
}

// heldResource refuses to write while writing is on hold. A job that has begun to write is finished: half-way through a
// rename, the value is under neither key.
type heldResource struct {
	apply.Resource
	held func() bool
	stop func() // ends the job

	begun, refused bool
}

var errHeld = errors.New("writing is on hold")

func (h *heldResource) Write(ctx context.Context, metadata map[string]string) (map[string]string, error) {
	if h.refuses() {
		return nil, errHeld
	}
	written, err := h.Resource.Write(ctx, metadata)
	h.begun = h.begun || err == nil || len(written) > 0
	return written, err
}

func (h *heldResource) Remove(ctx context.Context, key string) error {
	if h.refuses() {
		return errHeld
	}
	err := h.Resource.Remove(ctx, key)
	h.begun = h.begun || err == nil
	return err
}

func (h *heldResource) refuses() bool {
	if h.begun || !h.held() {
		return false
	}
	h.refused = true
	h.stop()
	return true
}
