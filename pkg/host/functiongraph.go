package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
)

// FunctionGraph answers invocations of a Huawei Cloud FunctionGraph function with a custom runtime. Its triggers try
// again three times at most, so it waits inside the invocation.
// https://support.huaweicloud.com/intl/en-us/usermanual-functiongraph/functiongraph_01_0406.html
type FunctionGraph struct {
	Processor Processor
	// Work, if not nil, takes the processor's place.
	Work Work
	// Address is the runtime API's host and port (RUNTIME_API_ADDR).
	Address string
	// Timeout is how long an invocation may take (RUNTIME_TIMEOUT).
	Timeout time.Duration
	// Credentials takes each invocation's temporary credentials, for [CredentialsOf].
	Credentials bool
	// Wait is how long an event waits for its resource; nil for as long as the invocation lasts.
	Wait *time.Duration
	// Client talks to the runtime API; http.DefaultClient when nil.
	Client *http.Client
	Log    *slog.Logger
}

// Run works on invocations, one after the other, until the context ends.
func (f *FunctionGraph) Run(ctx context.Context) error {
	for failures := 0; ; {
		err := f.next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
			continue
		}
		failures++
		f.Log.Error("take an invocation", "error", err.Error())
		if failures > 10 {
			return fmt.Errorf("take invocations: %w", err)
		}
		pause := time.NewTimer(time.Duration(failures) * 100 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// next takes one invocation and answers it.
func (f *FunctionGraph) next(ctx context.Context) error {
	resp, err := f.send(ctx, http.MethodGet, "request", nil)
	if err != nil {
		return err
	}
	payload, err := io.ReadAll(io.LimitReader(resp.Body, ingress.MaxPayload+1))
	_ = resp.Body.Close()
	if err != nil {
		return fmt.Errorf("read the invocation: %w", err)
	}
	id := resp.Header.Get("X-Cff-Request-Id")
	if id == "" {
		return errors.New("read the invocation: it has no X-Cff-Request-Id")
	}

	work, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	work, cancelInTime := inTime(work)
	defer cancelInTime()
	if f.Credentials {
		work = context.WithValue(work, invocationCredentials{}, temporary(resp.Header))
	}
	answer, err := f.answer(work, payload)
	verb := "response/"
	if err != nil {
		verb = "error/"
		answer = map[string]string{"errorType": reflect.TypeOf(err).Elem().Name(), "errorMessage": err.Error()}
	}
	body, err := encode(answer)
	if err != nil {
		return err
	}
	resp, err = f.send(ctx, http.MethodPost, verb+url.PathEscape(id), body)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (f *FunctionGraph) answer(ctx context.Context, payload []byte) (any, error) {
	if f.Work != nil {
		return f.Work.do(ctx)
	}
	return directAnswer(whole(ctx, f.Processor, ingress.Decode(payload), waitOr(f.Wait, waitToTheEnd)))
}

func (f *FunctionGraph) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+f.Address+"/v1/runtime/invocation/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call the runtime API: %w", err)
	}
	client := f.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the runtime API: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("call the runtime API: %s %s: %s", method, path, resp.Status)
	}
	return resp, nil
}

type invocationCredentials struct{}

// temporary reads the access key that FunctionGraph gives with an invocation of a function that has an agency.
func temporary(h http.Header) config.Credentials {
	first := func(names ...string) string {
		for _, name := range names {
			if v := h.Get(name); v != "" {
				return v
			}
		}
		return ""
	}
	return config.Credentials{
		AccessKey:     first("X-CFF-Security-Access-Key", "X-CFF-Access-Key"),
		SecretKey:     config.NewSecret(first("X-CFF-Security-Secret-Key", "X-CFF-Secret-Key")),
		SecurityToken: config.NewSecret(h.Get("X-CFF-Security-Token")),
	}
}

// CredentialsOf returns a source of credentials that has the invocation's own, of which base says the rest: project,
// region.
func CredentialsOf(base config.Credentials) func(context.Context) (config.Credentials, error) {
	return func(ctx context.Context) (config.Credentials, error) {
		own, ok := ctx.Value(invocationCredentials{}).(config.Credentials)
		if !ok || own.AccessKey == "" {
			return config.Credentials{}, &cloud.RefusedError{Err: errors.New("read the invocation's credentials: it has none; give the function an agency")}
		}
		c := base
		c.AccessKey, c.SecretKey, c.SecurityToken = own.AccessKey, own.SecretKey, own.SecurityToken
		return c, nil
	}
}
