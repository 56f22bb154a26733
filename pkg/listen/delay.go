package listen

import (
	"slices"
	"strings"
	"time"
)

// steps returns the delays, each with a queue of its own. Messages leave a queue in order, so in a shared queue all
// would wait behind one that waits an hour.
func steps() []time.Duration {
	return []time.Duration{
		15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute,
		30 * time.Minute, time.Hour,
	}
}

// stepFor returns the shortest step that is at least the delay, or the longest step.
func stepFor(delay time.Duration) time.Duration {
	all := steps()
	for _, step := range all {
		if delay <= step {
			return step
		}
	}
	return all[len(all)-1]
}

// stepsFrom returns all steps in the order in which to try their queues: from the wanted one up to the longest, then
// from the wanted one down to the shortest. Longer steps come first, because a retry that is too early costs calls.
func stepsFrom(step time.Duration) []time.Duration {
	all := steps()
	i := slices.Index(all, step)
	shorter := slices.Clone(all[:i])
	slices.Reverse(shorter)
	return append(all[i:], shorter...)
}

func (t *topology) delay(step time.Duration) string { return t.queue + ".delay." + label(step) }

// label formats a step: 15s, 1m, 1h.
func label(step time.Duration) string {
	s := step.String()
	if step%time.Minute == 0 {
		s = strings.TrimSuffix(s, "0s")
	}
	if step%time.Hour == 0 {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
