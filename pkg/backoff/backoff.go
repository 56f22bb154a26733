// Package backoff has pauses between attempts.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Jitter spreads a pause by a fifth to both sides, so that many who failed together do not all try again together.
func Jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }

// Sleep waits for d, and reports false when the context ended first.
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
