package apply

import (
	"fmt"
	"time"

	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Outcome is what became of an event, in the words that operators see.
type Outcome string

// The outcomes.
const (
	// Tagged: written, and verified unless that is switched off.
	Tagged Outcome = "tagged"
	// Unchanged: no write was needed.
	Unchanged Outcome = "unchanged"
	// Planned: a dry run, and something would be written.
	Planned Outcome = "planned"
	// Ignored: understood, and nothing to do for it: no rule, another function's action, or overtaken by later changes.
	Ignored Outcome = "ignored"
	// Unrecognised: not an event we know.
	Unrecognised Outcome = "unrecognised"
	// Gone: the resource is deleted.
	Gone Outcome = "gone"
	// Blocked: given up on a state that only a person changes.
	Blocked Outcome = "blocked"
	// Deferred: not yet; try again later.
	Deferred Outcome = "deferred"
	// Rejected: never, and a person must look.
	Rejected Outcome = "rejected"
)

// Outcomes returns all outcomes, from the best to the worst: a record that holds several events has the worst of
// theirs.
func Outcomes() []Outcome {
	return []Outcome{Tagged, Unchanged, Planned, Ignored, Unrecognised, Gone, Blocked, Rejected, Deferred}
}

// Decision is what became of an event and what to do next. Every package up to the doors passes it on unchanged.
type Decision struct {
	Outcome Outcome `json:"outcome"`
	// Reason says why in one sentence; "" for tagged.
	Reason string `json:"reason"`
	// Delay is when to try again, for Deferred.
	Delay time.Duration `json:"-"`
	// Fault is set when configuration or credentials are at fault. Then the outcome is not the event's own, and the
	// carrier must be told that the fault needs a person.
	Fault Fault `json:"-"`
	// Internal says that the reason tells where the cloud's APIs are, or who logs in there: it is for the log, and not for
	// those who send events.
	Internal bool `json:"-"`
}

// Fault is a fault of configuration or credentials; the zero value is none.
type Fault struct {
	// Err says what is wrong and the way out.
	Err error
	// Scope is how far it reaches.
	Scope fault.Scope
}

// faultOf returns the fault that err is, the zero value where it is none.
func faultOf(err error) Fault {
	if scope := fault.ScopeOf(err); scope != "" {
		return Fault{Err: err, Scope: scope}
	}
	return Fault{}
}

// String is for logs.
func (d Decision) String() string {
	if d.Fault.Err != nil {
		return d.Fault.Err.Error()
	}
	if d.Reason == "" {
		return string(d.Outcome)
	}
	return fmt.Sprintf("%s: %s", d.Outcome, d.Reason)
}

// Result is what became of a job.
type Result struct {
	Decision
	// Written are the keys that are on the resource because of this job, with their values; Removed (sorted) those that
	// are not. With verification they were so when read back.
	Written map[string]string
	Removed []string
	// Metadata is all of the resource's metadata as it was read back, nil where nothing was verified.
	Metadata map[string]string
	// Problems are keys of the plan that were left out, or that stand beside one that the cloud confuses with them.
	Problems []rules.Problem
	// Attempts counts passes, Waited sums the pauses between them.
	Attempts int
	Waited   time.Duration
}
