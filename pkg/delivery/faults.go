package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// streak collects consecutive messages that failed for their resource without an answer of the cloud for any other. A
// message that is redelivered and fails again counts once.
type streak struct {
	mu    sync.Mutex
	inRow map[string]bool // by their identities
}

// note records the decisions of one call. It reports whether enough messages failed in a row for the fault to affect
// everything.
func (s *streak) note(batch []Plan, decisions []Decision, tolerance int) bool {
	var failed []string
	reached := false
	for i, d := range decisions {
		reached = reached || d.Reached
		if d.Fault.Err != nil && d.Fault.Scope == fault.Resource {
			failed = append(failed, batch[i].Identity())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reached {
		s.inRow = nil
		return false
	}
	if s.inRow == nil {
		s.inRow = map[string]bool{}
	}
	for _, identity := range failed {
		if len(s.inRow) < tolerance { // no more are needed
			s.inRow[identity] = true
		}
	}
	return len(failed) > 0 && len(s.inRow) >= tolerance
}

// classifyFaults sets the scopes of the faults in decisions. It gives up on a message whose resource or project has
// failed for too long: other messages succeed meanwhile, so an operator must look at this one.
func (p *Processor) classifyFaults(ctx context.Context, batch []Plan, decisions []Decision) {
	widen := p.streak.note(batch, decisions, p.options.Tolerance)
	for i := range decisions {
		if f := &decisions[i].Fault; widen && f.Err != nil && f.Scope == fault.Resource {
			f.Scope = fault.Everything
		}
	}
	if slices.ContainsFunc(decisions, Decision.stopsEverything) {
		return
	}
	for i, d := range decisions {
		sent := batch[i].SentAt
		if d.Fault.Err == nil || sent.IsZero() || time.Since(sent) < p.options.GiveUpAfter {
			continue
		}
		for k, r := range d.Results {
			if r.Fault.Err == nil {
				continue
			}
			given := tagger.Delivery{SentAt: sent, ReceivedAt: batch[i].ReceivedAt, Receives: batch[i].Receives}
			if at := slices.IndexFunc(batch[i].Events, func(e event.Event) bool { return e.ID() == r.Event.ID }); at >= 0 {
				given.Event = batch[i].Events[at]
			}
			d.Results[k] = p.options.Tagger.GivenUp(ctx, given, r)
			if r.Event.ID == d.EventID {
				decisions[i].Decision = *d.Results[k].Decision
			}
		}
	}
}

func (d Decision) stopsEverything() bool {
	return d.Fault.Err != nil && d.Fault.Scope == fault.Everything
}

// StopsEverything returns the fault that keeps every message from being processed, nil if there is none.
func StopsEverything(decisions []Decision) error {
	if i := slices.IndexFunc(decisions, Decision.stopsEverything); i >= 0 {
		return decisions[i].Fault.Err
	}
	return nil
}
