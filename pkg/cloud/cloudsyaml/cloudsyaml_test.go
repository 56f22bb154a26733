package cloudsyaml_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/cloudsyaml"
	"github.com/cloudtagger/tagger/pkg/config"
)

const cloudsYAML = `
clouds:
  demo:
    auth:
      auth_url: https://keystone.example.com:5000/v3
      username: tagger
      project_name: demo
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    interface: internal
    identity_api_version: 3
    cacert: ~/ca.pem
    volume_api_version: 3
  app:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example.com:5000/v3
      application_credential_id: a1
      application_credential_secret: 012345
  vendor:
    profile: acme
    auth: {username: tagger, password: hunter2}
  insecure:
    verify: false
    auth: {auth_url: "https://k/v3"}
  misspelt:
    auth: {auth_url: "https://k/v3", pasword: hunter2}
  system:
    auth: {auth_url: "https://k/v3", system_scope: all}
  certificate:
    cert: client.pem
    auth: {auth_url: "https://k/v3"}
  unknown-profile:
    profile: nowhere
    auth: {username: tagger}
  empty:
`

const secureYAML = `
clouds:
  demo:
    auth:
      password: hunter2
`

const publicYAML = `
public-clouds:
  acme:
    auth: {auth_url: "https://acme.example.com/v3", user_domain_name: Acme, username: unused}
    region_name: north
    endpoint_type: publicURL
`

// emptyHome is an empty home and working directory, with nothing set in the environment.
func emptyHome(t *testing.T) (home, dir string) {
	home, dir = t.TempDir(), t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", home)
	for _, name := range append(config.CredentialNames(), "OS_CLOUD", "OS_CLIENT_CONFIG_FILE", "XDG_CONFIG_HOME") {
		t.Setenv(name, "")
	}
	return home, dir
}

