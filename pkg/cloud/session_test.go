package cloud_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/fault"
)

func TestLogin(t *testing.T) {
	project := map[string]any{"project": map[string]any{"name": "demo", "domain": map[string]any{"name": "Default"}}}
	tests := []struct {
		name        string
		credentials config.Credentials
		auth        map[string]any // what Keystone is sent
	}{
		{"password", passwordCredentials(), map[string]any{
			"identity": map[string]any{"methods": []any{"password"}, "password": map[string]any{"user": map[string]any{
				"name": "tagger", "domain": map[string]any{"name": "Default"}, "password": thePassword,
			}}},
			"scope": project,
		}},
		{"password by ids", config.Credentials{
			AuthURL: "http://keystone.test/v3", UserID: "u1", Username: "ignored", Password: config.NewSecret(thePassword),
			ProjectID: "p-demo", ProjectName: "ignored", RegionName: "RegionOne",
		}, map[string]any{
			"identity": map[string]any{"methods": []any{"password"}, "password": map[string]any{"user": map[string]any{
				"id": "u1", "password": thePassword,
			}}},
			"scope": map[string]any{"project": map[string]any{"id": "p-demo"}},
		}},
		{"application credential", applicationCredentials(), map[string]any{
			"identity": map[string]any{
				"methods":                []any{"application_credential"},
				"application_credential": map[string]any{"id": "ac1", "secret": theSecret},
			},
		}},
		{"application credential by name", config.Credentials{
			AuthURL: "http://keystone.test", ApplicationCredentialName: "ac",
			ApplicationCredentialSecret: config.NewSecret(theSecret),
			Username:                    "tagger", UserDomainID: "default", ProjectName: "Demo", RegionName: "RegionOne",
		}, map[string]any{
			"identity": map[string]any{
				"methods": []any{"application_credential"},
				"application_credential": map[string]any{"name": "ac", "secret": theSecret, "user": map[string]any{
					"name": "tagger", "domain": map[string]any{"id": "default"},
				}},
			},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			c := cloud.New(cloud.Options{Credentials: tt.credentials, Transport: f, UserAgent: "tagger/test"})
			if n := len(f.requests); n != 0 {
				t.Fatalf("%d requests before the first session", n)
			}
			s := mustSession(t, c, "")
			login, err := tt.credentials.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			want := &cloud.Session{
				Project: "p-demo", ProjectName: "demo", User: "tagger", UserID: "u1", Roles: []string{"member"},
				Cloud: "keystone.test", Region: "RegionOne", Method: login.Method,
			}
			if diff := cmp.Diff(want, s, cmpopts.IgnoreUnexported(cloud.Session{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			var sent struct{ Auth map[string]any }
			if err := json.Unmarshal([]byte(f.logins[0]), &sent); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.auth, sent.Auth); diff != "" {
				t.Errorf("sent to Keystone (-want +got)\n%s", diff)
			}
			for range 3 {
				if err := get(t.Context(), mustSession(t, c, "p-demo")); err != nil {
					t.Fatal(err)
				}
			}
			want2 := []string{"POST keystone.test/v3/auth/tokens", "GET nova.test/v2.1/servers/s1",
				"GET nova.test/v2.1/servers/s1", "GET nova.test/v2.1/servers/s1"}
			if diff := cmp.Diff(want2, f.requests); diff != "" {
				t.Errorf("requests (-want +got)\n%s", diff)
			}
			if !strings.HasPrefix(f.userAgent, "tagger/test gophercloud/") {
				t.Errorf("User-Agent %q", f.userAgent)
			}
		})
	}
}

func TestLoginWithToken(t *testing.T) {
	credentials := config.Credentials{AuthURL: "http://keystone.test/v3", Token: config.NewSecret(tokenPrefix + "given")}

	t.Run("as it is", func(t *testing.T) {
		f := newFake()
		f.tokens[tokenPrefix+"given"] = "p-demo"
		c := cloud.New(cloud.Options{Credentials: credentials, Transport: f})
		if err := get(t.Context(), mustSession(t, c, "")); err != nil {
			t.Fatal(err)
		}
		if f.loginCount() != 0 {
			t.Error("a token that has a project was exchanged")
		}
	})
	t.Run("without a project, exchanged", func(t *testing.T) {
		f := newFake()
		f.tokens[tokenPrefix+"given"] = ""
		credentials := credentials
		credentials.ProjectID = "p-demo"
		s := mustSession(t, cloud.New(cloud.Options{Credentials: credentials, Transport: f}), "")
		if s.Project != "p-demo" || f.loginCount() != 1 {
			t.Errorf("project %q after %d logins", s.Project, f.loginCount())
		}
	})
	t.Run("expired", func(t *testing.T) {
		f := newFake()
		f.tokens[tokenPrefix+"given"] = "p-demo"
		c := cloud.New(cloud.Options{Credentials: credentials, Transport: f})
		s := mustSession(t, c, "")
		f.revokeAll()
		err := get(t.Context(), s)
		if _, ok := errors.AsType[*cloud.RefusedError](err); !ok || !strings.Contains(err.Error(), "needs to be replaced") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestProjectOfIssuedToken(t *testing.T) {
	change := func(c config.Credentials, f func(*config.Credentials)) config.Credentials { f(&c); return c }
	tests := []struct {
		name        string
		credentials config.Credentials
		issued      string
		want        string
	}{
		{
			"application credential of another project, by id",
			change(applicationCredentials(), func(c *config.Credentials) { c.ProjectID = "p-mine" }), "p-demo",
			"log in at keystone.test as application credential ac1 in project p-mine: " +
				"the credentials belong to project p-demo (demo), not to that of OS_PROJECT_ID: correct one of them",
		},
		{
			"application credential of another project, by name",
			change(applicationCredentials(), func(c *config.Credentials) { c.ProjectName = "mine" }), "p-demo",
			"the credentials belong to project p-demo (demo), not to that of OS_PROJECT_NAME",
		},
		{
			"no project",
			change(passwordCredentials(), func(c *config.Credentials) { c.ProjectName = "" }), "",
			"the token has no project: set OS_PROJECT_ID",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.project = tt.issued
			c := cloud.New(cloud.Options{Credentials: tt.credentials, Transport: f})
			for range 3 {
				_, err := c.Session(t.Context(), "")
				if _, ok := errors.AsType[*cloud.RefusedError](err); !ok || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error = %v, want a RefusedError with %q", err, tt.want)
				}
			}
			if n := f.loginCount(); n != 1 {
				t.Errorf("%d logins, want 1: the next would not be better", n)
			}
		})
	}
}

func TestOtherProjects(t *testing.T) {
	options := func(credentials config.Credentials, f *fake) cloud.Options {
		return cloud.Options{Credentials: credentials, Transport: f, Projects: []string{"p-other", "p-denied"}}
	}
	t.Run("listed", func(t *testing.T) {
		f := newFake()
		c := cloud.New(options(passwordCredentials(), f))
		for range 2 {
			s := mustSession(t, c, "p-other")
			if s.Project != "p-other" {
				t.Errorf("project %q", s.Project)
			}
			volume, err := s.Volume()
			if err != nil {
				t.Fatal(err)
			}
			if volume.Endpoint != "http://cinder.test/v3/p-other/" {
				t.Errorf("volume endpoint %s", volume.Endpoint)
			}
		}
		if n := f.loginCount(); n != 2 {
			t.Errorf("%d logins, want one for each project", n)
		}
	})
	t.Run("not listed", func(t *testing.T) {
		f := newFake()
		_, err := cloud.New(options(passwordCredentials(), f)).Session(t.Context(), "p-unlisted")
		outOfBounds, ok := errors.AsType[*cloud.OutOfBoundsError](err)
		if !ok || outOfBounds.Project != "p-unlisted" || outOfBounds.Own != "p-demo" {
			t.Errorf("error %v, want an OutOfBoundsError", err)
		}
		if n := f.loginCount(); n != 1 {
			t.Errorf("%d logins, want 1", n)
		}
	})
	t.Run("refused, and the credentials' own project is not affected", func(t *testing.T) {
		f := newFake()
		f.denied = "p-denied"
		c := cloud.New(options(passwordCredentials(), f))
		_, err := c.Session(t.Context(), "p-denied")
		if _, ok := errors.AsType[*cloud.RefusedError](err); !ok ||
			!strings.Contains(err.Error(), "in project p-denied: 401") {
			t.Errorf("error = %v", err)
		}
		mustSession(t, c, "")
		mustSession(t, c, "p-other")
	})
	t.Run("credentials that cannot leave their project", func(t *testing.T) {
		f := newFake()
		f.tokens[tokenPrefix+"given"] = "p-demo"
		token := config.Credentials{AuthURL: "http://keystone.test/v3", Token: config.NewSecret(tokenPrefix + "given")}
		for _, credentials := range []config.Credentials{applicationCredentials(), token, keyCredentials()} {
			_, err := cloud.New(options(credentials, f)).Session(t.Context(), "p-other")
			if _, ok := errors.AsType[*cloud.RefusedError](err); !ok ||
				!strings.Contains(err.Error(), "cannot leave its project (p-demo)") {
				t.Errorf("error = %v", err)
			}
		}
	})
}

func TestLoginErrors(t *testing.T) {
	wrong := passwordCredentials()
	wrong.Password = config.NewSecret(badPassword)
	wrongApp := applicationCredentials()
	wrongApp.ApplicationCredentialSecret = config.NewSecret(badSecret)
	tests := []struct {
		name        string
		credentials config.Credentials
		status      int // 0: as Keystone would answer
		refused     bool
		want        string
	}{
		{
			"wrong password", wrong, 0, true,
			"log in at keystone.test as user tagger in project demo: 401 Unauthorized: The request you have made requires " +
				"authentication. " +
				"(the password is wrong, the user is disabled or locked, or has no role in that project: check " +
				"OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME and the domains)",
		},
		{"wrong secret", wrongApp, 0, true, "log in at keystone.test as application credential ac1: 401 Unauthorized"},
		{"bad request", passwordCredentials(), 400, true, "check user, project and domains"},
		{"forbidden", passwordCredentials(), 403, true, "403 Forbidden (Keystone's policy"},
		{"not Keystone", passwordCredentials(), 404, true,
			"OS_AUTH_URL is probably not the address of the Identity API version 3"},
		{"a web page", passwordCredentials(), 200, true, "200 OK (OS_AUTH_URL is probably not"},
		{"too many requests", passwordCredentials(), 429, false, "429 Too Many Requests"},
		{"unavailable", passwordCredentials(), 503, false,
			"log in at keystone.test as user tagger in project demo: 503 Service Unavailable"},
		{"nothing set", config.Credentials{}, 0, true, "no credentials are set"},
		{"not JSON", passwordCredentials(), 201, false, "invalid character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.answers = []int{tt.status}
			_, err := cloud.New(cloud.Options{Credentials: tt.credentials, Transport: f}).Session(t.Context(), "")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want %q in it", err, tt.want)
			}
			if _, ok := errors.AsType[*cloud.RefusedError](err); ok != tt.refused {
				t.Errorf("refused = %t, want %t", ok, tt.refused)
			}
			if got := fault.ScopeOf(err) == fault.Everything; got != tt.refused {
				t.Errorf("scope %q, refused %t", fault.ScopeOf(err), tt.refused)
			}
			if tt.status >= 400 {
				code, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err)
				if !ok || code.Actual != tt.status || code.ResponseHeader.Get("Retry-After") != "7" {
					t.Errorf("the response cannot be read from the error: %+v", code)
				}
			}
		})
	}
}

