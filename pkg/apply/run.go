package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// maxLosses is how often another writer may undo what was written before the job is deferred.
const maxLosses = 3

// run is the state of one job between its attempts.
type run struct {
	resource Resource
	job      Job
	verify   bool
	attempts int
	losses   int
	// waiting says that the state was passing when last looked at; then the next attempt looks again before it writes.
	waiting bool
	// unsure says that the fate of a write is unknown, and maybe what may have been written then.
	unsure       bool
	maybeWritten map[string]string
	maybeRemoved []string

	known   map[string]string // the whole metadata as last read, nil when not read since the last write or pause
	seen    map[string]string // the same, but kept
	written map[string]string
	removed map[string]bool // keys deleted, or found missing; true where it was us
}

func newRun(resource Resource, job Job, verify bool) *run {
	return &run{resource: resource, job: job, verify: verify, written: map[string]string{}, removed: map[string]bool{}}
}

// errLost says that the read-back found something else than was written.
var errLost = errors.New("another writer undid what was written")

// superseded says that the resource has been changed again since the event.
type superseded struct{ why string }

func (e superseded) Error() string { return e.why }

// stillPassing says that a resource that was refused in a state that passes by itself still is in it.
type stillPassing struct{ state string }

func (e stillPassing) Error() string { return "state " + e.state }

// attempt makes one pass: read where needed, write, delete, read back.
func (r *run) attempt(ctx context.Context) error {
	if err := r.read(ctx); err != nil {
		return err
	}
	writes, removes := r.toWrite(), r.toRemove()
	if len(writes)+len(removes) == 0 && (!r.verify || !r.changed() || r.known != nil) {
		return nil
	}
	r.known = nil // what was read is out of date from here on
	if len(writes) > 0 {
		done, err := r.resource.Write(ctx, writes)
		maps.Copy(r.written, done)
		if err != nil {
			r.unsure, r.maybeWritten = metadata.IsClass(err, metadata.Unknown), writes
			return err
		}
	}
	for _, key := range removes {
		err := r.resource.Remove(ctx, key)
		switch {
		case metadata.IsClass(err, metadata.KeyNotFound):
			if _, ours := r.removed[key]; !ours {
				r.removed[key] = false
			}
		case err != nil:
			r.unsure, r.maybeRemoved = metadata.IsClass(err, metadata.Unknown), []string{key}
			return err
		default:
			r.removed[key] = true
		}
	}
	if !r.verify || !r.changed() {
		return nil
	}
	if err := r.readMetadata(ctx); err != nil {
		return err
	}
	if len(r.toWrite())+len(r.toRemove()) > 0 {
		r.losses++
		maps.DeleteFunc(r.written, func(key, value string) bool { return r.known[key] != value })
		maps.DeleteFunc(r.removed, func(key string, _ bool) bool { _, back := r.known[key]; return back })
		return errLost
	}
	return nil
}

// read looks at what is there, as far as this attempt depends on it.
func (r *run) read(ctx context.Context) error {
	if r.job.Change.Comparable() || r.waiting {
		v, err := r.get(ctx)
		switch {
		case err != nil:
			return err
		case r.waiting && r.resource.Kind().Readiness(v.State) == metadata.Passing:
			return stillPassing{v.State}
		}
		r.waiting = false
		if r.unsure {
			r.settle()
		}
		return nil
	}
	// All keys are read, even for one: others may differ from it in case only.
	if len(r.job.Plan.Add)+len(r.job.Plan.Remove) == 0 && !r.unsure {
		return nil
	}
	if err := r.readMetadata(ctx); err != nil {
		return err
	}
	if r.unsure {
		r.settle()
	}
	return nil
}

// get reads the resource and its metadata. A change that has been undone since is superseded.
func (r *run) get(ctx context.Context) (metadata.View, error) {
	v, err := r.resource.Get(ctx)
	if err != nil {
		return metadata.View{}, err
	}
	if why := r.job.Change.Superseded(v.State, v.Flavor); why != "" {
		return metadata.View{}, superseded{why}
	}
	r.know(v.Metadata)
	return v, nil
}

func (r *run) readMetadata(ctx context.Context) error {
	known, err := r.resource.Metadata(ctx)
	if err != nil {
		return err
	}
	r.know(known)
	return nil
}

