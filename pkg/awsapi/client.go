// Package awsapi makes the four AWS calls that Tagger needs: GetParameter, GetSecretValue, ChangeMessageVisibility and
// SendMessage. It sends JSON with the SDK's signer and retryer, but without the SDK's service clients.
//
// The alternatives (a function for amd64, stripped; allocations before main according to GODEBUG=inittrace=1):
//
//	                                            binary       at init
//	the SDK's clients of SSM, SQS, Secrets Mgr. 16.45 MB     2.36 MB, 14,675 allocations (SSM's alone 1.43 MB)
//	this package                                12.98 MB     0.35 MB,  2,835 allocations
//	no AWS at all                               12.78 MB
//
// Most functions call only GetSecretValue, once per cold start. The SDK's retryer decides which errors to retry, how
// often and after which delay. The package does not support the SDK's other sources of credentials, endpoints of other
// partitions than the public one and China's, correction of clock skew, and the checksum of a sent message, which TLS
// replaces.
package awsapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cloudtagger/tagger/pkg/backoff"
)

// Client calls AWS with the credentials and the region in the environment, which Lambda sets
// (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html). AWS_ENDPOINT_URL replaces the services'
// endpoints, AWS_MAX_ATTEMPTS the SDK's three attempts. The zero value is ready to use, and safe for concurrent use.
type Client struct {
	// HTTP sends the requests. nil means http.DefaultTransport without following redirects.
	HTTP *http.Client

	once    sync.Once
	signer  *v4.Signer
	retryer *retry.Standard
}

// Error is an error response from a service.
// (API references, "Common Error Types" and each action's "Errors".)
type Error struct {
	// Code is the error's name, such as ResourceNotFoundException.
	Code string
	// Message is the service's message, and may be empty.
	Message string
	Status  int
}

func (e *Error) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("%s (HTTP %d): %s", e.Code, e.Status, e.Message), ": ")
}

// ErrorCode returns Code. The SDK's retryer calls it and HTTPStatusCode.
func (e *Error) ErrorCode() string { return e.Code }

// HTTPStatusCode returns Status.
func (e *Error) HTTPStatusCode() int { return e.Status }

// sendError is the error of a request without a response.
type sendError struct{ error }

func (e sendError) Unwrap() error { return e.error }

// ConnectionError tells the SDK's retryer that a retry may help.
func (e sendError) ConnectionError() bool { return true }

// operation is one action of a service.
type operation struct {
	service string // in host names and signatures
	target  string // X-Amz-Target
	version string // of the JSON protocol
}

// attemptTimeout limits one attempt. A response has a few kilobytes and comes from the same region.
const attemptTimeout = 10 * time.Second

// maxResponse is more than the largest parameter (8 KB) or secret (64 KB), as JSON with every character escaped.
const maxResponse = 1 << 20

// place is the region and endpoint of a service. The defaults are the environment's region and the service's endpoint
// there. AWS_ENDPOINT_URL takes precedence over both.
type place struct{ region, endpoint string }

// call sends in to an operation and decodes the response into out. An error of the service is an [*Error].
func (c *Client) call(ctx context.Context, o operation, at place, in, out any) error {
	c.once.Do(func() {
		c.signer = v4.NewSigner()
		c.retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			if n, err := strconv.Atoi(os.Getenv("AWS_MAX_ATTEMPTS")); err == nil {
				o.MaxAttempts = n
			}
		})
	})
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	at.region = cmp.Or(at.region, os.Getenv("AWS_REGION"))
	release, err := c.retryer.GetAttemptToken(ctx)
	if err != nil {
		return fmt.Errorf("begin the call: %w", err)
	}
	for attempt := 1; ; attempt++ {
		err := c.try(ctx, o, at, body, out)
		_ = release(err)
		if err == nil || ctx.Err() != nil || attempt >= c.retryer.MaxAttempts() || !c.retryer.IsErrorRetryable(err) {
			return err
		}
		var tokenErr error
		if release, tokenErr = c.retryer.GetRetryToken(ctx, err); tokenErr != nil {
			return err // the SDK's retry quota is used up
		}
		pause, delayErr := c.retryer.RetryDelay(attempt, err)
		if delayErr != nil || !backoff.Sleep(ctx, pause) {
			return err
		}
	}
}

// try makes one attempt.
func (c *Client) try(ctx context.Context, o operation, at place, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.address(o.service), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-"+o.version)
	req.Header.Set("X-Amz-Target", o.target)
	req.Header.Set("User-Agent", "tagger")
	credentials, err := credentials()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if err := c.signer.SignHTTP(ctx, credentials, req, hash, o.service, at.region, time.Now()); err != nil {
		return fmt.Errorf("sign the request: %w", err)
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return sendError{err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return sendError{fmt.Errorf("read the response: %w", err)}
	}
	if resp.StatusCode != http.StatusOK {
		return responseError(resp, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return errors.New("read the response: not the expected JSON object") // no details: it may contain secrets
	}
	return nil
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// responseError decodes an error of the JSON protocols
// (https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization).
func responseError(resp *http.Response, body []byte) *Error {
	var fields struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"` // or Message: encoding/json ignores case
	}
	_ = json.Unmarshal(body, &fields) // a proxy may respond with HTML
	code := cmp.Or(resp.Header.Get("X-Amzn-ErrorType"), fields.Type, fields.Code, http.StatusText(resp.StatusCode))
	code, _, _ = strings.Cut(code, ":")
	if i := strings.LastIndexByte(code, '#'); i >= 0 {
		code = code[i+1:]
	}
	return &Error{Code: code, Message: fields.Message, Status: resp.StatusCode}
}

// address returns a service's address (https://docs.aws.amazon.com/general/latest/gr/rande.html). China has a
// separate domain.
func (p place) address(service string) string {
	if address := os.Getenv("AWS_ENDPOINT_URL"); address != "" {
		return strings.TrimSuffix(address, "/") + "/"
	}
	return cmp.Or(p.endpoint, fmt.Sprintf("https://%s.%s.%s/", service, p.region,
		domain(strings.HasPrefix(p.region, "cn-"))))
}

func domain(china bool) string {
	if china {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// FunctionURLSigner returns a function that signs requests to a Lambda function's URL (AWS_IAM) with the access key in
// the environment. It returns nil for any other address.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html
func FunctionURLSigner(address string) func(ctx context.Context, req *http.Request, body []byte) error {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	labels := strings.Split(u.Hostname(), ".")
	if len(labels) < 5 || labels[1] != "lambda-url" || labels[3] != "on" {
		return nil
	}
	if top := strings.Join(labels[4:], "."); top != "aws" && top != "amazonwebservices.com.cn" {
		return nil
	}
	signer, region := v4.NewSigner(), labels[2]
	return func(ctx context.Context, req *http.Request, body []byte) error {
		credentials, err := credentials()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		hash := hex.EncodeToString(sum[:])
		if err := signer.SignHTTP(ctx, credentials, req, hash, "lambda", region, time.Now()); err != nil {
			return fmt.Errorf("sign the request: %w", err)
		}
		return nil
	}
}

// ErrCredentials means that the environment has no access key.
var ErrCredentials = errors.New("read AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")

func credentials() (aws.Credentials, error) {
	c := aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}
	if !c.HasKeys() {
		return aws.Credentials{}, ErrCredentials
	}
	return c, nil
}
