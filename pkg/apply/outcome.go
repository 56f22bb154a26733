package apply

import (
	"fmt"
	"time"

	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Outcome is the result of an event, in the terms that operators see.
type Outcome string

// The outcomes.
const (
	// Tagged: written, and verified unless that is switched off.
	Tagged Outcome = "tagged"
	// Unchanged: no write was needed.
	Unchanged Outcome = "unchanged"
	// Planned: a dry run that would write something.
	Planned Outcome = "planned"
	// Ignored: understood, but nothing to do: no rule, another function's action, or overtaken by a later change.
	Ignored Outcome = "ignored"
	// Unrecognised: not a known event.
	Unrecognised Outcome = "unrecognised"
	// Gone: the resource is deleted.
	Gone Outcome = "gone"
	// Blocked: given up because of a state that only an operator or user can change.
	Blocked Outcome = "blocked"
	// Deferred: not possible yet; to be retried.
	Deferred Outcome = "deferred"
	// Rejected: failed permanently; an operator must act.
	Rejected Outcome = "rejected"
)

// Outcomes returns all outcomes, from best to worst. A record with several events has the worst of their outcomes.
func Outcomes() []Outcome {
	return []Outcome{Tagged, Unchanged, Planned, Ignored, Unrecognised, Gone, Blocked, Rejected, Deferred}
}

// Decision is the outcome of an event and what to do next. Every package up to the HTTP server, function handlers and
// listener passes it on unchanged.
type Decision struct {
	Outcome Outcome `json:"outcome"`
	// Reason is one sentence; "" for tagged.
	Reason string `json:"reason"`
	// Delay is the pause before the next try, for Deferred.
	Delay time.Duration `json:"-"`
	// Fault is set if configuration or credentials are at fault. The outcome is then not the event's own, and the
	// carrier must report that an operator has to act.
	Fault Fault `json:"-"`
	// Internal reports that the reason names API addresses or users. It belongs in the log, not in a response to the
	// sender of an event.
	Internal bool `json:"-"`
}

// Fault is a fault of configuration or credentials; the zero value means no fault.
type Fault struct {
	// Err describes the fault and how to fix it.
	Err error
	// Scope is how far it reaches.
	Scope fault.Scope
}

// faultOf returns the fault in err, or the zero value.
func faultOf(err error) Fault {
	if scope := fault.ScopeOf(err); scope != "" {
		return Fault{Err: err, Scope: scope}
	}
	return Fault{}
}

// String formats the decision for logs.
func (d Decision) String() string {
	if d.Fault.Err != nil {
		return d.Fault.Err.Error()
	}
	if d.Reason == "" {
		return string(d.Outcome)
	}
	return fmt.Sprintf("%s: %s", d.Outcome, d.Reason)
}

// Result is the result of a job.
type Result struct {
	Decision
	// Written holds the keys and values that this job put on the resource, Removed (sorted) the keys that it took off.
	// With Options.Verify, a read-back confirmed both.
	Written map[string]string
	Removed []string
	// Metadata is all of the resource's metadata as read back, nil if nothing was verified.
	Metadata map[string]string
	// Problems lists keys of the plan that were left out, or that the cloud confuses with another key on the resource.
	Problems []rules.Problem
	// Attempts counts the passes; Waited is the sum of the pauses between them.
	Attempts int
	Waited   time.Duration
}
