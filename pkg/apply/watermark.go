package apply

import (
	"container/list"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/rules"
)

const (
	// maxWatermarks is the number of resources whose watermarks are remembered. The least recently written is evicted
	// first.
	maxWatermarks = 10_000
	// maxDecided is the number of keys of one resource, more than Nova and Cinder allow at a time. With a pattern to
	// remove, users decide which keys these are: those that were decided first are evicted first.
	maxDecided = 256
	// maxAllDecided is the number of keys of all resources.
	maxAllDecided = 100_000
)

// watermarks remember, for each key of a resource, the time of the newest change that decided its value. Events arrive
// late and out of order: an older change must not overwrite what a newer one wrote. The zero value is ready to use.
//
// The resource's own "updated" time cannot serve as a watermark: our own write changes it, and so does a lock.
type watermarks struct {
	mu        sync.Mutex
	resources map[string]*list.Element // of *watermark
	order     list.List                // least recently written first
	keys      int                      // of all resources
}

type watermark struct {
	resource string
	decided  []decided // a resource has few keys: a map of them takes four times the memory
}

// decided is a key, and the time of the newest change that decided its value.
type decided struct {
	key string
	at  time.Time
}

// leaveOut returns the plan without the keys that a newer change decided, those keys, and a problem for each of them
// that the plan names. A change without a time keeps all its keys.
func (w *watermarks) leaveOut(resource string, at time.Time, plan *rules.Plan) (*rules.Plan, map[string]bool,
	[]rules.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.resources[resource]
	if !ok || at.IsZero() {
		return plan, nil, nil
	}
	overtaken := map[string]bool{}
	for _, d := range e.Value.(*watermark).decided {
		if d.at.After(at) {
			overtaken[d.key] = true
		}
	}
	if len(overtaken) == 0 {
		return plan, nil, nil
	}
	var named []string
	newer := func(key string) bool {
		if overtaken[key] {
			named = append(named, key)
		}
		return overtaken[key]
	}
	keep := func(m map[string]string) map[string]string {
		kept := maps.Clone(m)
		maps.DeleteFunc(kept, func(key, _ string) bool { return newer(key) })
		return kept
	}
	p := *plan
	p.Set, p.Add, p.Remove = keep(p.Set), keep(p.Add), slices.DeleteFunc(slices.Clone(p.Remove), newer)
	p.Rename = maps.Clone(p.Rename)
	maps.DeleteFunc(p.Rename, func(from, to string) bool {
		old := newer(from)
		return newer(to) || old
	})
	slices.Sort(named)
	var problems []rules.Problem
	for _, key := range slices.Compact(named) {
		problems = append(problems, rules.Problem{Key: key, Why: "left out: a newer change of the resource decided it"})
	}
	return &p, overtaken, problems
}

// note remembers that a change has decided keys. A time in the future counts as now: a wrong clock must not block later
// changes.
func (w *watermarks) note(resource string, at time.Time, keys []string) {
	if at.IsZero() || len(keys) == 0 {
		return
	}
	if now := time.Now(); at.After(now) {
		at = now
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.resources[resource]
	if !ok {
		if w.resources == nil {
			w.resources = map[string]*list.Element{}
		}
		if w.order.Len() >= maxWatermarks {
			w.evict()
		}
		e = w.order.PushBack(&watermark{resource: resource})
		w.resources[resource] = e
	}
	w.order.MoveToBack(e)
	mark := e.Value.(*watermark)
	w.keys -= len(mark.decided)
	for _, key := range keys {
		mark.note(key, at)
	}
	w.keys += len(mark.decided)
	for w.keys > maxAllDecided {
		w.evict()
	}
}

// evict forgets the resource that was written least recently.
func (w *watermarks) evict() {
	oldest := w.order.Remove(w.order.Front()).(*watermark)
	delete(w.resources, oldest.resource)
	w.keys -= len(oldest.decided)
}

func (m *watermark) note(key string, at time.Time) {
	i := slices.IndexFunc(m.decided, func(d decided) bool { return d.key == key })
	switch {
	case i < 0 && len(m.decided) >= maxDecided:
		first := 0
		for k, d := range m.decided {
			if d.at.Before(m.decided[first].at) {
				first = k
			}
		}
		m.decided[first] = decided{key, at}
	case i < 0:
		m.decided = append(m.decided, decided{key, at})
	case m.decided[i].at.Before(at):
		m.decided[i].at = at
	}
}
