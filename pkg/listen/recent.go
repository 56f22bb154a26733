package listen

import (
	"sync"
	"time"
)

// recent remembers the changes reported by the messages of the last minutes. Nova can send each change in two formats
// (notification_format=both), as two messages with different ids and the same key; if the first was handled, the second
// is skipped.
//
// A message that is redelivered, because its acknowledgement was lost or its delay is over, is no duplicate of itself.
type recent struct {
	mu      sync.Mutex
	changes map[string]*change
	order   []*change // as they were claimed
}

const (
	maxRecent = 10_000
	recentFor = 10 * time.Minute
)

// change is one change, claimed by the first message that reported it.
type change struct {
	key, event string
	claimed    time.Time
	done       chan struct{}

	// Set before done is closed. kept reports that the message was settled, if only into a delay queue, and will not be
	// redelivered.
	kept, pending bool

	recent *recent
}

func newRecent() *recent { return &recent{changes: map[string]*change{}} }

// claim returns the change of a key, and whether the event is its first report. If so, the caller must call finish.
func (r *recent) claim(key, event string, pending bool, now time.Time) (c *change, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.order) > 0 && (len(r.order) >= maxRecent || now.Sub(r.order[0].claimed) >= recentFor) {
		r.forget(r.order[0])
		r.order = r.order[1:]
	}
	if c := r.changes[key]; c != nil && c.event != event && (!c.isDone() || c.covers(pending)) {
		return c, false
	}
	c = &change{key: key, event: event, claimed: now, done: make(chan struct{}), recent: r}
	r.changes[key], r.order = c, append(r.order, c)
	return c, true
}

// forget removes a change. The caller holds the lock. A later report may already have replaced it in the map.
func (r *recent) forget(c *change) {
	if r.changes[c.key] == c {
		delete(r.changes, c.key)
	}
}

// finish records the result of the first report: whether it was kept, and whether it needed work.
func (c *change) finish(kept, pending bool) {
	c.kept, c.pending = kept, pending
	if !kept {
		c.recent.mu.Lock()
		c.recent.forget(c)
		c.recent.mu.Unlock()
	}
	close(c.done)
}

func (c *change) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// covers reports whether another report of the change needs no work. Even if the first report needed no work, the
// second may: a rule that reads data can match only one of the formats. Call covers once done is closed.
func (c *change) covers(pending bool) bool { return c.kept && (c.pending || !pending) }
