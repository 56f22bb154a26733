package apply

import (
	"context"
	"sync"
)

// writers lets one writer at a time work on a resource: both APIs merge metadata without a lock, and two writers lose keys.
type writers struct {
	mu   sync.Mutex
	held map[string]*writer
}

// writer is the turn on one resource: a channel holds its token, so that waiting for it can end with a context.
type writer struct {
	turn chan struct{}
	refs int
}

// acquire waits for the resource's turn. The error is the context's cause.
func (w *writers) acquire(ctx context.Context, resource string) (release func(), err error) {
	w.mu.Lock()
	if w.held == nil {
		w.held = map[string]*writer{}
	}
	one, ok := w.held[resource]
	if !ok {
		one = &writer{turn: make(chan struct{}, 1)}
		w.held[resource] = one
	}
	one.refs++
	w.mu.Unlock()

	forget := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if one.refs--; one.refs == 0 {
			delete(w.held, resource)
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
