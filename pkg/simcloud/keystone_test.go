package simcloud_test

import (
	stdcmp "cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func TestTokenRequests(t *testing.T) {
	const (
		unauthorized = `{"error":{"code":401,"message":"The request you have made requires authentication.",` +
			`"title":"Unauthorized"}}` + "\n"
		client = ". The server could not comply with the request since it is either malformed or otherwise " +
			"incorrect. The client is assumed to be in error."
	)
	password := func(user, secret, scope string) string {
		return fmt.Sprintf(`{"auth": {"identity": {"methods": ["password"], "password": {"user": {%s, "password": %q}}}%s}}`,
			user, secret, scope)
	}
	const (
		byName = `"name": "demo", "domain": {"id": "default"}`
		scope  = `, "scope": {"project": {"name": "demo", "domain": {"name": "Default"}}}`
	)
	credential := func(fields, scope string) string {
		return fmt.Sprintf(`{"auth": {"identity": {"methods": ["application_credential"], `+
			`"application_credential": {%s}}%s}}`, fields, scope)
	}
	c := simcloud.New(simcloud.Options{})
	a, _ := c.ApplicationCredential("tagger")
	user, _ := c.User("demo")
	other, _ := c.Project("other")
	for _, test := range []struct {
		name, body string
		status     int
		answer     string // the whole, or a part
	}{
		{"password", password(byName, "secret", scope), 201,
			`"project": {"domain": {"id": "default", "name": "Default"}, "id": "` + demo(t, c)},
		{"user by id", password(`"id": "`+user.ID+`"`, "secret", scope), 201, `"roles": [{`},
		{"unscoped", password(byName, "secret", ""), 201, `"methods": ["password"]`},
		{"explicitly unscoped", password(byName, "secret", `, "scope": "unscoped"`), 201, `"expires_at"`},
		{"names without regard to case", password(`"name": "DEMO", "domain": {"name": "Default"}`, "secret", scope), 201,
			`"name": "demo"`},
		{"application credential", credential(`"id": "`+a.ID+`", "secret": "application-secret"`, ""), 201,
			`"application_credential": {"id": "` + a.ID + `", "name": "tagger", "restricted": true}`},
		{"application credential by name", credential(`"name": "tagger", "secret": "application-secret", "user": {`+byName+
			`}`, ""), 201, `"roles": [{`},
		{"wrong password", password(byName, "guess", scope), 401, unauthorized},
		{"unknown user", password(`"name": "who", "domain": {"id": "default"}`, "secret", scope), 401, unauthorized},
		{"unknown domain", password(`"name": "demo", "domain": {"id": "nope"}`, "secret", scope), 401, unauthorized},
		{"another's project", password(byName, "secret", `, "scope": {"project": {"id": "`+other.ID+`"}}`), 401,
			unauthorized},
		{"unknown project", password(byName, "secret", `, "scope": {"project": {"id": "nope"}}`), 401, unauthorized},
		{"domain scope", password(byName, "secret", `, "scope": {"domain": {"id": "default"}}`), 401, unauthorized},
		{"system scope", password(byName, "secret", `, "scope": {"system": {"all": true}}`), 401, unauthorized},
		{"no domain of the user", password(`"name": "demo"`, "secret", scope), 400,
			"Expecting to find domain in user" + client},
		{"no domain of the project", password(byName, "secret", `, "scope": {"project": {"name": "demo"}}`), 400,
			"Expecting to find domain in project" + client},
		{"wrong secret", credential(`"id": "`+a.ID+`", "secret": "guess"`, ""), 401, unauthorized},
		{"unknown application credential", credential(`"id": "nope", "secret": "guess"`, ""), 404,
			"Could not find Application Credential: nope."},
		{"application credential with a scope", credential(`"id": "`+a.ID+`", "secret": "application-secret"`, scope), 401,
			"Application credentials cannot request a scope."},
		{"unknown token", `{"auth": {"identity": {"methods": ["token"], "token": {"id": "nope"}}}}`, 404,
			"Could not recognize Fernet token"},
		{"unknown method", `{"auth": {"identity": {"methods": ["foo"]}}}`, 400, "Expecting to find foo in identity" + client},
		{"no methods", `{"auth": {"identity": {"methods": []}}}`, 401, unauthorized},
		{"methods of another type", `{"auth": {"identity": {"methods": "password"}}}`, 400,
			"'password' is not of type 'array'"},
		{"no identity", `{"auth": {}}`, 400, "'identity' is a required property"},
		{"no auth", `{"x": 1}`, 400, "Expecting to find auth in request body" + client},
		{"no JSON", `{"auth"`, 400, "Expecting to find valid JSON in request body" + client},
		{"no object", `[]`, 400, "Expecting to find valid JSON in request body" + client},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := call(t, c, "POST", "/identity/v3/auth/tokens", test.body)
			wantStatus(t, test.name, a, test.status)
			if !strings.Contains(a.body, test.answer) {
				t.Errorf("got %s, want %s in it", a.body, test.answer)
			}
			wantHeader := ""
			if test.status == http.StatusUnauthorized {
				wantHeader = `Keystone uri="` + simcloud.DefaultEndpoint + `/identity/v3"`
			}
			if got := a.header.Get("WWW-Authenticate"); got != wantHeader {
				t.Errorf("got WWW-Authenticate %q, want %q", got, wantHeader)
			}
			if got := a.header.Get("X-Subject-Token") != ""; got != (test.status == http.StatusCreated) {
				t.Errorf("token given: %t", got)
			}
		})
	}
}

