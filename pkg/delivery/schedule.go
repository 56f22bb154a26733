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
	waiting int // tasks that may wait for their resource
	next    uint64
	bulk    int // running tasks of messages with many changes
	// ready and readyBulk are the lines whose first task can run, in the order in which they became that.
	ready, readyBulk []*line
	lines            map[string]*line // of the resources that have tasks, one that runs included
}

// line holds the waiting tasks of one resource, sorted by time.
type line struct{ tasks []*task }

// task is one change to apply.
type task struct {
	resource string
	at       time.Time
	run      func(pausing func())
	// bulk means that the message has many changes. Such tasks take at most half of the places: one message must not
	// hold up all others.
	bulk bool

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
			s.enqueue(fresh...)
			s.start()
		})
		return
	}
	s.enqueue(fresh...)
	s.start()
}

// enqueue makes lines ready. The caller holds the lock.
func (s *schedule) enqueue(lines ...*line) {
	for _, l := range lines {
		if l.tasks[0].bulk {
			s.readyBulk = append(s.readyBulk, l)
		} else {
			s.ready = append(s.ready, l)
		}
	}
}

// dequeue returns the line whose first task is to run next, nil if none may. The caller holds the lock.
func (s *schedule) dequeue() *line {
	queue := &s.ready
	if len(s.readyBulk) > 0 && s.bulk < max(1, s.limit/2) && (len(s.ready) == 0 || s.bulk == 0 && s.limit > 1) {
		queue = &s.readyBulk
	}
	if s.running >= s.limit || len(*queue) == 0 {
		return nil
	}
	l := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return l
}

// start runs ready tasks up to the limit. The caller holds the lock.
func (s *schedule) start() {
	for l := s.dequeue(); l != nil; l = s.dequeue() {
		t := l.tasks[0]
		l.tasks = l.tasks[1:]
		s.count(t, 1)
		go func() {
			defer s.ended(t, l)
			t.run(func() { s.pause(t) })
		}()
	}
}

// count counts a task that begins (1) or no longer takes a place (-1). The caller holds the lock.
func (s *schedule) count(t *task, n int) {
	s.running += n
	if t.bulk {
		s.bulk += n
	}
}

// waitingPerSlot limits the waiting tasks for each running one.
const waitingPerSlot = 10

// mayWait reports whether one more task may wait for its resource. If so, the caller calls waited when the task has
// ended. A task that may not wait is tried once: it must not sleep in the place of one that could run.
func (s *schedule) mayWait() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= waitingPerSlot*s.limit {
		return false
	}
	s.waiting++
	return true
}

func (s *schedule) waited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}

// pause lets another task run in place of one that waits.
func (s *schedule) pause(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.paused {
		return
	}
	t.paused = true
	s.count(t, -1)
	s.start()
}

// ended makes the resource's next task ready.
func (s *schedule) ended(t *task, l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.paused {
		s.count(t, -1)
	}
	if len(l.tasks) > 0 {
		s.enqueue(l)
	} else if t.resource != "" {
		delete(s.lines, t.resource)
	}
	s.start()
}
