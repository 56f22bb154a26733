package rules

import (
	"context"
	"io/fs"
	"sync"
	"time"
)

// Source is the text of rules, and where it is from.
type Source struct {
	Name string
	Text []byte
	// Files is the folder of the rules' file, nil where they came from elsewhere.
	Files fs.FS
}

// Book is rules that can change while the process runs. A version that cannot be read or does not compile is refused, and the last good one
// stays in force. It is safe for concurrent use.
type Book struct {
	read    func(context.Context) (Source, error)
	compile func(Source) (*Set, error)
	every   time.Duration
	notices Notices

	mu      sync.Mutex
	set     *Set
	checked time.Time
	reading bool
}

// Notices are told each time that the last good rules stay in force because of a fault: an alarm that goes on while the fault does.
type Notices struct {
	// Unread is told why the rules could not be read, Refused why they do not compile. Both may be called from several goroutines.
	Unread, Refused func(error)
}

// patience is how long a caller with good rules at hand waits for newer ones.
const patience = 5 * time.Second

// Open reads and compiles rules, which are then read again when they are asked for and at least so much time has passed. An error is that of
// the first version.
func Open(ctx context.Context, read func(context.Context) (Source, error), compile func(Source) (*Set, error), every time.Duration, n Notices) (*Book, error) {
	b := &Book{read: read, compile: compile, every: every, notices: n}
	source, err := read(ctx)
	if err != nil {
		return nil, err
	}
	if b.set, err = compile(source); err != nil {
		return nil, err
	}
	b.checked = time.Now()
	return b, nil
}

// Current returns the rules in force. One caller at a time looks for a new version; the others go on with the last meanwhile.
func (b *Book) Current(ctx context.Context) *Set {
	b.mu.Lock()
	set, due := b.set, !b.reading && time.Since(b.checked) >= b.every
	b.reading = b.reading || due
	b.mu.Unlock()
	if !due {
		return set
	}
	defer func() { // after a panic too
		b.mu.Lock()
		defer b.mu.Unlock()
		b.set, b.reading, b.checked = set, false, time.Now()
	}()
	if newer := b.newer(ctx); newer != nil {
		set = newer
	}
	return set
}

// newer returns what is written down now, nil when that is of no use.
func (b *Book) newer(ctx context.Context) *Set {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source, err := b.read(ctx)
	if err != nil {
		b.notices.Unread(err)
		return nil
	}
	set, err := b.compile(source)
	if err != nil {
		b.notices.Refused(err)
		return nil
	}
	return set
}

// Current returns the set itself: rules that never change.
func (s *Set) Current(context.Context) *Set { return s }
