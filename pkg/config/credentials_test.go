package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
)

var secret = config.NewSecret

// password returns complete credentials, for tests to change.
func password() config.Credentials {
	return config.Credentials{
		AuthURL: "https://keystone.example.com:5000/v3", Username: "tagger", Password: secret("hunter2"),
		UserDomainName: "Default", ProjectName: "demo", ProjectDomainName: "Default", RegionName: "RegionOne",
	}
}

func accessKey() config.Credentials {
	return config.Credentials{AccessKey: "AK1", SecretKey: secret("hunter2"), AccessKeyProjectID: "p1"}
}

func TestResolveMethod(t *testing.T) {
	tests := []struct {
		name        string
		credentials config.Credentials
		method      config.Method
		reason      string
	}{
		{"password", password(), config.Password, "OS_AUTH_URL"},
		{
			"password by id",
			config.Credentials{AuthURL: "http://k/v3", UserID: "u1", Password: secret("x"), ProjectID: "p1"},
			config.Password, "OS_USER_ID, OS_PASSWORD, OS_AUTH_URL log in",
		},
		{
			"application credential by id",
			config.Credentials{AuthURL: "http://k/v3", ApplicationCredentialID: "a1", ApplicationCredentialSecret: secret("x")},
			config.ApplicationCredential, "OS_APPLICATION_CREDENTIAL_ID, OS_APPLICATION_CREDENTIAL_SECRET, OS_AUTH_URL log in",
		},
		{
			"application credential by name beside a user name",
			config.Credentials{
				AuthURL: "http://k/v3", ApplicationCredentialName: "a", ApplicationCredentialSecret: secret("x"),
				Username: "tagger", DomainID: "default",
			},
			config.ApplicationCredential, "",
		},
		{"token", config.Credentials{AuthURL: "http://k/v3", Token: secret("x")}, config.Token, "OS_TOKEN"},
		{"access key", accessKey(), config.AccessKey, "HUAWEICLOUD_SDK_AK"},
		{
			"access key beside an address, a region and a password without its user",
			func() config.Credentials {
				c := accessKey()
				c.AuthURL, c.RegionName, c.Password = "http://k/v3", "eu-1", secret("x")
				return c
			}(),
			config.AccessKey, "set but not used: OS_PASSWORD",
		},
		{
			"password beside half an access key",
			func() config.Credentials { c := password(); c.AccessKey = "AK1"; return c }(),
			config.Password, "set but not used: HUAWEICLOUD_SDK_AK",
		},
		{
			"OS_AUTH_TYPE decides",
			func() config.Credentials {
				c := password()
				c.ApplicationCredentialID, c.ApplicationCredentialSecret = "a1", secret("x")
				c.AuthType = "v3applicationcredential"
				return c
			}(),
			config.ApplicationCredential, "chosen by OS_AUTH_TYPE; set but not used: OS_PASSWORD",
		},
		{
			"OS_AUTH_TYPE against an access key",
			func() config.Credentials {
				c := password()
				c.AccessKey, c.SecretKey, c.AccessKeyProjectID, c.AuthType = "AK1", secret("x"), "p1", "password"
				return c
			}(),
			config.Password, "HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tt.credentials.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			if l.Method != tt.method {
				t.Errorf("method = %q, want %q", l.Method, tt.method)
			}
			if !strings.Contains(l.Reason, tt.reason) {
				t.Errorf("reason = %q, want %q in it", l.Reason, tt.reason)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	change := func(c config.Credentials, f func(*config.Credentials)) config.Credentials { f(&c); return c }
	type creds = config.Credentials
	tests := []struct {
		name        string
		credentials config.Credentials
		want        string
	}{
		{"nothing", config.Credentials{}, "no credentials are set: set OS_AUTH_URL"},
		{"only an address", config.Credentials{AuthURL: "http://k/v3"}, "no credentials are set"},
		{
			"blank is missing", change(password(), func(c *creds) { c.Username = "  " }),
			"OS_USERNAME or OS_USER_ID is missing: OS_PASSWORD needs it",
		},
		{
			"no password", change(password(), func(c *creds) { c.Password = secret("") }),
			"OS_PASSWORD is missing: OS_USERNAME needs it",
		},
		{
			"no address", change(password(), func(c *creds) { c.AuthURL = "" }),
			"OS_AUTH_URL is missing: OS_PASSWORD needs it",
		},
		{
			"no user domain", change(password(), func(c *creds) { c.UserDomainName = "" }),
			"OS_USER_DOMAIN_NAME or OS_USER_DOMAIN_ID is missing",
		},
		{
			"no project domain",
			config.Credentials{AuthURL: "http://k/v3", UserID: "u1", Password: secret("x"), ProjectName: "demo"},
			"OS_PROJECT_DOMAIN_NAME or OS_PROJECT_DOMAIN_ID is missing",
		},
		{
			"application credential without secret",
			config.Credentials{AuthURL: "http://k/v3", ApplicationCredentialID: "a1"},
			"OS_APPLICATION_CREDENTIAL_SECRET is missing: OS_APPLICATION_CREDENTIAL_ID needs it",
		},
		{
			"application credential by name without user",
			config.Credentials{AuthURL: "http://k/v3", ApplicationCredentialName: "a", ApplicationCredentialSecret: secret("x")},
			"OS_USERNAME or OS_USER_ID is missing: OS_APPLICATION_CREDENTIAL_NAME",
		},
		{
			"access key without secret", config.Credentials{AccessKey: "AK1"},
			"HUAWEICLOUD_SDK_SK is missing: HUAWEICLOUD_SDK_AK needs it",
		},
		{
			"access key without project", change(accessKey(), func(c *creds) { c.AccessKeyProjectID = "" }),
			"HUAWEICLOUD_SDK_PROJECT_ID is missing",
		},
		{
			"password and access key",
			change(password(), func(c *creds) {
				c.AccessKey, c.SecretKey, c.AccessKeyProjectID = "AK1", secret("x"), "p1"
			}),
			"OS_PASSWORD and HUAWEICLOUD_SDK_SK are set, but only one can be used: " +
				"unset the others, or choose one with OS_AUTH_TYPE (v3password)",
		},
		{
			"password and application credential",
			change(password(), func(c *creds) {
				c.ApplicationCredentialID, c.ApplicationCredentialSecret = "a1", secret("x")
			}),
			"OS_APPLICATION_CREDENTIAL_SECRET and OS_PASSWORD are set",
		},
		{
			"unknown auth type", change(password(), func(c *creds) { c.AuthType = "v3totp" }),
			`OS_AUTH_TYPE "v3totp" is not supported`,
		},
		{
			"auth type without its variables", change(password(), func(c *creds) { c.AuthType = "v3token" }),
			"OS_TOKEN is missing: OS_AUTH_TYPE v3token needs it",
		},
		{
			"version 2", change(password(), func(c *creds) { c.IdentityAPIVersion = "2.0" }),
			`OS_IDENTITY_API_VERSION "2.0" is not supported`,
		},
		{
			"address of version 2", change(password(), func(c *creds) { c.AuthURL = "http://k:5000/v2.0/" }),
			"version 2 of the Identity API",
		},
		{
			"no scheme", change(password(), func(c *creds) { c.AuthURL = "keystone:5000/v3" }),
			"OS_AUTH_URL is not an address",
		},
		{
			"password in the address", change(password(), func(c *creds) { c.AuthURL = "https://u:hunter2@k/v3" }),
			"remove user, password",
		},
		{
			"control character in the address", change(password(), func(c *creds) { c.AuthURL = "https://hunter2\x7f" }),
			"OS_AUTH_URL is not an address",
		},
		{
			"interface", change(password(), func(c *creds) { c.Interface = "pubic" }),
			`OS_INTERFACE "pubic" is not an interface`,
		},
		{
			"endpoint type", change(password(), func(c *creds) { c.EndpointType = "x" }),
			`OS_ENDPOINT_TYPE "x" is not an interface`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.credentials.Resolve()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want %q in it", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q contains a secret", err)
			}
		})
	}
}

