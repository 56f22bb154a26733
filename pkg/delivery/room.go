package delivery

import (
	"errors"
	"fmt"
	"sync"
)

const (
	// maxRoom limits the memory of all plans whose messages have no decision yet, in bytes; see [tagger.Plan.Size]. The
	// plans of one event take at most half of it.
	maxRoom = 24 << 20
	// eventSize estimates the memory of an event that is read but not decoded, without its text.
	eventSize = 1536
	// alwaysRoom is what one message may take even if there is no room: ordinary events, of which an entry point
	// admits a limited number, do not wait for large ones.
	alwaysRoom = 16 << 10
)

var (
	errRoom    = errors.New("the plans of other events take too much memory at the moment")
	errTooMuch = fmt.Errorf("its events report so many changes that their plans take more than %d bytes of memory", maxRoom)
)

// room counts the memory of plans. The zero value is ready to use.
type room struct {
	mu    sync.Mutex
	taken int
}

// share is one message's part of the room.
type share struct {
	room  *room
	taken int
}

// take takes room for more of the message: nil, [errRoom] while others have it, or [errTooMuch] if the message is larger
// than the whole room.
func (s *share) take(size int) error {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	switch {
	case s.taken+size > maxRoom:
		return errTooMuch
	case s.taken+size > alwaysRoom && s.room.taken+size > maxRoom:
		return errRoom
	}
	s.taken += size
	s.room.taken += size
	return nil
}

// release gives back what the message has taken. It may be called again.
func (s *share) release() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.taken -= s.taken
	s.taken = 0
}
