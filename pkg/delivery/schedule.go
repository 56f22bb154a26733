package delivery

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// schedule runs a limited number of tasks at a time. It runs the tasks of one resource one after the other, the
// earliest first. Tasks without a resource have no order.
//
// A task that waits for its resource lets another run in its place; otherwise a few servers that never appear would
// hold up all others. After its wait, the task continues beside those that run by then: it does little between its
// pauses.
type schedule struct {
	limit int
	// gather is how long a resource waits for more tasks after its first.
	gather time.Duration

	mu      sync.Mutex
	running int
	paused  int // tasks that let others run in their place
	next    uint64
	ready   []*line          // in the order in which they became that
	lines   map[string]*line // of the resources that have tasks, one that runs included
}

// line holds the waiting tasks of one resource, sorted by time.
type line struct{ tasks []*task }

// task is one change to apply.
type task struct {
	resource string
	at       time.Time
	run      func(pausing func())

	order  uint64
	paused bool
}

func newSchedule(limit int, gather time.Duration) *schedule {
	return &schedule{limit: max(1, limit), gather: gather, lines: map[string]*line{}}
}

// add adds tasks. The tasks of one call are sorted before the first of them runs.
func (s *schedule) add(tasks ...*task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []*line
	for _, t := range tasks {
		t.order = s.next
		s.next++
		l := s.lines[t.resource]
		if l == nil {
			l = &line{}
			fresh = append(fresh, l)
		}
		if t.resource != "" {
			s.lines[t.resource] = l
		}
		i, _ := slices.BinarySearchFunc(l.tasks, t, func(a, b *task) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order, b.order))
		})
		l.tasks = slices.Insert(l.tasks, i, t)
	}
	if s.gather > 0 && len(fresh) > 0 {
		time.AfterFunc(s.gather, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ready = append(s.ready, fresh...)
			s.start()
		})
		return
	}
	s.ready = append(s.ready, fresh...)
	s.start()
}

// start runs ready tasks up to the limit. The caller holds the lock.
func (s *schedule) start() {
	for s.running < s.limit && len(s.ready) > 0 {
		l := s.ready[0]
		s.ready[0] = nil
		s.ready = s.ready[1:]
		t := l.tasks[0]
		l.tasks = l.tasks[1:]
		s.running++
		go func() {
			defer s.ended(t, l)
			t.run(func() { s.pause(t) })
		}()
	}
}

// pausedPerSlot limits the waiting tasks for each running one.
const pausedPerSlot = 10

// pause lets another task run in place of a waiting one.
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

// ended makes the resource's next task ready.
func (s *schedule) ended(t *task, l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.paused {
		s.paused--
	} else {
		s.running--
	}
	if len(l.tasks) > 0 {
		s.ready = append(s.ready, l)
	} else if t.resource != "" {
		delete(s.lines, t.resource)
	}
	s.start()
}
