package listen

import "sync"

// keyedQueue makes callers with the same key proceed one after the other, in the order of their calls. The zero value
// is ready to use, and safe for concurrent use.
type keyedQueue struct {
	mu   sync.Mutex
	last map[string]chan struct{} // closed when the last caller with the key is done
}

// enqueue returns a channel that is closed when it is the caller's turn, and a function to call at the end of the turn.
// Without a key, the caller does not wait.
func (q *keyedQueue) enqueue(key string) (ready <-chan struct{}, done func()) {
	own := make(chan struct{})
	if key == "" {
		close(own)
		return own, func() {}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	ahead, ok := q.last[key]
	if !ok {
		ahead = make(chan struct{})
		close(ahead)
	}
	if q.last == nil {
		q.last = map[string]chan struct{}{}
	}
	q.last[key] = own
	return ahead, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.last[key] == own {
			delete(q.last, key)
		}
		close(own)
	}
}
