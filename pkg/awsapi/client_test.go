package awsapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/awsapi"
)

// service responds with the given answers in turn, and repeats the last one.
type service struct {
	mu       sync.Mutex
	answers  []answer
	requests []*http.Request
	bodies   []string
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // instead of a response
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
	if a.err != nil {
		return nil, a.err
	}
	w := httptest.NewRecorder()
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.WriteString(a.body)
	return w.Result(), nil
}

func newClient(t *testing.T, answers ...answer) (*awsapi.Client, *service) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "", "AWS_MAX_ATTEMPTS": "",
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "the-secret-key", "AWS_SESSION_TOKEN": "the-session",
	} {
		t.Setenv(name, value)
	}
	s := &service{answers: answers}
	return &awsapi.Client{HTTP: &http.Client{Transport: s}}, s
}

func TestParameter(t *testing.T) {
	c, s := newClient(t, answer{status: 200, body: `{"Parameter": {"Name": "/rules", "Value": "rules: é"}}`})
	got, err := c.Parameter(t.Context(), "/rules")
	if err != nil || got != "rules: é" {
		t.Errorf("%q, %v", got, err)
	}
	r := s.requests[0]
	if r.Method != "POST" || r.URL.String() != "https://ssm.eu-central-1.amazonaws.com/" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
	for name, want := range map[string]string{
		"X-Amz-Target":         "AmazonSSM.GetParameter",
		"Content-Type":         "application/x-amz-json-1.1",
		"X-Amz-Security-Token": "the-session",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if body := s.bodies[0]; body != `{"Name":"/rules","WithDecryption":true}` || r.ContentLength != int64(len(body)) {
		t.Errorf("body %s of %d bytes", body, r.ContentLength)
	}
	a := r.Header.Get("Authorization")
	if !strings.HasPrefix(a, "AWS4-HMAC-SHA256 Credential=AKIA/") ||
		!strings.Contains(a, "/eu-central-1/ssm/aws4_request, ") {
		t.Errorf("Authorization %q", a)
	}
}

func TestEndpoints(t *testing.T) {
	for _, tt := range []struct{ region, override, want string }{
		{"cn-north-1", "", "https://secretsmanager.cn-north-1.amazonaws.com.cn/"},
		{"us-east-1", "", "https://secretsmanager.us-east-1.amazonaws.com/"},
		{"us-east-1", "http://127.0.0.1:1", "http://127.0.0.1:1/"},
	} {
		c, s := newClient(t, answer{status: 200, body: `{"SecretString": "s"}`})
		t.Setenv("AWS_ENDPOINT_URL", tt.override)
		if got, err := c.SecretString(t.Context(), tt.region, "arn"); err != nil || got == nil || *got != "s" {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
		if got := s.requests[0].URL.String(); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// TestRetries: temporary errors are retried, with up to three attempts in all; others are not.
func TestRetries(t *testing.T) {
	redirect := answer{status: 307, header: http.Header{"Location": {"http://elsewhere/"}}}
	good := answer{status: 200, body: `{"Parameter": {"Value": "v"}}`}
	fault := func(status int, code string) answer {
		return answer{status: status, body: fmt.Sprintf(`{"__type": %q}`, code)}
	}
	for _, tt := range []struct {
		name    string
		answers []answer
		tries   int
		want    string // in the error
	}{
		{"throttled", []answer{fault(400, "ThrottlingException"), good}, 2, ""},
		{"broken twice", []answer{fault(500, "InternalServerError"), {status: 503, body: "<html>"}, good}, 3, ""},
		{"no response", []answer{{err: io.ErrUnexpectedEOF}, good}, 2, ""},
		{"broken", []answer{fault(500, "InternalServerError")}, 3, "InternalServerError (HTTP 500)"},
		{"a page", []answer{{status: 503, body: "<html>"}}, 3, "Service Unavailable (HTTP 503)"},
		{"not allowed", []answer{fault(400, "AccessDeniedException")}, 1, "AccessDeniedException (HTTP 400)"},
		{"no JSON", []answer{{status: 200, body: "hunter2"}}, 1, "not the expected JSON object"},
		{"a redirect", []answer{redirect}, 1, "Temporary Redirect (HTTP 307)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := newClient(t, tt.answers...)
			c.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			synctest.Test(t, func(t *testing.T) {
				_, err := c.Parameter(t.Context(), "/rules")
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %q contains the response", err)
				}
				if len(s.requests) != tt.tries {
					t.Errorf("%d tries, want %d", len(s.requests), tt.tries)
				}
			})
		})
	}
}

// TestErrorCodes: services put the error's code in different places.
func TestErrorCodes(t *testing.T) {
	for _, a := range []answer{
		{status: 400, body: `{"__type": "ParameterNotFound", "message": "why"}`},
		{status: 400, body: `{"__type": "com.amazonaws.ssm#ParameterNotFound", "Message": "why"}`},
		{status: 400, body: `{"code": "ParameterNotFound", "message": "why"}`},
		{
			status: 400, header: http.Header{"X-Amzn-Errortype": {"ParameterNotFound:http://internal.amazon.com/"}},
			body: `{"message": "why"}`,
		},
	} {
		c, _ := newClient(t, a)
		_, err := c.Parameter(t.Context(), "/rules")
		want := awsapi.Error{Code: "ParameterNotFound", Message: "why", Status: 400}
		if e, ok := errors.AsType[*awsapi.Error](err); !ok || *e != want {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestEnds(t *testing.T) {
	c, s := newClient(t, answer{status: 500})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if _, err := c.Parameter(ctx, "/rules"); err == nil || len(s.requests) > 1 {
			t.Errorf("%v after %d requests", err, len(s.requests))
		}
	})
}

func TestNoAWSCredentials(t *testing.T) {
	c, s := newClient(t, answer{status: 200})
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := c.Parameter(t.Context(), "/rules")
	if err == nil || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY are not set") || len(s.requests) != 0 {
		t.Errorf("error %v after %d requests", err, len(s.requests))
	}
}

// TestFunctionURLSigner: only requests to a function's URL are signed, for its region.
func TestFunctionURLSigner(t *testing.T) {
	for _, address := range []string{
		"https://example.com/", "https://abc.lambda-url.eu-west-1.on.aws.example.com/", "http://127.0.0.1:1/", ":",
	} {
		if awsapi.FunctionURLSigner(address) != nil {
			t.Errorf("%s is signed", address)
		}
	}
	const address = "https://abc123.lambda-url.eu-west-1.on.aws/"
	sign := awsapi.FunctionURLSigner(address)
	if sign == nil {
		t.Fatal("not signed")
	}
	request := func() *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	if err := sign(t.Context(), request(), []byte("{}")); !errors.Is(err, awsapi.ErrCredentials) {
		t.Errorf("error %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	t.Setenv("AWS_SESSION_TOKEN", "token")
	req := request()
	if err := sign(t.Context(), req, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	authorization := req.Header.Get("Authorization")
	if !strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKID/") ||
		!strings.Contains(authorization, "/eu-west-1/lambda/aws4_request") ||
		req.Header.Get("X-Amz-Security-Token") != "token" {
		t.Errorf("%v", req.Header)
	}
}
