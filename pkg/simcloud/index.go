package simcloud

import (
	"container/heap"
	"iter"
	"slices"
	"sort"
	"time"
)

// resource is a server, a volume or a snapshot, as the indexes see it.
type resource interface {
	comparable
	// key is the id, owner the project's id, number the creation number: the newest has the highest.
	key() string
	owner() string
	number() int
}

// inventory holds the resources of a kind by id, and in the order of creation, in total and per project. So the cost of
// a page of a list depends on its size, not on the number of resources.
type inventory[T resource] struct {
	byID      map[string]T
	all       ordered[T]
	byProject map[string]*ordered[T]
}

func newInventory[T resource]() inventory[T] {
	return inventory[T]{byID: map[string]T{}, byProject: map[string]*ordered[T]{}}
}

// get returns the resource with an id, or the zero value.
func (n *inventory[T]) get(id string) T { return n.byID[id] }

// put adds a resource, or replaces the one with the same id. Its number must be the highest so far.
func (n *inventory[T]) put(t T) {
	n.drop(t.key())
	n.byID[t.key()] = t
	n.all.add(t)
	n.project(t.owner()).add(t)
}

// drop removes the resource with an id and reports whether it existed.
func (n *inventory[T]) drop(id string) bool {
	t, found := n.byID[id]
	if found {
		delete(n.byID, id)
		n.all.remove(t)
		n.project(t.owner()).remove(t)
	}
	return found
}

// move transfers a resource to another project; set changes the resource itself.
func (n *inventory[T]) move(t T, set func()) {
	n.project(t.owner()).remove(t)
	set()
	n.project(t.owner()).add(t)
}

// in returns the resources of a project, or of all projects.
func (n *inventory[T]) in(project string, all bool) *ordered[T] {
	if all {
		return &n.all
	}
	return n.project(project)
}

func (n *inventory[T]) project(id string) *ordered[T] {
	o := n.byProject[id]
	if o == nil {
		o = &ordered[T]{}
		n.byProject[id] = o
	}
	return o
}

// ordered holds resources in the order of their numbers.
type ordered[T resource] struct{ list []T }

// place returns the index of the resource with a number, or where it would be inserted.
func (o *ordered[T]) place(number int) int {
	return sort.Search(len(o.list), func(i int) bool { return o.list[i].number() >= number })
}

func (o *ordered[T]) add(t T) { o.list = slices.Insert(o.list, o.place(t.number()), t) }

func (o *ordered[T]) remove(t T) {
	if i := o.place(t.number()); i < len(o.list) && o.list[i] == t {
		o.list = slices.Delete(o.list, i, i+1)
	}
}

// oldest yields the oldest first.
func (o *ordered[T]) oldest() iter.Seq[T] { return slices.Values(o.list) }

// newest yields the resources older than a number, the newest first; 0 yields all. It merges two lists.
func newest[T resource](than int, lists ...*ordered[T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		ends := make([]int, len(lists))
		for i, o := range lists {
			ends[i] = len(o.list)
			if than > 0 {
				ends[i] = o.place(than)
			}
		}
		for {
			best := -1
			for i, o := range lists {
				if ends[i] > 0 && (best < 0 || o.list[ends[i]-1].number() > lists[best].list[ends[best]-1].number()) {
					best = i
				}
			}
			if best < 0 {
				return
			}
			ends[best]--
			if !yield(lists[best].list[ends[best]]) {
				return
			}
		}
	}
}

// changing is a resource that changes with time.
type changing interface {
	// next returns the time of its next change, false if there is none.
	next() (time.Time, bool)
	// settle applies the changes that are due and reports whether the resource is gone.
	settle(now time.Time) (gone bool)
}

// changeQueue is a heap of pending changes, the earliest first. A stale entry is harmless.
type changeQueue []scheduledChange

type scheduledChange struct {
	at   time.Time
	what changing
}

func (a changeQueue) Len() int           { return len(a) }
func (a changeQueue) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a changeQueue) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *changeQueue) Push(x any)        { *a = append(*a, x.(scheduledChange)) }
func (a *changeQueue) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = scheduledChange{}
	*a = (*a)[:len(*a)-1]
	return last
}

// watch registers a resource whose next change was scheduled. The caller holds c.mu.
func (c *Cloud) watch(what changing) {
	if gone := what.settle(time.Time{}); gone { // at once
		c.forget(what)
		return
	}
	if at, ok := what.next(); ok {
		heap.Push(&c.changeQueue, scheduledChange{at, what})
	}
}

// settle applies all changes that are due. The caller holds c.mu.
func (c *Cloud) settle(now time.Time) {
	for len(c.changeQueue) > 0 && !c.changeQueue[0].at.After(now) {
		what := heap.Pop(&c.changeQueue).(scheduledChange).what
		if gone := what.settle(now); gone {
			c.forget(what)
			continue
		}
		c.watch(what)
	}
}

// maxDeleted limits the deleted servers that are kept.
const maxDeleted = 10_000

// archive removes a server, and keeps it for lists of deleted servers.
func (c *Cloud) archive(s *server) {
	c.servers.drop(s.id)
	s.vmState, s.taskState = vmDeleted, ""
	if s.terminated.IsZero() {
		s.terminated = s.updated
	}
	c.deleted.put(s)
	if len(c.deleted.all.list) > maxDeleted {
		c.deleted.drop(c.deleted.all.list[0].id)
	}
}

// forget removes a resource that is gone.
func (c *Cloud) forget(what changing) {
	switch what := what.(type) {
	case *server:
		if c.servers.get(what.id) == what {
			c.archive(what)
		}
	case *volume:
		if c.volumes.get(what.id) == what {
			c.volumes.drop(what.id)
		}
	case *snapshot:
		if c.snapshots.get(what.id) == what {
			c.snapshots.drop(what.id)
		}
	}
}
