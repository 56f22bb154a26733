package host_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/host"
)

// TestUnsupportedMediaType: the response to an unsupported format is 415, to a malformed body 400.
func TestUnsupportedMediaType(t *testing.T) {
	server := httptest.NewServer(newHTTP(&script{}, "", 1))
	defer server.Close()
	for _, tt := range []struct {
		contentType, encoding, body string
		status                      int
	}{
		{"application/cloudevents+xml", "", "<event/>", http.StatusUnsupportedMediaType},
		{"application/cloudevents-batch+avro", "", "x", http.StatusUnsupportedMediaType},
		{"application/cloudevents+json", "br", "x", http.StatusUnsupportedMediaType},
		{"application/cloudevents+json", "", "{", http.StatusBadRequest},
	} {
		r, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", tt.contentType)
		if tt.encoding != "" {
			r.Header.Set("Content-Encoding", tt.encoding)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: status %d, want %d", tt.contentType, tt.encoding, resp.StatusCode, tt.status)
		}
	}
}

// TestWebHookIsServed: the HTTP handler handles the handshake, and refuses it without origins.
func TestWebHookIsServed(t *testing.T) {
	for _, tt := range []struct {
		origins []string
		status  int
	}{{[]string{"*.example.com"}, http.StatusOK}, {nil, http.StatusMethodNotAllowed}} {
		hook, err := host.NewWebHook(tt.origins, 0)
		if err != nil {
			t.Fatal(err)
		}
		h := host.NewHTTP(host.HTTPOptions{Processor: processor(&script{}, 1), Requests: 1, Bytes: 1 << 20,
			Secret: config.NewSecret("s"), WebHook: hook})
		r := httptest.NewRequest(http.MethodOptions, "/", nil)
		r.Header.Set("WebHook-Request-Origin", "events.example.com")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("origins %q: status %d, want %d", tt.origins, w.Code, tt.status)
		}
	}
}
