package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/cloudtagger/tagger/pkg/config"
)

const (
	// loginTimeout is how long one login may take.
	loginTimeout = 15 * time.Second
	// refusalTTL is how long a refused login is not retried, so that a batch of ten events does not cause ten failed
	// logins, which can lock the user.
	refusalTTL = 30 * time.Second
)

// grant is the result of a login: a token and its details, or an access key.
type grant struct {
	login config.Login
	token config.Secret // zero with an access key

	project, projectName string
	domain, domainName   string // the project's
	user, userID         string
	roles                []string
	catalog              []tokens.CatalogEntry

	send http.RoundTripper

	open    sync.Once
	session *Session // with this grant, once it is open
}

// login holds the grant for one project and renews it when needed.
type login struct {
	issue func(context.Context) (*grant, error)
	used  time.Time // guarded by Cloud.mu

	mu      sync.Mutex
	current *grant
	pending *attempt
	refusal *RefusedError
}

// attempt is a login in progress. It is cancelled when its last waiter gives up.
type attempt struct {
	waiters int // guarded by login.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when the fields below are set
	grant   *grant
	err     error
}

// grant returns the current grant, or a new one when there is none or the current one is stale.
func (l *login) grant(ctx context.Context, stale *grant) (*grant, error) {
	l.mu.Lock()
	if l.current != nil && l.current != stale {
		defer l.mu.Unlock()
		return l.current, nil
	}
	l.current = nil // a refused token is not sent again, even if the renewal fails
	if l.refusal != nil {
		if left := time.Until(l.refusal.Until); left > 0 {
			defer l.mu.Unlock()
			return nil, &RefusedError{
				Err:   fmt.Errorf("%w (cached refusal; next attempt in %s)", l.refusal.Err, left.Round(time.Second)),
				Until: l.refusal.Until, Scope: l.refusal.Scope,
			}
		}
	}
	if l.pending == nil {
		l.start(ctx)
	}
	a := l.pending
	a.waiters++
	l.mu.Unlock()

	select {
	case <-a.done:
		return a.grant, a.err
	case <-ctx.Done():
		l.abandon(a)
		return nil, fmt.Errorf("wait for the login: %w", ctx.Err())
	}
}

// start begins an attempt that does not depend on the first caller's context. The caller holds mu.
func (l *login) start(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
	a := &attempt{cancel: cancel, done: make(chan struct{})}
	l.pending = a
	go func() {
		defer cancel()
		g, err := l.issue(ctx)
		l.finish(a, g, err)
	}()
}

// abandon cancels the attempt when its last waiter gives up. A function instance may be frozen between invocations; the
// next one must not wait for a login that failed meanwhile.
func (l *login) abandon(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.waiters--; a.waiters > 0 {
		return
	}
	a.cancel()
	if l.pending == a {
		l.pending = nil
	}
}

func (l *login) finish(a *attempt, g *grant, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == a {
		l.pending = nil
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		// A token that cannot be renewed is useless, too: the next session fails before it sends anything.
		l.current = nil
		if !refused.Until.IsZero() {
			l.refusal = refused
		}
	}
	if err == nil {
		l.current, l.refusal = g, nil
	}
	a.grant, a.err = g, err
	close(a.done)
}
