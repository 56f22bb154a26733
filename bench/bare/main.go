// Command bare is a minimal function that tags the servers of an SQS batch, with the standard library only, one
// hard-coded rule and no error handling.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/cloudtagger/tagger/bench/batch"
)

func main() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	// Invocations in one process are sequential.
	token, compute := "", os.Getenv("BARE_COMPUTE")
	lambda.Start(func(ctx context.Context, records events.SQSEvent) (events.SQSEventResponse, error) {
		if token == "" {
			var err error
			if token, err = login(ctx, client); err != nil {
				return events.SQSEventResponse{}, err
			}
		}
		return batch.Each(records, func(body string) error { return tag(ctx, client, compute, token, body) }), nil
	})
}

func login(ctx context.Context, client *http.Client) (token string, err error) {
	body := fmt.Sprintf(`{"auth": {"identity": {"methods": ["password"],
		"password": {"user": {"name": %q, "password": %q, "domain": {"name": "Default"}}}},
		"scope": {"project": {"name": %q, "domain": {"name": "Default"}}}}}`, os.Getenv("OS_USERNAME"),
		os.Getenv("OS_PASSWORD"), os.Getenv("OS_PROJECT_NAME"))
	header, err := call(ctx, client, http.MethodPost, os.Getenv("OS_AUTH_URL")+"/auth/tokens", "", []byte(body))
	return header.Get("X-Subject-Token"), err
}

// tag writes the metadata and reads it back.
func tag(ctx context.Context, client *http.Client, compute, token, body string) error {
	var event struct{ Subject string }
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	url := compute + "/servers/" + event.Subject + "/metadata"
	if _, err := call(ctx, client, http.MethodPost, url, token, []byte(`{"metadata": {"env": "dev"}}`)); err != nil {
		return err
	}
	_, err := call(ctx, client, http.MethodGet, url, token, nil)
	return err
}

func call(ctx context.Context, client *http.Client, method, url, token string, body []byte) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call the API: %w", err)
	}
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the API: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the response: %w", err)
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, url, resp.Status, text)
	}
	return resp.Header, nil
}
