package host

import (
	"errors"
	"io"
	"sync/atomic"
)

// budget is how many bytes may still be read into memory.
type budget struct{ left atomic.Int64 }

var errNoBytes = errors.New("no bytes are left to read the body into")

func newBudget(n int64) *budget {
	b := &budget{}
	b.left.Store(n)
	return b
}

// take takes n bytes, and reports false when there are not so many.
func (b *budget) take(n int64) bool {
	if b.left.Add(-n) < 0 {
		b.left.Add(n)
		return false
	}
	return true
}

// firstBytes is what a body that has not begun to arrive takes.
const firstBytes = 4 << 10

// read reads a body that has so many bytes at the longest. It takes bytes from the budget before it
// makes room for them, little by little: a client that announces much and sends nothing keeps no other client out. release
// gives them back, and must be called in any case.
func (b *budget) read(body io.Reader, longest int64) (read []byte, release func(), err error) {
	taken := int64(0)
	release = func() { b.left.Add(taken) }
	for {
		if len(read) == cap(read) {
			// Twice as much, but not more than the end needs in order to show.
			more := max(1, min(max(firstBytes, int64(cap(read))), longest+1-int64(cap(read))))
			if !b.take(more) {
				return nil, release, errNoBytes
			}
			taken += more
			read = append(make([]byte, 0, int64(cap(read))+more), read...)
		}
		n, err := body.Read(read[len(read):cap(read)])
		read = read[:len(read)+n]
		switch {
		case err == io.EOF:
			return read, release, nil
		case err != nil:
			return nil, release, err
		}
	}
}
