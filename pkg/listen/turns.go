package listen

import "sync"

// turns makes callers with the same key proceed one after the other, in the order of their calls. The zero value is
// ready to use, and safe for concurrent use.
type turns struct {
	mu   sync.Mutex
	last map[string]chan struct{} // closed when the last caller with the key is done
}

// take returns a channel that is closed when it is the caller's turn, and a function to call at the end of the turn.
// Without a key, the turn is at once.
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
