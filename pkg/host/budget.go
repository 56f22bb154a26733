package host

import (
	"errors"
	"io"
	"sync/atomic"
)

// budget is the number of bytes that may still be read into memory.
type budget struct{ left atomic.Int64 }

var errBudgetExhausted = errors.New("the limit for bytes in memory is reached")

func newBudget(n int64) *budget {
	b := &budget{}
	b.left.Store(n)
	return b
}

// acquire takes n bytes from the budget. It reports false if fewer are left.
func (b *budget) acquire(n int64) bool {
	if b.left.Add(-n) < 0 {
		b.release(n)
		return false
	}
	return true
}

// release returns n bytes to the budget.
func (b *budget) release(n int64) { b.left.Add(n) }

// initialBytes is acquired for a body before its first byte arrives.
const initialBytes = 4 << 10

// read reads a body of at most longest bytes. It acquires bytes as the body arrives, so that a client that announces a
// large body and sends nothing does not block others. The caller must call release, even after an error.
func (b *budget) read(body io.Reader, longest int64) (read []byte, release func(), err error) {
	taken := int64(0)
	release = func() { b.release(taken) }
	for {
		if len(read) == cap(read) {
			// Double the buffer, up to one byte more than the body may have, to detect its end.
			more := max(1, min(max(initialBytes, int64(cap(read))), longest+1-int64(cap(read))))
			if !b.acquire(more) {
				return nil, release, errBudgetExhausted
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
