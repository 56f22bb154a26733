package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Situation is everything that [Options.Decide] takes into account about a failed call.
type Situation struct {
	// Class is the error's.
	Class metadata.Class
	// Kind is the resource's.
	Kind metadata.Kind
	// Project is the resource's project, "" if unknown.
	Project string
	// State is the resource's state, "" if it was not read or the kind has none.
	State string
	// Visible is that of [Job].
	Visible bool
	// EventAge is the time since the event, CarrierAge the time since the carrier accepted it, negative if unknown.
	EventAge, CarrierAge time.Duration
	// Receives and RetryAfter shape the delay.
	Receives   int
	RetryAfter time.Duration
	// Message is the API's message, for the reason.
	Message string
	// Unanswered reports that no API answered the call: the message then comes from the network.
	Unanswered bool
	// Fault is set if configuration or credentials are at fault.
	Fault Fault
}

// Verdict is what to do now.
type Verdict struct {
	Decision
	// Wait reports that a short wait inside this call may help. It is false for a state that only an operator or user
	// can change.
	Wait bool
	// RetryAfter is the minimum pause before another try.
	RetryAfter time.Duration
}

// Delays between deliveries double with the number of receives, from shortest to longest.
const (
	shortest = 15 * time.Second
	longest  = time.Hour
	// manualDelay is the minimum delay while only an operator or user can remove the obstacle.
	manualDelay = 15 * time.Minute
)

// delay returns the delay before the next delivery after a number of receives.
func delay(receives int, retryAfter, least time.Duration) time.Duration {
	d := shortest
	for n := 1; n < receives && d < longest; n++ {
		d *= 2
	}
	return max(backoff.Jitter(min(max(d, least), longest)), retryAfter)
}

// Decide returns the verdict on a failed call. Apart from the jitter of delays, it is a pure function.
func (o Options) Decide(s Situation) Verdict {
	v := o.decide(s)
	v.Internal = s.Unanswered
	return v
}

func (o Options) decide(s Situation) Verdict {
	givenUp := s.CarrierAge >= o.GiveUpAfter && s.CarrierAge >= 0
	later := func(reason string, wait bool) Verdict {
		return Verdict{Decision{Outcome: Deferred, Reason: reason, Delay: delay(s.Receives, s.RetryAfter, shortest)}, wait,
			s.RetryAfter}
	}
	final := func(outcome Outcome, reason string) Verdict {
		return Verdict{Decision: Decision{Outcome: outcome, Reason: reason}}
	}
	// blocked is the verdict on a state that lasts until an operator or user changes it.
	blocked := func(reason string) Verdict {
		if givenUp {
			return final(Blocked, fmt.Sprintf("given up after %s: %s", o.GiveUpAfter, reason))
		}
		return Verdict{Decision: Decision{Outcome: Deferred, Reason: reason,
			Delay: delay(s.Receives, s.RetryAfter, manualDelay)}}
	}

	switch s.Class {
	case metadata.Gone:
		switch {
		case s.EventAge < o.Grace && !givenUp:
			return later(fmt.Sprintf("not found yet; gone only when the event is %s old: %s", o.Grace, s.Message), true)
		case !s.Visible:
			return final(Rejected, "not found, and the credentials act in another project than the event's: "+s.Message)
		}
		if s.EventAge < o.Grace { // given up
			return final(Gone, s.Message)
		}
		where := ""
		if s.Project != "" {
			where = " in project " + s.Project
		}
		const reason = "no %s has this id%s, and the event is older than TAGGER_GRACE (%s): it counts as deleted"
		return final(Gone, fmt.Sprintf(reason, s.Kind, where, short(o.Grace)))

	case metadata.NotReady, metadata.Locked:
		state := s.Kind.StateName() + " " + s.State
		switch s.Kind.Readiness(s.State) {
		case metadata.Deleted:
			return final(Gone, state)
		case metadata.Passing:
			if givenUp {
				return blocked(state)
			}
			return later(state, true)
		case metadata.Ready:
			if s.Class == metadata.Locked {
				return blocked("locked: " + s.Message)
			}
			if givenUp {
				return blocked(s.Message)
			}
			// It became ready between the refusal and the read, or a snapshot is busy.
			return later(s.Message, true)
		}
		return blocked(state)

	case metadata.Throttled, metadata.Unavailable, metadata.Unknown:
		if givenUp {
			return final(Rejected, fmt.Sprintf("given up after %s: %s", o.GiveUpAfter, s.Message))
		}
		return later(s.Message, true)

	case metadata.Unauthenticated, metadata.Forbidden:
		v := later(s.Message, false)
		v.Fault = s.Fault
		return v
	}
	// Quota, Invalid, and classes that callers handle themselves.
	return final(Rejected, s.Message)
}

