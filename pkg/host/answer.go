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

// The errors of an invocation. Lambda reports their type's name as errorType, by which retry policies and failure
// destinations can tell what may pass from what never will.

// DeferredError says that the resource is not ready yet: try again.
type DeferredError struct{ Decision delivery.Decision }

func (e *DeferredError) Error() string { return describe(e.Decision) }

// RejectedError says that trying again cannot help: a person must look.
type RejectedError struct{ Decision delivery.Decision }

func (e *RejectedError) Error() string { return describe(e.Decision) }

// CredentialsError says that nothing works until a person corrects configuration or credentials.
type CredentialsError struct{ Err error }

func (e *CredentialsError) Error() string { return e.Err.Error() }

// Unwrap returns what was refused.
func (e *CredentialsError) Unwrap() error { return e.Err }

func describe(d delivery.Decision) string {
	return fmt.Sprintf("event %s: %s: %s", d.EventID, d.Outcome, d.Reason)
}

// results is what a caller gets who asks for them.
type results struct {
	Outcome apply.Outcome   `json:"outcome"`
	Results []tagger.Result `json:"results"`
}

func directAnswer(d delivery.Decision) (any, error) {
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

// The header fields of an answer that say what became of the events, whatever its status. They hold ASCII only.
const (
	headerOutcome = "Tagger-Outcome"
	headerReason  = "Tagger-Reason"
)

// longestReason bounds Tagger-Reason and text bodies, in bytes: proxies commonly take 8 KiB of header fields in all.
const longestReason = 512

// reasonForStrangers stands for the error when configuration or credentials are at fault. What exactly is wrong is in
// the log; a client does not get to see it.
const reasonForStrangers = "configuration or credentials are at fault; see the log"

// reasonUnreached stands for a reason that says where the cloud's APIs are, or who logs in there.
const reasonUnreached = "the cloud's API cannot be reached; see the log"

// httpAnswer is the answer to an HTTP request.
type httpAnswer struct {
	status int
	header http.Header
	body   []byte
}

// answerHTTP returns the answer to a request with this header. What is done is 204 without a body, for Knative takes a
// body that is no CloudEvent for a failure. The results are in the body only when the request accepts JSON and does not
// prefer a reply event, as Knative's do. It is never 404 or 409 for what is final: Knative would deliver it again.
func answerHTTP(d delivery.Decision, request http.Header) httpAnswer {
	a := httpAnswer{status: http.StatusNoContent, header: http.Header{}}
	reason, all := d.Reason, d.Results
	if d.Internal {
		reason = reasonUnreached
	}
	switch {
	case d.Fault.Err != nil:
		a.status, reason, all = http.StatusInternalServerError, reasonForStrangers, nil
	case d.Outcome == apply.Deferred:
		a.status = http.StatusServiceUnavailable
		a.header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(d.Delay.Seconds())))))
	case d.Outcome == apply.Rejected && d.EventID == "":
		a.status = http.StatusBadRequest
	case d.Outcome == apply.Rejected:
		a.status = http.StatusUnprocessableEntity
	}
	a.header.Set(headerOutcome, string(d.Outcome))
	if reason = headerSafe(reason); reason != "" {
		a.header.Set(headerReason, reason)
	}
	failed := a.status != http.StatusNoContent
	switch {
	case wantsResults(request):
		if all == nil {
			all = []tagger.Result{}
		}
		body, err := encode(results{d.Outcome, forStrangers(all)})
		if err != nil {
			return httpAnswer{status: http.StatusInternalServerError, header: http.Header{}}
		}
		a.header.Set("Content-Type", "application/json")
		a.body = body
		if !failed {
			a.status = http.StatusOK
		}
	case failed: // Knative keeps it, as the extension knativeerrordata, with the event that it could not deliver
		a.header.Set("Content-Type", "text/plain; charset=utf-8")
		a.body = []byte(string(d.Outcome) + ": " + reason + "\n")
	}
	return a
}

// forStrangers returns the results without the reasons that are for the log only.
func forStrangers(all []tagger.Result) []tagger.Result {
	all = slices.Clone(all)
	for i, r := range all {
		if r.Decision != nil && r.Internal {
			d := *r.Decision
			d.Reason = reasonUnreached
			all[i].Decision = &d
		}
	}
	return all
}

// of returns the answer to a batch: 415 where the format of its body is what is wrong.
func (a httpAnswer) of(batch ingress.Batch) httpAnswer {
	for _, r := range batch.Records {
		if _, ok := errors.AsType[*ingress.MediaTypeError](r.Err); ok && a.status == http.StatusBadRequest {
			a.status = http.StatusUnsupportedMediaType
		}
	}
	return a
}

// write sends the answer.
func (a httpAnswer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body)
	}
}

// wantsResults reports whether a request asks for the results as JSON by name: */* does not. "Prefer: reply" is how
// Knative says that it would take an event as the answer
// (https://github.com/knative/specs/blob/main/specs/eventing/data-plane.md).
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

// headerSafe makes a text fit for a header field: printable ASCII, with ? for anything else, on one line.
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
	if len(s) > longestReason {
		s = s[:longestReason-3] + "..."
	}
	return strings.TrimSpace(s)
}

// encode writes JSON with <, > and & as they are, so that requests read as they were sent.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
