// Package timestamp reads the points in time that clouds write, in every form that they write them in.
//
// A zone that is left out means UTC: OpenStack services write naive UTC times (oslo.utils timeutils.utcnow).
package timestamp

import (
	"strconv"
	"time"
)

// layouts are tried in order; Go reads a fraction of a second after any of them.
var layouts = [...]string{
	time.RFC3339,                    // CloudEvents, Nova's versioned notifications
	"2006-01-02 15:04:05",           // oslo.messaging's envelope, Nova's legacy payloads
	"2006-01-02 15:04:05Z07:00",     // Nova's legacy created_at
	"2006-01-02T15:04:05",           // Nova's launched_at
	"2006/01/02 15:04:05 GMT-07:00", // CTS traces as the console and the user guide show them, in three styles
	"01/02/2006 15:04:05 GMT-07:00", // the month is first: the guide's example says so by its job's begin_time
	"Jan 2, 2006 15:04:05 GMT-07:00",
}

// Parse reads s as a timestamp and returns it in UTC. It reports false when s is empty, in no form that is known, or
// outside the years 1 to 9999, which RFC 3339 cannot write.
func Parse(s string) (time.Time, bool) {
	if s == "" || len(s) > 40 {
		return time.Time{}, false
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Unix(n)
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return inRange(t.UTC())
		}
	}
	return time.Time{}, false
}

// Unix reads n as the time since 1970, in seconds, milliseconds, microseconds or nanoseconds: CTS documents both of the
// first two for one field. The size of n tells them apart for every time between 1973 and 5138. Zero and less is no time.
func Unix(n int64) (time.Time, bool) {
	switch {
	case n <= 0:
		return time.Time{}, false
	case n < 1e11:
		return time.Unix(n, 0).UTC(), true
	case n < 1e14:
		return time.UnixMilli(n).UTC(), true
	case n < 1e17:
		return time.UnixMicro(n).UTC(), true
	}
	return time.Unix(0, n).UTC(), true
}

func inRange(t time.Time) (time.Time, bool) {
	if t.Year() < 1 || t.Year() > 9999 || t.IsZero() {
		return time.Time{}, false
	}
	return t, true
}
