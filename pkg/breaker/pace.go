package breaker

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// burstTime is how many seconds' worth of writes go out at once after a quiet time; minBurst is the least number.
	burstTime = 10 * time.Second
	minBurst  = 10
	// maxPaceWait is the longest that a write waits for its turn. One that would wait longer is not sent.
	maxPaceWait = 5 * time.Second

	// slowFactor is by how much latency must grow over its baseline to halve the rate; below recoveredFactor the rate
	// doubles again. Latencies below minBaseline are taken for it: what they differ by is noise.
	slowFactor, recoveredFactor = 3, 2
	minBaseline                 = 50 * time.Millisecond
	// minSamples is how many writes must be measured before the rate changes, adjustEvery how long it then stays.
	minSamples  = 20
	adjustEvery = 10 * time.Second
	// maxHalvings bounds how far the rate sinks: to a 32nd.
	maxHalvings = 5

	// The weights of a new sample in the moving averages. The baseline is that of some 500 writes. Slow samples move it
	// even less: an API that has become slow for good is accepted after some thousand writes.
	latencyWeight, baselineWeight, slowWeight = 0.2, 0.002, 0.0005
)

// pace limits the writes to one service: a token bucket whose rate follows the service's latency.
type pace struct {
	limiter *rate.Limiter
	rate    rate.Limit // as configured

	mu                sync.Mutex
	samples, halvings int
	latency, baseline float64 // moving averages, in seconds
	changed           time.Time
}

func newPace(writesPerSecond float64) *pace {
	burst := max(minBurst, int(writesPerSecond*burstTime.Seconds()))
	return &pace{limiter: rate.NewLimiter(rate.Limit(writesPerSecond), burst), rate: rate.Limit(writesPerSecond)}
}

// wait waits for the turn of a write. undo gives the turn back.
func (p *pace) wait(ctx context.Context) (undo func(), err error) {
	turn := p.limiter.Reserve()
	d := turn.Delay()
	if d <= 0 {
		return turn.Cancel, nil
	}
	if deadline, ok := ctx.Deadline(); d > maxPaceWait || ok && time.Until(deadline) < d {
		turn.Cancel()
		return nil, &OpenError{RetryAfter: d}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return turn.Cancel, nil
	case <-ctx.Done():
		turn.Cancel()
		return nil, context.Cause(ctx)
	}
}

// observe takes the latency of a write into account, and reports whether the rate has changed, and to what.
func (p *pace) observe(success bool, latency time.Duration) (changed bool, writesPerSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	baseline := max(p.baseline, minBaseline.Seconds())
	sample := latency.Seconds()
	slow := p.samples >= minSamples && sample >= slowFactor*baseline
	if !success && !slow {
		return false, 0 // an error that comes quickly says nothing about how busy the service is
	}
	if p.samples++; p.samples <= minSamples {
		p.baseline += (sample - p.baseline) / float64(p.samples)
		p.latency = p.baseline
		return false, 0
	}
	p.latency += (sample - p.latency) * latencyWeight
	if slow {
		p.baseline += (sample - p.baseline) * slowWeight
	} else {
		p.baseline += (sample - p.baseline) * baselineWeight
	}
	halvings := p.halvings
	switch {
	case p.latency >= slowFactor*baseline && halvings < maxHalvings:
		halvings++
	case p.latency < recoveredFactor*baseline && halvings > 0:
		halvings--
	}
	if halvings == p.halvings || time.Since(p.changed) < adjustEvery {
		return false, 0
	}
	p.halvings, p.changed = halvings, time.Now()
	limit := p.rate / rate.Limit(int(1)<<halvings)
	p.limiter.SetLimit(limit)
	return true, float64(limit)
}