func write(t *testing.T, content string, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestClouds(t *testing.T) {
	home, dir := emptyHome(t)
	write(t, cloudsYAML, home, ".config", "openstack", "clouds.yaml")
	write(t, secureYAML, home, ".config", "openstack", "secure.yaml")
	write(t, publicYAML, dir, "clouds-public.yaml")
	tests := []struct {
		cloud string
		want  config.Credentials
	}{
		{"demo", config.Credentials{
			AuthURL: "https://keystone.example.com:5000/v3", Username: "tagger", Password: config.NewSecret("hunter2"),
			ProjectName: "demo", UserDomainName: "Default", ProjectDomainName: "Default", RegionName: "RegionOne",
			Interface: "internal", IdentityAPIVersion: "3", CACert: filepath.Join(home, "ca.pem"),
		}},
		{"app", config.Credentials{
			AuthURL: "https://keystone.example.com:5000/v3", AuthType: "v3applicationcredential",
			ApplicationCredentialID: "a1", ApplicationCredentialSecret: config.NewSecret("012345"),
		}},
		{"vendor", config.Credentials{
			AuthURL: "https://acme.example.com/v3", Username: "tagger", Password: config.NewSecret("hunter2"),
			UserDomainName: "Acme", RegionName: "north", EndpointType: "publicURL",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.cloud, func(t *testing.T) {
			t.Setenv("OS_CLOUD", tt.cloud)
			t.Setenv("OS_USERNAME", "not used") // a cloud is taken whole
			got, err := cloudsyaml.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got.Password != tt.want.Password || got.ApplicationCredentialSecret != tt.want.ApplicationCredentialSecret {
				t.Error("the secret is not the one in the file")
			}
		})
	}
	t.Run("variables that go before the file", func(t *testing.T) {
		t.Setenv("OS_CLOUD", "demo")
		t.Setenv("OS_REGION_NAME", "RegionTwo")
		t.Setenv("OS_INTERFACE", "public")
		t.Setenv("OS_CACERT", "/etc/ca.pem")
		got, err := cloudsyaml.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		overridden := []string{got.RegionName, got.Interface, got.CACert}
		if diff := cmp.Diff([]string{"RegionTwo", "public", "/etc/ca.pem"}, overridden); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestWithoutCloud(t *testing.T) {
	_, dir := emptyHome(t)
	write(t, cloudsYAML, dir, "clouds.yaml")
	t.Setenv("OS_USERNAME", "from the environment")
	got, err := cloudsyaml.Read(t.Context())
	if want := (config.Credentials{Username: "from the environment"}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPlaces(t *testing.T) {
	home, dir := emptyHome(t)
	t.Setenv("OS_CLOUD", "c")
	at := func(name string) string { return "clouds: {c: {region_name: " + name + "}}" }
	xdg := t.TempDir()
	named := write(t, at("named"), t.TempDir(), "my-clouds.yaml")
	check := func(want string) {
		t.Helper()
		if got, err := cloudsyaml.Read(t.Context()); err != nil || got.RegionName != want {
			t.Errorf("region %q, %v; want %q", got.RegionName, err, want)
		}
	}
	write(t, at("home"), home, ".config", "openstack", "clouds.yaml")
	check("home")
	write(t, at("xdg"), xdg, "openstack", "clouds.yaml")
	t.Setenv("XDG_CONFIG_HOME", xdg)
	check("xdg")
	write(t, at("here"), dir, "clouds.yaml")
	check("here")
	t.Setenv("OS_CLIENT_CONFIG_FILE", named)
	check("named")
}

func TestErrors(t *testing.T) {
	tests := []struct{ name, cloud, clouds, secure, want string }{
		{"no such cloud", "dmeo", cloudsYAML, "", "read cloud dmeo: it is not in clouds.yaml; did you mean demo?"},
		{"no such cloud, few others", "xyz", "clouds: {north: {}, south: {}}", "",
			"it is not in clouds.yaml; known: north, south"},
		{"no file", "demo", "", "", "read cloud demo: there is no clouds.yaml (looked for clouds.yaml, "},
		{"verify", "insecure", cloudsYAML, "", "read cloud insecure in clouds.yaml: verify: false is not supported"},
		{"client certificate", "certificate", cloudsYAML, "", "cert (a client certificate) is not supported"},
		{"misspelt", "misspelt", cloudsYAML, "", "auth.pasword is not supported; did you mean password?"},
		{"not supported", "system", cloudsYAML, "", "auth.system_scope is not supported"},
		{"unknown profile", "unknown-profile", cloudsYAML, "",
			"its profile nowhere is not in a clouds-public.yaml, which does not exist"},
		{"not YAML", "demo", "clouds:\n  demo: {password: hunter2", "", "read clouds.yaml: not valid YAML at line "},
		{"alias", "demo", "clouds:\n  demo: {auth: {password: *hunter2}}", "",
			"read clouds.yaml: not valid YAML at line 2: quote values"},
		{"no clouds", "demo", "cloud: {demo: hunter2}", "", `read clouds.yaml: it has no "clouds" at the top`},
		{"not a cloud", "demo", "clouds:\n  demo: hunter2", "",
			"read clouds.yaml: clouds is not in the form that clouds.yaml has at line 2"},
		{"auth is a list", "demo", "clouds:\n  demo:\n    auth: [hunter2]", "", "at line 3"},
		{"secure.yaml", "demo", cloudsYAML, "clouds:\n  demo: hunter2", "read secure.yaml: clouds is not in the form"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, dir := emptyHome(t)
			t.Setenv("OS_CLOUD", tt.cloud)
			if tt.clouds != "" {
				write(t, tt.clouds, dir, "clouds.yaml")
			}
			if tt.secure != "" {
				write(t, tt.secure, dir, "secure.yaml")
			}
			_, err := cloudsyaml.Read(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want %q in it", err, tt.want)
			}
			if _, ok := errors.AsType[*cloud.RefusedError](err); !ok {
				t.Errorf("error %q is no RefusedError", err)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q holds a secret or has several lines", err)
			}
		})
	}
	t.Run("empty cloud", func(t *testing.T) {
		_, dir := emptyHome(t)
		t.Setenv("OS_CLOUD", "empty")
		write(t, cloudsYAML, dir, "clouds.yaml")
		c, err := cloudsyaml.Read(t.Context())
		if err != nil || c != (config.Credentials{}) {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		_, dir := emptyHome(t)
		t.Setenv("OS_CLOUD", "demo")
		if err := os.Mkdir(filepath.Join(dir, "clouds.yaml"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := cloudsyaml.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "read clouds: ") ||
			!strings.Contains(err.Error(), "clouds.yaml") {
			t.Errorf("error = %v", err)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(cloudsYAML)
	f.Add("clouds: {demo: {auth: {password: [1, 2]}}}")
	f.Add("clouds: null")
	f.Add("clouds: &a {demo: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		_, dir := emptyHome(t)
		t.Setenv("OS_CLOUD", "demo")
		write(t, text, dir, "clouds.yaml")
		if c, err := cloudsyaml.Read(t.Context()); err != nil && c != (config.Credentials{}) {
			t.Error("credentials beside an error")
		}
	})
}
