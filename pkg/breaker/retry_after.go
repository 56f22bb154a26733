package breaker

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter limits the pause that a service can request.
const MaxRetryAfter = time.Hour

// RetryAfter reads the header Retry-After (RFC 9110, 10.2.3): seconds, or an HTTP date. The result is between 0 and
// [MaxRetryAfter]. It is 0 for other values, negative seconds and times in the past.
func RetryAfter(value string) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(MaxRetryAfter/time.Second))) * time.Second
	}
	if value != "" && strings.Trim(value, "0123456789") == "" {
		return MaxRetryAfter // more seconds than an int64 holds
	}
	t, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(time.Until(t), 0), MaxRetryAfter)
}
