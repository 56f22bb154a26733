package app

import (
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
)

// What would be readable, or not be checked, is refused before anything starts.
func TestOnlyFromASecret(t *testing.T) {
	plain := config.Credentials{Username: "u", Password: config.NewSecret("p")}
	for _, tt := range []struct {
		name        string
		settings    config.Settings
		credentials config.Credentials
		sam         string
		says        string
	}{
		{"a secret's ARN", config.Settings{SecretARN: "arn"}, config.Credentials{}, "", ""},
		{"a password in the environment", config.Settings{SecretARN: "arn"}, plain, "", "OS_PASSWORD would be readable"},
		{"nothing", config.Settings{}, config.Credentials{}, "", "there are no credentials"},
		{"at a desk", config.Settings{}, plain, "true", ""},
		{"a shared secret", config.Settings{SecretARN: "arn", HTTPSecret: config.NewSecret("s")}, config.Credentials{}, "", "TAGGER_HTTP_SECRET is not for AWS Lambda"},
	} {
		t.Setenv("AWS_SAM_LOCAL", tt.sam)
		if err := onlyFromASecret(tt.settings, tt.credentials); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
