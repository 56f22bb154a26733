// Package backoff has pauses between attempts.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Jitter varies a pause by up to a fifth either way, so that callers that failed together do not retry together.
func Jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }

// Sleep waits for d. It returns false if the context ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
