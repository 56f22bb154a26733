package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/simcloud"
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

// A secret that was put into the variable for its file by mistake is in no message.
func TestSecretInsteadOfItsFile(t *testing.T) {
	commands := [][]string{{"check"}, {"plan", "--cloud", "env", "-"}, {"coverage"}, {"queues", "list"}}
	long := strings.Repeat("hunter2", 1000) // longer than a name of a file can be
	var names []string
	for _, t := range []reflect.Type{
		reflect.TypeFor[config.Credentials](), reflect.TypeFor[config.Settings](), reflect.TypeFor[config.Listen](),
	} {
		for f := range t.Fields() {
			if f.Type == reflect.TypeFor[config.Secret]() {
				names = append(names, f.Tag.Get("envconfig"))
			}
		}
	}
	if len(names) < 7 {
		t.Fatal(names)
	}
	for _, name := range names {
		for secret, why := range map[string]string{
			"hunter2": "no such file or directory", "/hunter2/x": "no such file or directory", long: "file name too long",
		} {
			t.Run(name+" "+why, func(t *testing.T) {
				clearListen(t)
				onSimcloud(t, simcloud.Options{})
				t.Setenv("TAGGER_RULES", "{required: [{key: a, kinds: [server]}], rules: [{on: server.created, add: {a: b}}]}")
				t.Setenv(name, "")
				t.Setenv(name+"_FILE", secret)
				want := name + "_FILE names no file that can be read (" + why + "): it wants the path of a file with the " +
					"secret, not the secret itself"
				said := false
				for _, args := range commands {
					out, errOut, _ := taggerCommand(t, plainEvent("server.created"), args...)
					if strings.Contains(out+errOut, "hunter2") {
						t.Errorf("%v: %s%s", args, out, errOut)
					}
					said = said || strings.Contains(out+errOut, want)
				}
				if !said {
					t.Errorf("no command says: %s", want)
				}
			})
		}
	}
}

// Credentials that cannot work are a fault of the configuration, in every command that uses them.
func TestIncompleteCredentials(t *testing.T) {
	dir := t.TempDir()
	e := write(t, dir, "event.json", plainEvent("server.created"))
	for _, tt := range []struct{ name, variable, value, want string }{
		{"none", "", "", "tagger: credentials: no credentials are set: set OS_AUTH_URL"},
		{"no user", "OS_USERNAME", "", "tagger: credentials: OS_USERNAME or OS_USER_ID is missing: OS_PASSWORD needs it"},
		{"misspelt interface", "OS_INTERFACE", "pubic", `tagger: credentials: OS_INTERFACE "pubic" is not an interface`},
	} {
		for _, args := range [][]string{
			{"reconcile", "--scope", "own", "--out", filepath.Join(dir, "plan.jsonl")},
			{"reconcile", "--apply", e},
			{"reconcile", "--revert", e},
			{"explain", "web-1"},
			{"coverage"},
			{"plan", "--cloud", "env", e},
			{"invoke", "--cloud", "env", e},
		} {
			t.Run(tt.name+" "+strings.Join(args[:min(2, len(args))], " "), func(t *testing.T) {
				if onSimcloud(t, simcloud.Options{}); tt.variable == "" {
					clearEnv(t)
				}
				t.Setenv("TAGGER_RULES", fleetRules+"required: [{key: owner, kinds: [server]}]\n")
				if tt.variable != "" {
					t.Setenv(tt.variable, tt.value)
				}
				out, errOut, status := taggerCommand(t, "", args...)
				if status != exitUsage || !strings.Contains(errOut, tt.want) || out != "" {
					t.Errorf("status %d: %s%s", status, out, errOut)
				}
			})
		}
	}
}
