package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// serving starts what the command serve runs, and returns its address.
func serving(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	read := func() (config.Credentials, error) { return cloudsyaml.Read(ctx) }
	go func() {
		ended <- app.RunHTTP(ctx, app.Function{Name: "tagger", Credentials: read, AWS: onAWS()}, listener)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve ended with %v", err)
		}
	})
	return "http://" + listener.Addr().String() + "/"
}

// An event has the same outcome in every mode of HTTP, and what is not supported has its own status.
func TestServe(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID})
	t.Setenv("TAGGER_RULES", `{"rules": [{"on": "server.created", "set": {"owner": "${actor.name ?? \"nobody\"}"}}]}`)
	t.Setenv("TAGGER_WEBHOOK_ORIGINS", "*.example.com")
	t.Setenv("TAGGER_WAIT", "0s")
	t.Setenv("TAGGER_LOG_LEVEL", "error")
	const (
		structured = "application/cloudevents+json"
		batch      = "application/cloudevents-batch+json"
		mark       = "\uFEFF"
		absent     = `"00000000-0000-4000-8000-000000000001"`
		foreign    = `{"version":"0","id":"e1","detail-type":"EC2 Instance Launch Successful","source":"aws.autoscaling",` +
			`"time":"2026-11-11T21:31:47Z","detail":{"StatusCode":"InProgress"}}`
	)
	event := func(subject, members string) string {
		return `{"specversion":"1.0","id":"1","source":"/x","type":"io.github.cloudtagger.server.created","subject":` +
			subject + members + `}`
	}
	there := `"` + serverID + `"`
	binary := func(subject, contentType string) http.Header {
		return http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/x"}, "Content-Type": {contentType},
			"Ce-Type": {"io.github.cloudtagger.server.created"}, "Ce-Subject": {strings.Trim(subject, `"`)}}
	}
	typed := func(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }
	zipped := func(body string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, body)
		_ = w.Close()
		return b.String()
	}
	inGzip := func(h http.Header) http.Header {
		h.Set("Content-Encoding", "gzip")
		return h
	}
	url := serving(t)
	for _, tt := range []struct {
		name, method string
		header       http.Header
		body         string
		status       int
		outcome      string
	}{
		{"structured", "POST", typed(structured), event(there, ""), 204, "tagged"},
		{"with a byte order mark", "POST", typed(structured), mark + event(there, ""), 204, "tagged"},
		{"batch with a byte order mark", "POST", typed(batch), mark + "[" + event(there, "") + "]", 204, "tagged"},
		{"binary with a byte order mark", "POST", binary(there, "application/json"), mark + "{}", 204, "tagged"},
		{"text, structured", "POST", typed(structured),
			event(there, `,"datacontenttype":"text/plain","data":"hello"`), 204, "tagged"},
		{"text, binary", "POST", binary(there, "text/plain"), "hello", 204, "tagged"},
		{"text, base64", "POST", typed(structured),
			event(there, `,"datacontenttype":"text/plain","data_base64":"aGVsbG8="`), 204, "tagged"},
		{"gzip", "POST", inGzip(typed(structured)), zipped(mark + event(there, "")), 204, "tagged"},
		{"gzip, binary", "POST", inGzip(binary(there, "text/plain")), zipped("hello"), 204, "tagged"},
		{"lower case wins", "POST", typed(structured), event(there, `,"SUBJECT":"x","Subject":"y"`), 204, "tagged"},
		{"empty batch", "POST", typed(batch), "[]", 204, "ignored"},
		{"empty batch with a byte order mark", "POST", typed(batch), mark + "[]", 204, "ignored"},
		{"another service's event", "POST", typed("application/json"), foreign, 204, "unrecognised"},
		{"another CloudEvent", "POST", typed(structured),
			`{"specversion":"1.0","id":"1","source":"/x","type":"com.example.other"}`, 204, "unrecognised"},
		{"no time, not visible yet", "POST", typed(structured), event(absent, ""), 503, "deferred"},
		{"no time, not visible yet, binary", "POST", binary(absent, "application/json"), "{}", 503, "deferred"},
		{"an old time, not found", "POST", typed(structured),
			event(absent, `,"time":"2026-11-20T09:15:04+0000"`), 204, "gone"},
		{"XML", "POST", typed("application/cloudevents+xml"), "<event/>", 415, "rejected"},
		{"a batch in XML", "POST", typed("application/cloudevents-batch+xml; charset=utf-8"), "<event/>", 415, "rejected"},
		{"brotli", "POST", http.Header{"Content-Type": {structured}, "Content-Encoding": {"br"}}, "x", 415, "rejected"},
		{"a zip bomb", "POST", inGzip(typed(structured)), zipped(strings.Repeat(" ", 32<<20)), 400, "rejected"},
		{"web hook", "OPTIONS", http.Header{"Webhook-Request-Origin": {"events.example.com"}}, "", 200, ""},
		{"web hook of another origin", "OPTIONS", http.Header{"Webhook-Request-Origin": {"events.example.org"}}, "", 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = tt.header
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || resp.Header.Get("Tagger-Outcome") != tt.outcome {
				t.Errorf("%s, %v: %s; want %d %s", resp.Status, resp.Header, body, tt.status, tt.outcome)
			}
			if tt.status == 204 && len(body) > 0 { // Knative would take it for a failure
				t.Errorf("a body: %s", body)
			}
		})
	}
}

