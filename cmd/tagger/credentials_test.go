package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With TAGGER_SECRET_ARN, a process that runs takes from clouds.yaml what is there; the secret has the rest.
func TestProcessCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	text := "clouds: {prod: {auth: {auth_url: 'https://keystone.example.com:5000/v3'}, region_name: r-1}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	t.Setenv("OS_CLOUD", "prod")
	if _, err := processCredentials(t.Context()); err == nil || !strings.Contains(err.Error(), "prod") {
		t.Errorf("without a secret: %v", err)
	}
	t.Setenv("TAGGER_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tagger")
	if c, err := processCredentials(t.Context()); err != nil || c.RegionName != "r-1" {
		t.Errorf("with a secret: region %q, %v", c.RegionName, err)
	}
}
