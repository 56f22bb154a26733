package reconcile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const journalFormat = "tagger-journal/1"

// JournalHeader is the first line of a journal.
type JournalHeader struct {
	Format string `json:"format"`
	// Run is the plan's id, or that of the journal that is taken back with "revert-" before it.
	Run   string `json:"run"`
	Cloud string `json:"cloud"`
	// Rules is the hash of the rules, Operator who began the run.
	Rules    string    `json:"rules"`
	Operator string    `json:"operator"`
	At       time.Time `json:"at"`
}

// Record is one of the other lines of a journal.
type Record struct {
	At time.Time `json:"at"`
	// Phase is "begin" before a write and "end" after it.
	Phase string `json:"phase"`
	// N is the number of the plan's entry, from 0.
	N       int            `json:"n"`
	Kind    lifecycle.Kind `json:"kind"`
	ID      string         `json:"id"`
	Name    string         `json:"name,omitempty"`
	Project string         `json:"project"`
	// Keys are the keys that are about to be written, or that were.
	Keys map[string]tagger.Replacement `json:"keys"`
	// Outcome, Reason and Requests (the ids that the API gave the requests, as far as it did) are those of the end.
	Outcome apply.Outcome `json:"outcome,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	// Changed are the keys that another writer changed since the plan was made.
	Changed  []string `json:"changed,omitempty"`
	Requests []string `json:"requests,omitempty"`
}

const (
	phaseBegin = "begin"
	phaseEnd   = "end"
)

// failed reports whether the resource is still to be done.
func (r Record) failed() bool {
	switch r.Outcome {
	case apply.Tagged, apply.Unchanged, apply.Gone, apply.Ignored:
		return false
	}
	return true
}

// journal is written a line at a time, and each line reaches the disk before what it announces is done.
type journal struct {
	mu   sync.Mutex
	file *os.File
	// fault, if not nil, is asked before each line, for tests.
	fault func() error
}

// createJournal makes a new file with mode 0600.
func createJournal(path string, h JournalHeader) (*journal, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf(
			"write the journal: %s is there already: go on with --resume, or take it back with --revert %s",
			path,
			path,
		)
	}
	if err != nil {
		return nil, fmt.Errorf("write the journal: %w", err)
	}
	h.Format = journalFormat
	if err := encodeLine(f, h); err != nil {
		return nil, errors.Join(fmt.Errorf("write the journal: %w", err), f.Close())
	}
	return &journal{file: f}, nil
}

// resumeJournal opens a journal to go on with it. A last line that was cut off is removed.
func resumeJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("go on with the journal: %w", err)
	}
	end, err := endOfLines(f)
	if err == nil {
		if err = f.Truncate(end); err == nil {
			_, err = f.Seek(end, io.SeekStart)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("go on with the journal: %w", err), f.Close())
	}
	return &journal{file: f}, nil
}

// endOfLines returns where the last whole line ends.
func endOfLines(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, 64<<10)
	for size > 0 {
		from := max(size-int64(len(buffer)), 0)
		part := buffer[:size-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		size = from
	}
	return 0, nil
}

func (j *journal) write(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault != nil {
		if err := j.fault(); err != nil {
			return err
		}
	}
	r.At = time.Now().UTC()
	if err := encodeLine(j.file, r); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }

// ErrNoJournal says that a file is something else.
var ErrNoJournal = errors.New("it is no journal of tagger reconcile")

// Records calls each with every record of a journal, until each returns an error. A last line that was cut off is left
// out. The error wraps [ErrNoJournal] for another kind of file.
func Records(path string, each func(Record) error) (JournalHeader, error) {
	var h JournalHeader
	l, err := openLines(path)
	if err != nil {
		return h, fmt.Errorf("read the journal: %w", err)
	}
	defer l.Close()
	if err := l.next(&h); err != nil || h.Format != journalFormat {
		return h, fmt.Errorf("read the journal %s: %w", path, ErrNoJournal)
	}
	for {
		var r Record
		err := l.next(&r)
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if _, cut := errors.AsType[*json.SyntaxError](err); cut && !l.scanner.Scan() {
			return h, nil
		}
		if err != nil {
			return h, err
		}
		if err := each(r); err != nil {
			return h, err
		}
	}
}

// bits is a set of numbers.
type bits []uint64

func (b *bits) set(n int, to bool) {
	for len(*b) <= n/64 {
		*b = append(*b, 0)
	}
	if to {
		(*b)[n/64] |= 1 << (n % 64)
	} else {
		(*b)[n/64] &^= 1 << (n % 64)
	}
}

func (b bits) has(n int) bool { return n/64 < len(b) && b[n/64]&(1<<(n%64)) != 0 }

// past is what a journal says of the entries of its plan.
type past struct {
	header JournalHeader
	// done are the entries that need nothing more, begun the keys that may have been written although no record says so:
	// the run ended meanwhile, or the write failed.
	done    bits
	begun   map[int]map[string]tagger.Replacement
	written int
}

func readPast(path string) (past, error) {
	p := past{begun: map[int]map[string]tagger.Replacement{}}
	var err error
	p.header, err = Records(path, func(r Record) error {
		if r.Phase == phaseBegin {
			p.begun[r.N] = r.Keys
			return nil
		}
		delete(p.begun, r.N)
		if r.failed() && len(r.Keys) > 0 {
			p.begun[r.N] = r.Keys // what became of them is not certain
		}
		p.done.set(r.N, !r.failed())
		if len(r.Keys) > 0 {
			p.written++
		}
		return nil
	})
	return p, err
}
