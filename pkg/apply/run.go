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

// maxLosses is how often another writer may undo the write before the job is deferred.
const maxLosses = 3

// run is the state of one job between its attempts.
type run struct {
	resource Resource
	job      Job
	verify   bool
	attempts int
	losses   int
	// waiting reports that the state was transient when last read. The next attempt then reads it before writing.
	waiting bool
	// unsure reports that a write may or may not have been saved; maybe holds its keys.
	unsure       bool
	maybeWritten map[string]string
	maybeRemoved []string

	known   map[string]string // all metadata as last read; nil after a write or a pause
	seen    map[string]string // the same, kept across writes and pauses
	written map[string]string
	removed map[string]bool // keys deleted or found missing; true if this run deleted them

	// most is the resource's quota of items, 0 until it is known to matter.
	most int
	// renamed holds the new keys and values of renames that have begun: the old keys may be gone already.
	renamed map[string]string
	// left holds the keys that were left out, with the reasons.
	left []rules.Problem
}

func newRun(resource Resource, job Job, verify bool) *run {
	r := &run{resource: resource, job: job, verify: verify}
	if job.Plan.Reserve > 0 {
		r.most = resource.Kind().MaxItems()
	}
	return r
}

// notNil returns m, or an empty map if m is nil. Most runs need few of their maps.
func notNil[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// errLost reports that the read-back differs from what was written.
var errLost = errors.New("another writer undid what was written")

// superseded reports that the resource has changed again since the event.
type superseded struct{ why string }

func (e superseded) Error() string { return e.why }

// stillPassing reports that the resource is still in the transient state in which it refused a write.
type stillPassing struct{ state string }

func (e stillPassing) Error() string { return "state " + e.state }

// attempt makes one pass: read if needed, write, delete, read back.
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
	r.known = nil // stale from here on
	if len(renames) > 0 {
		writes, r.renamed = notNil(writes), notNil(r.renamed)
	}
	for _, rename := range renames {
		if r.renamed[rename.To] = rename.Value; r.job.Renaming != nil {
			r.job.Renaming(rename.From, rename.To, rename.Value)
		}
		writes[rename.To] = rename.Value
		if !rename.CaseOnly {
			removes = append(removes, rename.From)
			continue
		}
		// When deleting, the services ignore case. So the old key is removed first, and the value kept here.
		if err := r.remove(ctx, rename.From); err != nil {
			return err
		}
	}
	if len(writes) > 0 {
		done, err := r.resource.Write(ctx, writes)
		r.written = notNil(r.written)
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

// managedError reports that another program may own the resource's metadata.
type managedError struct{ key string }

func (e managedError) Error() string {
	return fmt.Sprintf("another program may manage its metadata: no rule sets key %q; volumes: {write: all} "+
		"writes it anyway", e.key)
}

// managed returns a managedError if the resource has a key that fails Job.Ours.
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

// remove deletes one key. A missing key is no error.
func (r *run) remove(ctx context.Context, key string) error {
	err := r.resource.Remove(ctx, key)
	r.removed = notNil(r.removed)
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

// read reads what this attempt depends on.
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
	// All keys are read, even for one: another may differ from it only in case.
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

// know records all metadata. If the service treats owner and Owner as one key, a value under owner counts as the plan's
// Owner, unless the plan renames owner.
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
				if _, renamed := r.job.Plan.Rename[other]; !renamed && strings.EqualFold(other, key) {
					delete(known, other)
					known[key] = value
					break
				}
			}
		}
	}
}

