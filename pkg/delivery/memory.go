package delivery

import (
	"errors"
	"fmt"
	"sync"
)

const (
	// maxPlanMemory limits the memory of all plans whose messages have no decision yet, in bytes; see [tagger.Plan.Size].
	// The plans of one event use at most half of it.
	maxPlanMemory = 24 << 20
	// eventSize estimates the memory of an event that is read but not decoded, without its text.
	eventSize = 1536
	// guaranteedMemory is the memory that one message may use even if the limit is reached. Ordinary events do not wait
	// for large ones, because an entry point admits a limited number of events.
	guaranteedMemory = 16 << 10
)

var (
	errMemoryInUse = errors.New("the plans of other events use too much memory at the moment")
	errTooLarge    = fmt.Errorf("its events report so many changes that their plans need more than %d bytes of memory",
		maxPlanMemory)
)

// planMemory counts the memory of plans. The zero value is ready to use.
type planMemory struct {
	mu       sync.Mutex
	reserved int
}

// reservation is one message's part of the memory.
type reservation struct {
	memory   *planMemory
	reserved int
}

// reserve reserves more memory for the message. It returns [errMemoryInUse] while others use it, and [errTooLarge] if
// the message exceeds the limit alone.
func (s *reservation) reserve(size int) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	switch {
	case s.reserved+size > maxPlanMemory:
		return errTooLarge
	case s.reserved+size > guaranteedMemory && s.memory.reserved+size > maxPlanMemory:
		return errMemoryInUse
	}
	s.reserved += size
	s.memory.reserved += size
	return nil
}

// release releases the memory of the message. It may be called again.
func (s *reservation) release() {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.memory.reserved -= s.reserved
	s.reserved = 0
}
