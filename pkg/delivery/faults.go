package delivery

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/fault"
)

// streak counts the messages in a row that failed for their resource, without an answer of the cloud for any other.
type streak struct {
	mu    sync.Mutex
	inRow int
}

// note takes note of one call's decisions, and reports whether faults of single resources mean that everything is at
// fault: there were so many in a row.
func (s *streak) note(decisions []Decision, tolerance int) bool {
	ofResources, reached := 0, false
	for _, d := range decisions {
		reached = reached || d.Reached
		if d.Fault.Err != nil && d.Fault.Scope == fault.Resource {
			ofResources++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reached {
		s.inRow = 0
		return false
	}
	s.inRow += ofResources
	return ofResources > 0 && s.inRow >= tolerance
}

// judge decides how far the faults of decisions reach, and gives up on those that concern one resource or project for
// too long: others are worked on all the while, so that a person must look at this message.
func (p *Processor) judge(batch []Planned, decisions []Decision) {
	widen := p.streak.note(decisions, p.options.Tolerance)
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
		reason := fmt.Sprintf("given up after %s: %s", p.options.GiveUpAfter, d.Fault.Err)
		p.log.Error("event rejected", "event_id", d.EventID, "message", batch[i].ID,
			"outcome", string(apply.Rejected), "reason", reason)
		decisions[i].Decision = apply.Decision{Outcome: apply.Rejected, Reason: reason}
	}
}

func (d Decision) stopsEverything() bool {
	return d.Fault.Err != nil && d.Fault.Scope == fault.Everything
}

// StopsEverything returns the fault that keeps every message from being worked on, nil when there is none.
func StopsEverything(decisions []Decision) error {
	if i := slices.IndexFunc(decisions, Decision.stopsEverything); i >= 0 {
		return decisions[i].Fault.Err
	}
	return nil
}
