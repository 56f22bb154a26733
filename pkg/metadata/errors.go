package metadata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/visible"
)

// Class is the meaning of an error for the caller, independent of the API's format.
type Class string

// The classes.
const (
	// NotReady: the resource's state does not allow the operation now. Its vm_state shows whether that is temporary.
	NotReady Class = "not ready"
	// Locked: a user locked the resource, and it stays locked until a user unlocks it.
	Locked Class = "locked"
	// Throttled: too many requests; RetryAfter is the API's requested pause, if any.
	Throttled Class = "throttled"
	// Gone: the resource does not exist, or these credentials cannot see it.
	Gone Class = "gone"
	// KeyNotFound: the resource exists and has no such key.
	KeyNotFound Class = "key not found"
	// Forbidden: the credentials lack the permission.
	Forbidden Class = "forbidden"
	// Quota: the resource would have more metadata items than its project may.
	Quota Class = "quota"
	// Unauthenticated: the credentials were rejected.
	Unauthenticated Class = "unauthenticated"
	// Invalid: the API will never accept this request.
	Invalid Class = "invalid"
	// Unavailable: the service cannot be reached or is failing; a write was not saved.
	Unavailable Class = "unavailable"
	// Unknown: a write may or may not have been saved. Read before writing again.
	Unknown Class = "unknown"
)

// Error is a failed API call. Its text has the API's message but never a token, because headers are not part of it.
type Error struct {
	Request Request
	// Status is the HTTP status, 0 without a response.
	Status int
	// Code is the API's own code: a fault name of Nova or Cinder ("conflictingRequest") or Huawei Cloud's code
	// ("Ecs.0100"); "" when the response had none.
	Code string
	// Message is the API's message in one line, or the cause if there was no response.
	Message string
	Class   Class
	// RetryAfter is the wait that the API requests, 0 if none.
	RetryAfter time.Duration
	// Scope is the reach of an error in credentials or configuration, else "".
	Scope fault.Scope
	// MaxItems is the limit of metadata items for an error of class Quota, if known; else 0.
	MaxItems int
	// Unsent reports that the request was not sent because a circuit of [Options].Breaker is open. Class and Scope are
	// then those of the error that opened it; Class is Throttled if that error is temporary.
	Unsent bool

	err error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Request.Method, e.Request.Path)
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d ", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, "%s ", e.Code)
	}
	if e.Message == "" {
		return strings.TrimSuffix(b.String(), " ") + ": " + string(e.Class)
	}
	return b.String() + e.Message
}

// Unwrap returns the error of the transport or the authentication, nil if the API itself answered.
func (e *Error) Unwrap() error { return e.err }

// newError converts the transport's error for a request into an *Error. A response further down is Keystone's, to a
// login that the transport needed.
func newError(r Request, err error) *Error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // one further down is the login's
		err = u.Err // its text repeats the method and the URL
	}
	if _, ok := errors.AsType[*breaker.OpenError](err); ok { // the circuit of the login is open
		return unsentError(r, err)
	}
	e := &Error{Request: r, Message: oneLine(err.Error()), Class: Unavailable, RetryAfter: RetryAfter(err), err: err}
	op, isNet := errors.AsType[*net.OpError](err)
	switch {
	case fault.ScopeOf(err) != "":
		e.Class, e.Scope = Unauthenticated, fault.ScopeOf(err)
	case isNet && op.Op == "dial", e.unreached(): // never sent
	case r.Method != http.MethodGet:
		e.Class = Unknown
	}
	return e
}

// unsentError returns the error of a request that the breaker did not allow, or that ended while waiting for its turn.
func unsentError(r Request, err error) *Error {
	e := &Error{
		Request: r, Message: oneLine(err.Error()), Class: Throttled, RetryAfter: RetryAfter(err), Unsent: true, err: err,
	}
	if cause, ok := errors.AsType[*Error](err); ok && (cause.Class == Unauthenticated || cause.Class == Forbidden) {
		e.Class, e.Scope = cause.Class, cause.Scope
	}
	return e
}

// unreached reports that the request did not reach the API because there was no token to send it with.
func (e *Error) unreached() bool {
	if e == nil || e.err == nil {
		return false
	}
	var noToken interface {
		error
		NoToken() bool
	}
	// A response further down the chain than the API's own is Keystone's.
	_, answered := errors.AsType[gophercloud.ErrUnexpectedResponseCode](e.err)
	return answered || e.Unsent || errors.As(e.err, &noToken) && noToken.NoToken()
}

// result converts a call's error to the breaker's result; a nil error is a success.
func (e *Error) result(latency time.Duration) breaker.Result {
	if e == nil {
		return breaker.Result{Kind: breaker.Success, Latency: latency}
	}
	r := breaker.Result{Kind: breaker.Success, RetryAfter: e.RetryAfter, Latency: latency, Err: e}
	switch e.Class {
	case Throttled:
		r.Kind = breaker.Throttled
	case Unavailable, Unknown:
		r.Kind = breaker.Unavailable
	case Forbidden:
		r.Kind = breaker.Refused
	case Unauthenticated:
		// Without a status it is not the API's response to the token: a redirect, a certificate, an access key that is held.
		if r.Kind = breaker.Refused; e.Status != 0 {
			r.Kind = breaker.Unauthenticated
		}
	}
	return r
}

