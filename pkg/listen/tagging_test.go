package listen

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// handler answers each event with the result of its id.
type handler struct {
	results map[string]tagger.Result
	login   error
}

func (h *handler) Plan(context.Context, event.Event) []tagger.Plan { return []tagger.Plan{{}} }
func (h *handler) Login(context.Context) error                     { return h.login }

func (h *handler) Handle(_ context.Context, d tagger.Delivery) []tagger.Result {
	return []tagger.Result{h.results[d.Event.ID()]}
}

func (h *handler) Unreadable(_ context.Context, err error) tagger.Result {
	return tagger.Result{Outcome: apply.Rejected, Reason: err.Error()}
}

func TestTaggingVerdicts(t *testing.T) {
	refused := &cloud.RefusedError{Err: errors.New("Keystone refuses the password")}
	unauthenticated := &metadata.Error{Class: metadata.Unauthenticated}
	forbidden := &metadata.Error{Class: metadata.Forbidden}
	for _, tt := range []struct {
		name         string
		result       tagger.Result
		login        error
		nothingWorks bool
		oneProject   bool
	}{
		{"login refused", tagger.Result{Outcome: apply.Deferred, Err: refused}, refused, true, false},
		{"one project's login refused", tagger.Result{Outcome: apply.Deferred, Err: refused}, nil, false, true},
		{"token refused", tagger.Result{Outcome: apply.Deferred, Err: unauthenticated, Calls: 1}, nil, true, false},
		{"this server is forbidden", tagger.Result{Outcome: apply.Deferred, Err: forbidden, Calls: 1}, nil, false, false},
	} {
		w := &Tagging{Handler: &handler{results: map[string]tagger.Result{"a": tt.result}, login: tt.login}}
		v := w.Work(t.Context(), Message{Events: readEvent(t, "a")})
		if v.Fault == nil || v.NothingWorks != tt.nothingWorks || v.OneProject != tt.oneProject {
			t.Errorf("%s: %+v", tt.name, v)
		}
	}
	w := &Tagging{Handler: &handler{results: map[string]tagger.Result{"a": {Outcome: apply.Tagged, Calls: 3}}}}
	if v := w.Work(t.Context(), Message{Events: readEvent(t, "a")}); v.Outcome != apply.Tagged || !v.Reached || v.Fault != nil {
		t.Errorf("%+v", v)
	}
	if v := w.Work(t.Context(), Message{Err: errors.New("is not JSON")}); v.Outcome != apply.Rejected || v.Reason != "is not JSON" {
		t.Errorf("unreadable: %+v", v)
	}
}

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
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("while consuming: %d", status)
	}
	status, text := get("/metrics")
	for _, line := range []string{"tagger_listen_consuming 1\n", "tagger_listen_consuming 0\n", "tagger_listen_connected 0\n", `tagger_listen_deferred_total{delay="1m"} 1` + "\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("%d: no %q in %s", status, line, text)
		}
	}
	if status, _ := get("/other"); status != 404 {
		t.Errorf("another path: %d", status)
	}
}
