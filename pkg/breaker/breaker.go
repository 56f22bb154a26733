// Package breaker stops a process from calling an API that asked for a pause, that fails, or that refuses its requests.
// It also paces writes. One Breaker serves a whole process: what one call learns applies to all calls, logins included.
//
// It is a circuit breaker with a circuit for each service and for each project of a service. Unlike a general one, it
// honours Retry-After and never blocks a caller while a circuit is open: the call fails at once with an [*OpenError]
// that has the time until the next try.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Call describes a request, before or after it is sent.
type Call struct {
	// Endpoint is the service's URL.
	Endpoint string
	// Project is the id of the token's project, "" for a login.
	Project string
	// Write reports that the request changes something.
	Write bool
}

// Kind is how a call ended, as far as it matters for later calls.
type Kind string

const (
	// Success means that the service processed the call. A refusal about one resource, such as 404 or 409, counts as
	// success.
	Success Kind = "success"
	// Unavailable means that the service did not answer, or reported a failure of its own.
	Unavailable Kind = "unavailable"
	// Throttled means that the service reported too many calls.
	Throttled Kind = "throttled"
	// Refused means that the credentials lack a permission (403), or the address is wrong (a redirect). Other projects may
	// work.
	Refused Kind = "refused"
	// Unauthenticated means that the service rejects a token that was just issued (401).
	Unauthenticated Kind = "unauthenticated"
)

// Result is how a call ended.
type Result struct {
	Kind Kind
	// RetryAfter is the pause that the service requests, 0 if none.
	RetryAfter time.Duration
	// Latency is how long the call took.
	Latency time.Duration
	// Err is the call's error; an [*OpenError] quotes it.
	Err error
}

// OpenError reports that a call was not sent.
type OpenError struct {
	// Service is the API's host with the first segment of its path.
	Service string
	// RetryAfter is the time until the next try. It is never 0.
	RetryAfter time.Duration
	// Cause is the error that opened the circuit, nil if the call was a write above the rate.
	Cause error
}

func (e *OpenError) Error() string {
	left := e.RetryAfter.Round(100 * time.Millisecond)
	if e.Cause == nil {
		return fmt.Sprintf("not sent: writes to %s exceed the rate (TAGGER_RATE) for another %s", e.Service, left)
	}
	return fmt.Sprintf("not sent: calls to %s are paused for another %s: %s", e.Service, left, e.Cause)
}

// Unwrap returns Cause.
func (e *OpenError) Unwrap() error { return e.Cause }

// How long a circuit stays open if the service requests no pause: the pause doubles from the first to the longest. The
// circuit opens after this many such calls in a row.
var (
	// After APIG.0308, Huawei Cloud's gateway requests 2 to 5 s.
	throttledPause       = backoff{first: 2 * time.Second, longest: 30 * time.Second, after: 1}
	unavailablePause     = backoff{first: 2 * time.Second, longest: 30 * time.Second, after: 3}
	refusedPause         = backoff{first: time.Second, longest: 30 * time.Second, after: 3}
	unauthenticatedPause = backoff{first: 5 * time.Second, longest: 5 * time.Minute, after: 1}
)

type backoff struct {
	first, longest time.Duration
	after          int
}

// pause returns the pause after n calls in a row.
func (b backoff) pause(n int) time.Duration {
	n -= b.after
	if n < 0 {
		return 0
	}
	d := b.first
	for ; n > 0 && d < b.longest; n-- {
		d *= 2
	}
	return min(d, b.longest)
}

// Options configure a Breaker.
type Options struct {
	// WriteRate limits the writes to one service, per second in the long run. 0 means no limit. See [Breaker.Allow].
	WriteRate float64
	// Log, if not nil, records each circuit that opens and each change of the rate.
	Log *slog.Logger
}

// Breaker is safe for concurrent use. A nil Breaker allows every call. The zero value learns and has no write rate.
type Breaker struct {
	options Options

	mu       sync.Mutex
	services map[string]*service
}

// service is the state of one service. Services come from the configuration and the catalog, so there are few.
type service struct {
	name string
	circuit
	// throttled, unavailable and unauthenticated count such calls since the last one that ended otherwise.
	throttled, unavailable, unauthenticated int
	// projects are the recently refused ones. There are at most as many as tokens.
	projects map[string]*project
	pace     *pace
}

type project struct {
	circuit
	refused int
	// write reports that writes were refused. A read that succeeds does not prove that writes are allowed again.
	write bool
}

// circuit is open until a time.
type circuit struct {
	until time.Time
	cause error
}

// open keeps the circuit open for d, unless it is open for longer already.
func (c *circuit) open(d time.Duration, cause error) {
	if until := time.Now().Add(d); until.After(c.until) {
		c.until, c.cause = until, cause
	}
}

// New returns a Breaker.
func New(o Options) *Breaker { return &Breaker{options: o} }

