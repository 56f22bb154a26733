package cloud

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/certificate"
)

// maxBody limits a response, and a request body without a length, in bytes. maxProjectList limits a list of projects,
// which Keystone does not page, to some 30,000.
const (
	maxBody        = 1 << 20
	maxProjectList = 10 << 20
	// maxAnswerHeader limits a response's header, in bytes. Huawei Cloud's tokens have several thousand.
	maxAnswerHeader = 64 << 10
)

// newTransport returns the default transport. caCert is the value of OS_CACERT.
func newTransport(caCert string) (*http.Transport, error) {
	roots, err := certificate.Authorities("OS_CACERT", caCert)
	if err != nil {
		return nil, &RefusedError{Err: err}
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 5 * time.Second,
		// There is no ResponseHeaderTimeout: callers set deadlines, and it would take another timer for each request.
		MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConnsPerHost:    16,
		// Shorter than that of load balancers (usually a minute): a connection that they closed fails the next request.
		IdleConnTimeout: 30 * time.Second,
	}, nil
}

// guard enforces limits: request bodies have a length, redirects are errors, responses are bounded.
type guard struct {
	next http.RoundTripper
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	req, err := replayable(req)
	if err != nil {
		return nil, err
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, connectError(req.URL.Host, err)
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		_ = resp.Body.Close()
		to := "another address"
		if u, err := req.URL.Parse(resp.Header.Get("Location")); err == nil && u.Host != "" {
			to = u.Scheme + "://" + u.Host
		}
		return nil, refusedf("%s://%s redirects (%d) to %s, which is not followed because that would send the token there: "+
			"correct OS_AUTH_URL or the endpoint", req.URL.Scheme, req.URL.Host, resp.StatusCode, to)
	}
	most := int64(maxBody)
	if strings.HasSuffix(req.URL.Path, "/"+projectsPath) {
		most = maxProjectList
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: most, most: most, host: req.URL.Host}
	return resp, nil
}

// connectError turns errors that no retry can fix into a [*RefusedError].
func connectError(host string, err error) error {
	if refused := certificate.Refused(err, "OS_CACERT", "OS_AUTH_URL or the endpoint"); refused != nil {
		return refusedf("connect to %s: %w", host, refused)
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:]) == "HTTP/" {
		return refusedf("%s does not use TLS: its address begins with http://", host)
	}
	return err
}

// boundedBody returns an error, not io.EOF, at its limit, so that a truncated response does not pass for a whole one.
type boundedBody struct {
	io.ReadCloser
	left int64
	most int64
	host string
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the response of %s is longer than %d bytes", b.host, b.most)
	}
	// Reading one more byte distinguishes a response of exactly the limit from a longer one.
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fmt.Errorf("the response of %s is longer than %d bytes", b.host, b.most)
	}
	return n, err
}

// replayable returns the request if its body has a length, because Nova answers 400 to one without, and can be sent
// again; else a copy with such a body. On error it closes the request's body, as a RoundTripper must.
func replayable(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody != nil && req.ContentLength > 0 {
		return req, nil
	}
	req = req.Clone(req.Context())
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	_ = req.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("the request's body is longer than %d bytes", maxBody)
	}
	req.ContentLength = int64(len(body))
	req.TransferEncoding = nil
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, err = req.GetBody()
	return req, err
}

// rewind returns a copy of a replayable request for another attempt.
func rewind(req *http.Request) (*http.Request, error) {
	req = req.Clone(req.Context())
	if req.GetBody == nil {
		return req, nil
	}
	var err error
	req.Body, err = req.GetBody()
	return req, err
}

// closeBody closes the body of a request that is not sent, as a RoundTripper must.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// httpClient returns a client that follows no redirects, if one passes the transport.
func httpClient(transport http.RoundTripper) http.Client {
	return http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// host returns the host of a valid address, for messages.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
