package apply

import (
	"container/list"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

// maxWatermarks is of how many resources the watermarks are remembered. The resource that was written to longest ago is
// forgotten first.
const maxWatermarks = 10_000

// watermarks remember, for each key of a resource, the time of the newest change that decided its value. Events arrive
// late and out of order: an older change must not overwrite what a newer one wrote. The zero value is ready.
//
// The resource's own "updated" time is no watermark: our write moves it, and so does a lock.
type watermarks struct {
	mu        sync.Mutex
	resources map[string]*list.Element // of *watermark
	order     list.List                // the one written to longest ago is first
}

type watermark struct {
	resource string
	keys     map[string]time.Time
}

// leaveOut returns the plan without the keys that a newer change decided, and a problem for each of them, sorted. A
// change without a time keeps all keys.
func (w *watermarks) leaveOut(resource string, at time.Time, p rules.Plan) (rules.Plan, []Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.resources[resource]
	if !ok || at.IsZero() {
		return p, nil
	}
	var overtaken []string
	newer := func(key string) bool {
		if !e.Value.(*watermark).keys[key].After(at) {
			return false
		}
		overtaken = append(overtaken, key)
		return true
	}
	keep := func(m map[string]string) map[string]string {
		kept := maps.Clone(m)
		maps.DeleteFunc(kept, func(key, _ string) bool { return newer(key) })
		return kept
	}
	p.Set, p.Add, p.Remove = keep(p.Set), keep(p.Add), slices.DeleteFunc(slices.Clone(p.Remove), newer)
	slices.Sort(overtaken)
	var problems []Problem
	for _, key := range slices.Compact(overtaken) {
		problems = append(problems, Problem{key, "left out: a newer change of the resource decided it"})
	}
	return p, problems
}

// note remembers that a change has been applied. The keys that a plan adds are not decided by it: a key that is there
// stays as it is.
func (w *watermarks) note(resource string, at time.Time, p rules.Plan) {
	if at.IsZero() || len(p.Set)+len(p.Remove) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.resources[resource]
	if !ok {
		if w.resources == nil {
			w.resources = map[string]*list.Element{}
		}
		if w.order.Len() >= maxWatermarks {
			oldest := w.order.Front()
			delete(w.resources, w.order.Remove(oldest).(*watermark).resource)
		}
		e = w.order.PushBack(&watermark{resource, map[string]time.Time{}})
		w.resources[resource] = e
	}
	w.order.MoveToBack(e)
	keys := e.Value.(*watermark).keys
	mark := func(key string) {
		if keys[key].Before(at) {
			keys[key] = at
		}
	}
	for key := range p.Set {
		mark(key)
	}
	for _, key := range p.Remove {
		mark(key)
	}
}
