package delivery

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// schedule runs tasks, so many at a time, and those of one resource one after the other, the one with the earliest time
// first. Tasks without a resource have no order.
//
// A task that waits for its resource lets another run in its place, or a few servers that do not come would hold up all
// others. When its wait is over it goes on beside those that run by then: what it does between its pauses is little.
type schedule struct {
	limit int

	mu      sync.Mutex
	running int
	paused  int // tasks that let others run in their place
	next    uint64
	ready   []*task            // the first of their resources, in the order in which they became that
	waiting map[string][]*task // behind the task that is ready or running, by resource; sorted
}

// task is one change to be worked on.
type task struct {
	resource string
	at       time.Time
	run      func(pausing func())

	order  uint64
	paused bool
}

func newSchedule(limit int) *schedule {
	return &schedule{limit: max(1, limit), waiting: map[string][]*task{}}
}

// add adds tasks. Those of one call are put in order before the first of them runs.
func (s *schedule) add(tasks ...*task) {
	tasks = slices.Clone(tasks)
	slices.SortStableFunc(tasks, func(a, b *task) int { return a.at.Compare(b.at) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tasks {
		t.order = s.next
		s.next++
		queue, busy := s.waiting[t.resource]
		if t.resource == "" || !busy {
			s.ready = append(s.ready, t)
		}
		if t.resource == "" {
			continue
		}
		if !busy {
			s.waiting[t.resource] = nil
			continue
		}
		i, _ := slices.BinarySearchFunc(queue, t, func(a, b *task) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order, b.order))
		})
		s.waiting[t.resource] = slices.Insert(queue, i, t)
	}
	s.start()
}

// start runs what is ready, as far as the limit lets it. The caller holds the lock.
func (s *schedule) start() {
	for s.running < s.limit && len(s.ready) > 0 {
		t := s.ready[0]
		s.ready[0] = nil
		s.ready = s.ready[1:]
		s.running++
		go func() {
			defer s.ended(t)
			t.run(func() { s.pause(t) })
		}()
	}
}

// pausedPerSlot bounds the tasks that wait beside those that run.
const pausedPerSlot = 10

// pause lets another task run in the place of one that waits.
func (s *schedule) pause(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.paused || s.paused >= pausedPerSlot*s.limit {
		return
	}
	t.paused = true
	s.paused++
	s.running--
	s.start()
}

// ended makes the next task of the resource ready.
func (s *schedule) ended(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.paused {
		s.paused--
	} else {
		s.running--
	}
	if queue := s.waiting[t.resource]; len(queue) > 0 {
		s.ready = append(s.ready, queue[0])
		s.waiting[t.resource] = queue[1:]
	} else if t.resource != "" {
		delete(s.waiting, t.resource)
	}
	s.start()
}
