package listen

import (
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// circuitBreaker stops the taking of messages while nothing works: it would only turn them round and round. Whether
// anything works is the decisions' to say.
type circuitBreaker struct {
	mu     sync.Mutex
	err    error
	worked bool
	opened chan struct{} // closed when nothing works
}

// faultError says that nothing works.
type faultError struct{ err error }

func (e *faultError) Error() string { return e.err.Error() }
func (e *faultError) Unwrap() error { return e.err }

// reset begins anew: what kept everything from working is tried once more.
func (b *circuitBreaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened, b.worked = make(chan struct{}), false
}

// open notes a fault that keeps everything from working.
func (b *circuitBreaker) open(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	if b.opened == nil {
		return
	}
	select {
	case <-b.opened:
	default:
		close(b.opened)
	}
}

// isOpen returns a channel that is closed when nothing works.
func (b *circuitBreaker) isOpen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// last returns the fault that opened the breaker last.
func (b *circuitBreaker) last() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// works notes that something has worked.
func (b *circuitBreaker) works() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.worked = true
}

// hasWorked reports whether anything has worked since the reset.
func (b *circuitBreaker) hasWorked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worked
}

// pauses grow as long as nothing works.
type pauses struct{ last time.Duration }

const (
	firstFaultPause   = 15 * time.Second
	longestFaultPause = 5 * time.Minute
)

func (p *pauses) next(worked bool) time.Duration {
	if p.last = min(2*p.last, longestFaultPause); p.last == 0 || worked {
		p.last = firstFaultPause
	}
	return backoff.Jitter(p.last)
}
