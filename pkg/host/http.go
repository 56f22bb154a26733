package host

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

// HTTP takes events as HTTP requests, as Knative and containers do: POST to any path, GET /healthz and GET /metrics beside it. NewHTTP makes it.
type HTTP struct {
	worker  Worker
	metrics func(io.Writer) error
	slots   chan struct{}
}

const (
	// overtime is how long a request may go on beyond its wait: for the calls themselves.
	overtime = time.Minute
	// forBody and forAnswer are how long a client may take to send its request's body and to read the answer.
	forBody   = 10 * time.Second
	forAnswer = time.Minute
)

// NewHTTP returns a handler that works on as many requests at a time as the settings say, and answers 503 to more. With a secret in the settings each
// POST must have it as its bearer token (RFC 6750). metrics writes what GET /metrics answers.
func NewHTTP(w Worker, metrics func(io.Writer) error) *HTTP {
	return &HTTP{worker: w, metrics: metrics, slots: make(chan struct{}, w.Settings.Concurrency)}
}

func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		fmt.Fprintln(w, "ok")
	case r.URL.Path == "/metrics" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = h.metrics(w)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST a CloudEvent", http.StatusMethodNotAllowed)
	case !h.admits(r):
		w.Header().Set("WWW-Authenticate", `Bearer realm="tagger"`)
		http.Error(w, "the request lacks the shared secret as its bearer token", http.StatusUnauthorized)
	default:
		h.events(w, r)
	}
}

// admits compares digests, so that neither content nor length of the secret shows in the time it takes.
func (h *HTTP) admits(r *http.Request) bool {
	want := h.worker.Settings.HTTPSecret.Reveal()
	if want == "" {
		return true
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

func (h *HTTP) events(w http.ResponseWriter, r *http.Request) {
	answer, ok := h.work(w, r)
	if !ok {
		return
	}
	for name, value := range answer.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.WriteString(w, answer.Body)
}

// work returns the answer to a request, or false when it has answered already. Whoever reads an answer slowly holds up nobody else.
func (h *HTTP) work(w http.ResponseWriter, r *http.Request) (events.LambdaFunctionURLResponse, bool) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "as many requests as can be worked on are under way", http.StatusServiceUnavailable)
		return events.LambdaFunctionURLResponse{}, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(forBody)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ingress.MaxPayload))
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge:
		http.Error(w, fmt.Sprintf("the body has more than %d bytes", ingress.MaxPayload), http.StatusRequestEntityTooLarge)
		return events.LambdaFunctionURLResponse{}, false
	case err != nil: // the connection's fault, not the event's: 400 would say never again
		http.Error(w, "the body did not come in time", http.StatusRequestTimeout)
		return events.LambdaFunctionURLResponse{}, false
	}
	// A client that goes away does not stop a write half-way.
	wait := h.worker.wait(waitOverHTTP)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), wait+overtime)
	defer cancel()
	return httpAnswer(h.worker.results(ctx, ingress.DecodeHTTP(r.Header, body), wait)), true
}

// Serve serves the handler until the context ends, and lets requests that are under way finish.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, longest time.Duration) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: longest, IdleTimeout: 2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("end the HTTP server: %w", err)
	}
	return nil
}

// LongestRequest is how long a request can take with these settings, and so how long an orderly end can.
func (h *HTTP) LongestRequest() time.Duration {
	return forBody + h.worker.wait(waitOverHTTP) + overtime + forAnswer
}
