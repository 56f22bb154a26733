package metadata

import (
	"net/url"
	"strings"
	"sync"
	"time"
)

// Pauses keeps a process from calling an endpoint that asked to be left alone, or that has failed several times on end. It is shared by all
// clients of the process: what one of them is told concerns all. The zero value is ready, and safe for concurrent use.
//
// It never blocks. A call in a pause fails at once, as one that was throttled, with the time that is left: the caller decides whether
// to wait that long or to hand its work back.
type Pauses struct {
	mu        sync.Mutex
	endpoints map[string]*pause
}

type pause struct {
	until time.Time
	// failures counts calls that were throttled without being told for how long, or found the service unavailable, since the last
	// that was answered.
	failures int
}

// The length of a pause where the API does not say one: doubling from shortestPause to longestPause. Single failures of a service pause
// nothing; failuresBeforePause on end do.
const (
	shortestPause       = 2 * time.Second // what Huawei Cloud's gateway wants after APIG.0308 is 2 to 5 s
	longestPause        = 30 * time.Second
	longestRetryAfter   = time.Hour
	failuresBeforePause = 3
)

// left returns how long the endpoint is to be left alone still.
func (p *Pauses) left(endpoint string) time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.endpoints[service(endpoint)]
	if !ok {
		return 0
	}
	return max(0, time.Until(e.until))
}

// learn takes a call's result into account; a nil error is a success.
func (p *Pauses) learn(endpoint string, err *Error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	name := service(endpoint)
	if err == nil || err.Class != Throttled && err.Class != Unavailable && err.Class != Unknown {
		// It answers, be it with a refusal. A pause that was asked for meanwhile stays.
		if e, ok := p.endpoints[name]; ok {
			e.failures = 0
		}
		return
	}
	if p.endpoints == nil {
		p.endpoints = map[string]*pause{}
	}
	e, ok := p.endpoints[name]
	if !ok {
		e = &pause{}
		p.endpoints[name] = e
	}
	if time.Now().Before(e.until) {
		if err.RetryAfter == 0 {
			return // it was under way when the pause began
		}
	} else {
		e.failures++
	}
	var d time.Duration
	switch {
	case err.RetryAfter > 0:
		d = min(err.RetryAfter, longestRetryAfter)
	case err.Class == Throttled:
		d = doubled(e.failures)
	case e.failures >= failuresBeforePause:
		d = doubled(e.failures - failuresBeforePause + 1)
	}
	if until := time.Now().Add(d); until.After(e.until) {
		e.until = until
	}
}

func doubled(n int) time.Duration {
	d := shortestPause
	for ; n > 1 && d < longestPause; n-- {
		d *= 2
	}
	return min(d, longestPause)
}

// service is what a rate limit and an outage are about: the host, and the first step of the path where services share one, but not the project.
func service(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return u.Host + "/" + first
}
