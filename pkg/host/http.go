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

	"golang.org/x/sync/semaphore"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// HTTP handles events in HTTP requests, for Knative and containers: POST to any path, GET /healthz and GET /metrics.
// Use [NewHTTP].
type HTTP struct {
	options HTTPOptions
	wait    time.Duration
	// waiting limits the requests that may wait for their resource, once the others: when waiting is full, requests are
	// tried once, so that those that wait do not block the rest.
	waiting, once *semaphore.Weighted
	bytes         *budget
	// unread limits the bytes of results that clients have not read yet.
	unread *budget
	// large and small limit the requests that are decoded and planned at a time, by the size of their bodies.
	large, small *semaphore.Weighted
}

// HTTPOptions configures an [HTTP].
type HTTPOptions struct {
	Processor interface {
		// Plan plans a message; it is called by a limited number of requests at a time.
		Plan(ctx context.Context, m delivery.Message) delivery.Plan
		// Work applies the plans.
		Work(ctx context.Context, batch []delivery.Plan) []delivery.Decision
	}
	// Requests limits the requests in flight that may wait for a resource. As many others are tried once, without a wait;
	// the response to more is 503. A request counts only after its body has arrived.
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

	// Decoding can take 50 times the memory of the text. So only a few requests are decoded at a time: maxLarge of those
	// with a body above smallBody, and maxSmall others, which do not wait for the large ones.
	smallBody          = 32 << 10
	maxLarge, maxSmall = delivery.MaxPlanning, 8
	// maxUnread limits the results that clients have not read yet, in bytes; see [HTTP.results].
	maxUnread = 8 << 20
)

// NewHTTP returns a handler.
func NewHTTP(o HTTPOptions) *HTTP {
	return &HTTP{
		options: o, wait: waitOr(o.Wait, waitOverHTTP), waiting: semaphore.NewWeighted(int64(o.Requests)),
		once: semaphore.NewWeighted(int64(o.Requests)), bytes: newBudget(o.Bytes), unread: newBudget(maxUnread),
		large: semaphore.NewWeighted(maxLarge), small: semaphore.NewWeighted(maxSmall),
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
	answer, ok := h.work(w, r)
	if !ok {
		return
	}
	if n := int64(len(answer.body)); n > maxReason+64 {
		if !h.unread.acquire(n) {
			answer = answer.withoutResults()
		} else {
			defer h.unread.release(n)
		}
	}
	answer.write(w)
}

// work returns the response to a request, or false if it has already sent one. The caller writes the response after
// work has released its slot, so that a client that reads slowly does not block others.
func (h *HTTP) work(w http.ResponseWriter, r *http.Request) (httpResponse, bool) {
	if r.ContentLength > ingress.MaxPayload {
		return h.tooLarge(r), true
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
		return h.tooLarge(r), true
	case errors.Is(err, errBudgetExhausted):
		busy(w, "too many bytes in memory")
		return httpResponse{}, false
	case err != nil: // the connection failed; 400 would mean that a retry is useless
		http.Error(w, "the body did not arrive in time", http.StatusRequestTimeout)
		return httpResponse{}, false
	}
	inflated := int64(ingress.Inflated(r.Header, body))
	if inflated > 0 {
		if !h.bytes.acquire(inflated) {
			busy(w, "too many bytes in memory")
			return httpResponse{}, false
		}
		defer h.bytes.release(inflated)
	}
	wait := h.wait
	switch {
	case h.waiting.TryAcquire(1):
		defer h.waiting.Release(1)
	case h.once.TryAcquire(1):
		defer h.once.Release(1)
		wait = 0
	default:
		busy(w, "too many requests in flight")
		return httpResponse{}, false
	}
	// A disconnecting client must not interrupt a write.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.wait+callsTimeout)
	defer cancel()
	planned, batch, ok := h.plan(ctx, r.Header, body, max(int64(len(body)), inflated), wait)
	if !ok {
		busy(w, "too many requests are being decoded")
		return httpResponse{}, false
	}
	return newHTTPResponse(delivery.Whole(h.options.Processor.Work(ctx, planned)), r.Header).forBatch(batch), true
}

// plan decodes a request and plans its messages when its turn comes. It reports false if ctx ends first.
func (h *HTTP) plan(ctx context.Context, header http.Header, body []byte, size int64, wait time.Duration) (
	planned []delivery.Plan, batch ingress.Batch, ok bool,
) {
	decoding := h.small
	if size > smallBody {
		decoding = h.large
	}
	if decoding.Acquire(ctx, 1) != nil {
		return nil, ingress.Batch{}, false
	}
	defer decoding.Release(1)
	batch = ingress.DecodeHTTP(header, body)
	for _, m := range messages(batch, wait) {
		planned = append(planned, h.options.Processor.Plan(ctx, m))
	}
	return planned, batch, true
}

// tooLarge returns the response to a request whose body is too large. Its event is lost unless the sender keeps it, so
// that it is logged and counted like any other rejected event.
func (h *HTTP) tooLarge(r *http.Request) httpResponse {
	ctx := context.WithoutCancel(r.Context())
	plan := h.options.Processor.Plan(ctx, delivery.Message{
		Err:        fmt.Errorf("read HTTP request: the body has more than %d bytes", ingress.MaxPayload),
		ReceivedAt: time.Now(),
	})
	response := newHTTPResponse(delivery.Whole(h.options.Processor.Work(ctx, []delivery.Plan{plan})), r.Header)
	response.status = http.StatusRequestEntityTooLarge
	return response
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
