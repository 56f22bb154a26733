package app

import (
	"log/slog"
	"os"
	"runtime"
	"strconv"
)

// processorMemory is the memory in MB for which an AWS Lambda function gets one vCPU
// (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
const processorMemory = 1769

// limitProcessors lets a function on AWS Lambda use only as many processors as its memory pays for. It sees at least
// two, even if it gets the time of a sixth of one. Waking threads on the others costs a twelfth of an event's CPU.
// GOMAXPROCS takes precedence.
func limitProcessors(log *slog.Logger) {
	n := processors(os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if n == 0 || n >= runtime.GOMAXPROCS(0) || os.Getenv("GOMAXPROCS") != "" {
		return
	}
	runtime.GOMAXPROCS(n)
	log.Debug("processors limited", "to", n)
}

// processors returns the number of processors for a memory in MB, at least 1, or 0 if the memory is not known.
func processors(memory string) int {
	n, err := strconv.Atoi(memory)
	if err != nil || n <= 0 {
		return 0
	}
	return (n + processorMemory - 1) / processorMemory
}
