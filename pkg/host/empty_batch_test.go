package host_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestEmptyBatch: an empty batch succeeds at every entry point.
func TestEmptyBatch(t *testing.T) {
	server := httptest.NewServer(newHTTP(&script{}, "", 1))
	defer server.Close()
	resp, err := http.Post(server.URL, "application/cloudevents-batch+json", strings.NewReader("[]"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Errorf("HTTP: status %d", resp.StatusCode)
	}
	l := newLambda(&script{}, &queues{}, 1)
	answer, err := l.Handle(t.Context(), batch(record("m1", "[]"), record("m2", event("deferred"))))
	if err != nil {
		t.Fatal(err)
	}
	if got := failed(t, answer); len(got) != 1 || got[0] != "m2" {
		t.Errorf("SQS: handed back %q", got)
	}
	if _, err := l.Handle(t.Context(), []byte("[]")); err != nil {
		t.Errorf("direct: %v", err)
	}
}
