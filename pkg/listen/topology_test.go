package listen

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Exchanges that disappear for a moment are found soon; those that never appear cost one check a minute.
func TestSearchSlowsDown(t *testing.T) {
	s := search{longest: keepInterval}
	var got []time.Duration
	for _, missing := range []string{"", "b", "b", "b", "b", "b", "b", "b", "b", "a, b", "a, b", "b", "", "b"} {
		got = append(got, s.next(missing)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{60, 1, 2, 4, 8, 16, 32, 60, 60, 1, 2, 1, 60, 1}, got); diff != "" {
		t.Errorf("pauses in seconds (-want +got):\n%s", diff)
	}
}
