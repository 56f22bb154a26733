//go:build soak

// Package soak_test runs the built processes under hostile load, each in a control group with its manifest's memory
// limit.
package soak_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/internal/lambdatest"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

var (
	minutes = flag.Float64("minutes", 2, "duration of the load")
	older   = flag.String("tagger", "", "path of the tagger that TestAttacks attacks, instead of the built one")
)

// The limits of the manifests, in MiB: deploy/knative/tagger.yaml, template.yaml and
// deploy/kubernetes/chart/values.yaml.
const (
	serveMemory    = 128
	functionMemory = 256
	listenMemory   = 256
)

// atOnce is the number of an attack's concurrent requests.
const atOnce = 10

// sqsMessage is the MaximumMessageSize of template.yaml's queues.
const sqsMessage = 256 << 10

// largest is the limit of a payload in bytes, for Lambda and the other entry points.
const largest = 6 * mebibyte

// good holds the good events of one entry point; their servers must be tagged in the end.
type good struct {
	sim  *simcloud.Cloud
	next *atomic.Int64

	mu  sync.Mutex
	ids []string
}

// server creates a server to be tagged and returns its id.
func (g *good) server() string {
	id := serverID(2_000_000 + int(g.next.Add(1)))
	g.sim.PutServer(simcloud.Server{ID: id})
	g.mu.Lock()
	g.ids = append(g.ids, id)
	g.mu.Unlock()
	return id
}

// untagged returns the number of servers, and the untagged ones.
func (g *good) untagged() (all int, missing []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range g.ids {
		if s, _ := g.sim.Server(id); s.Metadata["env"] != "dev" {
			missing = append(missing, id)
		}
	}
	return len(g.ids), missing
}

func newCloud(t *testing.T) (sim *simcloud.Cloud, environ []string) {
	t.Helper()
	sim = simcloud.New(simcloud.Options{JournalSize: -1})
	sim.PutServer(simcloud.Server{ID: serverID(1_000_000)})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return sim, sim.Env(server.URL)
}

