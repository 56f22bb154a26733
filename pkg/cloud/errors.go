package cloud

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// RefusedError is an error that an operator has to fix: credentials that the cloud refuses, or configuration that
// cannot work (an endpoint that the catalog does not have, a file that cannot be read). All other errors of this
// package are temporary: timeouts, refused connections, and the statuses 429 and 5xx, which wrap a
// [gophercloud.ErrUnexpectedResponseCode] with the Retry-After header.
type RefusedError struct {
	// Err says in one sentence what was refused and the way out.
	Err error
	// Until is when the next request is sent; until then, the same error is returned. Zero means that every call
	// sends a request.
	Until time.Time
	// Scope is the reach of the refusal: [fault.Project] if the same credentials work for their own project, otherwise
	// [fault.Everything], which is also what "" means.
	Scope fault.Scope
}

// Error returns Err's text.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }

// FaultScope returns Scope, for [fault.ScopeOf].
func (e *RefusedError) FaultScope() fault.Scope { return cmp.Or(e.Scope, fault.Everything) }

// projectScoped returns err with the scope [fault.Project] if it is a refusal.
func projectScoped(err error) error {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return &RefusedError{Err: refused.Err, Until: refused.Until, Scope: fault.Project}
	}
	return err
}

func refusedf(format string, args ...any) *RefusedError {
	return &RefusedError{Err: fmt.Errorf(format, args...)}
}

// responseError is an error response with a text of its own, because gophercloud's quotes the whole body.
type responseError struct {
	text     string
	response gophercloud.ErrUnexpectedResponseCode
}

// newResponseError keeps only what callers decide on. The body and other headers may contain secrets.
func newResponseError(text, method, address string, status int, header http.Header) *responseError {
	kept := make(http.Header)
	if after := header.Get("Retry-After"); after != "" {
		kept.Set("Retry-After", after)
	}
	return &responseError{text, gophercloud.ErrUnexpectedResponseCode{URL: address, Method: method, Actual: status,
		ResponseHeader: kept}}
}

func (e *responseError) Error() string { return e.text }
func (e *responseError) Unwrap() error { return e.response }

// unauthorized reports whether the error is a 401 response.
func unauthorized(err error) bool { return gophercloud.ResponseCodeIs(err, 401) }

// maxMessage is the most that a response adds to an error, in characters.
const maxMessage = 200

// message returns the message in a JSON error body, as one short line without the secrets. Other bodies give "",
// because a proxy's page may quote anything.
func message(body []byte, secrets ...config.Secret) string {
	var fault struct {
		Error struct {
			Code    any    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
		ErrorCode string `json:"error_code"`
		ErrorMsg  string `json:"error_msg"`
	}
	if json.Unmarshal(body, &fault) != nil {
		return ""
	}
	code := fault.ErrorCode
	if s, ok := fault.Error.Code.(string); ok {
		code = s
	}
	text := fault.ErrorMsg
	if fault.Error.Message != "" {
		text = fault.Error.Message
	}
	if code != "" {
		text = code + " " + text
	}
	text = string(redact([]byte(text), secrets))
	return visible.Line(text, maxMessage)
}

// redact replaces the secrets in a text.
func redact(text []byte, secrets []config.Secret) []byte {
	for _, s := range secrets {
		if !s.IsZero() {
			text = bytes.ReplaceAll(text, []byte(s.Reveal()), []byte(s.String()))
		}
	}
	return text
}

// redactResponse replaces the secrets in the body of a response other than 200, which may end up in an error: some
// gateways quote the request. It returns the body, which can still be read from the response.
func redactResponse(resp *http.Response, secrets ...config.Secret) []byte {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(resp.Body) // a truncated error text is better than none
	_ = resp.Body.Close()
	body = redact(body, secrets)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return body
}
