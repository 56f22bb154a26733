package knative

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	duckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/broker/filter"
	"knative.dev/eventing/pkg/client/clientset/versioned/fake"
	"knative.dev/eventing/pkg/client/informers/externalversions"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/reconciler/sugar/trigger/path"
	"knative.dev/pkg/apis"
	pkgduckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/system"
)

// retries is how often the dispatcher in these tests redelivers an event.
const retries = 3

func routed(dialer *net.Dialer, host, address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, kind, to string) (net.Conn, error) {
		if name, _, err := net.SplitHostPort(to); err == nil && name == host {
			to = address
		}
		return dialer.DialContext(ctx, kind, to)
	}
}

// knative has the parts of Knative's in-memory channel and multi-tenant broker between an event and its subscriber: the
// channel's dispatcher, the broker's filter, and the dead-letter sink, which the filter also calls.
type knative struct {
	dispatcher *kncloudevents.Dispatcher
	filter     string // the host by which the dispatcher finds the filter
	trigger    *eventingv1.Trigger

	mu          sync.Mutex
	filtered    []int // the filter's responses
	deadLetters []event.Event
}

// startKnative creates a trigger with this spec and a subscriber at an address.
func startKnative(t *testing.T, spec eventingv1.TriggerSpec, subscriber string) *knative {
	t.Helper()
	t.Setenv(system.NamespaceEnvKey, "knative-eventing")
	k := &knative{filter: network.GetServiceHostname("broker-filter", system.Namespace())}

	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := cehttp.NewEventFromHTTPRequest(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.deadLetters = append(k.deadLetters, *e)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(sink.Close)

	spec.Broker = "default"
	k.trigger = &eventingv1.Trigger{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tagging", Name: "tagger", UID: "0b7a6c0e-2f0e-4f1d-9a64-b6f7b5a0c001"},
		Spec:       spec,
	}
	k.trigger.Status.SubscriberURI = address(t, subscriber)
	k.trigger.Status.DeadLetterSinkURI = address(t, sink.URL)
	b := &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{Namespace: "tagging", Name: "default"}}

	informers := externalversions.NewSharedInformerFactory(fake.NewSimpleClientset(), 0)
	triggers, brokers := informers.Eventing().V1().Triggers(), informers.Eventing().V1().Brokers()
	if err := triggers.Informer().GetStore().Add(k.trigger); err != nil {
		t.Fatal(err)
	}
	if err := brokers.Informer().GetStore().Add(b); err != nil {
		t.Fatal(err)
	}
	meters, traces := metricnoop.NewMeterProvider(), tracenoop.NewTracerProvider()
	// TLS and OIDC are not configured.
	handler, err := filter.NewHandler(zap.NewNop(), nil, nil, triggers, brokers,
		informers.Messaging().V1().Subscriptions(), nil,
		func(ctx context.Context) context.Context { return ctx }, meters, traces)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(answer, r)
		if !strings.HasSuffix(r.URL.Path, "/dls") {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.filtered = append(k.filtered, answer.status)
		}
	}))
	t.Cleanup(server.Close)
	route(t, k.filter, server)
	k.dispatcher = kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil, kncloudevents.WithMeterProvider(meters),
		kncloudevents.WithTraceProvider(traces))
	// A global map keeps the clients by address, with the transport to an earlier test's server.
	t.Cleanup(func() {
		for _, p := range []string{path.Generate(k.trigger), path.GenerateDLS(k.trigger)} {
			kncloudevents.DeleteAddressableHandler(pkgduckv1.Addressable{URL: address(t, "http://"+k.filter+p)})
		}
	})
	return k
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func address(t *testing.T, s string) *apis.URL {
	t.Helper()
	u, err := apis.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// send delivers an event as the broker's channel does, and redelivers it when Knative would, after 1 ms.
func (k *knative) send(t *testing.T, e event.Event) {
	t.Helper()
	if err := broker.SetTTL(e.Context, 255); err != nil {
		t.Fatal(err)
	}
	times, policy, delay := int32(retries), duckv1.BackoffPolicyLinear, "PT0.001S"
	config, err := kncloudevents.RetryConfigFromDeliverySpec(duckv1.DeliverySpec{Retry: &times, BackoffPolicy: &policy,
		BackoffDelay: &delay})
	if err != nil {
		t.Fatal(err)
	}
	at := func(p string) pkgduckv1.Addressable {
		return pkgduckv1.Addressable{URL: address(t, "http://"+k.filter+p)}
	}
	deadLetters := at(path.GenerateDLS(k.trigger))
	if _, err := k.dispatcher.SendEvent(t.Context(), e, at(path.Generate(k.trigger)),
		kncloudevents.WithRetryConfig(&config), kncloudevents.WithDeadLetterSink(&deadLetters)); err != nil {
		t.Fatal(err)
	}
}

// answers returns the filter's responses and the dead letters since the last call.
func (k *knative) answers() ([]int, []event.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	filtered, dead := k.filtered, k.deadLetters
	k.filtered, k.deadLetters = nil, nil
	return filtered, dead
}

// created returns an event for a server created at a time.
func created(t *testing.T, id, server, name, project string, at time.Time) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource("//inventory.example.com/provisioning")
	e.SetType("io.github.cloudtagger.server.created")
	e.SetSubject(server)
	e.SetTime(at)
	data := map[string]any{
		"resource": map[string]any{"kind": "server", "name": name, "project": project},
		"actor":    map[string]any{"id": "3d9a1b7f6c4e4d0fa2b81c5e7f90ab12", "name": "alice", "kind": "user"},
	}
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// For each outcome, and in both modes in which Knative sends an event: how the filter handles the response, how often
// the event is delivered, and what reaches the dead-letter sink.
func TestOutcomes(t *testing.T) {
	for _, format := range []duckv1.FormatType{duckv1.DeliveryFormatBinary, duckv1.DeliveryFormatJson} {
		t.Run(string(format), func(t *testing.T) {
			c := startCloud(t)
			project := c.env["OS_PROJECT_ID"]
			serve := startSubscriber(t, c)
			k := startKnative(t, eventingv1.TriggerSpec{Delivery: &duckv1.DeliverySpec{Format: &format}}, serve.URL)

			ready, other, locked, thawing := c.server(t, "web-1"), c.server(t, "db-1"), c.server(t, "web-2"),
				c.server(t, "web-3")
			for _, id := range []string{locked, thawing} {
				c.do(t, http.MethodPost, "/servers/"+id+"/action", `{"lock": null}`, nil)
			}
			now := time.Now()
			unknownType := created(t, "unrecognised", ready, "web-1", project, now)
			unknownType.SetType("com.example.order.created")
			malformed := created(t, "malformed", "no-uuid", "web-1", project, now)
			serve.afterEach(func(d delivery) {
				if d.id == "deferred, then tagged" {
					c.do(t, http.MethodPost, "/servers/"+thawing+"/action", `{"unlock": null}`, nil)
				}
			})
			tests := []struct {
				event    event.Event
				outcome  string
				statuses []int // of the deliveries, one after another
				dead     int   // knativeerrorcode of the dead letter, 0 for none
			}{
				{created(t, "tagged", ready, "web-1", project, now), "tagged", []int{204}, 0},
				{created(t, "unchanged", ready, "web-1", project, now), "unchanged", []int{204}, 0},
				{created(t, "ignored", other, "db-1", project, now), "ignored", []int{204}, 0},
				{unknownType, "unrecognised", []int{204}, 0},
				{created(t, "gone", "4a2c1d8e-0b7f-4c36-9d51-7e8f6a5b4c3d", "web-9", project, now.Add(-time.Hour)), "gone",
					[]int{204}, 0},
				{created(t, "deferred", locked, "web-2", project, now), "deferred", []int{503, 503, 503, 503}, 503},
				{created(t, "deferred, then tagged", thawing, "web-3", project, now), "tagged", []int{503, 204}, 0},
				{created(t, "rejected", ready, "web-1", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", now), "rejected", []int{422}, 422},
				{malformed, "rejected", []int{422}, 422},
			}
			for _, test := range tests {
				t.Run(test.event.ID(), func(t *testing.T) {
					k.send(t, test.event)
					filtered, dead := k.answers()
					deliveries := serve.of(test.event.ID())
					var statuses []int
					for _, d := range deliveries {
						statuses = append(statuses, d.status)
						if d.prefer != "reply" {
							t.Errorf("Knative prefers %q", d.prefer)
						}
						if want := map[duckv1.FormatType]string{
							duckv1.DeliveryFormatBinary: event.ApplicationJSON, duckv1.DeliveryFormatJson: event.ApplicationCloudEventsJSON,
						}[format]; d.contentType != want {
							t.Errorf("content type %q in mode %s", d.contentType, format)
						}
						if d.status < 300 && d.body != "" {
							t.Errorf("a body, which Knative takes for a failure: %s", d.body)
						}
						if d.header.Get("Tagger-Outcome") == "" {
							t.Errorf("no Tagger-Outcome in %v", d.header)
						}
						if (d.header.Get("Retry-After") != "") != (d.status == http.StatusServiceUnavailable) {
							t.Errorf("status %d, Retry-After %q", d.status, d.header.Get("Retry-After"))
						}
					}
					if fmt.Sprint(statuses) != fmt.Sprint(test.statuses) || fmt.Sprint(filtered) != fmt.Sprint(test.statuses) {
						t.Errorf("serve answered %v, the filter made of it %v; want %v", statuses, filtered, test.statuses)
					}
					if len(deliveries) > 0 {
						if got := deliveries[len(deliveries)-1].header.Get("Tagger-Outcome"); got != test.outcome {
							t.Errorf("outcome %q, want %q", got, test.outcome)
						}
					}
					checkDeadLetters(t, dead, test.event, test.dead, serve.URL)
				})
			}
			for id, want := range map[string]string{ready: "alice", thawing: "alice", locked: "", other: ""} {
				if got := c.metadata(t, id)["owner"]; got != want {
					t.Errorf("server %s has the owner %q, want %q", id, got, want)
				}
			}
		})
	}
}

func checkDeadLetters(t *testing.T, dead []event.Event, sent event.Event, code int, subscriber string) {
	t.Helper()
	if code == 0 {
		if len(dead) > 0 {
			t.Errorf("%d dead letters: %v", len(dead), dead)
		}
		return
	}
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	letter := dead[0]
	if letter.ID() != sent.ID() || letter.Type() != sent.Type() || string(letter.Data()) != string(sent.Data()) {
		t.Errorf("another event than was sent: %v", letter)
	}
	extensions := letter.Extensions()
	if got := fmt.Sprint(extensions["knativeerrorcode"]); got != fmt.Sprint(code) {
		t.Errorf("knativeerrorcode %s, want %d", got, code)
	}
	if got := fmt.Sprint(extensions["knativeerrordest"]); strings.TrimSuffix(got, "/") != subscriber {
		t.Errorf("knativeerrordest %s, want %s", got, subscriber)
	}
	data := fmt.Sprint(extensions["knativeerrordata"])
	if _, err := base64.StdEncoding.DecodeString(data); err != nil && extensions["knativeerrordata"] != nil {
		t.Errorf("knativeerrordata %q: %v", data, err)
	}
}

// If the credentials are refused, the event is redelivered, and its dead letter reports that the subscriber failed.
func TestRefusedCredentials(t *testing.T) {
	c := startCloud(t)
	serve := startSubscriber(t, c, "OS_PASSWORD=wrong")
	k := startKnative(t, eventingv1.TriggerSpec{}, serve.URL)
	e := created(t, "credentials", c.server(t, "web-1"), "web-1", c.env["OS_PROJECT_ID"], time.Now())
	k.send(t, e)
	filtered, dead := k.answers()
	if len(filtered) != retries+1 || len(serve.of("credentials")) != retries+1 {
		t.Fatalf("%d deliveries, want %d", len(filtered), retries+1)
	}
	for i, d := range serve.of("credentials") {
		if d.status != http.StatusInternalServerError && d.status != http.StatusServiceUnavailable {
			t.Errorf("delivery %d: status %d", i, d.status)
		}
	}
	checkDeadLetters(t, dead, e, filtered[len(filtered)-1], serve.URL)
}

// Results are returned only on request; Knative never requests them.
func TestBodyOnlyWhenAskedFor(t *testing.T) {
	c := startCloud(t)
	serve := startSubscriber(t, c)
	body, err := created(t, "direct", c.server(t, "web-1"), "web-1", c.env["OS_PROJECT_ID"], time.Now()).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		accept, prefer string
		status         int
		results        bool
	}{
		{"", "", 204, false},
		{"*/*", "", 204, false},
		{"application/json", "reply", 204, false},
		{"application/json", "", 200, true},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, serve.URL, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
		for name, value := range map[string]string{"Accept": test.accept, "Prefer": test.prefer} {
			if value != "" {
				request.Header.Set(name, value)
			}
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		deliveries := serve.of("direct")
		got := deliveries[len(deliveries)-1]
		if got.status != test.status || strings.Contains(got.body, `"results"`) != test.results ||
			(got.body != "") != test.results {
			t.Errorf("Accept %q, Prefer %q: status %d, body %q", test.accept, test.prefer, got.status, got.body)
		}
	}
}