// know takes note of the whole metadata. Where the service takes owner and Owner for one key, what is under owner is the
// Owner that the plan is about.
func (r *run) know(known map[string]string) {
	if known == nil {
		known = map[string]string{}
	}
	r.known, r.seen = known, known
	if !r.resource.Kind().FoldsCase() {
		return
	}
	for _, planned := range []map[string]string{r.job.Plan.Set, r.job.Plan.Add} {
		for key := range planned {
			if _, there := known[key]; there {
				continue
			}
			for other, value := range known {
				if strings.EqualFold(other, key) {
					delete(known, other)
					known[key] = value
					break
				}
			}
		}
	}
}

// settle finds out from what was read whether writes of unknown fate were saved.
func (r *run) settle() {
	for key, value := range r.maybeWritten {
		if r.known[key] == value {
			r.written[key] = value
		}
	}
	for _, key := range r.maybeRemoved {
		if _, there := r.known[key]; !there {
			r.removed[key] = true
		}
	}
	r.unsure, r.maybeWritten, r.maybeRemoved = false, nil, nil
}

// toWrite returns what of the plan is not on the resource, as far as we know.
func (r *run) toWrite() map[string]string {
	writes := map[string]string{}
	for key, value := range r.job.Plan.Set {
		have, ok := r.written[key]
		if r.known != nil {
			have, ok = r.known[key]
		}
		if !ok || have != value {
			writes[key] = value
		}
	}
	for key, value := range r.job.Plan.Add {
		_, ok := r.written[key]
		if r.known != nil {
			ok = r.known[key] != "" // an empty value is there for want of a better one
		}
		if !ok && r.twin(key) == "" {
			writes[key] = value
		}
	}
	return writes
}

// toRemove returns, sorted as the plan is, which of the keys to remove are there, as far as we know.
func (r *run) toRemove() []string {
	var keys []string
	for _, key := range r.job.Plan.Remove {
		_, gone := r.removed[key]
		if r.known != nil {
			_, there := r.known[key]
			gone = !there
		}
		if !gone && r.twin(key) == "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// twin returns another key on the resource that the services confuse with this one, "" if there is none. They keep owner,
// Owner and "owner " apart when they write, but delete all of them with one. See docs/embedded-cloud.md.
func (r *run) twin(key string) string {
	plain := strings.TrimRight(key, " ")
	for _, other := range slices.Sorted(maps.Keys(r.seen)) {
		if other != key && strings.EqualFold(strings.TrimRight(other, " "), plain) && !r.plans(other) {
			return other
		}
	}
	return ""
}

// plans reports whether the plan itself writes the key.
func (r *run) plans(key string) bool {
	_, set := r.job.Plan.Set[key]
	_, add := r.job.Plan.Add[key]
	return set || add
}

// problems says which keys were left out, or stand beside another that the services confuse with them.
func (r *run) problems() []Problem {
	var all []Problem
	for _, key := range slices.Sorted(maps.Keys(r.job.Plan.Add)) {
		if twin := r.twin(key); twin != "" && r.seen[key] == "" {
			all = append(all, Problem{key, fmt.Sprintf("not added: %q is there, and differs in case only", twin)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.job.Plan.Set)) {
		if twin := r.twin(key); twin != "" {
			all = append(all, Problem{key, fmt.Sprintf("written beside %q, which differs in case only: deleting one deletes both", twin)})
		}
	}
	for _, key := range r.job.Plan.Remove {
		if twin := r.twin(key); twin != "" {
			if _, there := r.seen[key]; there {
				all = append(all, Problem{key, fmt.Sprintf("not removed: the cloud would delete %q too, which differs in case only", twin)})
			}
		}
	}
	return all
}

func (r *run) changed() bool { return len(r.written) > 0 || len(r.removedKeys()) > 0 }

func (r *run) removedKeys() []string {
	var keys []string
	for _, key := range r.job.Plan.Remove {
		if r.removed[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// result is that of an attempt that ended well.
func (r *run) result(waited time.Duration) Result {
	if r.known != nil {
		// What somebody else put there meanwhile is not ours to report.
		maps.DeleteFunc(r.written, func(key, value string) bool { return r.known[key] != value })
	}
	result := Result{Decision: Decision{Outcome: Tagged}, Written: r.written, Removed: r.removedKeys(), Attempts: r.attempts, Waited: waited}
	if !r.changed() {
		result.Outcome, result.Reason = Unchanged, "everything is as planned already"
	}
	return result
}
