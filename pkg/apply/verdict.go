package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Situation is everything that decides what a failed call means.
type Situation struct {
	// Class is the error's.
	Class metadata.Class
	// Kind is the resource's.
	Kind metadata.Kind
	// State is the resource's state, "" where it was not read or the kind has none.
	State string
	// Visible: see [Job].
	Visible bool
	// EventAge and CarrierAge are how long ago the event happened and the carrier took it; CarrierAge is negative where
	// unknown.
	EventAge, CarrierAge time.Duration
	// Receives and RetryAfter shape the delay.
	Receives   int
	RetryAfter time.Duration
	// Message is the API's own, for the reason.
	Message string
	// Unanswered says that no API answered the call, so that the message is of what lies in between.
	Unanswered bool
	// Fault is set when configuration or credentials are at fault.
	Fault Fault
}

// Verdict is what to do now.
type Verdict struct {
	Decision
	// Wait reports that waiting a little right here may help. What only a person changes is not waited for.
	Wait bool
	// RetryAfter is the least pause before another try.
	RetryAfter time.Duration
}

// Delays between deliveries: doubling from shortest to longest with the number of receives.
const (
	shortest = 15 * time.Second
	longest  = time.Hour
	// forPersons is the least delay where only a person can change what is in the way.
	forPersons = 15 * time.Minute
)

// delay returns when to try again after so many receives.
func delay(receives int, retryAfter, least time.Duration) time.Duration {
	d := shortest
	for n := 1; n < receives && d < longest; n++ {
		d *= 2
	}
	return max(backoff.Jitter(min(max(d, least), longest)), retryAfter)
}

// Judge decides what a failed call means. It is pure but for the jitter of delays.
func (o Options) Judge(s Situation) Verdict {
	v := o.judge(s)
	v.Internal = s.Unanswered
	return v
}

func (o Options) judge(s Situation) Verdict {
	givenUp := s.CarrierAge >= o.GiveUpAfter && s.CarrierAge >= 0
	later := func(reason string, wait bool) Verdict {
		return Verdict{Decision{Outcome: Deferred, Reason: reason, Delay: delay(s.Receives, s.RetryAfter, shortest)}, wait,
			s.RetryAfter}
	}
	final := func(outcome Outcome, reason string) Verdict {
		return Verdict{Decision: Decision{Outcome: outcome, Reason: reason}}
	}
	// forAPerson is a state that stays until a person changes it.
	forAPerson := func(reason string) Verdict {
		if givenUp {
			return final(Blocked, fmt.Sprintf("given up after %s: %s", o.GiveUpAfter, reason))
		}
		return Verdict{Decision: Decision{Outcome: Deferred, Reason: reason,
			Delay: delay(s.Receives, s.RetryAfter, forPersons)}}
	}

	switch s.Class {
	case metadata.Gone:
		switch {
		case s.EventAge < o.Grace && !givenUp:
			return later(fmt.Sprintf("not found yet; gone only when the event is %s old: %s", o.Grace, s.Message), true)
		case !s.Visible:
			return final(Rejected, "not found, and the credentials act in another project than the event's: "+s.Message)
		}
		return final(Gone, s.Message)

	case metadata.NotReady, metadata.Locked:
		state := s.Kind.StateName() + " " + s.State
		switch s.Kind.Readiness(s.State) {
		case metadata.Deleted:
			return final(Gone, state)
		case metadata.Passing:
			if givenUp {
				return forAPerson(state)
			}
			return later(state, true)
		case metadata.Ready:
			if s.Class == metadata.Locked {
				return forAPerson("locked: " + s.Message)
			}
			if givenUp {
				return forAPerson(s.Message)
			}
			// It became ready between the refusal and the look; or a snapshot is busy.
			return later(s.Message, true)
		}
		return forAPerson(state)

	case metadata.Throttled, metadata.Unavailable, metadata.Unknown:
		if givenUp {
			return final(Rejected, fmt.Sprintf("given up after %s: %s", o.GiveUpAfter, s.Message))
		}
		return later(s.Message, true)

	case metadata.Unauthenticated, metadata.Forbidden:
		v := later(s.Message, false)
		if v.Fault = s.Fault; v.Fault.Err == nil {
			v.Fault = Fault{Err: errors.New(s.Message), Scope: scopeOf(s.Class)}
		}
		return v
	}
	// Quota, Invalid, and whatever no caller should have let pass.
	return final(Rejected, s.Message)
}

// scopeOf returns how far a refusal reaches whose error does not say.
func scopeOf(class metadata.Class) fault.Scope {
	if class == metadata.Forbidden {
		return fault.Resource
	}
	return fault.Everything
}

// maxClockSkew is how far ahead of ours a clock may be. A time further in the future is not believed.
const maxClockSkew = 5 * time.Minute

// Situation returns the situation of a change at a time, zero where the event does not say it, which the carrier took
// and we received at theirs. The age of an event without a time counts from when it was taken or received; without
// those it is older than the grace.
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

// NotYet is the verdict about a change that has to wait for another resource.
func (o Options) NotYet(reason string, receives int) Verdict {
	return Verdict{Decision: Decision{Outcome: Deferred, Reason: reason, Delay: delay(receives, 0, shortest)}, Wait: true}
}

// judge gathers the situation of a failed attempt, reading the server's state where the answer depends on it.
func (a *Applier) judge(ctx context.Context, r *run, err error) Verdict {
	if s, ok := errors.AsType[superseded](err); ok {
		return Verdict{Decision: Decision{Outcome: Ignored, Reason: "superseded: " + s.Error()}}
	}
	if e, ok := errors.AsType[managedError](err); ok {
		return Verdict{Decision: Decision{Outcome: Ignored, Reason: e.Error()}}
	}
	s := a.options.Situation(r.job.Change.Time, r.job.SentAt, r.job.ReceivedAt)
	s.Kind, s.Visible, s.Receives, s.Message = r.resource.Kind(), r.job.Visible, r.job.Receives, err.Error()
	if errors.Is(err, errLost) {
		s.Class, s.Message = metadata.Unknown, fmt.Sprintf("read back something else than was written, %d times", r.losses)
		v := a.options.Judge(s)
		v.Wait = r.losses < maxLosses
		return v
	}
	if e, ok := errors.AsType[stillPassing](err); ok {
		s.Class, s.State = metadata.NotReady, e.state
		return a.options.Judge(s)
	}
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok { // refused before it was sent
		return Verdict{Decision: Decision{Outcome: Rejected, Reason: s.Message}}
	}
	s.Class, s.RetryAfter, s.Unanswered = e.Class, e.RetryAfter, e.Status == 0
	if e.Unsent {
		s.CarrierAge = -1 // nothing is given up that was not tried
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
	return a.options.Judge(s)
}