// TestSoak runs serve, a function and a listener at once.
func TestSoak(t *testing.T) {
	sim, credentials := newCloud(t)
	bomb() // built before the load begins, because that takes time
	broker := startBroker(t)
	// As in the manifest, except that a function waits a shorter time because it handles one invocation at a time.
	environ := append(credentials, "TAGGER_RULES="+rulesText)
	serve := run(t, "serve", serveMemory, append(environ, "TAGGER_CONCURRENCY=10", "TAGGER_WAIT=20s"), binary("tagger"),
		"serve", "--listen", "127.0.0.1:0")
	listener := run(t, "listen", listenMemory, append(environ, "TAGGER_AMQP_URL="+broker, "TAGGER_AMQP_EXCHANGES=nova"),
		binary("tagger"), "listen")

	api, aws := lambdatest.NewRuntimeAPI(), lambdatest.NewAWS()
	t.Cleanup(api.Close)
	t.Cleanup(aws.Close)
	if err := aws.SetCredentials(credentials); err != nil {
		t.Fatal(err)
	}
	function := run(t, "function", functionMemory,
		append(aws.Environ(api), fmt.Sprint("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=", functionMemory),
			"TAGGER_RULES="+rulesText, "TAGGER_WAIT=1s"), binary("server-created"))

	base := serve.listens(t)
	serve.isLimited(t, "/sys/fs/cgroup")
	listener.isLimited(t, "/sys/fs/cgroup")
	function.isLimited(t, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")

	processes := []*process{serve, listener, function}
	var next atomic.Int64
	goods := map[*process]*good{}
	for _, p := range processes {
		goods[p] = &good{sim: sim, next: &next}
	}
	lasts := time.Duration(*minutes * float64(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	time.AfterFunc(lasts/2, func() {
		for _, p := range processes {
			p.secondHalf()
		}
	})
	var load sync.WaitGroup
	load.Go(func() { attackHTTP(ctx, t, base) })
	load.Go(func() { holdBodies(ctx, base) })
	load.Go(func() { holdHeaders(ctx, base) })
	load.Go(func() { leaveUnread(ctx, base) })
	load.Go(func() { goodHTTP(ctx, t, base, goods[serve]) })
	load.Go(func() { invokeFunction(ctx, t, api, goods[function]) })
	load.Go(func() { publish(ctx, t, broker, goods[listener]) })
	load.Wait()

	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		left := 0
		for _, p := range processes {
			_, missing := goods[p].untagged()
			left += len(missing)
		}
		if left == 0 || time.Now().After(end) {
			break
		}
	}
	for _, p := range processes {
		if !p.Running() {
			t.Errorf("%s has ended: %s", p.name, p.State())
		}
		if n := p.group.kills(t); n != 0 {
			t.Errorf("%s: the kernel has killed %d processes", p.name, n)
		}
		all, missing := goods[p].untagged()
		if len(missing) > 0 || all == 0 {
			t.Errorf("%s: %d good events, of them %d not tagged, such as %s", p.name, all, len(missing),
				missing[:min(3, len(missing))])
		}
		p.mu.Lock()
		first, second := p.peaks[0], p.peaks[1]
		p.mu.Unlock()
		if second > first+first/4+16*mebibyte {
			t.Errorf("%s: memory grows: at most %.1f MiB in the first half, %.1f in the second", p.name, mib(first), mib(second))
		}
		peak := p.group.peak()
		if p != function {
			p.Stop(t, syscall.SIGTERM)
			if !p.State().Success() {
				t.Errorf("%s ended with %s", p.name, p.State())
			}
		} else {
			p.Stop(t, syscall.SIGKILL)
		}
		t.Logf("%-8s limit %d MiB, resident at most %.1f and %.1f MiB (halves), group %.1f MiB; CPU %.1f s, log %.1f MiB; "+
			"%d good events",
			p.name, p.limit/mebibyte, mib(first), mib(second), mib(peak), p.cpu().Seconds(), mib(p.OutputSize()), all)
	}
}

func mib(n int64) float64 { return float64(n) / mebibyte }

// burst sends atOnce copies of an attack concurrently and counts the responses by status; 0 means no response.
func burst(ctx context.Context, base string, a attack) map[int]int {
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range cmp.Or(a.times, atOnce) {
		all.Go(func() {
			status, _ := post(ctx, base, a)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	all.Wait()
	return statuses
}

func post(ctx context.Context, base string, a attack) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base, bytes.NewReader(a.body))
	if err != nil {
		return 0, fmt.Errorf("post an event: %w", err)
	}
	req.Header.Set("Content-Type", a.contentType)
	if a.encoding != "" {
		req.Header.Set("Content-Encoding", a.encoding)
	}
	for name, value := range a.header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("post an event: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// attackHTTP sends the attacks in turn. It does not wait for the responses to events for absent servers.
func attackHTTP(ctx context.Context, t *testing.T, base string) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	sent := 0
	defer func() { t.Logf("serve was attacked %d times", sent) }()
	all := attacks(largest)
	for ctx.Err() == nil {
		for _, a := range all {
			if a.absent {
				waiting.Go(func() { burst(ctx, base, a) })
			} else {
				burst(ctx, base, a)
			}
			sent++
			pause(ctx, 200*time.Millisecond)
		}
	}
}

// holdBodies sends request headers whose bodies never arrive.
func holdBodies(ctx context.Context, base string) {
	header := fmt.Sprintf("POST / HTTP/1.1\r\nHost: soak\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n{", structured,
		largest)
	hold(ctx, base, 2*atOnce, header, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

// holdHeaders sends request headers that never end, over more connections than the server keeps open.
func holdHeaders(ctx context.Context, base string) {
	header := "POST / HTTP/1.1\r\nHost: soak\r\n" + strings.Repeat("X-Long: "+strings.Repeat("h", 1000)+"\r\n", 58)
	hold(ctx, base, 300, header, unread(ctx))
}

// leaveUnread asks for results and does not read them.
func leaveUnread(ctx context.Context, base string) {
	for _, a := range attacks(largest) {
		if a.name == "a batch of traces" {
			_, trace, _ := bytes.Cut(a.body, []byte("["))
			trace, _, _ = bytes.Cut(trace, []byte("},{\"trace_id"))
			trace = append(bytes.Clone(trace), '}')
			hold(ctx, base, atOnce, fmt.Sprintf("POST / HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"+
				"Accept: application/json\r\nContent-Length: %d\r\n\r\n%s", len(trace), trace), unread(ctx))
		}
	}
}

// unread returns a wait for hold that reads nothing.
func unread(ctx context.Context) func(net.Conn) {
	return func(net.Conn) { pause(ctx, 15*time.Second) }
}

// hold keeps connections open on which it sends a text, each until wait returns, for up to 15 s.
func hold(ctx context.Context, base string, connections int, text string, wait func(net.Conn)) {
	u, _ := url.Parse(base)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
				if err != nil {
					return // the process has ended, which the test detects
				}
				_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
				_, _ = io.WriteString(conn, text)
				wait(conn)
				_ = conn.Close()
			}
		})
	}
	all.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// goodHTTP sends a good event twice a second, and retries it on a 503, as brokers do.
func goodHTTP(ctx context.Context, t *testing.T, base string, g *good) {
	var all sync.WaitGroup
	defer all.Wait()
	for ctx.Err() == nil {
		id := g.server()
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
			defer cancel()
			for ctx.Err() == nil {
				status, err := post(ctx, base, attack{contentType: structured, body: created(id, "{}")})
				switch {
				case status == http.StatusNoContent:
					return
				case err == nil && status != http.StatusServiceUnavailable:
					t.Errorf("a good event was answered %d", status)
					return
				}
				pause(ctx, time.Second)
			}
		})
		pause(ctx, 500*time.Millisecond)
	}
}

// invokeFunction invokes the function with each attack in turn: alone, and in a queue batch with good events.
func invokeFunction(ctx context.Context, t *testing.T, api *lambdatest.RuntimeAPI, g *good) {
	alone, queued := attacks(largest), attacks(sqsMessage)
	var again []string // servers whose records failed
	redelivered := 0
	defer func() { t.Logf("the function returned %d good records as failed", redelivered) }()
	// In the end, failed messages are redelivered without attacks.
	for round, left := 0, 300; ctx.Err() == nil || len(again) > 0 && left > 0; round++ {
		attacked := ctx.Err() == nil
		if !attacked {
			left--
		}
		i := round % len(alone)
		if attacked {
			whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			_, err := api.Invoke(whole, alone[i].body, time.Minute)
			cancel()
			if err != nil {
				t.Error(err)
				return
			}
		}
		var batch events.SQSEvent
		servers := map[string]string{}
		add := func(id string, body []byte) {
			batch.Records = append(batch.Records, events.SQSMessage{
				MessageId: id, ReceiptHandle: "receipt-" + id, Body: string(body), EventSource: "aws:sqs",
				AWSRegion:      "eu-central-1",
				EventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:tagger", Attributes: map[string]string{
					"ApproximateReceiveCount": "1", "SentTimestamp": fmt.Sprint(time.Now().UnixMilli()),
				},
			})
		}
		for n := range 5 {
			var id string
			switch {
			case len(again) > 0:
				id, again = again[0], again[1:]
			case attacked:
				id = g.server()
			default:
				continue
			}
			add(fmt.Sprint("good-", n), created(id, "{}"))
			servers[fmt.Sprint("good-", n)] = id
			if attacked {
				add(fmt.Sprint("bad-", n), queued[(i+n)%len(queued)].body)
			}
		}
		payload, err := json.Marshal(batch)
		if err != nil {
			t.Error(err)
			return
		}
		// Unfinished messages are delivered again, as a queue would.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		answer, err := api.Invoke(whole, payload, time.Minute)
		cancel()
		var response events.SQSEventResponse
		if err != nil || answer.Failed || json.Unmarshal(answer.Body, &response) != nil {
			t.Errorf("a batch of %d bytes failed: %v: %.300s", len(payload), err, answer.Body)
			return
		}
		for _, failed := range response.BatchItemFailures {
			if server, ok := servers[failed.ItemIdentifier]; ok {
				again = append(again, server)
				redelivered++
			}
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// publish publishes attacks and good events to the exchange of the services.
func publish(ctx context.Context, t *testing.T, broker string, g *good) {
	conn, err := amqp.Dial(broker)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Error(err)
		return
	}
	if err := ch.ExchangeDeclare("nova", "topic", false, false, false, false, nil); err != nil {
		t.Error(err)
		return
	}
	if err := ch.Confirm(false); err != nil {
		t.Error(err)
		return
	}
	returned := ch.NotifyReturn(make(chan amqp.Return, 100))
	send := func(a attack) bool { // reports whether a queue has accepted it
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "nova", "notifications.info", true, false, amqp.Publishing{
			ContentType: a.contentType, ContentEncoding: a.encoding, DeliveryMode: amqp.Persistent, Body: a.body,
		})
		if err != nil {
			return false
		}
		if acked, err := c.WaitContext(ctx); err != nil || !acked {
			return false
		}
		select {
		case <-returned:
			return false
		default:
			return true
		}
	}
	// once a queue accepts this, the listener has bound it
	for ctx.Err() == nil && !send(attack{contentType: "application/json", body: []byte("{}")}) {
		pause(ctx, time.Second)
	}
	all := attacks(brokerMessage)
	for ctx.Err() == nil {
		for _, a := range all {
			for range 3 * atOnce {
				send(a)
			}
			for range 3 {
				id := g.server()
				for event := (attack{contentType: structured, body: created(id, "{}")}); !send(event) && ctx.Err() == nil; {
				}
				if ctx.Err() != nil { // the event may not have arrived
					g.forget(id)
				}
			}
			// A full queue drops its oldest messages, including good ones, so the load follows the listener's pace.
			for ctx.Err() == nil {
				if q, err := ch.QueueDeclarePassive("tagger", true, false, false, false, nil); err != nil || q.Messages < 3*atOnce {
					break
				}
				pause(ctx, 200*time.Millisecond)
			}
		}
	}
}

// forget removes the last server from the good events.
func (g *good) forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := len(g.ids) - 1; last >= 0 && g.ids[last] == id {
		g.ids = g.ids[:last]
	}
}

