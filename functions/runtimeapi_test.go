package functions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runtimeAPI is the AWS Lambda runtime API, as a bootstrap sees it.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	*httptest.Server
	next chan invocation
	done chan answer
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
}

// answer is what the bootstrap posted for an invocation: a response or an error.
type answer struct {
	body  []byte
	isErr bool
	// kind is the error's type, as failure destinations see it.
	kind, message string
}

func newRuntimeAPI(t *testing.T) *runtimeAPI {
	r := &runtimeAPI{next: make(chan invocation), done: make(chan answer, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, req *http.Request) {
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
		r.done <- answer{body: body}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var e struct{ ErrorType, ErrorMessage string }
		_ = json.Unmarshal(body, &e)
		w.WriteHeader(http.StatusAccepted)
		r.done <- answer{body: body, isErr: true, kind: e.ErrorType, message: e.ErrorMessage}
	})
	r.Server = httptest.NewServer(mux)
	t.Cleanup(r.Close)
	return r
}

func (r *runtimeAPI) host() string { return strings.TrimPrefix(r.URL, "http://") }

// invoke hands a payload to the bootstrap and returns its answer.
func (r *runtimeAPI) invoke(ctx context.Context, payload []byte, timeout time.Duration) (answer, error) {
	i := invocation{fmt.Sprintf("%d", time.Now().UnixNano()), payload, time.Now().Add(timeout)}
	select {
	case r.next <- i:
	case <-ctx.Done():
		return answer{}, fmt.Errorf("hand out the invocation: %w", context.Cause(ctx))
	}
	select {
	case a := <-r.done:
		return a, nil
	case <-ctx.Done():
		return answer{}, fmt.Errorf("wait for the answer: %w", context.Cause(ctx))
	}
}

// awsAPI answers what the functions ask of AWS, and keeps it.
type awsAPI struct {
	*httptest.Server
	secret string
	calls  chan awsCall
}

type awsCall struct {
	target string
	body   map[string]any
}

func newAWS(t *testing.T) *awsAPI {
	a := &awsAPI{calls: make(chan awsCall, 100)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		call := awsCall{target: req.Header.Get("X-Amz-Target")}
		_ = json.NewDecoder(req.Body).Decode(&call.body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		switch call.target {
		case "AmazonSQS.ChangeMessageVisibility":
			fmt.Fprint(w, "{}")
		case "AmazonSQS.SendMessage":
			fmt.Fprint(w, `{"MessageId": "m"}`)
		case "secretsmanager.GetSecretValue":
			_ = json.NewEncoder(w).Encode(map[string]string{"SecretString": a.secret})
		default:
			http.Error(w, "unknown target", http.StatusBadRequest)
		}
		a.calls <- call
	}))
	t.Cleanup(a.Close)
	return a
}

// made returns the calls made so far.
func (a *awsAPI) made() []awsCall {
	var all []awsCall
	for {
		select {
		case c := <-a.calls:
			all = append(all, c)
		default:
			return all
		}
	}
}
