package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func newSink(t *testing.T, o SinkOptions) *Sink {
	t.Helper()
	o.Registry, o.GiveUpAfter = lifecycle.New(lifecycle.Options{}), 24*time.Hour
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := NewSink(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post passes a message to the sink.
func post(t *testing.T, s *Sink, m Message) delivery.Decision {
	t.Helper()
	return s.Begin(t.Context(), []delivery.Plan{s.Plan(t.Context(), m.Message)})()[0]
}

func created(t *testing.T) Message {
	t.Helper()
	m := read(amqp.Delivery{Body: notification("m-1")}, time.Now())
	if m.Err != nil {
		t.Fatal(m.Err)
	}
	return m
}

func TestSinkResponses(t *testing.T) {
	for _, tt := range []struct {
		status     int
		retryAfter string
		want       apply.Outcome
		fault      bool
		delay      time.Duration // at least
	}{
		{200, "", sent, false, 0},
		{202, "", sent, false, 0},
		{204, "", sent, false, 0},
		{302, "", apply.Rejected, false, 0},
		{400, "", apply.Rejected, false, 0},
		{401, "", apply.Deferred, true, 0},
		{403, "", apply.Deferred, true, 0},
		{404, "", apply.Deferred, false, 12 * time.Second}, // a receiver that is being deployed
		{405, "", apply.Rejected, false, 0},
		{408, "", apply.Deferred, false, 12 * time.Second},
		{409, "", apply.Deferred, false, 12 * time.Second},
		{410, "", apply.Rejected, false, 0},
		{422, "", apply.Rejected, false, 0},
		{429, "120", apply.Deferred, false, 2 * time.Minute},
		{429, "-1", apply.Deferred, false, 12 * time.Second},
		{500, "", apply.Deferred, false, 12 * time.Second},
		{600, "", apply.Deferred, false, 12 * time.Second},
		{503, time.Now().Add(30 * time.Minute).UTC().Format(http.TimeFormat), apply.Deferred, false, 29 * time.Minute},
	} {
		t.Run(fmt.Sprint(tt.status, tt.retryAfter), func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				w.Header().Set("Retry-After", tt.retryAfter)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
			}))
			defer server.Close()
			v := post(t, newSink(t, SinkOptions{URL: server.URL}), created(t))
			if v.Outcome != tt.want || v.Delay < tt.delay {
				t.Errorf("%s with a delay of %s, want %s with at least %s", v.Outcome, v.Delay, tt.want, tt.delay)
			}
			if (v.Fault.Err != nil) != tt.fault || (v.Fault.Scope == fault.Everything) != tt.fault {
				t.Errorf("the fault is %+v", v.Fault)
			}
			if !v.Reached || requests != 1 {
				t.Errorf("reached: %t, after %d requests", v.Reached, requests)
			}
		})
	}
}

// A request has the structured event, the secret and Knative's overrides.
func TestSinkRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	s := newSink(t, SinkOptions{
		URL: server.URL + "/ns/broker", Secret: config.NewSecret("s3cret"), Overrides: `{"extensions": {"cluster": "é1"}}`,
	})
	if v := post(t, s, created(t)); v.Outcome != sent {
		t.Fatalf("%+v", v)
	}
	if got.Method != "POST" || got.URL.Path != "/ns/broker" || got.ContentLength != int64(len(body)) {
		t.Errorf("%s %s, %d bytes", got.Method, got.URL, got.ContentLength)
	}
	if got.Header.Get("Authorization") != "Bearer s3cret" ||
		got.Header.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("%v", got.Header)
	}
	var metrics strings.Builder
	if err := s.WritePrometheus(&metrics); err != nil ||
		metrics.String() != "# HELP tagger_listen_posts_total Events posted to the sink.\n"+
			"# TYPE tagger_listen_posts_total counter\ntagger_listen_posts_total 1\n" {
		t.Errorf("%v: %s", err, metrics.String())
	}
	var e map[string]any
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	delete(e, "data")
	want := map[string]any{
		"specversion": "1.0", "id": "m-1", "source": "openstack:compute.host",
		"type": "org.openstack.compute.instance.create.end", "time": "2026-11-20T09:15:04Z",
		"datacontenttype": "application/json", "cluster": "é1",
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if bytes.Contains(body, []byte("hunter2")) {
		t.Error("a token was posted")
	}
}

