package apply

import (
	"context"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// Waiter pauses between attempts while something is not ready. The pauses grow, and their sum is limited.
type Waiter struct {
	end     time.Time
	pause   time.Duration
	pausing func(reason string, pause time.Duration)
	waited  time.Duration
}

// NewWaiter returns a Waiter whose pauses add up to at most wait. pausing, if not nil, is called before every pause.
func NewWaiter(wait time.Duration, pausing func(reason string, pause time.Duration)) *Waiter {
	return &Waiter{end: time.Now().Add(wait), pause: firstPause, pausing: pausing}
}

// Waited is the sum of the pauses so far.
func (w *Waiter) Waited() time.Duration { return w.waited }

// Left is the time that is left for pauses, at least 0.
func (w *Waiter) Left() time.Duration { return max(0, time.Until(w.end)) }

// Again pauses, and reports whether to try again after a verdict. It returns false at once if waiting cannot help or no
// time is left. The context's deadline limits the time too.
func (w *Waiter) Again(ctx context.Context, v Verdict) bool {
	left := w.Left()
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline)-finalTryTime)
	}
	if v.Outcome != Deferred || !v.Wait || v.Fault.Err != nil || left < firstPause || ctx.Err() != nil {
		return false
	}
	// The last pause ends when the time does, before one final try. A remainder too short for another pause is added to
	// this one, so that no time is lost.
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
