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

// HTTP takes events as HTTP requests, as Knative and containers do: POST to any path, GET /healthz and GET /metrics
// beside it. [NewHTTP] makes it.
type HTTP struct {
	options HTTPOptions
	wait    time.Duration
	slots   chan struct{}
	bytes   *budget
}

// HTTPOptions is what an HTTP is made of.
type HTTPOptions struct {
	Processor Processor
	// Requests is how many requests may be under way, those that wait for a resource included; more are answered 503.
	// A request is not under way before its body is there.
	Requests int
	// Bytes is how many bytes of bodies may be in memory; what does not fit is answered 503.
	Bytes int64
	// Secret, if it is not zero, is the bearer token (RFC 6750) that each POST must have.
	Secret config.Secret
	// Wait is how long an event waits for its resource; nil for 20 s.
	Wait *time.Duration
	// Metrics writes what GET /metrics answers, in Prometheus' text format.
	Metrics func(io.Writer) error
	// WebHook, if not nil, answers OPTIONS requests: the handshake of CloudEvents' web hooks.
	WebHook *WebHook
	// MetricsSecret, if it is not zero, is the bearer token that GET /metrics must have.
	MetricsSecret config.Secret
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
	return &HTTP{
		options: o, wait: waitOr(o.Wait, waitOverHTTP), slots: make(chan struct{}, o.Requests), bytes: newBudget(o.Bytes),
	}
}

func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		fmt.Fprintln(w, "ok")
	case r.URL.Path == "/metrics" && r.Method == http.MethodGet:
		if !Authorized(r, h.options.MetricsSecret) {
			Unauthorized(w)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = h.options.Metrics(w)
	case r.Method == http.MethodOptions && h.options.WebHook != nil:
		h.options.WebHook.ServeHTTP(w, r)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST a CloudEvent", http.StatusMethodNotAllowed)
	case !Authorized(r, h.options.Secret):
		Unauthorized(w)
	default:
		h.events(w, r)
	}
}

// Authorized reports whether a request has the secret as its bearer token (RFC 6750), or the secret is zero. It
// compares digests, so that neither content nor length of the secret shows in the time it takes.
func Authorized(r *http.Request, secret config.Secret) bool {
	if secret.IsZero() {
		return true
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(secret.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// Unauthorized answers a request without the secret.
func Unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="tagger"`)
	http.Error(w, "the request lacks the shared secret as its bearer token", http.StatusUnauthorized)
}

func (h *HTTP) events(w http.ResponseWriter, r *http.Request) {
	if answer, ok := h.work(w, r); ok {
		answer.write(w)
	}
}

// work returns the answer to a request, or false when it has answered already. A client that reads its answer slowly
// holds up no other.
func (h *HTTP) work(w http.ResponseWriter, r *http.Request) (httpAnswer, bool) {
	if r.ContentLength > ingress.MaxPayload {
		tooLarge(w)
		return httpAnswer{}, false
	}
	longest := r.ContentLength
	if longest < 0 { // it does not say
		longest = ingress.MaxPayload
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(forBody)) // a recorder in a test has none
	body, release, err := h.bytes.read(http.MaxBytesReader(w, r.Body, ingress.MaxPayload), longest)
	defer release()
	_, isTooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isTooLarge:
		tooLarge(w)
		return httpAnswer{}, false
	case errors.Is(err, errNoBytes):
		busy(w, "as many bytes as may be in memory are")
		return httpAnswer{}, false
	case err != nil: // the connection's fault, not the event's: 400 would say never again
		http.Error(w, "the body did not come in time", http.StatusRequestTimeout)
		return httpAnswer{}, false
	}
	if n := int64(ingress.Inflated(r.Header, body)); n > 0 {
		if !h.bytes.take(n) {
			busy(w, "as many bytes as may be in memory are")
			return httpAnswer{}, false
		}
		defer h.bytes.left.Add(n)
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		busy(w, "as many requests as may be under way are")
		return httpAnswer{}, false
	}
	// A client that goes away does not stop a write half-way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.wait+overtime)
	defer cancel()
	batch := ingress.DecodeHTTP(r.Header, body)
	return answerHTTP(whole(ctx, h.options.Processor, batch, h.wait), r.Header).of(batch), true
}

func tooLarge(w http.ResponseWriter) {
	http.Error(w, fmt.Sprintf("the body has more than %d bytes", ingress.MaxPayload), http.StatusRequestEntityTooLarge)
}

// busy has the request sent again, after about a second.
func busy(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, why, http.StatusServiceUnavailable)
}

// LongestRequest is how long a request can take with these settings, and so how long an orderly end can.
func (h *HTTP) LongestRequest() time.Duration {
	return forBody + h.wait + overtime + forAnswer
}
