package app

import (
	"container/list"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
)

// minConnections is the smallest limit of open connections. A connection takes up to 80 KiB while its request's header
// arrives, so this many fit a small container.
const minConnections = 256

// connections limits the open connections of a server. At the limit, a new connection closes the one that has waited
// longest for its client: idle, or with a request that has not arrived completely. So clients that are slow on purpose
// block no others. Requests under way are never cut off; if only those are left, new connections wait.
type connections struct {
	net.Listener
	most int

	mu      sync.Mutex
	changed *sync.Cond
	open    int
	closed  bool
	waiting list.List // of *connection, the one that has waited longest first
}

// connection is one open connection.
type connection struct {
	net.Conn
	of      *connections
	once    sync.Once
	waiting *list.Element // nil while a request is under way; guarded by connections.mu
	evicted bool          // guarded by connections.mu
}

func newConnections(l net.Listener, most int) *connections {
	c := &connections{Listener: l, most: max(minConnections, most)}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// Accept implements [net.Listener].
func (c *connections) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.makeRoom() {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	one := &connection{Conn: conn, of: c}
	one.waiting = c.waiting.PushBack(one)
	return one, nil
}

// makeRoom takes a place for a new connection. It reports false if the listener was closed meanwhile. The caller holds
// the lock.
func (c *connections) makeRoom() bool {
	for c.open >= c.most && !c.closed {
		oldest := c.waiting.Front()
		if oldest == nil {
			c.changed.Wait()
			continue
		}
		one := c.waiting.Remove(oldest).(*connection)
		one.waiting, one.evicted = nil, true
		c.mu.Unlock()
		_ = one.Close()
		c.mu.Lock()
	}
	if c.closed {
		return false
	}
	c.open++
	return true
}

// Close implements [net.Listener].
func (c *connections) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.changed.Broadcast()
	return c.Listener.Close()
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.once.Do(func() {
		c.busy()
		c.of.mu.Lock()
		c.of.open--
		c.of.mu.Unlock()
		c.of.changed.Broadcast()
	})
	return c.Conn.Close()
}

// waits notes that the connection waits for its client, from now on.
func (c *connection) waits() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	switch {
	case c.evicted:
	case c.waiting != nil:
		c.of.waiting.MoveToBack(c.waiting)
	default:
		c.waiting = c.of.waiting.PushBack(c)
		c.of.changed.Broadcast()
	}
}

// busy notes that a request is under way. It reports false if the connection had to make room.
func (c *connection) busy() bool {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.waiting != nil {
		c.of.waiting.Remove(c.waiting)
		c.waiting = nil
	}
	return !c.evicted
}

// note is the ConnState of the server.
func note(c net.Conn, state http.ConnState) {
	if one, ok := c.(*connection); ok && (state == http.StateIdle || state == http.StateActive) {
		one.waits()
	}
}

type connectionKey struct{}

// remember is the ConnContext of the server.
func remember(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// track notes when a connection's request is under way: as soon as its body has arrived.
func track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			if r.Body == nil || r.Body == http.NoBody {
				c.busy()
			} else {
				r.Body = &arriving{r.Body, c}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// arriving is a body; the request is under way when it has arrived.
type arriving struct {
	io.ReadCloser
	connection *connection
}

// Read implements [io.Reader].
func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && !a.connection.busy() {
		return n, net.ErrClosed
	}
	return n, err
}