func TestTokenIsShownAndRevoked(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	token, admin := tokenFor(t, c, "demo", "demo"), tokenFor(t, c, "admin", "admin")
	stranger := tokenFor(t, c, "stranger", "other")
	about := func(method, who, subject string) answer {
		return call(t, c, method, "/identity/v3/auth/tokens", nil, "X-Auth-Token", who, "X-Subject-Token", subject)
	}
	for _, test := range []struct {
		name, method, who, subject string
		status                     int
	}{
		{"one's own", "GET", token, token, 200},
		{"one's own, head", "HEAD", token, token, 200},
		{"by an administrator", "GET", admin, token, 200},
		{"by a stranger", "GET", stranger, token, 403},
		{"none, by an administrator", "GET", admin, "", 404},
		{"none", "GET", token, "", 403},
		{"unknown", "GET", admin, "nope", 404},
		{"with an unknown one", "GET", "nope", token, 401},
		{"revoked by a stranger", "DELETE", stranger, token, 403},
		{"revoked", "DELETE", token, token, 204},
		{"after that", "GET", token, token, 401},
		{"after that, by an administrator", "GET", admin, token, 404},
		{"revoked again", "DELETE", admin, token, 404},
	} {
		wantStatus(t, test.name, about(test.method, test.who, test.subject), test.status)
	}
	wantStatus(t, "a service", call(t, c, "GET", "/volume/v3/snapshots", nil, "X-Auth-Token", token),
		http.StatusUnauthorized)
}

