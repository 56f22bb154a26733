package apply

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// keyedMutex is a mutex for each key. Applying a plan holds its resource's mutex: the APIs merge metadata without a
// lock, so two writers lose keys. The zero value is ready to use.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

// keyLock is the lock of one key, a semaphore so that a context can end the wait.
type keyLock struct {
	sem  *semaphore.Weighted
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
		one = &keyLock{sem: semaphore.NewWeighted(1)}
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
	if one.sem.Acquire(ctx, 1) != nil {
		forget()
		return nil, context.Cause(ctx)
	}
	return func() { one.sem.Release(1); forget() }, nil
}