// Only changes are posted.
func TestSinkSendsOnlyChanges(t *testing.T) {
	s := newSink(t, SinkOptions{URL: "http://127.0.0.1:1/"})
	for _, tt := range []struct {
		name, body string
		want       apply.Outcome
	}{
		{"no change", strings.ReplaceAll(string(notification("m")), "create.end", "create.start"), apply.Ignored},
		{"unknown", `{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}`, apply.Unrecognised},
		{"malformed", strings.ReplaceAll(string(notification("m")), "8c1f0a6e-", ""), apply.Rejected},
		{"unreadable", "{", apply.Rejected},
	} {
		m := read(amqp.Delivery{Body: []byte(tt.body)}, time.Now())
		if v := post(t, s, m); v.Outcome != tt.want || v.Reached {
			t.Errorf("%s: %+v", tt.name, v)
		}
		if d := s.Plan(t.Context(), m.Message); d.Key != "" {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
	if d := s.Plan(t.Context(), created(t).Message); !d.Pending ||
		d.Key != "req-1/8c1f0a6e-5b0d-4a3e-9f52-7f1c2d9b6a10/server.created" {
		t.Errorf("%+v", d)
	}
}

// Without an answer, the event waits and is given up in the end. No text contains the address or the secret.
func TestSinkUnreachable(t *testing.T) {
	var log bytes.Buffer
	s := newSink(t, SinkOptions{
		URL: "http://user:hunter2@127.0.0.1:1/?key=hunter2", Secret: config.NewSecret("hunter2"),
		Log: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	m := created(t)
	v := post(t, s, m)
	if v.Outcome != apply.Deferred || v.Delay <= 0 || v.Fault.Err != nil {
		t.Errorf("%+v", v)
	}
	if strings.Contains(v.Reason, "hunter2") {
		t.Errorf("the reason has the secret: %s", v.Reason)
	}
	m.SentAt = m.SentAt.Add(-25 * time.Hour)
	if v := post(t, s, m); v.Outcome != apply.Rejected || !strings.Contains(v.Reason, "given up after 24h") {
		t.Errorf("%+v", v)
	}
	if s := log.String(); strings.Contains(s, "hunter2") || strings.Count(s, "\n") != 2 {
		t.Error(s)
	}
}

func TestSinkOptions(t *testing.T) {
	for _, tt := range []struct{ url, overrides, want string }{
		{"hunter2", "", "is not http://host/path"},
		{"ftp://hunter2/", "", "is not http://host/path"},
		{"http://user:hunter2@[/", "", "is not http://host/path"},
		{"https://sqs.eu-west-3.amazonaws.com/tagger", "",
			"the address of a queue is https://sqs.eu-west-3.amazonaws.com/ACCOUNT/QUEUE"},
		{"http://sink/", "hunter2", "K_CE_OVERRIDES: it is not a JSON object"},
		{"http://sink/", `{"extensions": {"Not-a-name": "hunter2"}}`, `"Not-a-name" cannot be the name of an attribute`},
	} {
		if _, err := NewSink(SinkOptions{URL: tt.url, Overrides: tt.overrides}); err == nil ||
			!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %s: %v", tt.url, tt.overrides, err)
		}
	}
}

// While posting is on hold, events are deferred.
func TestSinkOnHold(t *testing.T) {
	posts := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posts++ }))
	defer server.Close()
	on := true
	s := newSink(t, SinkOptions{URL: server.URL, Held: func() bool { return on }})
	if d := post(t, s, created(t)); d.Outcome != apply.Deferred || d.Delay != time.Minute || d.Fault.Err != nil {
		t.Errorf("%+v", d)
	}
	if posts != 0 {
		t.Errorf("%d posts", posts)
	}
	on = false
	if d := post(t, s, created(t)); d.Outcome != sent || posts != 1 {
		t.Errorf("%+v, %d posts", d, posts)
	}
}

// A signature replaces the bearer token. A missing key is a fault of the configuration, not of an event.
func TestSinkSigns(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
	}))
	defer server.Close()
	var failure error
	s := newSink(t, SinkOptions{URL: server.URL, Secret: config.NewSecret("hunter2"),
		Sign: func(_ context.Context, r *http.Request, body []byte) error {
			r.Header.Set("Authorization", fmt.Sprint("signed ", len(body) > 0))
			return failure
		}})
	if d := post(t, s, created(t)); d.Outcome != sent || got != "signed true" {
		t.Errorf("%+v, %q", d, got)
	}
	got, failure = "", errors.New("no key")
	if d := post(t, s, created(t)); d.Outcome != apply.Deferred || d.Fault.Scope != fault.Everything || got != "" {
		t.Errorf("%+v, %q", d, got)
	}
}

// A log line names the resource. An event that reports no change is logged at debug level.
func TestSinkLogs(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	var log bytes.Buffer
	s := newSink(t, SinkOptions{URL: server.URL, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	post(t, s, created(t))
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["action"] != "server.created" || line["resource_id"] == "" || line["outcome"] != "sent" {
		t.Errorf("%v", line)
	}
	log.Reset()
	update := bytes.Replace(notification("m-2"), []byte("compute.instance.create.end"), []byte("compute.instance.update"),
		1)
	if d := post(t, s, read(amqp.Delivery{Body: update}, time.Now())); d.Outcome != apply.Ignored || log.Len() != 0 {
		t.Errorf("%+v: %s", d, log.String())
	}
}
