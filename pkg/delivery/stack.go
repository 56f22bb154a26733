package delivery

// growStack gives the goroutine a stack of 16 KB in one step. A new goroutine has 2 KB, and sending a request takes 11: the
// stack would be doubled three times, and copying a deep stack takes longer than all that a change needs besides.
//
//go:noinline
func growStack() byte {
	var frame [8 << 10]byte
	return frame[depth(len(frame))]
}

// depth keeps the compiler from removing the frame.
//
//go:noinline
func depth(size int) int { return size - 1 }
