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
	// refusalTTL is for how long a refused login is not tried again, so that a batch of ten events does not make
	// ten failed logins, which can lock a user out.
	refusalTTL = 30 * time.Second
)

// grant is what a login gave: a token and what Keystone says of it, or the leave to sign.
type grant struct {
	login config.Login
	token config.Secret // zero with an access key

	project, projectName string
	domain, domainName   string // the project's
	user, userID         string
	roles                []string
	catalog              []tokens.CatalogEntry

	send http.RoundTripper
}

// login keeps the grant for one project and gets another when it is needed.
type login struct {
	issue func(context.Context) (*grant, error)
	used  time.Time // guarded by Cloud.mu

	mu      sync.Mutex
	current *grant
	pending *attempt
	refusal *RefusedError
}

// attempt is one login under way. It goes on as long as somebody waits for it.
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
	l.current = nil // a token that was refused is not sent again, even if no other can be had for now
	if l.refusal != nil {
		if left := time.Until(l.refusal.Until); left > 0 {
			defer l.mu.Unlock()
			return nil, &RefusedError{
				Err: fmt.Errorf("%w (so said the cloud a moment ago; it is asked again in %s)", l.refusal.Err,
					left.Round(time.Second)),
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

// start begins an attempt whose life does not hang on the caller that happens to be first. Called with mu held.
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

// abandon stops the attempt when nobody waits for it any more. A function instance may be frozen between invocations:
// the next one must not inherit a login that died meanwhile.
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
		// A token that cannot be renewed is of no use either: the next session is told so before it sends anything.
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
