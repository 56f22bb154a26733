// Command libraries does the work of the bare client with Tagger's libraries and none of its code: the CloudEvents SDK
// reads events, YAML holds the rule, expr evaluates its condition and value, and gophercloud sends the requests. The
// difference from the bare client is the cost of the libraries.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/gophercloud/gophercloud/v2"
	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/bench/batch"
)

// environment has the variables of the expressions.
type environment struct {
	Type    string
	Subject string
}

type rule struct {
	when, value *vm.Program
	key         string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "libraries:", err)
		os.Exit(1)
	}
}

func run() error {
	r, err := compile("{when: 'Type endsWith \"server.created\"', key: env, value: '\"dev\"'}")
	if err != nil {
		return err
	}
	provider := &gophercloud.ProviderClient{HTTPClient: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}}
	compute := &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: os.Getenv("BARE_COMPUTE") + "/"}
	// Invocations in one process are sequential.
	loggedIn := false
	lambda.Start(func(ctx context.Context, records events.SQSEvent) (events.SQSEventResponse, error) {
		if !loggedIn {
			if err := login(ctx, provider); err != nil {
				return events.SQSEventResponse{}, err
			}
			loggedIn = true
		}
		return batch.Each(records, func(body string) error { return r.tag(ctx, compute, body) }), nil
	})
	return nil
}

func compile(text string) (rule, error) {
	var source struct{ When, Key, Value string }
	if err := yaml.Unmarshal([]byte(text), &source); err != nil {
		return rule{}, fmt.Errorf("read the rule: %w", err)
	}
	when, err := expr.Compile(source.When, expr.Env(environment{}), expr.AsBool())
	if err != nil {
		return rule{}, fmt.Errorf("compile the condition: %w", err)
	}
	value, err := expr.Compile(source.Value, expr.Env(environment{}))
	if err != nil {
		return rule{}, fmt.Errorf("compile the value: %w", err)
	}
	return rule{when: when, value: value, key: source.Key}, nil
}

// tag writes the metadata and reads it back.
func (r rule) tag(ctx context.Context, compute *gophercloud.ServiceClient, body string) error {
	var e event.Event
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	env := environment{Type: e.Type(), Subject: e.Subject()}
	matches, err := expr.Run(r.when, env)
	if err != nil || matches != true {
		return err
	}
	value, err := expr.Run(r.value, env)
	if err != nil {
		return fmt.Errorf("evaluate the value: %w", err)
	}
	url := compute.ServiceURL("servers", e.Subject(), "metadata")
	write := map[string]any{"metadata": map[string]any{r.key: value}}
	var written, read struct{ Metadata map[string]string }
	_, err = compute.Request(ctx, http.MethodPost, url, &gophercloud.RequestOpts{
		JSONBody: write, JSONResponse: &written, OkCodes: []int{http.StatusOK},
	})
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err = compute.Request(ctx, http.MethodGet, url, &gophercloud.RequestOpts{
		JSONResponse: &read, OkCodes: []int{http.StatusOK},
	})
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if read.Metadata[r.key] != value {
		return fmt.Errorf("read back: %s is %q", r.key, read.Metadata[r.key])
	}
	return nil
}

func login(ctx context.Context, provider *gophercloud.ProviderClient) error {
	domain := map[string]any{"name": "Default"}
	body := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{
			"name": os.Getenv("OS_USERNAME"), "password": os.Getenv("OS_PASSWORD"), "domain": domain,
		}}},
		"scope": map[string]any{"project": map[string]any{"name": os.Getenv("OS_PROJECT_NAME"), "domain": domain}},
	}}
	resp, err := provider.Request(ctx, http.MethodPost, os.Getenv("OS_AUTH_URL")+"/auth/tokens",
		&gophercloud.RequestOpts{JSONBody: body, OkCodes: []int{http.StatusCreated}})
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	defer resp.Body.Close()
	provider.SetToken(resp.Header.Get("X-Subject-Token"))
	return nil
}
