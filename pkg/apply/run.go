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
	"github.com/cloudtagger/tagger/pkg/rules"
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

	// most is how many items the resource may have, 0 where that is not known to matter.
	most int
	// renamed are the new keys of renames that were begun, with their values: the old keys may be gone already.
	renamed map[string]string
	// left says of keys why they were left out.
	left []rules.Problem
}

func newRun(resource Resource, job Job, verify bool) *run {
	r := &run{
		resource: resource, job: job, verify: verify, written: map[string]string{}, removed: map[string]bool{},
		renamed: map[string]string{},
	}
	if job.Plan.Reserve > 0 {
		r.most = resource.Kind().MaxItems()
	}
	return r
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
	if err := r.managed(); err != nil {
		return err
	}
	renames := r.toRename()
	writes, removes := r.toWrite(), r.toRemove()
	if len(writes)+len(removes)+len(renames) == 0 && (!r.verify || !r.changed() || r.known != nil) {
		return nil
	}
	r.known = nil // what was read is out of date from here on
	for _, rename := range renames {
		if r.renamed[rename.To] = rename.Value; r.job.Renaming != nil {
			r.job.Renaming(rename.From, rename.To, rename.Value)
		}
		writes[rename.To] = rename.Value
		if !rename.CaseOnly {
			removes = append(removes, rename.From)
			continue
		}
		// The services take keys that differ in case for one when they delete: the old key goes first, and the value is kept.
		if err := r.remove(ctx, rename.From); err != nil {
			return err
		}
	}
	if len(writes) > 0 {
		done, err := r.resource.Write(ctx, writes)
		maps.Copy(r.written, done)
		if err != nil {
			r.unsure, r.maybeWritten = metadata.IsClass(err, metadata.Unknown), writes
			return err
		}
	}
	for _, key := range removes {
		if err := r.remove(ctx, key); err != nil {
			return err
		}
	}
	if !r.verify || !r.changed() {
		return nil
	}
	if err := r.readMetadata(ctx); err != nil {
		return err
	}
	if len(r.toWrite())+len(r.toRemove())+len(r.toRename()) > 0 {
		r.losses++
		maps.DeleteFunc(r.written, func(key, value string) bool { return r.known[key] != value })
		maps.DeleteFunc(r.removed, func(key string, _ bool) bool { _, back := r.known[key]; return back })
		return errLost
	}
	return nil
}

// managedError says that another program may own the resource's metadata.
type managedError struct{ key string }

func (e managedError) Error() string {
	return fmt.Sprintf("another program may manage its metadata: key %q is none of the rules'; volumes: {write: all} "+
		"writes it all the same", e.key)
}

// managed returns a managedError if the resource has a key that is not ours, where that matters.
func (r *run) managed() error {
	if r.job.Ours == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(r.known)) {
		if !r.job.Ours(key) {
			return managedError{key}
		}
	}
	return nil
}

// remove deletes one key. A key that is not there is as it should be.
func (r *run) remove(ctx context.Context, key string) error {
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
	return nil
}

