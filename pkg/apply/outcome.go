package apply

import (
	"fmt"
	"time"
)

// Outcome is what became of an event, in the words that operators see.
type Outcome string

// The outcomes.
const (
	// Tagged: written, and verified unless that is switched off.
	Tagged Outcome = "tagged"
	// Unchanged: no write was needed.
	Unchanged Outcome = "unchanged"
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

// Outcomes returns all outcomes, from the best to the worst: a record that holds several events has the worst of theirs.
func Outcomes() []Outcome {
	return []Outcome{Tagged, Unchanged, Ignored, Unrecognised, Gone, Blocked, Rejected, Deferred}
}

// Result is what became of a job.
type Result struct {
	Outcome Outcome
	// Reason says why in one sentence; "" for tagged.
	Reason string
	// Written are the keys that are on the resource because of this job, with their values; Removed (sorted) those that are not.
	// With verification they were so when read back.
	Written map[string]string
	Removed []string
	// Delay is when to try again, for Deferred.
	Delay time.Duration
	// Attempts counts passes, Waited sums the pauses between them.
	Attempts int
	Waited   time.Duration
	// Err is set when configuration or credentials are at fault: then the outcome is not the event's, and the carrier must be
	// told that nothing works.
	Err error
}

// String is for logs.
func (r Result) String() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	if r.Reason == "" {
		return string(r.Outcome)
	}
	return fmt.Sprintf("%s: %s", r.Outcome, r.Reason)
}