func TestResolveFillsIn(t *testing.T) {
	tests := []struct {
		name string
		give config.Credentials
		want func(*config.Login)
	}{
		{
			"former names, and the user's domain for the project",
			config.Credentials{
				AuthURL: " https://k/identity/\n", Username: "u", Password: secret(" x "), UserDomainID: "d1", UserDomainName: "D1",
				TenantName: "demo", EndpointType: "internalURL",
			},
			func(l *config.Login) {
				l.AuthURL, l.Username, l.UserDomainID = "https://k/identity/v3/", "u", "d1"
				l.ProjectName, l.ProjectDomainID, l.Interface, l.EndpointType = "demo", "d1", "internal", "internalURL"
			},
		},
		{
			"one domain for both",
			config.Credentials{
				AuthURL: "https://k/v3/", Username: "u", Password: secret(" x "), DomainName: "corp",
				ProjectID: "p1", TenantID: "p2",
			},
			func(l *config.Login) {
				l.AuthURL, l.Username, l.DomainName, l.UserDomainName = "https://k/v3/", "u", "corp", "corp"
				l.ProjectID, l.ProjectDomainName, l.Interface = "p1", "corp", "public"
			},
		},
		{
			"default domain",
			config.Credentials{
				AuthURL: "https://k", Username: "u", Password: secret(" x "), DefaultDomain: "default",
				ProjectName: "demo",
			},
			func(l *config.Login) {
				l.AuthURL, l.Username, l.DefaultDomain, l.UserDomainID = "https://k/v3/", "u", "default", "default"
				l.ProjectName, l.ProjectDomainID, l.Interface = "demo", "default", "public"
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.give.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			want := config.Login{Method: config.Password, Reason: got.Reason}
			want.Password = secret(" x ")
			tt.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestNames: each variable has the same name in the environment and in JSON, and a description.
func TestNames(t *testing.T) {
	for _, name := range config.CredentialNames() { // the test's own environment must not matter
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	values := make(map[string]string)
	for field := range reflect.TypeFor[config.Credentials]().Fields() {
		name := field.Tag.Get("envconfig")
		if json, _, _ := strings.Cut(field.Tag.Get("json"), ","); json != name || name == "" {
			t.Errorf("%s is %q in the environment and %q in JSON", field.Name, name, json)
		}
		if d := field.Tag.Get("desc"); !strings.HasSuffix(d, ".") {
			t.Errorf("%s has no description: %q", name, d)
		}
		values[name] = "value of " + name
		t.Setenv(name, values[name])
	}
	fromEnv, err := config.CredentialsFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	fromJSON, err := config.ParseCredentials(object)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromEnv, fromJSON); diff != "" {
		t.Errorf("environment and JSON differ:\n%s", diff)
	}
	for field, value := range reflect.ValueOf(fromEnv).Fields() {
		text := value.Interface()
		if s, ok := text.(config.Secret); ok {
			text = s.Reveal()
		}
		if want := values[field.Tag.Get("envconfig")]; text != want {
			t.Errorf("%s = %q, want %q", field.Name, text, want)
		}
	}
}

func TestParseCredentialsErrors(t *testing.T) {
	tests := []struct{ name, object, want string }{
		{"text", `hunter2`, "not a JSON object"},
		{"string", `"hunter2"`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"cut off", `{"OS_PASSWORD": "hunter2"`, "not a JSON object"},
		{"two", `{"OS_PASSWORD": "hunter2"} {}`, "not a JSON object"},
		{"misspelt", `{"OS_PASWORD": "hunter2"}`, `unknown name "OS_PASWORD"; did you mean OS_PASSWORD?`},
		{"lower case", `{"os_password": "hunter2"}`, `unknown name "os_password"`},
		{"number", `{"OS_PASSWORD": 8472}`, "OS_PASSWORD is not a JSON string"},
		{"object", `{"OS_TOKEN": {"hunter2": 1}}`, "OS_TOKEN is not a JSON string"},
		{"long name", `{"` + strings.Repeat("x", 100) + `": ""}`, `unknown name "` + strings.Repeat("x", 40) + `"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.ParseCredentials([]byte(tt.object))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want %q in it", err, tt.want)
			}
			for _, value := range []string{"hunter2", "8472"} {
				if strings.Contains(err.Error(), value) {
					t.Errorf("error %q contains a value", err)
				}
			}
		})
	}
}

func FuzzParseCredentials(f *testing.F) {
	f.Add([]byte(`{"OS_AUTH_URL": "https://k/v3", "OS_TOKEN": "x"}`))
	f.Add([]byte(`{"OS_AUTH_URL": null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, object []byte) {
		c, err := config.ParseCredentials(object)
		if err != nil && c != (config.Credentials{}) {
			t.Error("credentials beside an error")
		}
		if l, err := c.Resolve(); err == nil && l.Method == "" {
			t.Error("no method and no error")
		}
	})
}

func TestSecretIsNotShown(t *testing.T) {
	const text = "correct horse"
	s := secret(text)
	var buf strings.Builder
	logger := slog.New(slog.NewJSONHandler(&buf, nil))
	nested := struct{ S any }{s}
	logger.Info("test", "secret", s, "pointer", &s, "credentials", config.Credentials{Password: s}, "nested", nested)
	slog.New(slog.NewTextHandler(&buf, nil)).Info("test", "secret", s, "credentials", config.Credentials{Password: s})
	object, err := json.Marshal(map[string]any{"value": s, "pointer": &s, "credentials": config.Credentials{Password: s}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&buf, string(object), s, &s)

	type hidden struct{ c config.Credentials } // fmt cannot call methods of unexported fields
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s", "%t"} {
		fmt.Fprintf(&buf, verb, s)
		fmt.Fprintf(&buf, verb, &s)
		fmt.Fprintf(&buf, verb, config.Credentials{Password: s})
		fmt.Fprintf(&buf, verb, hidden{config.Credentials{Password: s}})
		fmt.Fprintf(&buf, verb, []config.Secret{s})
	}
	for _, shape := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%d", []byte(text))} {
		if strings.Contains(buf.String(), shape) {
			t.Errorf("%q is shown", shape)
		}
	}
	if !strings.Contains(fmt.Sprintf("%+v", config.Credentials{Password: s}), "Password:[redacted]") {
		t.Error("a secret is not shown as redacted")
	}
	if got := fmt.Sprint(secret("")); got != "" {
		t.Errorf("a missing secret is shown as %q", got)
	}
	if s.Reveal() != text {
		t.Errorf("Reveal() = %q", s.Reveal())
	}
	if s != secret(text) || !s.Equal(secret(text)) || s == secret("other") {
		t.Error("equality of secrets is not that of their texts")
	}
}

func TestSecretNames(t *testing.T) {
	c := config.Credentials{Username: "u", Password: config.NewSecret("p"), SecretKey: config.NewSecret("k")}
	if diff := cmp.Diff([]string{"OS_PASSWORD", "HUAWEICLOUD_SDK_SK"}, c.SecretNames()); diff != "" {
		t.Error(diff)
	}
}
