package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cloudtagger/tagger/pkg/config"
)

// keyHold is how long an access key is not used after a refused signature. More than five refusals in a row
// lock the key for five minutes, for all its users.
const keyHold = 15 * time.Minute

// accessKey is the state of one access key: proven, held after a refusal, or neither.
type accessKey struct {
	// sem admits one request at a time until a response proves the key, so that ten parallel requests with a wrong key
	// cost one refused signature, not ten.
	sem *semaphore.Weighted

	mu     sync.Mutex
	proven bool
	held   *RefusedError
}

// accessKey returns the state of a key.
func (c *Cloud) accessKey(id string) *accessKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[id]
	if k == nil {
		// Temporary keys change often. Only holds must be kept.
		for other, known := range c.keys {
			if known.refusal() == nil {
				delete(c.keys, other)
			}
		}
		k = &accessKey{sem: semaphore.NewWeighted(1)}
		c.keys[id] = k
	}
	return k
}

// refusal returns the error of a held key, nil when the key may be used.
func (k *accessKey) refusal() *RefusedError {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil || time.Now().After(k.held.Until) {
		return nil
	}
	left := time.Until(k.held.Until).Round(time.Second)
	return &RefusedError{Err: fmt.Errorf("%w; its use is paused for another %s", k.held.Err, left),
		Until: k.held.Until}
}

// enter waits until a request may be signed. The caller calls leave after the response.
func (k *accessKey) enter(ctx context.Context) (leave func(), err error) {
	if err := k.sem.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for the first response to the access key: %w", err)
	}
	leave = func() { k.sem.Release(1) }
	if refused := k.refusal(); refused != nil {
		leave()
		return nil, refused
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proven {
		leave()
		return func() {}, nil
	}
	return leave, nil
}

func (k *accessKey) accepted() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proven = true
}

func (k *accessKey) refused(err error) *RefusedError {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proven = false
	k.held = &RefusedError{Err: err, Until: time.Now().Add(keyHold)}
	return &RefusedError{
		Err:   fmt.Errorf("%w; its use is paused for %s, because five refused signatures lock it", err, keyHold),
		Until: k.held.Until,
	}
}

// signingTransport signs each request with the current access key.
type signingTransport struct {
	cloud   *Cloud
	project string
}

func (t *signingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req, err := replayable(req)
	if err != nil {
		return nil, err
	}
	resp, err := t.send(req)
	if err != nil {
		closeBody(req)
	}
	return resp, err
}

func (t *signingTransport) send(req *http.Request) (*http.Response, error) {
	credentials, err := t.cloud.credentials(req.Context())
	if err != nil {
		return nil, noTokenError{err}
	}
	l, transport, err := t.cloud.resolve(credentials)
	if err != nil {
		return nil, noTokenError{err}
	}
	if l.Method != config.AccessKey || l.AccessKeyProjectID != t.project {
		return nil, noTokenError{errors.New(
			"sign the request: the credentials have changed to another project or kind: open a new session")}
	}
	key := t.cloud.accessKey(l.AccessKey)
	leave, err := key.enter(req.Context())
	if err != nil {
		return nil, noTokenError{err}
	}
	defer leave()

	signed, err := sign(req, l, time.Now())
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(signed)
	if err != nil {
		return nil, err
	}
	body := redactResponse(resp, l.SecretKey, l.SecurityToken)
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		err := key.refused(signatureRefused(signed, resp, body, l))
		if t.cloud.options.Refused != nil {
			t.cloud.options.Refused()
		}
		return nil, err
	case resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		key.accepted() // the gateway checks the signature before all but overload
	}
	return resp, nil
}

func signatureRefused(req *http.Request, resp *http.Response, body []byte, l config.Login) error {
	text := fmt.Sprintf("%s refuses %s: 401", req.URL.Host, actor(l))
	if m := message(body); m != "" {
		text += " " + m
	}
	text += " (HUAWEICLOUD_SDK_SK is wrong, the key was deleted or has expired, or this machine's clock is off: it says " +
		time.Now().UTC().Format(time.RFC3339) + ")"
	return newResponseError(text, req.Method, req.URL.String(), resp.StatusCode, resp.Header)
}
