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

// RefusedError is an error that a person has to mend: credentials that the cloud refuses, or configuration that
// cannot work (an endpoint that the catalog does not have, a file that cannot be read). Every other error of this
// package may pass by itself: timeouts, refused connections, 5xx and 429 answers; of those,
// [gophercloud.ErrUnexpectedResponseCode] in the chain has the header with Retry-After.
type RefusedError struct {
	// Err says in one sentence what was refused and the way out.
	Err error
	// Until is when the cloud will be asked again; before, the same error is returned without asking. Zero: it is
	// asked each time.
	Until time.Time
	// Scope is how far the refusal reaches: [fault.Project] where the same credentials are good for their own project,
	// [fault.Everything] otherwise, which "" stands for too.
	Scope fault.Scope
}

// Error returns Err's text.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }

// FaultScope returns Scope, for [fault.ScopeOf].
func (e *RefusedError) FaultScope() fault.Scope { return cmp.Or(e.Scope, fault.Everything) }

// inProject returns err as one that concerns a single project.
func projectScoped(err error) error {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return &RefusedError{Err: refused.Err, Until: refused.Until, Scope: fault.Project}
	}
	return err
}

func refusedf(format string, args ...any) *RefusedError {
	return &RefusedError{Err: fmt.Errorf(format, args...)}
}

// responseError is an answer of the cloud with a text of our own: gophercloud's quotes the whole body.
type responseError struct {
	text   string
	answer gophercloud.ErrUnexpectedResponseCode
}

// newResponseError keeps of the answer what decisions are made on. Body and other headers could quote anything.
func newResponseError(text, method, address string, status int, header http.Header) *responseError {
	kept := make(http.Header)
	if after := header.Get("Retry-After"); after != "" {
		kept.Set("Retry-After", after)
	}
	return &responseError{text, gophercloud.ErrUnexpectedResponseCode{URL: address, Method: method, Actual: status,
		ResponseHeader: kept}}
}

func (e *responseError) Error() string { return e.text }
func (e *responseError) Unwrap() error { return e.answer }

// unauthorized reports whether the error is the cloud's answer 401.
func unauthorized(err error) bool { return gophercloud.ResponseCodeIs(err, 401) }

// maxMessage bounds, in characters, what an answer can put into an error.
const maxMessage = 200

// message returns what the cloud says in a JSON error body, as one short line without any of the secrets, and "" for
// bodies of any other form: nobody knows what a page in between quotes.
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

// redactResponse replaces the secrets in the body of an answer that is not 200 and so may end up in an error: some
// gateways quote the request. It returns the body, which can still be read from the answer.
func redactResponse(resp *http.Response, secrets ...config.Secret) []byte {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(resp.Body) // as much of an error's text as there is
	_ = resp.Body.Close()
	body = redact(body, secrets)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return body
}
