package cloud

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxBody is the most that is read of an answer, in bytes, and the most that is buffered of a request without a length.
// maxProjectList is the most that is read of a list of projects, which Keystone does not divide into pages: some
// 30,000.
const (
	maxBody        = 1 << 20
	maxProjectList = 10 << 20
)

// newTransport returns the transport for real networks. caCert is the value of OS_CACERT.
func newTransport(caCert string) (*http.Transport, error) {
	roots, err := certificates(caCert)
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
		// Callers bound each call; this is for one that forgets.
		ResponseHeaderTimeout: time.Minute,
		MaxIdleConnsPerHost:   16,
		// Shorter than what load balancers keep (a minute is usual): a connection they closed fails the next request.
		IdleConnTimeout: 30 * time.Second,
	}, nil
}

// certificates returns nil, which means the system's authorities, when caCert is "".
func certificates(caCert string) (*x509.CertPool, error) {
	if caCert == "" {
		return nil, nil
	}
	pem, name := []byte(caCert), "OS_CACERT"
	if !strings.HasPrefix(caCert, "-----BEGIN ") {
		var err error
		if pem, err = os.ReadFile(caCert); err != nil {
			return nil, fmt.Errorf("read the certificates that OS_CACERT names: %w", err)
		}
		name = caCert
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the certificates that OS_CACERT names: no PEM certificate in %s", name)
	}
	return pool, nil
}

// guard keeps what goes over the wire within what these APIs and this program can bear: requests have a length,
// redirects are errors, answers are bounded.
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
		return nil, refusedf("%s://%s redirects (%d) to %s, which is not followed because it would carry the token there: "+
			"correct OS_AUTH_URL or the endpoint", req.URL.Scheme, req.URL.Host, resp.StatusCode, to)
	}
	most := int64(maxBody)
	if strings.HasSuffix(req.URL.Path, "/"+projectsPath) {
		most = maxProjectList
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: most, most: most, host: req.URL.Host}
	return resp, nil
}

// connectError marks what no retry will mend.
func connectError(host string, err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return refusedf("the certificate of %s is not trusted (set OS_CACERT to the file of its authority): %w", host, err)
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:]) == "HTTP/" {
		return refusedf("%s does not speak TLS: its address begins with http://", host)
	}
	return err
}

// boundedBody fails, rather than ends, after too much: a cut-off answer must not pass for a whole one.
type boundedBody struct {
	io.ReadCloser
	left int64
	most int64
	host string
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the answer of %s is longer than %d bytes", b.host, b.most)
	}
	// One byte more than is left tells an answer of exactly most from a longer one.
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fmt.Errorf("the answer of %s is longer than %d bytes", b.host, b.most)
	}
	return n, err
}

// replayable returns a copy of the request whose body has a length and can be sent again: Nova answers 400 to a body
// of unknown length. It closes the request's body where it returns an error, as a RoundTripper has to.
func replayable(req *http.Request) (*http.Request, error) {
	req = req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	if req.GetBody != nil && req.ContentLength > 0 {
		return req, nil
	}
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

// again returns a copy of a replayable request for another attempt.
func rewind(req *http.Request) (*http.Request, error) {
	req = req.Clone(req.Context())
	if req.GetBody == nil {
		return req, nil
	}
	var err error
	req.Body, err = req.GetBody()
	return req, err
}

// closeBody closes the body of a request that is not sent, as a RoundTripper has to.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// httpClient is a client that follows no redirect, should one pass the transport.
func httpClient(transport http.RoundTripper) http.Client {
	return http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// host is the host of an address that is known to be valid, for texts.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
