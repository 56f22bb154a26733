package host_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// graph fakes FunctionGraph's runtime API: it returns payloads and records the responses.
type graph struct {
	*httptest.Server
	mu       sync.Mutex
	payloads []string
	header   http.Header
	answers  []string
	failing  int // requests that fail first
	done     context.CancelFunc
}

func newGraph(t *testing.T, done context.CancelFunc, payloads ...string) *graph {
	g := &graph{payloads: payloads, done: done, header: http.Header{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/runtime/invocation/request", func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.failing > 0 {
			g.failing--
			http.Error(w, "not yet", http.StatusInternalServerError)
			return
		}
		if len(g.payloads) == 0 {
			g.done()
			return
		}
		for name, values := range g.header {
			w.Header()[name] = values
		}
		w.Header().Set("X-Cff-Request-Id", "id-"+g.payloads[0][:1])
		_, _ = io.WriteString(w, g.payloads[0])
		g.payloads = g.payloads[1:]
	})
	mux.HandleFunc("POST /v1/runtime/invocation/{kind}/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.answers = append(g.answers, r.PathValue("kind")+" "+r.PathValue("id")+" "+string(body))
	})
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func TestFunctionGraph(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &script{}
	api := newGraph(t, cancel, event("tagged"), event("deferred"), event("rejected"), event("broken"), "[")
	api.failing = 2
	f := &host.FunctionGraph{Processor: processor(s, 1), Log: slog.New(slog.DiscardHandler),
		Address: strings.TrimPrefix(api.URL, "http://"), Timeout: time.Minute}
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, a := range api.answers {
		kind, body, _ := strings.Cut(a, " ")
		_, body, _ = strings.Cut(body, " ")
		var e struct{ Outcome, ErrorType, ErrorMessage string }
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		kinds = append(kinds, kind+" "+e.Outcome+e.ErrorType)
		if kind == "error" && e.ErrorMessage == "" {
			t.Errorf("no message: %s", a)
		}
	}
	want := []string{"response tagged", "error DeferredError", "error RejectedError", "error CredentialsError",
		"error RejectedError"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, d := range s.seen {
		if d.Wait != 15*time.Minute {
			t.Errorf("waits %s in the invocation", d.Wait)
		}
	}
}

// An APIG trigger gets a response in its form, whatever the outcome.
func TestFunctionGraphOverHTTP(t *testing.T) {
	request := func(outcome string) string {
		return `{"httpMethod":"POST","path":"/","requestContext":{"stage":"RELEASE"},"isBase64Encoded":true,` +
			`"headers":{"content-type":"application/cloudevents+json"},"body":"` +
			base64.StdEncoding.EncodeToString([]byte(event(outcome))) + `"}`
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	api := newGraph(t, cancel, request("tagged"), request("deferred"), request("rejected"), request("broken"))
	f := &host.FunctionGraph{Processor: processor(&script{}, 1), Log: slog.New(slog.DiscardHandler),
		Address: strings.TrimPrefix(api.URL, "http://"), Timeout: time.Minute}
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range api.answers {
		kind, body, _ := strings.Cut(a, " ")
		_, body, _ = strings.Cut(body, " ")
		var r struct {
			StatusCode      int
			Headers         map[string]string
			IsBase64Encoded *bool
			Body            *string
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil || r.IsBase64Encoded == nil || r.Body == nil {
			t.Errorf("%s: %v", a, err)
		}
		got = append(got, fmt.Sprint(kind, " ", r.StatusCode, " ", r.Headers["Tagger-Outcome"], " ",
			r.Headers["Retry-After"]))
	}
	want := []string{"response 204 tagged ", "response 503 deferred 91", "response 422 rejected ",
		"response 500 deferred "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// down is an unreachable runtime API.
type down struct{}

func (down) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

func TestFunctionGraphGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &host.FunctionGraph{Processor: processor(&script{}, 1), Log: slog.New(slog.DiscardHandler), Address: "graph",
			Timeout: time.Minute, Client: &http.Client{Transport: down{}}}
		if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "call the runtime API") {
			t.Errorf("error %v", err)
		}
	})
}

// asks records the credentials that a source returns for each event.
type asks struct {
	script
	source func(context.Context) (config.Credentials, error)
	got    []config.Credentials
	errs   []error
}

func (a *asks) Apply(ctx context.Context, p *tagger.Plan, d tagger.Delivery) *tagger.Result {
	c, err := a.source(ctx)
	a.got, a.errs = append(a.got, c), append(a.errs, err)
	return a.script.Apply(ctx, p, d)
}

// An invocation's credentials are used only for that invocation, and only if that is enabled.
func TestInvocationCredentials(t *testing.T) {
	base := config.Credentials{AccessKeyProjectID: "p-1", RegionName: "eu-west-0"}
	for _, on := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		a := &asks{source: host.CredentialsOf(base)}
		api := newGraph(t, cancel, event("tagged"))
		api.header = http.Header{"X-Cff-Security-Access-Key": {"AK"}, "X-Cff-Security-Secret-Key": {"the-secret-key"},
			"X-Cff-Security-Token": {"the-token"}}
		f := &host.FunctionGraph{
			Processor: processor(a, 1), Address: strings.TrimPrefix(api.URL, "http://"), Timeout: time.Minute, Credentials: on,
			Log: slog.New(slog.DiscardHandler),
		}
		if err := f.Run(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		if !on {
			if len(a.errs) != 1 || a.errs[0] == nil {
				t.Errorf("off: %v", a.errs)
			}
			continue
		}
		c := a.got[0]
		want := config.Credentials{
			AccessKey: "AK", SecretKey: config.NewSecret("the-secret-key"), SecurityToken: config.NewSecret("the-token"),
			AccessKeyProjectID: "p-1", RegionName: "eu-west-0",
		}
		if a.errs[0] != nil || c != want {
			t.Errorf("on: %+v, %v", c, a.errs[0])
		}
	}
}
