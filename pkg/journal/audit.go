package journal

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"time"
)

// Audit is a journal that several processes append to, each as its own run. The file may be renamed or removed at any
// time: the next record begins a new file. It is safe for concurrent use.
type Audit struct {
	path   string
	run    string
	failed func(error)

	mu     sync.Mutex
	file   *os.File
	header Header // as last written to the file
	n      int
}

// OpenAudit opens the file, or creates it with mode 0600. It calls failed for each record that cannot be written;
// processing continues.
func OpenAudit(path string, failed func(error)) (*Audit, error) {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	a := &Audit{path: path, run: hex.EncodeToString(id), failed: failed}
	if err := a.open(); err != nil {
		return nil, err
	}
	return a, nil
}

// open opens the file if it is not open, or if the path now names another file.
func (a *Audit) open() error {
	if a.file != nil {
		is, err := a.file.Stat()
		at, errAt := os.Stat(a.path)
		if err == nil && errAt == nil && os.SameFile(is, at) {
			return nil
		}
		_ = a.file.Close()
		a.file, a.header = nil, Header{}
	}
	f, err := os.OpenFile(a.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write the audit file: %w", err)
	}
	a.file = f
	return nil
}

// Next returns a number for a correction: the N of its Begin and End records.
func (a *Audit) Next() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	return a.n
}

// Write appends a record with the current time and the audit's run. If the header differs from the last one in the
// file, Write appends the header first.
func (a *Audit) Write(h Header, r Record) {
	a.mu.Lock()
	err := a.write(h, r)
	a.mu.Unlock()
	if err != nil {
		a.failed(err)
	}
}

func (a *Audit) write(h Header, r Record) error {
	if err := a.open(); err != nil {
		return err
	}
	now := time.Now().UTC()
	if a.header.Cloud != h.Cloud || a.header.Operator != h.Operator || a.header.Format == "" {
		h.Format, h.Run, h.At = format, a.run, now
		end, err := a.endsWithin()
		if err == nil && end {
			_, err = a.file.WriteString("\n") // another process was killed while it wrote
		}
		if err == nil {
			err = encodeLine(a.file, h)
		}
		if err != nil {
			return fmt.Errorf("write the audit file: %w", err)
		}
		a.header = h
	}
	r.Run, r.At = a.run, now
	err := encodeLine(a.file, r)
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		a.header = Header{} // the line may be cut off
		return fmt.Errorf("write the audit file: %w", err)
	}
	return nil
}

// endsWithin reports whether the file ends in the middle of a line.
func (a *Audit) endsWithin() (bool, error) {
	info, err := a.file.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := a.file.ReadAt(last, info.Size()-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// Close closes the file.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
