package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Lambda reports the type's name of an invocation's error as errorType. Retry policies and failure destinations can use
// it to distinguish temporary from permanent errors.

// DeferredError means that the resource is not ready yet. The caller should retry.
type DeferredError struct{ Decision delivery.Decision }

func (e *DeferredError) Error() string { return describe(e.Decision) }

// RejectedError means that a retry cannot help. An operator must act.
type RejectedError struct{ Decision delivery.Decision }

func (e *RejectedError) Error() string { return describe(e.Decision) }

// CredentialsError means that no event can succeed until an operator corrects the configuration or credentials.
type CredentialsError struct{ Err error }

func (e *CredentialsError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *CredentialsError) Unwrap() error { return e.Err }

func describe(d delivery.Decision) string {
	return fmt.Sprintf("event %s: %s: %s", d.EventID, d.Outcome, d.Reason)
}

// results is the response to a caller who asks for results.
type results struct {
	Outcome apply.Outcome    `json:"outcome"`
	Results []*tagger.Result `json:"results"`
}

func directResponse(d delivery.Decision) (any, error) {
	switch {
	case d.Fault.Err != nil:
		return nil, &CredentialsError{d.Fault.Err}
	case d.Outcome == apply.Deferred:
		return nil, &DeferredError{d}
	case d.Outcome == apply.Rejected:
		return nil, &RejectedError{d}
	}
	return results{d.Outcome, d.Results}, nil
}

// The header fields with the result, in ASCII. Responses about events have them, those to requests that were refused
// before an event arrived do not.
const (
	outcomeHeader = "Tagger-Outcome"
	reasonHeader  = "Tagger-Reason"
)

// maxReason limits Tagger-Reason and text bodies, in bytes: proxies commonly accept 8 KiB of header fields in all.
const maxReason = 512

// publicFaultReason replaces the reason if configuration or credentials are wrong. Only the log has the details;
// clients must not see them.
const publicFaultReason = "configuration or credentials are wrong; see the log"

// reasonUnreached stands for a reason that says where the cloud's APIs are, or who logs in there.
const reasonUnreached = "the cloud's API cannot be reached; see the log"

// httpResponse is the response to an HTTP request.
type httpResponse struct {
	status int
	header http.Header
	body   []byte
}

// newHTTPResponse returns the response to a request with the given header. Success is 204 without a body, because
// Knative treats a body that is not a CloudEvent as a failure. The body has the results only if the request accepts
// JSON and does not prefer a reply event, as Knative's requests do. A final result never has status 404 or 409, because
// Knative would retry.
func newHTTPResponse(d delivery.Decision, request http.Header) httpResponse {
	a := httpResponse{status: http.StatusNoContent, header: http.Header{}}
	reason, all := d.Reason, d.Results
	if d.Internal {
		reason = reasonUnreached
	}
	switch {
	case d.Fault.Err != nil:
		a.status, reason, all = http.StatusInternalServerError, publicFaultReason, nil
	case d.Outcome == apply.Deferred:
		a.status = http.StatusServiceUnavailable
		a.header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(d.Delay.Seconds())))))
	case d.Outcome == apply.Rejected && d.EventID == "":
		a.status = http.StatusBadRequest
	case d.Outcome == apply.Rejected:
		a.status = http.StatusUnprocessableEntity
	}
	a.header.Set(outcomeHeader, string(d.Outcome))
	if reason = headerSafe(reason); reason != "" {
		a.header.Set(reasonHeader, reason)
	}
	failed := a.status != http.StatusNoContent
	switch {
	case wantsResults(request):
		if all == nil {
			all = []*tagger.Result{}
		}
		body, err := encode(results{d.Outcome, withoutInternal(all)})
		if err != nil {
			return httpResponse{status: http.StatusInternalServerError, header: http.Header{}}
		}
		a.header.Set("Content-Type", "application/json")
		a.body = body
		if !failed {
			a.status = http.StatusOK
		}
	case failed: // Knative adds it to the undelivered event as the extension knativeerrordata
		a.header.Set("Content-Type", "text/plain; charset=utf-8")
		a.body = []byte(string(d.Outcome) + ": " + reason + "\n")
	}
	return a
}

// withoutInternal returns the results without internal reasons, which are only for the log.
func withoutInternal(all []*tagger.Result) []*tagger.Result {
	all = slices.Clone(all)
	for i, r := range all {
		if r.Decision != nil && r.Internal {
			hidden, d := *r, *r.Decision
			d.Reason, hidden.Decision = reasonUnreached, &d
			all[i] = &hidden
		}
	}
	return all
}

// forBatch changes status 400 to 415 if the format of the batch is not supported.
func (a httpResponse) forBatch(batch ingress.Batch) httpResponse {
	for _, r := range batch.Records {
		if _, ok := errors.AsType[*ingress.MediaTypeError](r.Err); ok && a.status == http.StatusBadRequest {
			a.status = http.StatusUnsupportedMediaType
		}
	}
	return a
}

// withoutResults returns the response with its status and header fields only. A success is 204 then.
func (a httpResponse) withoutResults() httpResponse {
	if a.body = nil; a.status == http.StatusOK {
		a.status = http.StatusNoContent
	}
	a.header = a.header.Clone()
	a.header.Del("Content-Type")
	return a
}

// write sends the response.
func (a httpResponse) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body)
	}
}

// wantsResults reports whether a request explicitly accepts JSON; */* is not enough. With "Prefer: reply", Knative asks
// for an event as the response (https://github.com/knative/specs/blob/main/specs/eventing/data-plane.md).
func wantsResults(h http.Header) bool {
	for _, field := range h.Values("Prefer") {
		for preference := range strings.SplitSeq(field, ",") {
			name, _, _ := strings.Cut(preference, ";")
			if strings.EqualFold(strings.TrimSpace(name), "reply") {
				return false
			}
		}
	}
	for _, field := range h.Values("Accept") {
		for part := range strings.SplitSeq(field, ",") {
			media, parameters, err := mime.ParseMediaType(part)
			if err != nil || media != "application/json" {
				continue
			}
			if q, err := strconv.ParseFloat(parameters["q"], 64); err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}

// headerSafe makes a string safe for a header field: one line of printable ASCII, with ? for other characters.
func headerSafe(s string) string {
	s = strings.ReplaceAll(s, "…", "...")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = s[:maxReason-3] + "..."
	}
	return strings.TrimSpace(s)
}

// encode encodes JSON without escaping <, > and &, so that requests appear as they were sent.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the response: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
