package simcloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// maxBody is more than any service accepts. Longer bodies are truncated here and then refused.
const maxBody = 1 << 20

// errDropped means that the connection is closed without a response.
var errDropped = errors.New("connection dropped")

// request is an HTTP request as the services see it.
type request struct {
	method string
	// path is the decoded path below the service. WSGI servers decode before they route, so %2F is a slash.
	path     string
	fullPath string
	query    url.Values
	rawQuery string
	header   http.Header
	host     string
	body     []byte
	// chunked means that the body came without a length. The services ignore such a body.
	chunked bool

	service string
	signed  signedParts // as received, for signatures
	// base is what links begin with: scheme and host.
	base string
	// id is the response's X-Openstack-Request-Id.
	id    string
	start time.Time

	// Set by routing and authentication.
	vars         map[string]string // the path's variables
	projectInURL string
	linkPrefix   string // base, service and version, with the project if the request's URL has one
	versioned    bool   // whether responses have the microversion headers
	version      microversion
	who          *identity
	decoded      any  // the body
	hasBody      bool // there is one
	// pause waits between a handler's read and its write.
	pause  func()
	huawei bool
}

// response is an HTTP response.
type response struct {
	status int
	header http.Header
	body   []byte
}

// ServeHTTP serves every service of the cloud.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); err != nil && !tooLong {
		panic(http.ErrAbortHandler) // the client disconnected during its request
	}
	res, err := c.serve(r.Context(), &request{
		method: r.Method, fullPath: r.URL.Path, query: r.URL.Query(), rawQuery: r.URL.RawQuery,
		header: r.Header, host: r.Host,
		body: body, chunked: r.ContentLength < 0, base: scheme + "://" + r.Host,
	})
	if err != nil {
		panic(http.ErrAbortHandler) // closes the connection without a response
	}
	for name, values := range res.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(res.body)))
	w.WriteHeader(res.status)
	_, _ = w.Write(res.body) // the client may have disconnected
}

// Transport returns a round tripper that serves requests of any host in memory, on the caller's goroutine. It honours
// the request's context while a response is delayed.
func (c *Cloud) Transport() http.RoundTripper { return transport{c} }

type transport struct{ cloud *Cloud }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxBody)); err != nil {
			return nil, fmt.Errorf("read the request's body: %w", err)
		}
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	res, err := t.cloud.serve(r.Context(), &request{
		method: r.Method, fullPath: r.URL.Path, query: r.URL.Query(), rawQuery: r.URL.RawQuery, header: r.Header, host: host,
		body: body, chunked: len(body) > 0 && r.ContentLength <= 0, base: r.URL.Scheme + "://" + r.URL.Host,
	})
	if errors.Is(err, errDropped) {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	if err != nil {
		return nil, err
	}
	res.header.Set("Content-Length", strconv.Itoa(len(res.body)))
	if r.Method == http.MethodHead {
		res.body = nil
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", res.status, http.StatusText(res.status)), StatusCode: res.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: res.header, Body: io.NopCloser(bytes.NewReader(res.body)), ContentLength: int64(len(res.body)), Request: r,
	}, nil
}

// serve handles one request: faults, latency, the service, the journal. The error is errDropped or the context's.
func (c *Cloud) serve(ctx context.Context, r *request) (*response, error) {
	r.start = time.Now()
	r.signed = signedParts{r.method, r.fullPath, r.query, r.header, r.host}
	r.fullPath = collapseSlashes(r.fullPath)
	r.service, r.path = splitService(r.fullPath)

	c.mu.Lock()
	r.id = "req-" + c.newUUID()
	r.huawei = c.options.HuaweiCloud
	if c.options.Endpoint != "" {
		r.base = strings.TrimSuffix(c.options.Endpoint, "/")
	}
	fault := c.faultFor(r)
	delay := c.options.Latency + fault.Delay
	var res *response
	var err error
	waited := false
	if fault.Answer == nil || fault.Answer.Served {
		r.pause = func() {
			if c.options.LostUpdates && delay > 0 {
				c.mu.Unlock()
				err, waited = sleep(ctx, delay), true
				c.mu.Lock()
			}
		}
		c.settle(r.start)
		res = c.dispatch(r)
	}
	c.mu.Unlock()

	if !waited {
		err = sleep(ctx, delay)
	}
	if err == nil && fault.Answer != nil {
		res, err = fault.Answer.respond(ctx, r)
	}
	if err != nil {
		res = nil
	}
	c.record(r, res)
	return res, err
}

// sleep waits for the duration or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d > 0 && !backoff.Sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// collapseSlashes replaces several slashes by one, as the services' URL maps do.
func collapseSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// splitService splits the first segment off a path.
func splitService(path string) (service, rest string) {
	service, _, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return service, strings.TrimPrefix(path, "/"+service)
}

// json returns a response in the form of Python's json.dumps.
func (r *request) json(status int, v any) *response {
	return r.respond(status, "application/json", dumps(v))
}

// empty returns a response without a body.
func (r *request) empty(status int, contentType string) *response {
	return r.respond(status, contentType, nil)
}

func (r *request) respond(status int, contentType string, body []byte) *response {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set("X-Openstack-Request-Id", r.id)
	if r.service == serviceCompute || r.service == serviceVolume && len(body) > 0 {
		h.Set("X-Compute-Request-Id", r.id)
	}
	if r.versioned {
		r.version.setHeaders(h, r.service)
	}
	return &response{status: status, header: h, body: body}
}

// trueParameter reports whether a query parameter is one of the spellings of true.
func (r *request) trueParameter(name string) bool {
	return slices.Contains([]string{"1", "t", "true", "on", "y", "yes"}, strings.ToLower(r.query.Get(name)))
}
