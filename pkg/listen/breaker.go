package listen

import (
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// circuitBreaker pauses consumption while a fault fails every message, which would only be redelivered again and again.
// The decisions open and close it.
type circuitBreaker struct {
	mu     sync.Mutex
	err    error
	worked bool
	opened chan struct{} // closed when a fault opens the breaker
}

// faultError reports a fault that fails every message.
type faultError struct{ err error }

func (e *faultError) Error() string { return e.err.Error() }
func (e *faultError) Unwrap() error { return e.err }

// reset closes the breaker, so that messages are tried again.
func (b *circuitBreaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened, b.worked = make(chan struct{}), false
}

// open records a fault that fails every message.
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

// isOpen returns a channel that is closed when a fault opens the breaker.
func (b *circuitBreaker) isOpen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// last returns the fault that last opened the breaker.
func (b *circuitBreaker) last() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// works records that a message has been handled.
func (b *circuitBreaker) works() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.worked = true
}

// hasWorked reports whether any message has been handled since the reset.
func (b *circuitBreaker) hasWorked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worked
}

// pauses grow until a message is handled.
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
