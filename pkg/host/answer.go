package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/aws/aws-lambda-go/events"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// The errors of an invocation. Lambda reports their type's name as errorType, by which retry policies and failure destinations can
// tell what may pass from what never will.

// DeferredError says that the resource is not ready yet: try again.
type DeferredError struct{ Result tagger.Result }

func (e *DeferredError) Error() string { return describe(e.Result) }

// RejectedError says that trying again cannot help: a person must look.
type RejectedError struct{ Result tagger.Result }

func (e *RejectedError) Error() string { return describe(e.Result) }

// CredentialsError says that nothing works until a person mends configuration or credentials.
type CredentialsError struct{ Err error }

func (e *CredentialsError) Error() string { return e.Err.Error() }

// Unwrap returns what was refused.
func (e *CredentialsError) Unwrap() error { return e.Err }

func describe(r tagger.Result) string {
	return fmt.Sprintf("event %s: %s: %s", r.Event.ID, r.Outcome, r.Reason)
}

// answer is what a caller gets who waits for one.
type answer struct {
	Outcome apply.Outcome   `json:"outcome"`
	Results []tagger.Result `json:"results"`
}

func directAnswer(results []tagger.Result) (any, error) {
	worst := tagger.Worst(results)
	switch {
	case worst.Fault.Err != nil:
		return nil, &CredentialsError{worst.Fault.Err}
	case worst.Outcome == apply.Deferred:
		return nil, &DeferredError{worst}
	case worst.Outcome == apply.Rejected:
		return nil, &RejectedError{worst}
	}
	return answer{worst.Outcome, results}, nil
}

// httpAnswer never has status 404 or 409 for what is final: Knative would deliver it again.
func httpAnswer(results []tagger.Result) events.LambdaFunctionURLResponse {
	worst := tagger.Worst(results)
	header := map[string]string{"Content-Type": "application/json"}
	status := http.StatusOK
	switch {
	case worst.Fault.Err != nil:
		// What exactly is at fault is for the log, not for whoever can reach the port.
		status = http.StatusInternalServerError
		results = []tagger.Result{}
	case worst.Outcome == apply.Deferred:
		status = http.StatusServiceUnavailable
		header["Retry-After"] = strconv.Itoa(int(math.Ceil(worst.Delay.Seconds())))
	case worst.Outcome == apply.Rejected && worst.Event.ID == "":
		status = http.StatusBadRequest
	case worst.Outcome == apply.Rejected:
		status = http.StatusUnprocessableEntity
	}
	body, err := encode(answer{worst.Outcome, results})
	if err != nil {
		return events.LambdaFunctionURLResponse{StatusCode: http.StatusInternalServerError}
	}
	return events.LambdaFunctionURLResponse{StatusCode: status, Headers: header, Body: string(body)}
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
