package listen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/breaker"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// httpReceiver sends CloudEvents to a receiver over HTTP.
type httpReceiver struct {
	url    string
	secret config.Secret
	sign   func(ctx context.Context, req *http.Request, body []byte) error
	client *http.Client
}

// responseTimeout is longer than a function waits for a resource before it responds.
const responseTimeout = 100 * time.Second

func newHTTPReceiver(o SinkOptions) *httpReceiver {
	return &httpReceiver{url: o.URL, secret: o.Secret, sign: o.Sign, client: &http.Client{
		Timeout: responseTimeout,
		// A redirect would send the secret to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// maxResponse is how many bytes of a response are read, so that the connection can be reused.
const maxResponse = 64 << 10

func (h *httpReceiver) send(ctx context.Context, _ event.Event, _ string, body []byte) response {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return response{class: metadata.Invalid, reason: "make the request to the sink: " + withoutAddress(err).Error()}
	}
	// The structured mode preserves attributes that are not ASCII.
	req.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	if h.sign != nil {
		if err := h.sign(ctx, req, body); err != nil {
			return response{reason: err.Error(), fault: err}
		}
	} else if secret := h.secret.Reveal(); secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return response{class: metadata.Unavailable, reason: "post to the sink: " + withoutAddress(err).Error()}
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse))
	return h.classify(resp)
}

// classify classifies a response by the table of
// https://github.com/knative/specs/blob/main/specs/eventing/data-plane.md: 404, 409, 429, 5xx and unknown codes are
// retried. Two cases differ here: 401 and 403 mean that the secret is wrong, which is no event's fault, and 408 that
// the receiver has not read the request.
func (h *httpReceiver) classify(resp *http.Response) response {
	a := response{reason: "the sink answered " + resp.Status, reached: true,
		retryAfter: breaker.RetryAfter(resp.Header.Get("Retry-After"))}
	switch status := resp.StatusCode; {
	case status >= 200 && status < 300:
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		way := "set TAGGER_HTTP_SECRET to the bearer token that it expects"
		if h.sign != nil {
			way = "the access key of AWS_ACCESS_KEY_ID needs lambda:InvokeFunctionUrl on this function"
		}
		a.fault = fmt.Errorf("%s: %s", a.reason, way)
	case status == http.StatusTooManyRequests:
		a.class = metadata.Throttled
	case status == http.StatusNotFound || status == http.StatusRequestTimeout || status == http.StatusConflict ||
		status >= 500:
		a.class = metadata.Unavailable
	default:
		a.class = metadata.Invalid
	}
	return a
}

// withoutAddress removes the request's address from an error: it can contain a user or a key.
func withoutAddress(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