// Allow returns nil if the call may be sent, and an [*OpenError] if not. It delays only writes above the rate, by at
// most [maxPaceWait]. A burst of writes is sent at once, so a single event never waits, and a backlog settles at
// Options.WriteRate. Allow returns an error of the context unchanged.
func (b *Breaker) Allow(ctx context.Context, c Call) error {
	if b == nil {
		return nil
	}
	pace, err := b.check(c)
	if err != nil || pace == nil || !c.Write {
		return err
	}
	undo, err := pace.wait(ctx)
	if err != nil {
		if open, ok := errors.AsType[*OpenError](err); ok {
			open.Service = serviceName(c.Endpoint)
		}
		return err
	}
	if _, err := b.check(c); err != nil { // it may have opened meanwhile
		undo()
		return err
	}
	return nil
}

func (b *Breaker) check(c Call) (*pace, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.service(c.Endpoint)
	circuits := [2]circuit{s.circuit}
	if p, ok := s.projects[c.Project]; ok {
		circuits[1] = p.circuit
	}
	for _, one := range circuits {
		if left := time.Until(one.until); left > 0 {
			return nil, &OpenError{Service: s.name, RetryAfter: left, Cause: one.cause}
		}
	}
	return s.pace, nil
}

// Record records how a call ended. Do not call it for a call that was not sent, or that the caller's own context ended:
// neither says anything about the service.
func (b *Breaker) Record(c Call, r Result) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.service(c.Endpoint)
	r.RetryAfter = min(max(r.RetryAfter, 0), MaxRetryAfter)
	if r.Err == nil && r.Kind != Success {
		r.Err = errors.New(string(r.Kind))
	}
	if s.pace != nil && c.Write {
		if changed, rate := s.pace.observe(r.Kind == Success, r.Latency); changed {
			b.log("write rate changed", s.name, "writes_per_second", rate)
		}
	}
	if p, ok := s.projects[c.Project]; ok && r.Kind == Success && (c.Write || !p.write) {
		// An open circuit stays open: this call started before it opened.
		if p.refused = 0; time.Now().After(p.until) {
			delete(s.projects, c.Project)
		}
	}
	switch r.Kind {
	case Throttled, Unavailable:
		b.recordFailure(s, r)
	case Unauthenticated:
		s.throttled, s.unavailable = 0, 0
		b.recordPause(s.name, &s.circuit, &s.unauthenticated, unauthenticatedPause, r)
	case Refused:
		s.throttled, s.unavailable, s.unauthenticated = 0, 0, 0
		b.recordRefusal(s, c, r)
	default:
		s.throttled, s.unavailable, s.unauthenticated = 0, 0, 0
	}
}

// recordPause counts a call and opens the circuit after enough of them in a row. A call that ends while the circuit is
// open started before that. It counts only if the service requested a pause.
func (b *Breaker) recordPause(name string, c *circuit, n *int, pauses backoff, r Result) {
	if time.Now().Before(c.until) {
		if r.RetryAfter > 0 {
			c.open(r.RetryAfter, r.Err)
		}
		return
	}
	*n++
	d := r.RetryAfter
	if d == 0 {
		d = pauses.pause(*n)
	}
	if d > 0 {
		c.open(d, r.Err)
		b.log("calls paused", name, "pause", d.String(), "error", r.Err.Error())
	}
}

func (b *Breaker) recordFailure(s *service, r Result) {
	n, pauses := &s.unavailable, unavailablePause
	if r.Kind == Throttled {
		n, pauses = &s.throttled, throttledPause
	}
	b.recordPause(s.name, &s.circuit, n, pauses, r)
}

func (b *Breaker) recordRefusal(s *service, c Call, r Result) {
	if s.projects == nil {
		s.projects = map[string]*project{}
	}
	p, ok := s.projects[c.Project]
	if !ok {
		p = &project{}
		s.projects[c.Project] = p
	}
	p.write = c.Write
	b.recordPause(s.name, &p.circuit, &p.refused, refusedPause, r)
}

func (b *Breaker) log(message, service string, attrs ...any) {
	if b.options.Log != nil {
		b.options.Log.Warn(message, append([]any{"service", service}, attrs...)...)
	}
}

// service returns the state of an endpoint's service. The caller holds b.mu.
func (b *Breaker) service(endpoint string) *service {
	name := serviceName(endpoint)
	s, ok := b.services[name]
	if !ok {
		s = &service{name: name}
		if b.options.WriteRate > 0 {
			s.pace = newPace(b.options.WriteRate)
		}
		if b.services == nil {
			b.services = map[string]*service{}
		}
		b.services[name] = s
	}
	return s
}

// serviceName returns the unit that rate limits and outages apply to: the host and, where services share a host, the
// first segment of the path, without the project.
func serviceName(endpoint string) string {
	_, rest, _ := strings.Cut(endpoint, "://")
	host, path, _ := strings.Cut(rest, "/")
	first, _, _ := strings.Cut(path, "/")
	if path == "" {
		return host + "/"
	}
	return rest[:len(host)+len("/")+len(first)]
}
