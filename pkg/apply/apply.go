// Package apply applies a plan to a resource: it writes, waits while the resource is not ready, reads back what it
// wrote, and reports the outcome.
//
// It writes first and reads the server's vm_state only when the write is refused. Reading first would cost a call and
// prove nothing, because the state can change in between.
package apply

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Resource is one resource and the operations that its metadata needs. [metadata.Resource] implements and documents
// them.
type Resource interface {
	Kind() metadata.Kind
	// Path identifies the resource.
	Path() string
	Get(ctx context.Context) (metadata.View, error)
	Metadata(ctx context.Context) (map[string]string, error)
	Write(ctx context.Context, metadata map[string]string) (written map[string]string, err error)
	Remove(ctx context.Context, key string) error
}

// Options are the same for every job.
type Options struct {
	// Verify reads back once what was written, and rewrites what another writer undid.
	Verify bool
	// DryRun reads and writes nothing.
	DryRun bool
	// Grace is how old an event must be before a 404 means that its resource is gone.
	Grace time.Duration
	// GiveUpAfter is the age of a message, since the carrier accepted it, after which nothing is retried.
	GiveUpAfter time.Duration
}

// Job is one plan for one resource.
type Job struct {
	// Change and Plan are only read.
	Change *lifecycle.Change
	Plan   *rules.Plan
	// Visible reports that the credentials act in the event's project, or that the event names none. If they do not, a
	// 404 says nothing about the resource.
	Visible bool
	// SentAt is when the carrier accepted the message. If it is zero (unknown), the job is never given up.
	SentAt time.Time
	// ReceivedAt is when this process received the message, zero if unknown.
	ReceivedAt time.Time
	// Receives is how often the carrier has delivered the message, 0 if unknown.
	Receives int
	// Wait limits the sum of the pauses inside this call. The context's deadline limits it too.
	Wait time.Duration
	// Ours, if not nil, reports whether Tagger owns a key. A resource with any other key is left alone.
	Ours func(key string) bool
	// Renaming, if not nil, is called before each rename: until the new key is written, only the caller has the value.
	Renaming func(from, to, value string)
	// Pausing, if not nil, is called before every pause.
	Pausing func(reason string, pause time.Duration)

	// overtaken reports whether a newer change decided a key.
	overtaken func(key string) bool
}

// Applier applies jobs. It is safe for concurrent use, and runs one job at a time for each resource.
type Applier struct {
	options    Options
	locks      keyedMutex
	watermarks *watermarks
}

// New returns an Applier.
func New(o Options) *Applier { return &Applier{options: o, watermarks: newWatermarks()} }

// Pauses inside a call grow from the first to the longest.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
	pauseGrowth  = 1.35
	// finalTryTime is the time that a pause leaves before the context's deadline.
	finalTryTime = 2 * time.Second
)

// Apply applies a job to a resource.
func (a *Applier) Apply(ctx context.Context, resource Resource, job Job) Result {
	start := time.Now()
	unlock, err := a.locks.lock(ctx, resource.Path())
	if err != nil {
		return a.deferred(job, "wait for another change of the same resource: "+err.Error(), 0)
	}
	defer unlock()
	if a.options.DryRun {
		// A dry run only reads; its reason names what would be written.
		d, failed := a.Preview(ctx, resource, job)
		if failed.Outcome != "" {
			return failed
		}
		outcome := Planned
		if len(d.Write)+len(d.Remove) == 0 {
			outcome = Unchanged
		}
		return Result{Decision: Decision{Outcome: outcome, Reason: "dry run: " + d.String()}, Attempts: 1,
			Problems: d.Problems}
	}

	var overtaken []rules.Problem
	job.Plan, overtaken = a.watermarks.leaveOut(resource.Path(), job.Change.Time, job.Plan)
	job.overtaken = func(key string) bool { return a.watermarks.newer(resource.Path(), key, job.Change.Time) }
	if job.Plan.Empty() && len(overtaken) > 0 {
		return Result{Decision: Decision{Outcome: Ignored, Reason: "a newer change decided all of its keys"},
			Problems: overtaken}
	}
	r := newRun(resource, job, a.options.Verify)
	waiter := NewWaiter(job.Wait-time.Since(start), job.Pausing)
	for {
		r.attempts++
		err := r.attempt(ctx)
		if err == nil {
			a.watermarks.note(resource.Path(), job.Change.Time, r.decided())
			result := r.result(waiter.Waited())
			result.Problems = append(overtaken, r.problems()...)
			return result
		}
		if r.overQuota(err) {
			continue
		}
		v := a.decide(ctx, r, err)
		if !waiter.Again(ctx, v) {
			return Result{
				Decision: v.Decision, Written: r.written, Removed: r.removedKeys(), Problems: overtaken,
				Attempts: r.attempts, Waited: waiter.Waited(),
			}
		}
		r.known = nil // another writer may have changed it meanwhile
	}
}

// spread lengthens a pause at random: clients that got the same Retry-After must not all retry at the same moment.
func spread(d time.Duration) time.Duration { return d + rand.N(d/5+1) }

func (a *Applier) deferred(job Job, reason string, retryAfter time.Duration) Result {
	return Result{Decision: Decision{Outcome: Deferred, Reason: reason, Delay: delay(job.Receives, retryAfter, shortest)}}
}
