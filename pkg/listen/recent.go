package listen

import (
	"sync"
	"time"
)

// recent remembers the changes that messages of the last minutes reported. Nova can send each change in two formats
// (notification_format=both), as two messages with different ids and one key; the second is not worked on when the
// first was.
//
// The same message that comes again, for its acknowledgement was lost or its delay is over, is no duplicate of itself.
type recent struct {
	mu      sync.Mutex
	changes map[string]*change
	order   []*change // as they were claimed
}

const (
	maxRecent = 10_000
	recentFor = 10 * time.Minute
)

// change is one change that a message was the first to report.
type change struct {
	key, event string
	claimed    time.Time
	done       chan struct{}

	// Set before done is closed. kept: the message has been brought to where it belongs, be it a delay queue, and will not
	// come back by itself.
	kept, pending bool

	recent *recent
}

func newRecent() *recent { return &recent{changes: map[string]*change{}} }

// claim returns the change of a key, and whether the event is to be worked on as its first report. If so, finish must
// be called.
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

// forget is for those who hold the lock. A change that a later report has taken the place of is not in the map any
// more.
func (r *recent) forget(c *change) {
	if r.changes[c.key] == c {
		delete(r.changes, c.key)
	}
}

// finish says what became of the first report: whether it was kept, and whether there was something to do for it.
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

// covers reports that another report of the change needs no work. A first report for which there was nothing to do says
// nothing about one for which there is: rules that look into data can match one format only. Call it when done is
// closed.
func (c *change) covers(pending bool) bool { return c.kept && (c.pending || !pending) }