// short returns a duration without zero units at its end: 10m instead of 10m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// maxClockSkew is how far another clock may be ahead of ours. A time further in the future is ignored.
const maxClockSkew = 5 * time.Minute

// Situation returns the situation of a change: at is when it happened, sentAt when the carrier accepted it, receivedAt
// when this process received it; each can be zero (unknown). An event's age counts from the first time that is known.
// If none is, it is treated as older than the grace period.
func (o Options) Situation(at, sentAt, receivedAt time.Time) Situation {
	s := Situation{EventAge: o.Grace, CarrierAge: -1}
	for _, first := range []time.Time{at, sentAt, receivedAt} {
		if age := time.Since(first); !first.IsZero() && age > -maxClockSkew {
			s.EventAge = max(0, age)
			break
		}
	}
	if !sentAt.IsZero() {
		s.CarrierAge = time.Since(sentAt)
	}
	return s
}

// NotYet is the verdict on a change that has to wait for another resource.
func (o Options) NotYet(reason string, receives int) Verdict {
	return Verdict{Decision: Decision{Outcome: Deferred, Reason: reason, Delay: delay(receives, 0, shortest)}, Wait: true}
}

// decide gathers the situation of a failed attempt and decides on it. It reads the server's state if the decision
// depends on it.
func (a *Applier) decide(ctx context.Context, r *run, err error) Verdict {
	if s, ok := errors.AsType[superseded](err); ok {
		return Verdict{Decision: Decision{Outcome: Ignored, Reason: "superseded: " + s.Error()}}
	}
	if e, ok := errors.AsType[managedError](err); ok {
		return Verdict{Decision: Decision{Outcome: Ignored, Reason: e.Error()}}
	}
	s := a.options.Situation(r.job.Change.Time, r.job.SentAt, r.job.ReceivedAt)
	s.Project = r.job.Change.Resource.Project
	s.Kind, s.Visible, s.Receives, s.Message = r.resource.Kind(), r.job.Visible, r.job.Receives, err.Error()
	if errors.Is(err, errLost) {
		s.Class, s.Message = metadata.Unknown, fmt.Sprintf("read back other values than written, %d times", r.losses)
		v := a.options.Decide(s)
		v.Wait = r.losses < maxLosses
		return v
	}
	if e, ok := errors.AsType[stillPassing](err); ok {
		s.Class, s.State = metadata.NotReady, e.state
		return a.options.Decide(s)
	}
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok { // refused before it was sent
		return Verdict{Decision: Decision{Outcome: Rejected, Reason: s.Message}}
	}
	s.Class, s.RetryAfter, s.Unanswered = e.Class, e.RetryAfter, e.Status == 0
	if e.Unsent {
		s.CarrierAge = -1 // a job that was never tried is not given up
	}
	if (e.Class == metadata.NotReady || e.Class == metadata.Locked) && s.Kind.HasState() {
		v, stateErr := r.resource.Get(ctx)
		if stateErr == nil {
			s.State, r.waiting = v.State, s.Kind.Readiness(v.State) == metadata.Passing
		} else if e, ok := errors.AsType[*metadata.Error](stateErr); ok {
			s.Class, s.RetryAfter, s.Message, s.Unanswered = e.Class, e.RetryAfter, stateErr.Error(), e.Status == 0
			err = stateErr
		}
	}
	s.Fault = faultOf(err)
	return a.options.Decide(s)
}
