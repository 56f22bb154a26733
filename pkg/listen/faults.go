package listen

import (
	"sync"
	"time"
)

// faults takes note of configuration and credentials that are at fault. While nothing works, taking messages would only turn them round and round.
type faults struct {
	mu    sync.Mutex
	inRow int
	err   error
	works bool
	gone  chan struct{} // closed when nothing works
}

// manyInRow is after how many messages in a row, none of which the credentials may act on, nothing works. One server that they may not touch does not
// hold up its neighbours.
const manyInRow = 5

// faultError says that nothing works.
type faultError struct{ err error }

func (e *faultError) Error() string { return e.err.Error() }
func (e *faultError) Unwrap() error { return e.err }

// reset begins anew. What made nothing work is tried once more; the next fault of one message ends it again.
func (f *faults) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone, f.works = make(chan struct{}), false
}

func (f *faults) broken() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

func (f *faults) last() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// worked reports whether anything has worked since the reset.
func (f *faults) worked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.works
}

func (f *faults) mended() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inRow, f.works = 0, true
}

// one notes the fault of one message, and reports whether nothing works.
func (f *faults) one(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inRow++; f.inRow < manyInRow {
		return false
	}
	f.fail(err)
	return true
}

// everyones notes a fault because of which nothing works.
func (f *faults) everyones(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail(err)
}

func (f *faults) fail(err error) {
	f.err = err
	if f.gone == nil {
		return
	}
	select {
	case <-f.gone:
	default:
		close(f.gone)
	}
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
	return jitter(p.last)
}
