package delivery

// growStack gives the goroutine a stack of 16 KB in one step. A new goroutine has 2 KB, and sending a request takes 11.
// The stack would be doubled three times, and copying deep stacks takes a twentieth of an event's CPU.
//
//go:noinline
func growStack() {
	var frame [8 << 10]byte
	keep(&frame)
}

// keep keeps the compiler from removing the frame.
//
//go:noinline
func keep(*[8 << 10]byte) {}
