// Package lambdatest fakes AWS for a function's bootstrap: the Lambda Runtime API, and the services that it calls.
package lambdatest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// RuntimeAPI fakes the AWS Lambda Runtime API.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type RuntimeAPI struct {
	*httptest.Server
	next   chan invocation
	done   chan Response
	polled chan struct{}
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
}

// Response is the bootstrap's response to an invocation, or its error.
type Response struct {
	Body   []byte
	Failed bool
	// Kind is the error's type, which failure destinations see.
	Kind, Message string
}

// NewRuntimeAPI starts a Runtime API on loopback. Close stops it.
func NewRuntimeAPI() *RuntimeAPI {
	r := &RuntimeAPI{next: make(chan invocation), done: make(chan Response, 1), polled: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, req *http.Request) {
		select {
		case r.polled <- struct{}{}:
		default:
		}
		select {
		case i := <-r.next:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:tagger")
			_, _ = w.Write(i.payload)
		case <-req.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.WriteHeader(http.StatusAccepted)
		r.done <- Response{Body: body}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var e struct{ ErrorType, ErrorMessage string }
		_ = json.Unmarshal(body, &e)
		w.WriteHeader(http.StatusAccepted)
		r.done <- Response{Body: body, Failed: true, Kind: e.ErrorType, Message: e.ErrorMessage}
	})
	r.Server = httptest.NewServer(mux)
	return r
}

// Host returns the value of AWS_LAMBDA_RUNTIME_API.
func (r *RuntimeAPI) Host() string { return strings.TrimPrefix(r.URL, "http://") }

// Polled receives an element when the bootstrap requests an invocation, which ends its cold start.
func (r *RuntimeAPI) Polled() <-chan struct{} { return r.polled }

// Invoke passes a payload to the bootstrap and returns its response.
func (r *RuntimeAPI) Invoke(ctx context.Context, payload []byte, timeout time.Duration) (Response, error) {
	i := invocation{strconv.FormatInt(time.Now().UnixNano(), 10), payload, time.Now().Add(timeout)}
	select {
	case r.next <- i:
	case <-ctx.Done():
		return Response{}, fmt.Errorf("pass the invocation to the bootstrap: %w", context.Cause(ctx))
	}
	select {
	case a := <-r.done:
		return a, nil
	case <-ctx.Done():
		return Response{}, fmt.Errorf("wait for the response: %w", context.Cause(ctx))
	}
}
