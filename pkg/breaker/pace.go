package breaker

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// A burst after an idle time has burstTime seconds' worth of writes, and at least minBurst.
	burstTime = 10 * time.Second
	minBurst  = 10
	// maxPaceWait limits how long a write waits for its turn. A write that would wait longer is not sent.
	maxPaceWait = 5 * time.Second

	// The rate halves when latency exceeds slowFactor times its baseline, and doubles again below recoveredFactor.
	// Latencies below minBaseline count as minBaseline: differences between them are noise.
	slowFactor, recoveredFactor = 3, 2
	minBaseline                 = 50 * time.Millisecond
	// minSamples is the number of writes measured before the rate changes, adjustEvery the minimum time between changes.
	minSamples  = 20
	adjustEvery = 10 * time.Second
	// maxHalvings limits how far the rate sinks: to 1/32.
	maxHalvings = 5

	// The weights of a new sample in the moving averages. The baseline covers some 500 writes. Slow samples weigh even
	// less: an API that stays slow is accepted after some thousand writes.
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

// wait waits for a write's turn. undo gives the turn back.
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

// observe records the latency of a write. It reports whether the rate changed, and the new rate.
func (p *pace) observe(success bool, latency time.Duration) (changed bool, writesPerSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	baseline := max(p.baseline, minBaseline.Seconds())
	sample := latency.Seconds()
	slow := p.samples >= minSamples && sample >= slowFactor*baseline
	if !success && !slow {
		return false, 0 // a fast error says nothing about the service's load
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
