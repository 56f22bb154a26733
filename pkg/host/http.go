package host

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// HTTP takes events as HTTP requests, as Knative and containers do: POST to any path, GET /healthz and GET /metrics beside it. [NewHTTP] makes it.
type HTTP struct {
	options HTTPOptions
	wait    time.Duration
	slots   chan struct{}
}

// HTTPOptions is what an HTTP is made of.
type HTTPOptions struct {
	Processor Processor
	// Concurrency is how many requests are worked on at a time; more are answered 503.
	Concurrency int
	// Secret, if it is not zero, is the bearer token (RFC 6750) that each POST must have.
	Secret config.Secret
	// Wait is how long an event waits for its resource; nil for 20 s.
	Wait *time.Duration
	// Metrics writes what GET /metrics answers, in Prometheus' text format.
	Metrics func(io.Writer) error
}

const (
	// overtime is how long a request may go on beyond its wait: for the calls themselves.
	overtime = time.Minute
	// forBody and forAnswer are how long a client may take to send its request's body and to read the answer.
	forBody   = 10 * time.Second
	forAnswer = time.Minute
)

// NewHTTP returns a handler.
func NewHTTP(o HTTPOptions) *HTTP {
	return &HTTP{options: o, wait: waitOr(o.Wait, waitOverHTTP), slots: make(chan struct{}, o.Concurrency)}
}

func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		fmt.Fprintln(w, "ok")
	case r.URL.Path == "/metrics" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = h.options.Metrics(w)
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
	want := h.options.Secret.Reveal()
	if want == "" {
		return true
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

func (h *HTTP) events(w http.ResponseWriter, r *http.Request) {
	if answer, ok := h.work(w, r); ok {
		answer.write(w)
	}
}

// work returns the answer to a request, or false when it has answered already. Whoever reads an answer slowly holds up nobody else.
func (h *HTTP) work(w http.ResponseWriter, r *http.Request) (httpAnswer, bool) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "as many requests as can be worked on are under way", http.StatusServiceUnavailable)
		return httpAnswer{}, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(forBody)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ingress.MaxPayload))
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge:
		http.Error(w, fmt.Sprintf("the body has more than %d bytes", ingress.MaxPayload), http.StatusRequestEntityTooLarge)
		return httpAnswer{}, false
	case err != nil: // the connection's fault, not the event's: 400 would say never again
		http.Error(w, "the body did not come in time", http.StatusRequestTimeout)
		return httpAnswer{}, false
	}
	// A client that goes away does not stop a write half-way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.wait+overtime)
	defer cancel()
	return answerHTTP(whole(ctx, h.options.Processor, ingress.DecodeHTTP(r.Header, body), h.wait), r.Header), true
}

// LongestRequest is how long a request can take with these settings, and so how long an orderly end can.
func (h *HTTP) LongestRequest() time.Duration {
	return forBody + h.wait + overtime + forAnswer
}
