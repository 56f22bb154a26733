package awsenv_test

import (
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/awsenv"
)

func TestConfig(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1",
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "the-secret-key", "AWS_SESSION_TOKEN": "the-session",
	} {
		t.Setenv(name, value)
	}
	c := awsenv.Config("")
	if c.Region != "eu-central-1" || *c.BaseEndpoint != "http://127.0.0.1:1" || c.RetryMaxAttempts != 1 {
		t.Errorf("region %q, endpoint %q, %d attempts", c.Region, *c.BaseEndpoint, c.RetryMaxAttempts)
	}
	got, err := c.Credentials.Retrieve(t.Context())
	if err != nil || got.AccessKeyID != "AKIA" || got.SecretAccessKey != "the-secret-key" || got.SessionToken != "the-session" {
		t.Errorf("credentials of %q, %v", got.AccessKeyID, err)
	}
	if r := awsenv.Config("us-east-1").Region; r != "us-east-1" {
		t.Errorf("region %q", r)
	}
}

func TestNoCredentials(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := awsenv.Config("eu-central-1").Credentials.Retrieve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY are not set") {
		t.Errorf("error %v", err)
	}
}
