// Package timestamp parses the timestamps in cloud events: RFC 3339, ISO 8601 and the variants that OpenStack and
// Huawei Cloud write.
//
// A timestamp without a zone is UTC: OpenStack services write naive UTC times (oslo.utils timeutils.utcnow).
package timestamp

import (
	"strconv"
	"strings"
	"time"
)

// maxLength is the longest timestamp that is parsed, in bytes.
const maxLength = 64

// guideLayouts are the layouts of the CTS console and user guide. In the second one the month comes first, as the
// begin_time of the job in the guide's example shows.
var guideLayouts = [...]string{
	"2006/01/02 15:04:05 GMT-07:00",
	"01/02/2006 15:04:05 GMT-07:00",
	"Jan 2, 2006 15:04:05 GMT-07:00",
}

// Parse parses a timestamp and returns it in UTC, with nanosecond precision. It reports false if s is empty, has an
// unknown format or is outside the years 1 to 9999 that RFC 3339 can express.
func Parse(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxLength {
		return time.Time{}, false
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil { // CloudEvents, Nova's versioned notifications
		return inRange(t.UTC())
	}
	if t, ok := number(s); ok {
		return t, true
	}
	if t, ok := iso(s); ok {
		return inRange(t.UTC())
	}
	for _, layout := range guideLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return inRange(t.UTC())
		}
	}
	return time.Time{}, false
}

// number parses a Unix time: seconds with an optional fraction, milliseconds and so on; see [Unix].
func number(s string) (time.Time, bool) {
	whole, fraction, ok := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(whole) == len("20261120") && n >= 1900_0101 && n <= 9999_1231 {
		return time.Time{}, false // eight digits are a date without a time
	}
	if !ok {
		return Unix(n)
	}
	nanoseconds, ok := nano(fraction)
	if !ok || n <= 0 || n >= 1e11 {
		return time.Time{}, false
	}
	return time.Unix(n, nanoseconds).UTC(), true
}

// nano parses the fractional digits of a second and truncates them to nanoseconds.
func nano(digits string) (int64, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt((digits + "00000000")[:9], 10, 64)
	return n, err == nil
}

// iso parses a date and a time of day in ISO 8601's extended or basic format. As in RFC 3339, section 5.6, letters may
// be lower case and a space may replace the T. The leap second 60 becomes the second after 59.
func iso(s string) (time.Time, bool) {
	var date, clock string
	at := strings.IndexAny(s, "Tt ")
	if at < 0 {
		return time.Time{}, false
	}
	date, clock = s[:at], s[at+1:]
	dateLayout := "2006-01-02"
	if len(date) == len("20060102") {
		dateLayout = "20060102"
	}
	end := len(clock)
	if i := strings.IndexAny(clock, "Zz+- UuGg"); i >= 0 { // a zone begins with one of these
		end = i
	}
	clock, zone := clock[:end], clock[end:]
	var nanoseconds int64
	if i := strings.IndexAny(clock, ".,"); i >= 0 {
		var ok bool
		if nanoseconds, ok = nano(clock[i+1:]); !ok {
			return time.Time{}, false
		}
		clock = clock[:i]
	}
	clockLayout := ""
	switch len(clock) {
	case len("15:04:05"):
		clockLayout = "15:04:05"
	case len("150405"):
		clockLayout = "150405"
	case len("15:04"):
		clockLayout = "15:04"
	case len("1504"):
		clockLayout = "1504"
	}
	seconds := strings.HasSuffix(clockLayout, "05")
	if clockLayout == "" || nanoseconds > 0 && !seconds {
		return time.Time{}, false // ISO 8601 has fractions of a minute, but no cloud writes them
	}
	extra := time.Duration(nanoseconds)
	if before, ok := strings.CutSuffix(clock, "60"); ok && seconds {
		clock, extra = before+"59", extra+time.Second
	}
	if after, ok := strings.CutPrefix(clock, "24"); ok && extra == 0 && strings.Trim(after, "0:") == "" {
		clock, extra = "00"+after, 24*time.Hour
	}
	location, ok := offset(zone)
	if !ok {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation(dateLayout+" "+clockLayout, date+" "+clock, location)
	return t.Add(extra), err == nil
}

// offset parses a zone: empty, Z, UTC, GMT, ±hh, ±hhmm or ±hh:mm, with an optional leading space.
func offset(zone string) (*time.Location, bool) {
	zone = strings.ToUpper(strings.TrimPrefix(zone, " "))
	switch zone {
	case "", "Z", "UTC", "GMT":
		return time.UTC, true
	}
	zone = strings.TrimPrefix(zone, "GMT")
	for _, layout := range [...]string{"-07:00", "-0700", "-07"} {
		if t, err := time.Parse(layout, zone); err == nil {
			return t.Location(), true
		}
	}
	return nil, false
}

// Unix returns the time that is n seconds, milliseconds, microseconds or nanoseconds after 1970. The magnitude of n
// determines the unit, correctly for times between 1973 and 5138: CTS documents both seconds and milliseconds for one
// field. Unix reports false if n is not positive.
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