// FaultScope returns Scope. [fault.ScopeOf] calls it.
func (e *Error) FaultScope() fault.Scope { return e.Scope }

// RetryAfter returns the wait that an error's response or an open circuit requests, 0 if neither does.
func RetryAfter(err error) time.Duration {
	if open, ok := errors.AsType[*breaker.OpenError](err); ok {
		return open.RetryAfter
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	if response, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); ok {
		return breaker.RetryAfter(response.ResponseHeader.Get("Retry-After"))
	}
	return 0
}

// responseError converts an unsuccessful response into an *Error.
func responseError(r Request, status int, header http.Header, body []byte) *Error {
	e := &Error{Request: r, Status: status}
	var retryAfter string
	isFault := false
	e.Code, e.Message, retryAfter, isFault = parseFault(body)
	e.Class = classify(r, status, e.Code, e.Message, isFault)
	switch e.Class {
	case Quota:
		_, after, _ := strings.Cut(e.Message, "exceeds ")
		e.MaxItems, _ = strconv.Atoi(strings.TrimRight(after, "."))
	case Unauthenticated:
		e.Scope = fault.Everything // the token is fresh: the transport logged in again before it gave up
	case Forbidden:
		e.Scope = fault.Resource
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	if !isFault && status == http.StatusNotFound {
		e.Message += " (the response is not the API's own: check the endpoint)"
	}
	if h := header.Get("Retry-After"); h != "" {
		retryAfter = h
	}
	e.RetryAfter = breaker.RetryAfter(retryAfter)
	if e.Code == "Ecs.0603" && e.RetryAfter == 0 {
		e.RetryAfter = time.Minute // the error code page asks for a minute's pause
	}
	return e
}

// parseFault finds code and message in the shapes that these APIs response with:
//
//	{"conflictingRequest": {"code": 409, "message": "…"}}            Nova, Cinder, and EVS with a code of its own as a string
//	{"error": {"code": "Ecs.0100", "message": "…"}}                  ECS; Keystone's middleware too, with a number
//	{"error_code": "APIG.0308", "error_msg": "…"}                    the API gateway
//	{"code": "Common.0024", "message": "…"}                          flow control
//	{"code": "404 Not Found", "title": "Not Found", "message": "…"}  no route, below the API, to clients that accept JSON
//	<html>…<h1>404 Not Found</h1>…                                   the same to other clients, and from proxies
//
// A number repeats the HTTP status; the code is then the fault's name. isFault reports that the API itself answered, as
// it did not in the last two formats.
func parseFault(body []byte) (code, message, retryAfter string, isFault bool) {
	type fault struct {
		Code        any    `json:"code"`
		ErrorCode   string `json:"error_code"`
		Message     string `json:"message"`
		ErrorMsg    string `json:"error_msg"`
		RetryAfter  any    `json:"retryAfter"`
		RetryAfter2 any    `json:"retry_after"`
	}
	read := func(name string, f fault) (string, string, string, bool) {
		code := f.ErrorCode
		if s, ok := f.Code.(string); ok && code == "" {
			code = s
		}
		if code == "" {
			code = name
		}
		message := f.Message
		if message == "" {
			message = f.ErrorMsg
		}
		if code == "" && message == "" {
			return "", "", "", false
		}
		retryAfter := ""
		for _, v := range []any{f.RetryAfter, f.RetryAfter2} {
			switch v := v.(type) {
			case string:
				retryAfter = v
			case float64:
				retryAfter = strconv.FormatFloat(v, 'f', 0, 64)
			}
		}
		return visible.Line(code, maxCode), oneLine(message), retryAfter, true
	}

	var flat fault
	if json.Unmarshal(body, &flat) == nil && isStatusLine(flat.Code) {
		return "", textOf([]byte(flat.Message)), "", false
	}
	if json.Unmarshal(body, &flat) == nil && (flat.ErrorCode != "" || flat.ErrorMsg != "" || flat.Message != "") {
		return read("", flat)
	}
	var nested map[string]fault
	if json.Unmarshal(body, &nested) == nil && len(nested) == 1 {
		for name, f := range nested {
			if name == "error" {
				name = ""
			}
			return read(name, f)
		}
	}
	return "", textOf(body), "", false
}

// isStatusLine reports whether a code has the form "404 Not Found".
func isStatusLine(code any) bool {
	s, _ := code.(string)
	number, text, ok := strings.Cut(s, " ")
	return ok && len(number) == 3 && strings.Trim(number, "0123456789") == "" && text != ""
}

var (
	tags = regexp.MustCompile(`(?s)<(title|script|style)\b.*?</(title|script|style)>|<[^>]*>`)
)

// textOf returns the visible text of an HTML or plain body.
func textOf(body []byte) string {
	text := string(bytes.ToValidUTF8(body, []byte("?")))
	if strings.Contains(text, "<") {
		text = html.UnescapeString(tags.ReplaceAllString(text, " "))
	}
	return oneLine(text)
}

// maxMessage and maxCode limit, in characters, a response's part of a log line.
const maxMessage, maxCode = 300, 60

// oneLine also makes terminal escapes visible.
func oneLine(s string) string { return visible.Line(s, maxMessage) }