// read looks at what is there, as far as this attempt depends on it.
func (r *run) read(ctx context.Context) error {
	if r.job.Change.HasExpectedState() || r.waiting {
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
	p := r.job.Plan
	if len(p.Add)+len(p.Remove)+len(p.RemoveGlobs)+len(p.Rename)+len(r.renamed)+r.most == 0 && !r.unsure &&
		r.job.Ours == nil {
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

// know takes note of the whole metadata. Where the service takes owner and Owner for one key, what is under owner is
// the Owner that the plan is about.
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

// plan returns the plan, without the keys for which the resource has no room.
func (r *run) plan() rules.Plan {
	if r.known == nil || r.most == 0 {
		return r.job.Plan
	}
	var p rules.Plan
	p, r.left = r.job.Plan.Fit(r.known, r.most)
	return p
}

// toRename returns what is to be renamed of what is there, as far as we know.
func (r *run) toRename() []rules.Renaming {
	if r.known == nil {
		return nil
	}
	all, _ := r.job.Plan.Renames(r.known)
	return all
}

// toWrite returns what of the plan is not on the resource, as far as we know.
func (r *run) toWrite() map[string]string {
	writes := map[string]string{}
	set := func(all map[string]string) {
		for key, value := range all {
			have, ok := r.written[key]
			if r.known != nil {
				have, ok = r.known[key]
			}
			if !ok || have != value {
				writes[key] = value
			}
		}
	}
	p := r.plan()
	set(p.Set)
	set(r.renamed)
	for key, value := range p.Add {
		_, ok := r.written[key]
		if r.known != nil {
			// An empty value is there for want of a better one, and so is one that is to be replaced.
			ok = r.known[key] != "" && r.known[key] != p.Replaces[key]
		}
		if !ok && r.twin(key) == "" {
			writes[key] = value
		}
	}
	return writes
}

// toRemove returns, sorted, which of the keys to remove are there, as far as we know.
func (r *run) toRemove() []string {
	if r.known == nil {
		return nil
	}
	return slices.DeleteFunc(r.job.Plan.Removals(r.known), func(key string) bool {
		return r.twin(key) != "" || r.job.overtaken[key]
	})
}

// decided returns the keys whose values the change decided: those that it sets, removed or renamed. A key that it adds
// it does not decide: one that is there stays as it is.
func (r *run) decided() []string {
	keys := slices.Concat(slices.Collect(maps.Keys(r.job.Plan.Set)), r.job.Plan.Remove,
		slices.Collect(maps.Keys(r.removed)))
	for from, to := range r.job.Plan.Rename {
		if _, done := r.renamed[to]; done {
			keys = append(keys, from, to)
		}
	}
	return keys
}

func (r *run) changed() bool { return len(r.written) > 0 || len(r.removedKeys()) > 0 }

// removedKeys returns, sorted, the keys that this run deleted.
func (r *run) removedKeys() []string {
	var keys []string
	for key, ours := range r.removed {
		if ours {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// twin returns another key on the resource that the services confuse with this one, "" if there is none. They keep
// owner, Owner and "owner " apart when they write, but delete all of them with one. See docs/embedded-cloud.md.
func (r *run) twin(key string) string {
	plain := strings.TrimRight(key, " ")
	for _, other := range slices.Sorted(maps.Keys(r.seen)) {
		if other != key && strings.EqualFold(strings.TrimRight(other, " "), plain) && !r.plans(other) {
			return other
		}
	}
	return ""
}

// plans reports whether the plan itself writes or renames the key.
func (r *run) plans(key string) bool {
	_, set := r.job.Plan.Set[key]
	_, add := r.job.Plan.Add[key]
	_, rename := r.job.Plan.Rename[key]
	_, renamed := r.renamed[key]
	return set || add || rename || renamed
}

// problems says which keys were left out, or stand beside another that the services confuse with them.
func (r *run) problems() []rules.Problem {
	all := slices.Clone(r.left)
	_, renames := r.job.Plan.Renames(r.seen)
	for _, p := range renames {
		if _, done := r.renamed[r.job.Plan.Rename[p.Key]]; !done {
			all = append(all, p)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.job.Plan.Add)) {
		if twin := r.twin(key); twin != "" && r.seen[key] == "" {
			all = append(all, rules.Problem{Key: key, Why: fmt.Sprintf("not added: %q is there, and differs in case only",
				twin)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.job.Plan.Set)) {
		if twin := r.twin(key); twin != "" {
			all = append(all, rules.Problem{Key: key,
				Why: fmt.Sprintf("written beside %q, which differs in case only: deleting one deletes both", twin)})
		}
	}
	for _, key := range r.job.Plan.Removals(r.seen) {
		if twin := r.twin(key); twin != "" {
			if _, there := r.seen[key]; there {
				all = append(all, rules.Problem{Key: key,
					Why: fmt.Sprintf("not removed: the cloud would delete %q too, which differs in case only", twin)})
			}
		}
	}
	return all
}

// overQuota reports whether the attempt is to be made once more, with no more keys than the resource has room for.
func (r *run) overQuota(err error) bool {
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok || e.Class != metadata.Quota || e.MaxItems == 0 || e.MaxItems == r.most {
		return false
	}
	r.most, r.known = e.MaxItems, nil
	return true
}

// result is that of an attempt that ended well.
func (r *run) result(waited time.Duration) Result {
	if r.known != nil {
		// What somebody else put there meanwhile is not ours to report.
		maps.DeleteFunc(r.written, func(key, value string) bool { return r.known[key] != value })
	}
	result := Result{Decision: Decision{Outcome: Tagged}, Written: r.written, Removed: r.removedKeys(),
		Attempts: r.attempts, Waited: waited}
	if r.verify {
		result.Metadata = r.known
	}
	switch {
	case r.changed():
	case len(r.left) > 0:
		result.Outcome, result.Reason = Rejected, "key "+r.left[0].Key+" "+r.left[0].Why
	default:
		result.Outcome, result.Reason = Unchanged, "everything is as planned already"
	}
	return result
}