// A body that is too large is a rejected event: its response has the outcome, and the metrics count it. A request
// without the secret, or with another method, is no event.
func TestServeRefusals(t *testing.T) {
	onSimcloud(t, simcloud.Options{})
	t.Setenv("TAGGER_RULES", `{"rules": [{"on": "server.created", "set": {"owner": "a"}}]}`)
	t.Setenv("TAGGER_HTTP_SECRET", "s3cret")
	t.Setenv("TAGGER_LOG_LEVEL", "error")
	t.Setenv("OS_PASSWORD", "wrong") // the process is alive all the same
	url := serving(t)
	large := strings.Repeat("x", ingress.MaxPayload+1)
	for _, tt := range []struct {
		name, method, path, secret string
		body                       io.Reader
		status                     int
		outcome, reason            string
	}{
		{"too large", "POST", "", "s3cret", strings.NewReader(large), 413, "rejected",
			"read HTTP request: the body has more than 6291456 bytes"},
		{"too large, of unknown length", "POST", "", "s3cret", io.MultiReader(strings.NewReader(large)), 413, "rejected",
			"read HTTP request: the body has more than 6291456 bytes"},
		{"no secret", "POST", "", "", strings.NewReader("{}"), 401, "", ""},
		{"another method", "PUT", "", "s3cret", strings.NewReader("{}"), 405, "", ""},
		{"health", "GET", "healthz", "", nil, 200, "", ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, url+tt.path, tt.body)
		if err != nil {
			t.Fatal(err)
		}
		if tt.secret != "" {
			r.Header.Set("Authorization", "Bearer "+tt.secret)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		_ = resp.Body.Close()
		if outcome, reason := resp.Header.Get("Tagger-Outcome"), resp.Header.Get("Tagger-Reason"); outcome != tt.outcome ||
			reason != tt.reason || resp.StatusCode != tt.status {
			t.Errorf("%s: %s, outcome %q, reason %q", tt.name, resp.Status, outcome, reason)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer s3cret")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(metrics), "tagger_events_total{function=\"tagger\",outcome=\"rejected\"} 2\n") {
		t.Errorf("%v:\n%s", err, metrics)
	}
}

// What plan says about payloads of carriers and clouds that were read wrongly once.
func TestPlanOfCarriers(t *testing.T) {
	clearEnv(t)
	rules := t.TempDir() + "/rules.yaml"
	err := os.WriteFile(rules, []byte(`
rules:
- on: [server.created, server.rebuilt, snapshot.created]
  set:
    owner: ${first(actor.name, actor.id, "nobody")}
    src: ${event.source}
    ticket: ${data.ticket ?? "absent"}
    at: ${time}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	const nobody = `"plan":{"set":{"owner":"nobody","src":"//t","ticket":"absent"}`
	for file, want := range map[string]string{
		"plain-byte-order-mark-sqs":         nobody,
		"plain-byte-order-mark-functionurl": nobody,
		"plain-pipes":                       nobody,
		"plain-load-balancer":               `"plan":{"set":{"owner":"nobody","src":"//t","ticket":"T1"}`,
		"plain-text-data":                   `"plan":{"set":{"owner":"nobody","src":"/x","ticket":"absent"}`,
		"plain-time-zone-without-colon": `"plan":{"set":{"at":"2026-11-20T09:15:04Z","owner":"nobody","src":"//t",` +
			`"ticket":"absent"}`,
		"nova-rebuild":             `"action":"server.rebuilt"`,
		"nova-amqp1":               `"plan":{"set":{"at":"2026-11-20T09:15:04Z","owner":"alice","src":"openstack:compute.node-7"`,
		"cinder-snapshot-adopted":  `"action":"snapshot.created"`,
		"eventbridge-foreign":      `"outcome":"unrecognised"`,
		"cts-ECS-addSecurityGroup": `"outcome":"ignored"`,
		"cts-ECS-createSgRule":     `"outcome":"ignored"`,
		"cts-EVS-reserveVolume":    `"outcome":"ignored"`,
	} {
		out, errOut, status := taggerCommand(t, "", "plan", "--rules", rules, "-o", "json",
			"../../pkg/lifecycle/testdata/made/"+file+".json")
		if status != exitDone || strings.Count(out, "\n") != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: status %d: %s%s\nwant %s", file, status, out, errOut, want)
		}
	}
	if out, errOut, status := taggerCommand(t, "[]", "plan", "--rules", rules, "-o", "json", "-"); status != exitDone ||
		out != "" {
		t.Errorf("an empty batch: status %d: %s%s", status, out, errOut)
	}
}

// The runbook's step to consume without writing: empty rules take effect while the server runs, and events are ignored.
func TestEmptyRulesStopWriting(t *testing.T) {
	sim := onSimcloud(t, simcloud.Options{})
	sim.PutServer(simcloud.Server{ID: serverID})
	file := write(t, t.TempDir(), "rules.yaml", "rules: [{on: server.created, set: {env: dev}}]")
	t.Setenv("TAGGER_RULES_FILE", file)
	t.Setenv("TAGGER_RULES_REFRESH", "1s")
	t.Setenv("TAGGER_LOG_LEVEL", "error")
	url := serving(t)
	outcome := func() (outcome, reason string) {
		body := strings.NewReader(plainEvent("server.created"))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.Header.Get("Tagger-Outcome"), resp.Header.Get("Tagger-Reason")
	}
	if got, why := outcome(); got != "tagged" {
		t.Fatalf("%s: %s", got, why)
	}
	if err := os.WriteFile(file, []byte("rules: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, why := outcome()
	for got == "tagged" { // until the rules are read again
		got, why = outcome()
	}
	if got != "ignored" || why != "no rule matches" {
		t.Errorf("%s: %s", got, why)
	}
}
