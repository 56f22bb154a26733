package listen

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHealthAndMetrics(t *testing.T) {
	c := newCounts()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		c.Handler(newCounts().WritePrometheus).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if status, _ := get("/healthz"); status != 503 {
		t.Errorf("before: %d", status)
	}
	c.consuming.Store(true)
	c.deferred(time.Minute)
	c.notified.note("notifications.info", time.Unix(1234, 0))
	c.depths.set("q.rejected", 7)
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("while consuming: %d", status)
	}
	status, text := get("/metrics")
	for _, line := range []string{"tagger_listen_consuming 1\n", "tagger_listen_consuming 0\n",
		"tagger_listen_connected 0\n", `tagger_listen_deferred_total{delay="1m"} 1` + "\n",
		`tagger_listen_last_notification_timestamp_seconds{routing_key="notifications.info"} 1234` + "\n",
		`tagger_listen_queue_messages{queue="q.rejected"} 7` + "\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%d: no %q in %s", status, line, text)
		}
	}
	if status, _ := get("/other"); status != 404 {
		t.Errorf("another path: %d", status)
	}
}
