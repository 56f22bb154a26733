package apply

import (
	"context"
	"sync"
)

// keyedMutex is a mutex for each key. Applying a plan holds its resource's mutex: the APIs merge metadata without a
// lock, so two writers lose keys. The zero value is ready to use.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

// keyLock is the lock of one key. Its token is in a channel, so that a context can end the wait.
type keyLock struct {
	turn chan struct{}
	refs int
}

// lock waits for the key's lock. Its error is the context's cause.
func (m *keyedMutex) lock(ctx context.Context, key string) (unlock func(), err error) {
	m.mu.Lock()
	if m.locks == nil {
		m.locks = map[string]*keyLock{}
	}
	one, ok := m.locks[key]
	if !ok {
		one = &keyLock{turn: make(chan struct{}, 1)}
		m.locks[key] = one
	}
	one.refs++
	m.mu.Unlock()

	forget := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if one.refs--; one.refs == 0 {
			delete(m.locks, key)
		}
	}
	select {
	case one.turn <- struct{}{}:
		return func() { <-one.turn; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, context.Cause(ctx)
	}
}
