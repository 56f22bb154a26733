package apply

import (
	"context"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// Waiter waits between the attempts at something that is not ready, for so long in all, with growing pauses.
type Waiter struct {
	end     time.Time
	pause   time.Duration
	pausing func(reason string, pause time.Duration)
	waited  time.Duration
}

// NewWaiter returns a Waiter that waits so long in all. pausing, if not nil, is told of every pause before it begins.
func NewWaiter(wait time.Duration, pausing func(reason string, pause time.Duration)) *Waiter {
	return &Waiter{end: time.Now().Add(wait), pause: firstPause, pausing: pausing}
}

// Waited is the sum of the pauses so far.
func (w *Waiter) Waited() time.Duration { return w.waited }

// Left is how long may still be waited in all, 0 at the least.
func (w *Waiter) Left() time.Duration { return max(0, time.Until(w.end)) }

// Again pauses, and reports whether to try again after a verdict. It reports false without a pause where waiting cannot
// help or there is no time for it; the context's deadline bounds the time too.
func (w *Waiter) Again(ctx context.Context, v Verdict) bool {
	left := w.Left()
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline)-forLastTry)
	}
	if v.Outcome != Deferred || !v.Wait || v.Fault.Err != nil || left < firstPause || ctx.Err() != nil {
		return false
	}
	// The last pause ends with the time there is, for one try more then. A rest too short for a pause of its own belongs
	// to this one, so that no time is given away.
	p := max(backoff.Jitter(w.pause), spread(v.RetryAfter))
	if left-p < firstPause {
		p = left
	}
	if p < v.RetryAfter {
		return false
	}
	if w.pausing != nil {
		w.pausing(v.Reason, p)
	}
	if !backoff.Sleep(ctx, p) {
		return false
	}
	w.waited += p
	w.pause = min(time.Duration(float64(w.pause)*pauseGrowth), longestPause)
	return true
}
