package cloud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

// The secrets of all tests. None may appear in any output.
const (
	thePassword = "pw-hunter2-correct"
	newPassword = "pw-hunter2-rotated"
	badPassword = "pw-hunter2-wrong"
	theSecret   = "appcred-secret-correct"
	badSecret   = "appcred-secret-wrong"
	tokenPrefix = "gAAAAAB-token-" // of all issued tokens
	theKey      = "sk-secret-key"
	theSTSToken = "sts-security-token"
)

// fake is Keystone, Nova and Cinder in memory. It needs no sockets, so that it works with testing/synctest.
type fake struct {
	mu       sync.Mutex
	password string
	// project is that of the application credential and of users who ask for none; "" for none.
	project   string
	denied    string                            // a project in which the user has no role
	catalog   string                            // a JSON array in which PROJECT is the token's project
	answers   []int                             // statuses of the next logins; 0 is the usual one
	before    func(context.Context)             // called at the start of each login, without the lock
	tokens    map[string]string                 // token → project
	requests  []string                          // method, host and path of each
	logins    []string                          // body of each login
	api       func(*http.Request) (int, string) // answers the APIs in place of the usual
	userAgent string
	role      string // of every token
}

func newFake() *fake {
	return &fake{password: thePassword, project: "p-demo", role: "member", tokens: make(map[string]string),
		catalog: catalogJSON}
}

const catalogJSON = `[
	{"type": "compute", "name": "nova", "endpoints": [
		{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": "http://nova.test/v2.1"},
		{"interface": "internal", "region": "RegionOne", "region_id": "RegionOne", "url": "http://nova.internal.test/v2.1"}]},
	{"type": "volumev3", "name": "cinderv3", "endpoints": [
		{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": "http://cinder.test/v3/PROJECT"}]}]`

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	f.ServeHTTP(rec, req.Clone(req.Context()))
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	login := strings.HasSuffix(r.URL.Path, "/v3/auth/tokens")
	f.mu.Lock()
	before := f.before
	f.requests = append(f.requests, r.Method+" "+r.Host+r.URL.Path)
	f.userAgent = r.UserAgent()
	if login {
		f.logins = append(f.logins, string(body))
	}
	f.mu.Unlock()
	if login && before != nil {
		before(r.Context())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case login && r.Method == http.MethodPost:
		f.login(w, body)
	case login && r.Method == http.MethodGet:
		token := r.Header.Get("X-Subject-Token")
		project, ok := f.tokens[token]
		if !ok || r.Header.Get("X-Auth-Token") != token {
			keystoneFault(w, 401)
			return
		}
		f.writeToken(w, 200, token, project)
	case f.api != nil:
		status, text := f.api(r)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	case f.tokens[r.Header.Get("X-Auth-Token")] == "":
		keystoneFault(w, 401)
	default:
		fmt.Fprintf(w, `{"project": %q, "body": %q}`, f.tokens[r.Header.Get("X-Auth-Token")], body)
	}
}

func (f *fake) login(w http.ResponseWriter, body []byte) {
	if len(f.answers) > 0 {
		status := f.answers[0]
		f.answers = f.answers[1:]
		if status != 0 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<html>%d, and this was your request: %s</html>", status, body)
			return
		}
	}
	var req struct {
		Auth struct {
			Identity struct {
				Password              struct{ User struct{ Password string } }
				ApplicationCredential *struct{ Secret string } `json:"application_credential"`
				Token                 struct{ ID string }
			}
			Scope struct{ Project struct{ ID, Name string } }
		}
	}
	if err := json.Unmarshal(body, &req); err != nil {
		keystoneFault(w, 400)
		return
	}
	project := f.project
	id := req.Auth.Identity
	switch {
	case id.ApplicationCredential != nil:
		if id.ApplicationCredential.Secret != theSecret {
			keystoneFault(w, 401)
			return
		}
	case id.Token.ID != "":
		if _, ok := f.tokens[id.Token.ID]; !ok {
			keystoneFault(w, 401)
			return
		}
		project = req.Auth.Scope.Project.ID
	default:
		if id.Password.User.Password != f.password {
			keystoneFault(w, 401)
			return
		}
		if s := req.Auth.Scope.Project; s.ID != "" {
			project = s.ID
		} else if s.Name != "" {
			project = "p-" + s.Name
		}
	}
	if project == f.denied && project != "" {
		keystoneFault(w, 401)
		return
	}
	token := fmt.Sprintf("%s%d", tokenPrefix, len(f.logins))
	f.tokens[token] = project
	f.writeToken(w, 201, token, project)
}

func (f *fake) writeToken(w http.ResponseWriter, status int, token, project string) {
	w.Header().Set("X-Subject-Token", token)
	w.WriteHeader(status)
	scope := ""
	if project != "" {
		scope = fmt.Sprintf(`"project": {"id": %q, "name": %q, `+
			`"domain": {"id": "default", "name": "Default"}}, "catalog": %s, `,
			project, strings.TrimPrefix(project, "p-"), strings.ReplaceAll(f.catalog, "PROJECT", project))
	}
	fmt.Fprintf(w, `{"token": {%s"user": {"id": "u1", "name": "tagger"}, "roles": [{"id": "r1", "name": %q}],
		"methods": ["password"], "expires_at": "2030-01-01T00:00:00.000000Z"}}`, scope, f.role)
}

func keystoneFault(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error": {"code": %d, "title": "x", `+
		`"message": "The request you have made requires authentication."}}`, status)
}

// set changes the fake while it may be in use.
func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) revokeAll() { f.set(func(f *fake) { clear(f.tokens) }) }

// count returns the number of requests with this prefix.
func (f *fake) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (f *fake) loginCount() int { return f.count("POST keystone.test") }

func passwordCredentials() config.Credentials {
	return config.Credentials{
		AuthURL: "http://keystone.test/v3", Username: "tagger", Password: config.NewSecret(thePassword),
		UserDomainName: "Default", ProjectName: "demo", ProjectDomainName: "Default", RegionName: "RegionOne",
	}
}

func applicationCredentials() config.Credentials {
	return config.Credentials{
		AuthURL: "http://keystone.test/v3", ApplicationCredentialID: "ac1",
		ApplicationCredentialSecret: config.NewSecret(theSecret), RegionName: "RegionOne",
	}
}

func keyCredentials() config.Credentials {
	return config.Credentials{AccessKey: "AK1", SecretKey: config.NewSecret(theKey), AccessKeyProjectID: "p-demo"}
}

// get sends a request through a session's client for the compute API.
func get(ctx context.Context, s *cloud.Session) error {
	compute, err := s.Compute()
	if err != nil {
		return err
	}
	var body map[string]any
	_, err = compute.Get(ctx, compute.ServiceURL("servers", "s1"), &body, nil)
	return err
}

func mustSession(t *testing.T, c *cloud.Cloud, project string) *cloud.Session {
	t.Helper()
	s, err := c.Session(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// roundTripper makes a function an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// answer returns a transport with a fixed response.
func answer(status int, header http.Header, body string) roundTripper {
	return func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		if header == nil {
			header = make(http.Header)
		}
		return &http.Response{
			StatusCode: status, Header: header, Request: req, ProtoMajor: 1, ProtoMinor: 1,
			ContentLength: -1, Body: io.NopCloser(bytes.NewReader([]byte(body))),
		}, nil
	}
}
