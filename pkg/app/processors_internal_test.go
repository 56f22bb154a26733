package app

import (
	"log/slog"
	"runtime"
	"testing"
)

func TestProcessors(t *testing.T) {
	for memory, want := range map[string]int{
		"": 0, "much": 0, "-1": 0, "128": 1, "256": 1, "1769": 1, "1770": 2, "3538": 2, "10240": 6,
	} {
		if got := processors(memory); got != want {
			t.Errorf("%q MB: %d processors, want %d", memory, got, want)
		}
	}
}

// A small function uses one processor, unless GOMAXPROCS says otherwise.
func TestLimitProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	log := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		memory, gomaxprocs string
		want               int
	}{{"", "", 4}, {"256", "3", 4}, {"10240", "", 4}, {"2048", "", 2}, {"256", "", 1}} {
		t.Setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", tt.memory)
		t.Setenv("GOMAXPROCS", tt.gomaxprocs)
		if limitProcessors(log); runtime.GOMAXPROCS(0) != tt.want {
			t.Errorf("%+v: %d processors", tt, runtime.GOMAXPROCS(0))
		}
	}
}
