package apply

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// maxRemembered is how many of the keys decided last are certainly remembered. Up to twice as many are. A change has as
// many keys as its resource at most, so a single resource must change hundreds of times before it displaces the others.
const maxRemembered = 100_000

// watermarks remember, for each key of a resource, the time of the newest change that decided its value. Events arrive
// late and out of order: an older change must not overwrite what a newer one wrote.
//
// The resource's own "updated" time cannot serve as a watermark: our own write changes it, and so does a lock.
//
// Hashes stand for resources and keys. The maps then have no pointers, so the garbage collector does not search them.
type watermarks struct {
	seeds [2]maphash.Seed

	mu sync.Mutex
	// recent has the watermarks that were noted last, earlier those before them. The values are microseconds since 1970:
	// no cloud reports finer times.
	recent, earlier map[watermarkID]int64
}

// watermarkID is a hash of 128 bits of a resource and a key.
type watermarkID [2]uint64

func newWatermarks() *watermarks {
	return &watermarks{
		seeds:  [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		recent: map[watermarkID]int64{},
	}
}

func (w *watermarks) id(resource, key string) watermarkID {
	both := [2]string{resource, key}
	return watermarkID{maphash.Comparable(w.seeds[0], both), maphash.Comparable(w.seeds[1], both)}
}

// newer reports whether a change after the given time decided the key.
func (w *watermarks) newer(resource, key string, at time.Time) bool {
	if at.IsZero() {
		return false
	}
	id := w.id(resource, key)
	w.mu.Lock()
	defer w.mu.Unlock()
	decided, ok := w.decided(id)
	return ok && decided > at.UnixMicro()
}

// decided returns when a key was decided. The caller holds the lock.
func (w *watermarks) decided(id watermarkID) (at int64, ok bool) {
	if at, ok = w.recent[id]; !ok {
		at, ok = w.earlier[id]
	}
	return at, ok
}

// leaveOut returns the plan without the keys that a newer change decided, and a problem for each of them. A change
// without a time keeps all its keys.
func (w *watermarks) leaveOut(resource string, at time.Time, plan *rules.Plan) (*rules.Plan, []rules.Problem) {
	names := slices.Collect(maps.Keys(plan.Set))
	names = slices.AppendSeq(names, maps.Keys(plan.Add))
	names = append(names, plan.Remove...)
	names = slices.AppendSeq(slices.AppendSeq(names, maps.Keys(plan.Rename)), maps.Values(plan.Rename))
	left := slices.DeleteFunc(names, func(key string) bool { return !w.newer(resource, key, at) })
	if len(left) == 0 {
		return plan, nil
	}
	slices.Sort(left)
	left = slices.Compact(left)
	isLeft := func(key string) bool { return slices.Contains(left, key) }
	keep := func(m map[string]string) map[string]string {
		kept := maps.Clone(m)
		maps.DeleteFunc(kept, func(key, _ string) bool { return isLeft(key) })
		return kept
	}
	p := *plan
	p.Set, p.Add, p.Remove = keep(p.Set), keep(p.Add), slices.DeleteFunc(slices.Clone(p.Remove), isLeft)
	p.Rename = maps.Clone(p.Rename)
	maps.DeleteFunc(p.Rename, func(from, to string) bool { return isLeft(from) || isLeft(to) })
	problems := make([]rules.Problem, len(left))
	for i, key := range left {
		problems[i] = rules.Problem{Key: key, Why: "left out: a newer change of the resource decided it"}
	}
	return &p, problems
}

// note remembers that a change has decided keys. A time in the future counts as now: a wrong clock must not block later
// changes.
func (w *watermarks) note(resource string, at time.Time, keys []string) {
	if at.IsZero() {
		return
	}
	if now := time.Now(); at.After(now) {
		at = now
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		id := w.id(resource, key)
		newest := at.UnixMicro()
		if decided, ok := w.decided(id); ok {
			newest = max(newest, decided)
		}
		if len(w.recent) >= maxRemembered {
			w.earlier, w.recent = w.recent, map[watermarkID]int64{}
		}
		w.recent[id] = newest
	}
}
