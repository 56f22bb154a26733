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

// HTTP handles events in HTTP requests, for Knative and containers: POST to any path, GET /healthz and GET /metrics.
// Use [NewHTTP].
type HTTP struct {
	options HTTPOptions
	wait    time.Duration
	slots   chan struct{}
	bytes   *budget
}

// HTTPOptions configures an [HTTP].
type HTTPOptions struct {
	Processor Processor
	// Requests limits the requests in flight, including those that wait for a resource. The response to more is 503. A
	// request counts only after its body has arrived.
	Requests int
	// Bytes limits the total size of bodies in memory. The response to more is 503.
	Bytes int64
	// Secret is the bearer token (RFC 6750) that each POST must have, unless it is zero.
	Secret config.Secret
	// Wait is how long an event waits for its resource; nil means 20 s.
	Wait *time.Duration
	// Metrics writes the response to GET /metrics, in Prometheus' text format.
	Metrics func(io.Writer) error
	// WebHook handles OPTIONS requests, the handshake of CloudEvents' web hooks, unless it is nil.
	WebHook *WebHook
	// MetricsSecret is the bearer token that GET /metrics must have, unless it is zero.
	MetricsSecret config.Secret
}

const (
	// callsTimeout is the time for API calls, in addition to a request's wait.
	callsTimeout = time.Minute
	// bodyTimeout and responseTimeout limit how long a client takes to send the body and to read the response.
	bodyTimeout     = 10 * time.Second
	responseTimeout = time.Minute
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

// Authorized reports whether the secret is zero or the request has it as its bearer token (RFC 6750). It compares
// digests, so that its duration reveals neither the content nor the length of the secret.
func Authorized(r *http.Request, secret config.Secret) bool {
	if secret.IsZero() {
		return true
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(secret.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// Unauthorized responds to a request without the secret.
func Unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="tagger"`)
	http.Error(w, "the request lacks the shared secret as its bearer token", http.StatusUnauthorized)
}

func (h *HTTP) events(w http.ResponseWriter, r *http.Request) {
	if answer, ok := h.work(w, r); ok {
		answer.write(w)
	}
}

// work returns the response to a request, or false if it has already sent one. The caller writes the response after
// work has released its slot, so that a client that reads slowly does not block others.
func (h *HTTP) work(w http.ResponseWriter, r *http.Request) (httpResponse, bool) {
	if r.ContentLength > ingress.MaxPayload {
		tooLarge(w)
		return httpResponse{}, false
	}
	longest := r.ContentLength
	if longest < 0 { // unknown
		longest = ingress.MaxPayload
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not supported by a test's recorder
	body, release, err := h.bytes.read(http.MaxBytesReader(w, r.Body, ingress.MaxPayload), longest)
	defer release()
	_, isTooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isTooLarge:
		tooLarge(w)
		return httpResponse{}, false
	case errors.Is(err, errBudgetExhausted):
		busy(w, "too many bytes in memory")
		return httpResponse{}, false
	case err != nil: // the connection failed; 400 would mean that a retry is useless
		http.Error(w, "the body did not arrive in time", http.StatusRequestTimeout)
		return httpResponse{}, false
	}
	if n := int64(ingress.Inflated(r.Header, body)); n > 0 {
		if !h.bytes.acquire(n) {
			busy(w, "too many bytes in memory")
			return httpResponse{}, false
		}
		defer h.bytes.left.Add(n)
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		busy(w, "too many requests in flight")
		return httpResponse{}, false
	}
	// A disconnecting client must not interrupt a write.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.wait+callsTimeout)
	defer cancel()
	batch := ingress.DecodeHTTP(r.Header, body)
	return newHTTPResponse(processWhole(ctx, h.options.Processor, batch, h.wait), r.Header).forBatch(batch), true
}

func tooLarge(w http.ResponseWriter) {
	http.Error(w, fmt.Sprintf("the body has more than %d bytes", ingress.MaxPayload), http.StatusRequestEntityTooLarge)
}

// busy asks the client to retry after about a second.
func busy(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, why, http.StatusServiceUnavailable)
}

// MaxRequestDuration returns how long a request, and therefore a graceful shutdown, can take.
func (h *HTTP) MaxRequestDuration() time.Duration {
	return bodyTimeout + h.wait + callsTimeout + responseTimeout
}
