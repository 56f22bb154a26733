package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
)

// TestRequireSecretARN: settings that would expose a secret, or have no effect, are rejected at start.
func TestRequireSecretARN(t *testing.T) {
	plain := config.Credentials{Username: "u", Password: config.NewSecret("p")}
	for _, tt := range []struct {
		name        string
		settings    config.Settings
		credentials config.Credentials
		samLocal    string
		want        string
	}{
		{"a secret's ARN", config.Settings{SecretARN: "arn"}, config.Credentials{}, "", ""},
		{"a password in the environment", config.Settings{SecretARN: "arn"}, plain, "", "OS_PASSWORD would be readable"},
		{"nothing", config.Settings{}, config.Credentials{}, "", "there are no credentials"},
		{"under the SAM CLI", config.Settings{}, plain, "true", ""},
		{
			"a shared secret", config.Settings{SecretARN: "arn", HTTPSecret: config.NewSecret("s")}, config.Credentials{}, "",
			"TAGGER_HTTP_SECRET is not for AWS Lambda",
		},
	} {
		t.Setenv("AWS_SAM_LOCAL", tt.samLocal)
		err := requireSecretARN(tt.settings, tt.credentials)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestSourcesOnAWS: settings for AWS services are errors where the services are not available.
func TestSourcesOnAWS(t *testing.T) {
	t.Setenv("TAGGER_SECRET_ARN", "arn")
	t.Setenv("TAGGER_RULES_PARAMETER", "/rules")
	parameter := func(context.Context, string) (string, error) {
		return "rules: [{name: n, on: server.created, set: {a: b}}]", nil
	}
	opened := ""
	secret := func(arn string) (func(context.Context) (config.Credentials, error), func()) {
		opened = arn
		return func(context.Context) (config.Credentials, error) { return config.Credentials{}, nil }, func() {}
	}
	for _, tt := range []struct {
		name string
		aws  AWS
		want string
	}{
		{"both", AWS{Secret: secret, Parameter: parameter}, ""},
		{"no parameters", AWS{Secret: secret}, "tagger listen read TAGGER_RULES_PARAMETER"},
		{"no secrets", AWS{Parameter: parameter}, "TAGGER_SECRET_ARN is not supported here: unset it"},
	} {
		opened = ""
		_, err := Compose(t.Context(), Function{Name: "f", AWS: tt.aws})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && opened != "arn" {
			t.Errorf("%s: opened %q", tt.name, opened)
		}
	}
}

// Credentials in a secret are warned about when they are read, once.
func TestWarnOnce(t *testing.T) {
	var out bytes.Buffer
	err := errors.New("no response")
	read := warnOnce(func(context.Context) (config.Credentials, error) {
		return config.Credentials{AuthURL: "http://keystone.example.com/v3"}, err
	}, slog.New(slog.NewTextHandler(&out, nil)))
	for _, err = range []error{err, nil, nil} {
		if _, got := read(t.Context()); got != err {
			t.Errorf("error %v, want %v", got, err)
		}
	}
	if n := strings.Count(out.String(), "OS_AUTH_URL begins with http://"); n != 1 {
		t.Errorf("%d warnings: %s", n, out.String())
	}
}
