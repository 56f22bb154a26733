package cloud_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

// slowLogins makes each login take d, or until its context ends.
func slowLogins(d time.Duration) func(context.Context) {
	return func(ctx context.Context) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
}

func TestOneLoginForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.before = slowLogins(time.Second)
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		together(t, 20, func() error { _, err := c.Session(t.Context(), ""); return err })
		if n := f.loginCount(); n != 1 {
			t.Errorf("%d logins, want 1", n)
		}
		sessions := make([]*cloud.Session, 20)
		for i := range sessions {
			sessions[i] = mustSession(t, c, "")
		}

		f.revokeAll()
		i := make(chan int, 20)
		for n := range 20 {
			i <- n
		}
		together(t, 20, func() error { return get(t.Context(), sessions[<-i]) })
		if n := f.loginCount(); n != 2 {
			t.Errorf("%d logins after the token was revoked, want one more", n-1)
		}
	})
}

// together runs n at a time and reports their errors.
func together(t *testing.T, n int, do func() error) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCancelledCallerDoesNotFailTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.before = slowLogins(5 * time.Second)
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})

		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		firstErr := make(chan error)
		start := time.Now()
		go func() { _, err := c.Session(first, ""); firstErr <- err }()
		synctest.Wait()
		second := make(chan error)
		go func() { _, err := c.Session(t.Context(), ""); second <- err }()

		if err := <-firstErr; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("first caller: %v after %s", err, time.Since(start))
		}
		if err := <-second; err != nil {
			t.Errorf("second caller: %v", err)
		}
		if n := f.loginCount(); n != 1 {
			t.Errorf("%d logins, want 1", n)
		}
	})
}

func TestAbandonedLoginEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.before = slowLogins(5 * time.Second)
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { _, err := c.Session(ctx, ""); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
		f.set(func(f *fake) { f.before = nil })
		mustSession(t, c, "") // starts a new login, without the old failure
		if n := f.loginCount(); n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
	})
}

func TestLoginHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.before = slowLogins(time.Hour)
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		start := time.Now()
		_, err := c.Session(t.Context(), "")
		if err == nil || !strings.Contains(err.Error(), "no response within 15s") || time.Since(start) != 15*time.Second {
			t.Errorf("error = %v after %s", err, time.Since(start))
		}
		if _, ok := errors.AsType[*cloud.RefusedError](err); ok {
			t.Error("a timeout is a RefusedError, want a temporary error")
		}
		f.set(func(f *fake) { f.before = nil })
		mustSession(t, c, "")
	})
}

// A failed login is retried at the time of Retry-After, by the first project that needs one.
func TestFailureThatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.answers = []int{0, 503}
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Projects: []string{"p-other", "p-third"},
			Transport: f})
		mustSession(t, c, "")
		if _, err := c.Session(t.Context(), "p-other"); err == nil {
			t.Fatal("no error")
		}
		for _, project := range []string{"p-other", "p-third"} {
			_, err := c.Session(t.Context(), project)
			open, ok := errors.AsType[*breaker.OpenError](err)
			if !ok || open.RetryAfter != 7*time.Second || !strings.Contains(err.Error(), "503 Service Unavailable") {
				t.Errorf("error = %v, want an OpenError with the 503 and 7s", err)
			}
			if n := f.loginCount(); n != 2 {
				t.Errorf("%d logins, want 2", n)
			}
		}
		<-time.NewTimer(7 * time.Second).C
		mustSession(t, c, "p-third")
		mustSession(t, c, "p-other")
	})
}

func TestRefusalIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		credentials := passwordCredentials()
		credentials.Password = config.NewSecret(badPassword)
		// Refused is called, but the source has no other credentials.
		c := cloud.New(cloud.Options{Credentials: credentials, Refused: func() {}, Transport: f})
		for range 10 {
			_, err := c.Session(t.Context(), "")
			refused, ok := errors.AsType[*cloud.RefusedError](err)
			if !ok || time.Until(refused.Until) != 30*time.Second {
				t.Fatalf("error = %v", err)
			}
		}
		if n := f.loginCount(); n != 1 {
			t.Errorf("%d logins for a batch of ten, want 1", n)
		}
		time.Sleep(20 * time.Second)
		if _, err := c.Session(t.Context(), ""); err == nil || !strings.HasSuffix(err.Error(), "next attempt in 10s)") {
			t.Errorf("error = %v", err)
		}
		time.Sleep(10 * time.Second)
		f.set(func(f *fake) { f.password = badPassword })
		mustSession(t, c, "")
		if n := f.loginCount(); n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
	})
}

func TestRefusedRenewalIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		s := mustSession(t, c, "")
		f.revokeAll()
		f.set(func(f *fake) { f.password = newPassword })
		for range 5 {
			if _, ok := errors.AsType[*cloud.RefusedError](get(t.Context(), s)); !ok {
				t.Error("no RefusedError from a client whose login is refused")
			}
		}
		if _, err := c.Session(t.Context(), ""); err == nil {
			t.Error("a session whose token is dead and cannot be renewed")
		}
		if n := f.loginCount(); n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
	})
}

// rotating is a source whose password is changed in the cloud and in the secret.
type rotating struct {
	mu      sync.Mutex
	cached  config.Credentials
	current config.Credentials
	refused int
}

func (r *rotating) credentials(context.Context) (config.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cached, nil
}

func (r *rotating) onRefused() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused++
	r.cached = r.current
}

func TestRotatedPassword(t *testing.T) {
	f := newFake()
	source := &rotating{cached: passwordCredentials(), current: passwordCredentials()}
	c := cloud.New(cloud.Options{Source: source.credentials, Refused: source.onRefused, Transport: f})
	s := mustSession(t, c, "")

	f.revokeAll()
	f.set(func(f *fake) { f.password = newPassword })
	source.current.Password = config.NewSecret(newPassword)
	if err := get(t.Context(), s); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
	if n := f.loginCount(); n != 3 || source.refused != 1 {
		t.Errorf("%d logins, %d reported refusals; want 3 and 1", n, source.refused)
	}

	// To a user of another project: the session at hand must not act there.
	f.revokeAll()
	f.set(func(f *fake) { f.password = "x" })
	source.current.Password = config.NewSecret("x")
	source.current.ProjectName = "other"
	if err := get(t.Context(), s); err == nil ||
		!strings.Contains(err.Error(), "from p-demo to p-other: open a new session") {
		t.Errorf("error = %v", err)
	}
	if s := mustSession(t, c, ""); s.Project != "p-other" {
		t.Errorf("a new session acts in %s", s.Project)
	}
}

func TestSourceFails(t *testing.T) {
	f := newFake()
	var err error
	c := cloud.New(cloud.Options{Transport: f, Source: func(context.Context) (config.Credentials, error) {
		return passwordCredentials(), err
	}})
	err = errors.New("no response")
	_, got := c.Session(t.Context(), "")
	if _, ok := errors.AsType[*cloud.RefusedError](got); ok || !errors.Is(got, err) {
		t.Errorf("error = %v, want a temporary one", got)
	}
	err = &cloud.RefusedError{Err: errors.New("may not read the secret")}
	_, got = c.Session(t.Context(), "")
	if _, ok := errors.AsType[*cloud.RefusedError](got); !ok {
		t.Errorf("error = %v, want a RefusedError", got)
	}
	err = nil
	mustSession(t, c, "")
}
