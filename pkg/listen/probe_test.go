package listen

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
)

func TestSupported(t *testing.T) {
	for version, want := range map[string]bool{"3.9.29": false, "3.10.0": true, "3.13.7": true, "4.1.0": true,
		"2.8.7": false, "unknown": true} {
		if got := (Broker{Version: version}).Supported(); got != want {
			t.Errorf("%s: %t", version, got)
		}
	}
}

// Policies with a lifetime are distinguished from those that only limit, and no error contains the password or the
// address.
func TestManagement(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "us er" || password != "hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(status)
		body := "[]"
		switch r.URL.EscapedPath() {
		case "/api/feature-flags":
			body = `[{"name":"quorum_queue","state":"enabled"},{"name":"stream_queue","state":"disabled"},
				{"name":"other","state":"disabled"}]`
		case "/api/queues/my%2Fhost/tagger":
			body = `{"policy":"all","operator_policy":"guard",
				"effective_policy_definition":{"expires":1800000,"ha-mode":"all","max-length":10}}`
		case "/api/queues/my%2Fhost/tagger.rejected":
			body = `{"policy":"limits","operator_policy":null,"effective_policy_definition":{"max-length":10}}`
		case "/api/queues/my%2Fhost/tagger.delay.1m":
			body = `{"policy":null,"effective_policy_definition":[]}`
		}
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	c := config.Listen{URL: config.NewSecret("amqp://us%20er:hunter2@127.0.0.1:1/my%2Fhost"), Queue: "tagger",
		ManagementURL: server.URL + "/"}
	m, err := NewManagement(c)
	if err != nil {
		t.Fatal(err)
	}
	disabled, err := m.DisabledFlags(t.Context())
	if err != nil || !slices.Equal(disabled, []string{"stream_queue"}) {
		t.Errorf("%v, %v", disabled, err)
	}
	policies, err := m.Policies(t.Context(), []QueueState{{Name: "tagger"}, {Name: "tagger.delay.1m"},
		{Name: "tagger.rejected"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Policy{
		{Queue: "tagger", Names: []string{"all", "guard"}, Keys: []string{"expires", "max-length"}, Lifetime: true},
		{Queue: "tagger.rejected", Names: []string{"limits"}, Keys: []string{"max-length"}},
	}
	if diff := cmp.Diff(want, policies); diff != "" {
		t.Error(diff)
	}
	status = http.StatusInternalServerError
	if _, err := m.Policies(t.Context(), []QueueState{{Name: "tagger"}}); err == nil ||
		!strings.Contains(err.Error(), "500") {
		t.Errorf("%v", err)
	}
	c.URL = config.NewSecret("amqp://user:hunter3@127.0.0.1:1/my%2Fhost")
	if m, err = NewManagement(c); err != nil {
		t.Fatal(err)
	}
	if _, err := m.DisabledFlags(t.Context()); err == nil || !strings.Contains(err.Error(), "set_user_tags") ||
		strings.Contains(err.Error(), "hunter3") {
		t.Errorf("%v", err)
	}
}
