package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// File is the journal of one run. Each line is on disk before the write that it announces. It is safe for concurrent
// use.
type File struct {
	mu   sync.Mutex
	file *os.File
}

// ExistsError reports that the run already has a journal.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("write the journal: %s exists: continue with --resume, or undo it with --revert %s",
		e.Path, e.Path)
}

// Create begins the journal of a run in a new file with mode 0600. It returns an [*ExistsError] if the file exists.
func Create(path string, h Header) (*File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, &ExistsError{path}
	}
	if err != nil {
		return nil, fmt.Errorf("write the journal: %w", err)
	}
	h.Format = format
	if err := encodeLine(f, h); err != nil {
		return nil, errors.Join(fmt.Errorf("write the journal: %w", err), f.Close())
	}
	return &File{file: f}, nil
}

// Resume opens an existing journal to append to it. It removes a last line that was cut off.
func Resume(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("resume the journal: %w", err)
	}
	end, err := endOfLines(f)
	if err == nil {
		if err = f.Truncate(end); err == nil {
			_, err = f.Seek(end, io.SeekStart)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("resume the journal: %w", err), f.Close())
	}
	return &File{file: f}, nil
}

// endOfLines returns the offset after the last complete line.
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

// Write appends a record with the current time.
func (j *File) Write(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.At = time.Now().UTC()
	if err := encodeLine(j.file, r); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// Close closes the file.
func (j *File) Close() error { return j.file.Close() }