// TestAttacks sends each attack ten times concurrently to its own "tagger serve" and logs the cost.
func TestAttacks(t *testing.T) {
	program := binary("tagger")
	if *older != "" {
		program = *older
	}
	for _, a := range attacks(largest) {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			_, credentials := newCloud(t)
			p := run(t, "serve", serveMemory, append(credentials, "TAGGER_RULES="+rulesText, "TAGGER_CONCURRENCY=10",
				"TAGGER_WAIT=2s"),
				program, "serve", "--listen", "127.0.0.1:0")
			base := p.listens(t)
			began := time.Now()
			statuses := burst(t.Context(), base, a)
			took := time.Since(began)
			running, kills := p.Running(), p.group.kills(t)
			if !running || kills > 0 {
				t.Errorf("tagger serve ended; out-of-memory kills: %d", kills)
			}
			p.mu.Lock()
			peak := p.peaks[0]
			p.mu.Unlock()
			p.Stop(t, syscall.SIGKILL)
			t.Logf("| %s | %.1f MB | %v | %.0f MiB | %.2f s | %.1f s | %.1f MiB |", a.name, float64(len(a.body))/1e6, statuses,
				mib(peak), p.cpu().Seconds(),
				took.Seconds(), mib(p.OutputSize()))
		})
	}
}