// Nova answers 400 to a body without a length, and a request has to be sendable again after a new login.
func TestBodyHasALengthAndCanBeSentAgain(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"seekable": strings.NewReader(`{"metadata": {}}`),
		"stream":   io.MultiReader(strings.NewReader(`{"metadata"`), strings.NewReader(`: {}}`)),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			var lengths []int64
			c := cloud.New(cloud.Options{Credentials: passwordCredentials(),
				Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					lengths = append(lengths, req.ContentLength)
					return f.RoundTrip(req)
				})})
			s := mustSession(t, c, "")
			f.revokeAll()
			compute, err := s.Compute()
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Body string }
			_, err = compute.Post(context.Background(), compute.ServiceURL("servers", "s1", "metadata"), body, &got,
				&gophercloud.RequestOpts{OkCodes: []int{200}})
			if err != nil {
				t.Fatal(err)
			}
			if got.Body != `{"metadata": {}}` {
				t.Errorf("after the second login %q was sent", got.Body)
			}
			if len(lengths) != 4 || lengths[1] != 16 || lengths[3] != 16 {
				t.Errorf("lengths %v", lengths)
			}
		})
	}
}

func TestEVSRefusesTokensWith400(t *testing.T) {
	f := newFake()
	first := ""
	f.api = func(r *http.Request) (int, string) {
		token := r.Header.Get("X-Auth-Token")
		if first == "" || token == first {
			first = token
			return 400, `{"badRequest": {"code": "EVS.0002", "message": "Invalid token"}}`
		}
		return 400, `{"badRequest": {"code": "EVS.2045", "message": "Invalid snapshot_id"}}`
	}
	s := mustSession(t, cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f}), "")
	err := get(t.Context(), s)
	if answer, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); !ok ||
		!strings.Contains(string(answer.Body), "EVS.2045") {
		t.Errorf("error = %v, want the response to the second attempt with its body", err)
	}
	if f.loginCount() != 2 {
		t.Errorf("%d logins", f.loginCount())
	}
}