// settle finds out from the metadata read whether unconfirmed writes were saved.
func (r *run) settle() {
	r.written, r.removed = notNil(r.written), notNil(r.removed)
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

// plan returns the plan without the keys that exceed the resource's quota.
func (r *run) plan() *rules.Plan {
	if r.known == nil || r.most == 0 {
		return r.job.Plan
	}
	var p *rules.Plan
	p, r.left = r.job.Plan.Fit(r.known, r.most)
	return p
}

// toRename returns the renames whose old keys are on the resource, as far as known.
func (r *run) toRename() []rules.Renaming {
	if r.known == nil {
		return nil
	}
	all, _ := r.renames()
	return all
}

// renames returns the renames that apply to the metadata last read, and those that the services' view of keys forbids:
// deleting the old key would delete another key too, or the new key exists in another case.
func (r *run) renames() ([]rules.Renaming, []rules.Problem) {
	all, problems := r.job.Plan.Renames(r.seen)
	all = slices.DeleteFunc(all, func(rename rules.Renaming) bool {
		twin := r.bystander(rename.From, rename.To)
		if twin != "" {
			problems = append(problems, rules.Problem{Key: rename.From,
				Why: fmt.Sprintf("not renamed: the cloud would delete %q too, which differs in case only", twin)})
			return true
		}
		if rename.CaseOnly {
			return false
		}
		if twin = r.bystander(rename.To); twin != "" {
			problems = append(problems, rules.Problem{Key: rename.From,
				Why: fmt.Sprintf("not renamed: %q exists and differs from %q in case only", twin, rename.To)})
		}
		return twin != ""
	})
	return all, problems
}

// toWrite returns the planned keys that the resource lacks or has with other values, as far as known. It returns nil if
// there are none.
func (r *run) toWrite() map[string]string {
	var writes map[string]string
	set := func(all map[string]string) {
		for key, value := range all {
			have, ok := r.written[key]
			if r.known != nil {
				have, ok = r.known[key]
			}
			if !ok || have != value {
				writes = notNil(writes)
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
			// An empty value is a placeholder, and so is one that the plan replaces.
			ok = r.known[key] != "" && r.known[key] != p.Replaces[key]
		}
		if !ok && r.twin(key) == "" {
			writes = notNil(writes)
			writes[key] = value
		}
	}
	return writes
}

// overtaken reports whether a newer change decided a key.
func (r *run) overtaken(key string) bool { return r.job.overtaken != nil && r.job.overtaken(key) }

// toRemove returns, sorted, the keys to remove that are on the resource, as far as known.
func (r *run) toRemove() []string {
	if r.known == nil {
		return nil
	}
	return slices.DeleteFunc(r.job.Plan.Removals(r.known), func(key string) bool {
		return r.bystander(key) != "" || r.overtaken(key)
	})
}

// decided returns the keys whose values the change decided: those that it set, removed or renamed. An added key is not
// among them, because an existing value stays.
func (r *run) decided() []string {
	keys := make([]string, 0, len(r.job.Plan.Set)+len(r.job.Plan.Remove)+len(r.removed))
	keys = slices.AppendSeq(keys, maps.Keys(r.job.Plan.Set))
	keys = slices.AppendSeq(append(keys, r.job.Plan.Remove...), maps.Keys(r.removed))
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

// twins returns, sorted, the other keys on the resource that the services confuse with this one. They write owner,
// Owner and "owner " as separate keys, but deleting one deletes all. See docs/embedded-cloud.md.
func (r *run) twins(key string) []string {
	var all []string
	for other := range r.seen {
		if other != key && rules.DifferInCaseOnly(other, key) {
			all = append(all, other)
		}
	}
	slices.Sort(all)
	return all
}

// twin returns a twin of the key that the plan does not name, or "".
func (r *run) twin(key string) string {
	for _, other := range r.twins(key) {
		if !r.plans(other) {
			return other
		}
	}
	return ""
}

// bystander returns a twin of the key that would be lost if the key were deleted, or "". A twin that the plan sets,
// deletes or renames too is none, and neither are the keys in except.
func (r *run) bystander(key string, except ...string) string {
	twins := r.twins(key)
	if len(twins) == 0 {
		return ""
	}
	removals := r.job.Plan.Removals(r.seen)
	renames, _ := r.job.Plan.Renames(r.seen)
	for _, other := range twins {
		_, set := r.job.Plan.Set[other]
		_, written := r.renamed[other]
		moved := slices.ContainsFunc(renames, func(rename rules.Renaming) bool { return rename.From == other })
		removed := slices.Contains(removals, other) && !r.overtaken(other)
		if !set && !written && !moved && !removed && !slices.Contains(except, other) {
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

// problems returns the keys that were left out, and those that the services confuse with another.
func (r *run) problems() []rules.Problem {
	all := r.leftOut()
	for _, key := range slices.Sorted(maps.Keys(r.job.Plan.Set)) {
		if twin := r.twin(key); twin != "" {
			all = append(all, rules.Problem{Key: key,
				Why: fmt.Sprintf("written beside %q, which differs in case only: deleting one deletes both", twin)})
		}
	}
	return all
}

// leftOut returns the keys of the plan that were not written, renamed or removed, with the reasons.
func (r *run) leftOut() []rules.Problem {
	all := slices.Clone(r.left)
	_, renames := r.renames()
	for _, p := range renames {
		if _, done := r.renamed[r.job.Plan.Rename[p.Key]]; !done {
			all = append(all, p)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.job.Plan.Add)) {
		if twin := r.twin(key); twin != "" && r.seen[key] == "" {
			all = append(all, rules.Problem{Key: key, Why: fmt.Sprintf("not added: %q exists and differs in case only",
				twin)})
		}
	}
	for _, key := range r.job.Plan.Removals(r.seen) {
		if twin := r.bystander(key); twin != "" {
			all = append(all, rules.Problem{Key: key,
				Why: fmt.Sprintf("not removed: the cloud would delete %q too, which differs in case only", twin)})
		}
	}
	return all
}

// overQuota reports whether to try once more, with no more keys than the quota allows.
func (r *run) overQuota(err error) bool {
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok || e.Class != metadata.Quota || e.MaxItems == 0 || e.MaxItems == r.most {
		return false
	}
	r.most, r.known = e.MaxItems, nil
	return true
}

// result returns the Result of a successful attempt.
func (r *run) result(waited time.Duration) Result {
	if r.known != nil {
		// A value that another writer has set since is not reported.
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
		result.Outcome, result.Reason = Unchanged, "everything is already as planned"
		if left := r.leftOut(); len(left) > 0 {
			result.Reason = left[0].String()
		}
	}
	return result
}
