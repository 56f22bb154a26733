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
// block all others. After its wait, the task continues beside those that run by then: it does little between its
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
	// ready and readyBulk are the queues whose first task can run, in the order in which they became ready.
	ready, readyBulk []*resourceQueue
	queues           map[string]*resourceQueue // of the resources with tasks, waiting or running
}

// resourceQueue holds the waiting tasks of one resource, sorted by time.
type resourceQueue struct{ tasks []*task }

// task is one change to apply.
type task struct {
	resource string
	at       time.Time
	run      func(pausing func())
	// bulk means that the message has many changes. Such tasks use at most half of the slots, so that one message does
	// not block all others.
	bulk bool

	order  uint64
	paused bool
}

func newSchedule(limit int, gather time.Duration) *schedule {
	return &schedule{limit: max(1, limit), gather: gather, queues: map[string]*resourceQueue{}}
}

// add adds tasks. The tasks of one call are sorted before the first of them runs.
func (s *schedule) add(tasks ...*task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []*resourceQueue
	for _, t := range tasks {
		t.order = s.next
		s.next++
		q := s.queues[t.resource]
		if q == nil {
			q = &resourceQueue{}
			fresh = append(fresh, q)
		}
		if t.resource != "" {
			s.queues[t.resource] = q
		}
		i, _ := slices.BinarySearchFunc(q.tasks, t, func(a, b *task) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order, b.order))
		})
		q.tasks = slices.Insert(q.tasks, i, t)
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

// enqueue makes queues ready. The caller holds the lock.
func (s *schedule) enqueue(queues ...*resourceQueue) {
	for _, q := range queues {
		if q.tasks[0].bulk {
			s.readyBulk = append(s.readyBulk, q)
		} else {
			s.ready = append(s.ready, q)
		}
	}
}

// dequeue returns the queue whose first task runs next, nil if none may run. The caller holds the lock.
func (s *schedule) dequeue() *resourceQueue {
	ready := &s.ready
	if len(s.readyBulk) > 0 && s.bulk < max(1, s.limit/2) && (len(s.ready) == 0 || s.bulk == 0 && s.limit > 1) {
		ready = &s.readyBulk
	}
	if s.running >= s.limit || len(*ready) == 0 {
		return nil
	}
	q := (*ready)[0]
	(*ready)[0] = nil
	*ready = (*ready)[1:]
	return q
}

// start runs ready tasks up to the limit. The caller holds the lock.
func (s *schedule) start() {
	for q := s.dequeue(); q != nil; q = s.dequeue() {
		t := q.tasks[0]
		q.tasks = q.tasks[1:]
		s.count(t, 1)
		go func() {
			growStack()
			defer s.ended(t, q)
			t.run(func() { s.pause(t) })
		}()
	}
}

// count counts a task that starts to use a slot (1) or stops using it (-1). The caller holds the lock.
func (s *schedule) count(t *task, n int) {
	s.running += n
	if t.bulk {
		s.bulk += n
	}
}

// waitingPerSlot limits the waiting tasks for each running one.
const waitingPerSlot = 10

// mayWait reports whether one more task may wait for its resource. If so, the caller calls waited when the task has
// ended. A task that may not wait is tried once: it must not sleep in the slot of one that could run.
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
func (s *schedule) ended(t *task, q *resourceQueue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.paused {
		s.count(t, -1)
	}
	if len(q.tasks) > 0 {
		s.enqueue(q)
	} else if t.resource != "" {
		delete(s.queues, t.resource)
	}
	s.start()
}
