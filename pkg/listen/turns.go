package listen

import "sync"

// turns has those who name the same key go one after the other, in the order in which they asked. The zero value is
// ready to use, and safe for concurrent use.
type turns struct {
	mu   sync.Mutex
	last map[string]chan struct{} // which is closed when the last one of a key is done
}

// take returns a channel that is closed when it is the caller's turn, and what to call when it is over. Without a key
// it is at once.
func (t *turns) take(key string) (before <-chan struct{}, done func()) {
	own := make(chan struct{})
	if key == "" {
		close(own)
		return own, func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ahead, ok := t.last[key]
	if !ok {
		ahead = make(chan struct{})
		close(ahead)
	}
	if t.last == nil {
		t.last = map[string]chan struct{}{}
	}
	t.last[key] = own
	return ahead, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.last[key] == own {
			delete(t.last, key)
		}
		close(own)
	}
}
