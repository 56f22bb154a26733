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
	refused func(error)

	mu      sync.Mutex
	set     *Set
	checked time.Time
	reading bool
}

// Open reads and compiles rules, which are then read again when they are asked for and at least so much time has passed. refused is told
// each time that a version is refused: an alarm that goes on while the fault does. An error is that of the first version.
func Open(ctx context.Context, read func(context.Context) (Source, error), compile func(Source) (*Set, error), every time.Duration, refused func(error)) (*Book, error) {
	b := &Book{read: read, compile: compile, every: every, refused: refused}
	set, err := b.load(ctx)
	if err != nil {
		return nil, err
	}
	b.set, b.checked = set, time.Now()
	return b, nil
}

// Current returns the rules in force. One caller at a time looks for a new version; the others go on with the last meanwhile.
func (b *Book) Current(ctx context.Context) *Set {
	b.mu.Lock()
	if b.reading || time.Since(b.checked) < b.every {
		defer b.mu.Unlock()
		return b.set
	}
	b.reading = true
	b.mu.Unlock()

	set, err := b.load(ctx)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading, b.checked = false, time.Now()
	if err != nil {
		b.refused(err)
		return b.set
	}
	b.set = set
	return set
}

func (b *Book) load(ctx context.Context) (*Set, error) {
	source, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	return b.compile(source)
}

// Current returns the set itself: rules that never change.
func (s *Set) Current(context.Context) *Set { return s }
