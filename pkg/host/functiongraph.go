package host

import (
	"bytes"
	"cmp"
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

// FunctionGraph handles invocations of a Huawei Cloud FunctionGraph function with a custom runtime. FunctionGraph's
// triggers retry at most three times, so it waits within the invocation.
// https://support.huaweicloud.com/intl/en-us/usermanual-functiongraph/functiongraph_01_0406.html
type FunctionGraph struct {
	Processor Processor
	// Work, if not nil, replaces the processor.
	Work Work
	// Address is the runtime API's host and port (RUNTIME_API_ADDR).
	Address string
	// Timeout limits an invocation (RUNTIME_TIMEOUT).
	Timeout time.Duration
	// Credentials means that [CredentialsOf] gets each invocation's temporary credentials.
	Credentials bool
	// Wait is how long an event waits for its resource; nil means until the invocation ends.
	Wait *time.Duration
	// Client calls the runtime API; nil means http.DefaultClient.
	Client *http.Client
	Log    *slog.Logger
}

// Run handles invocations, one after the other, until the context ends.
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
		f.Log.Error("cannot receive an invocation", "error", err.Error())
		if failures > 10 {
			return fmt.Errorf("receive invocations: %w", err)
		}
		pause := time.NewTimer(time.Duration(failures) * 100 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// next receives and handles one invocation.
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
		return errors.New("read the invocation: X-Cff-Request-Id is missing")
	}

	work, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	work, cancelInTime := withMargin(work)
	defer cancelInTime()
	if f.Credentials {
		work = context.WithValue(work, invocationCredentials{}, temporary(resp.Header))
	}
	answer, err := f.handle(work, payload)
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

func (f *FunctionGraph) handle(ctx context.Context, payload []byte) (any, error) {
	if f.Work != nil {
		return f.Work.do(ctx)
	}
	batch := ingress.Decode(payload)
	if batch.Carrier == ingress.HTTP {
		// An APIG trigger answers 500 if a function returns another form
		// (https://support.huaweicloud.com/intl/en-us/usermanual-functiongraph/functiongraph_01_0204.html).
		return gatewayResponse(processWhole(ctx, f.Processor, batch, waitOr(f.Wait, waitOverHTTP)), batch, payload), nil
	}
	return directResponse(processWhole(ctx, f.Processor, batch, waitOr(f.Wait, waitToDeadline)))
}

func (f *FunctionGraph) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+f.Address+"/v1/runtime/invocation/"+path,
		bytes.NewReader(body))
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

// temporary returns the access key in an invocation's header. FunctionGraph sets it for a function with an agency.
func temporary(h http.Header) config.Credentials {
	return config.Credentials{
		AccessKey:     cmp.Or(h.Get("X-CFF-Security-Access-Key"), h.Get("X-CFF-Access-Key")),
		SecretKey:     config.NewSecret(cmp.Or(h.Get("X-CFF-Security-Secret-Key"), h.Get("X-CFF-Secret-Key"))),
		SecurityToken: config.NewSecret(h.Get("X-CFF-Security-Token")),
	}
}

// CredentialsOf returns a source of credentials with the access key of the invocation. The rest, such as project and
// region, comes from base.
func CredentialsOf(base config.Credentials) func(context.Context) (config.Credentials, error) {
	return func(ctx context.Context) (config.Credentials, error) {
		own, ok := ctx.Value(invocationCredentials{}).(config.Credentials)
		if !ok || own.AccessKey == "" {
			err := errors.New("read the invocation's credentials: there are none; configure an agency for the function")
			return config.Credentials{}, &cloud.RefusedError{Err: err}
		}
		c := base
		c.AccessKey, c.SecretKey, c.SecurityToken = own.AccessKey, own.SecretKey, own.SecurityToken
		return c, nil
	}
}