func TestCatalog(t *testing.T) {
	for _, test := range []struct {
		name    string
		options simcloud.Options
		url     string
		want    map[string]string // type → public endpoint, without its base
	}{
		{"OpenStack", simcloud.Options{}, simcloud.DefaultEndpoint, map[string]string{
			"identity": "/identity/v3", "compute": "/compute/v2.1", "compute_legacy": "/compute/v2/P",
			"block-storage": "/volume/v3/P", "volumev3": "/volume/v3/P", "image": "/image", "network": "/network",
		}},
		{"Huawei Cloud", simcloud.Options{HuaweiCloud: true, Region: "cn-north-4"}, simcloud.DefaultEndpoint,
			map[string]string{
				"identity": "/identity/v3", "compute": "/compute/v2.1/P", "volumev2": "/volume/v2/P", "volumev3": "/volume/v3/P",
				"image": "/image", "network": "/network",
			}},
		{"another endpoint", simcloud.Options{Endpoint: "https://cloud.example.com/"}, "https://cloud.example.com",
			map[string]string{
				"identity": "/identity/v3", "compute": "/compute/v2.1", "compute_legacy": "/compute/v2/P",
				"block-storage": "/volume/v3/P", "volumev3": "/volume/v3/P", "image": "/image", "network": "/network",
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := simcloud.New(test.options)
			a := call(t, c, "GET", "/identity/v3/auth/catalog", nil, "X-Auth-Token", tokenFor(t, c, "demo", "demo"))
			var list struct {
				Catalog []struct {
					Type      string
					Endpoints []struct{ Interface, URL, Region string }
				}
			}
			if err := json.Unmarshal([]byte(a.body), &list); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, s := range list.Catalog {
				var interfaces []string
				for _, e := range s.Endpoints {
					interfaces = append(interfaces, e.Interface)
					if e.Interface == "public" {
						got[s.Type] = strings.ReplaceAll(strings.TrimPrefix(e.URL, test.url), demo(t, c), "P")
					}
					if want := stdcmp.Or(test.options.Region, "RegionOne"); e.Region != want {
						t.Errorf("%s is in %s, want %s", s.Type, e.Region, want)
					}
				}
				slices.Sort(interfaces)
				if diff := cmp.Diff([]string{"admin", "internal", "public"}, interfaces); diff != "" {
					t.Errorf("interfaces of %s (-want +got):\n%s", s.Type, diff)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("catalog (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProjectsOfAUser(t *testing.T) {
	c := simcloud.New(simcloud.Options{})
	names := func(user, project string) []string {
		a := call(t, c, "GET", "/identity/v3/auth/projects", nil, "X-Auth-Token", tokenFor(t, c, user, project))
		var list struct{ Projects []struct{ Name string } }
		if err := json.Unmarshal([]byte(a.body), &list); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range list.Projects {
			out = append(out, p.Name)
		}
		return out
	}
	for _, test := range []struct {
		user, project string
		want          []string
	}{
		{"demo", "", []string{"demo"}}, {"admin", "admin", []string{"demo", "admin"}}, {"reader", "demo", []string{"demo"}},
		{"stranger", "other", []string{"other"}},
	} {
		if diff := cmp.Diff(test.want, names(test.user, test.project)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.user, diff)
		}
	}
}

// Ids are the same in every run, so that configuration for one cloud works with the next.
func TestIDsAreStable(t *testing.T) {
	first, second := simcloud.New(simcloud.Options{}), simcloud.New(simcloud.Options{})
	if diff := cmp.Diff(first.Env(""), second.Env("")); diff != "" {
		t.Errorf("two clouds differ:\n%s", diff)
	}
	if first.PutServer(simcloud.Server{}) == second.PutServer(simcloud.Server{}) {
		t.Error("two clouds make servers with the same id")
	}
	one, two := simcloud.New(simcloud.Options{Seed: 5}), simcloud.New(simcloud.Options{Seed: 5})
	if one.PutServer(simcloud.Server{}) != two.PutServer(simcloud.Server{}) {
		t.Error("two clouds with the same seed make servers with different ids")
	}
}

func TestEnv(t *testing.T) {
	for _, test := range []struct {
		name     string
		options  simcloud.Options
		endpoint string
		want     []string
	}{
		{"OpenStack", simcloud.Options{}, "http://127.0.0.1:5000/", []string{
			"OS_AUTH_URL=http://127.0.0.1:5000/identity/v3", "OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=RegionOne",
			"OS_INTERFACE=public", "OS_USERNAME=demo", "OS_PASSWORD=secret", "OS_USER_DOMAIN_NAME=Default",
			"OS_PROJECT_NAME=demo", "OS_PROJECT_DOMAIN_NAME=Default", "OS_PROJECT_ID=2a7dad41a028167a2c64e6bc150fb6cd",
		}},
		{"Huawei Cloud", simcloud.Options{HuaweiCloud: true, Region: "cn-north-4"}, "", []string{
			"OS_AUTH_URL=http://simcloud.invalid/identity/v3", "OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=cn-north-4",
			"OS_INTERFACE=public", "OS_USERNAME=demo", "OS_PASSWORD=secret", "OS_USER_DOMAIN_NAME=Default",
			"OS_PROJECT_NAME=demo", "OS_PROJECT_DOMAIN_NAME=Default", "OS_PROJECT_ID=2a7dad41a028167a2c64e6bc150fb6cd",
			"HUAWEICLOUD_SDK_AK=SIMCLOUDACCESSKEY000", "HUAWEICLOUD_SDK_SK=simcloud-secret-key",
			"HUAWEICLOUD_SDK_PROJECT_ID=2a7dad41a028167a2c64e6bc150fb6cd",
		}},
		{"a user without a project", simcloud.Options{Users: []simcloud.User{{Name: "u", Password: "p"}}}, "", []string{
			"OS_AUTH_URL=http://simcloud.invalid/identity/v3", "OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=RegionOne",
			"OS_INTERFACE=public", "OS_USERNAME=u", "OS_PASSWORD=p", "OS_USER_DOMAIN_NAME=Default",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, simcloud.New(test.options).Env(test.endpoint)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	o := simcloud.Options{
		Users:      []simcloud.User{{Name: "u", Password: "hunter2"}},
		AccessKeys: []simcloud.AccessKey{{AccessKey: "AK", SecretKey: "hunter2", SecurityToken: "hunter2"}},
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, o); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
			t.Errorf("%s shows a secret: %s", format, got)
		}
	}
	encoded, err := json.Marshal(o.Users)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(encoded), "hunter2") {
		t.Errorf("JSON shows a secret: %s", encoded)
	}
}
