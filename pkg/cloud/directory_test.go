package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// keystone answers reads of the Identity API in place of the fake.
func (f *fake) keystone(answer func(path string) (status int, body string)) {
	f.set(func(f *fake) {
		f.api = func(r *http.Request) (int, string) {
			path, ok := strings.CutPrefix(r.URL.Path, "/v3/")
			if !ok || r.Host != "keystone.test" || f.tokens[r.Header.Get("X-Auth-Token")] == "" {
				return 500, fmt.Sprintf("unexpected %s %s%s", r.Method, r.Host, r.URL.Path)
			}
			return answer(path)
		}
	})
}

const aliceJSON = `{"user": {"id": "u7", "name": "alice", "domain_id": "default", "enabled": true,
	"description": "on call", "email": "alice@example.com",
	"password_expires_at": null, "options": {}, "links": {"self": "http://keystone.test/v3/users/u7"}}}`

const billingJSON = `{"project": {"id": "p7", "name": "billing", "domain_id": "default", "enabled": true,
	"is_domain": false, "parent_id": "default",
	"description": "invoices", "tags": ["gold", "eu"], "cost_center": "4711", "options": {}, "links": {"self": "x"}}}`

func TestNames(t *testing.T) {
	f := newFake()
	f.keystone(func(path string) (int, string) {
		return 200, map[string]string{"users/u7": aliceJSON, "projects/p7": billingJSON}[path]
	})
	c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
	for range 3 {
		user, err := c.User(t.Context(), "u7")
		if err != nil {
			t.Fatal(err)
		}
		want := cloud.User{ID: "u7", Name: "alice", DomainID: "default", Description: "on call",
			Extra: map[string]string{"email": "alice@example.com"}}
		if diff := cmp.Diff(want, user); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		user.Extra["email"] = "changed by a caller"
		project, err := c.Project(t.Context(), "p7")
		if err != nil {
			t.Fatal(err)
		}
		wantProject := cloud.Project{
			ID: "p7", Name: "billing", DomainID: "default", Description: "invoices", Tags: []string{"gold", "eu"},
			Extra: map[string]string{"cost_center": "4711"},
		}
		if diff := cmp.Diff(wantProject, project); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	if n := f.count("GET keystone.test"); n != 2 {
		t.Errorf("%d look-ups, want one of each", n)
	}
}

// A member may read a project only with a token for it.
func TestProjectIsReadWithItsOwnToken(t *testing.T) {
	sim := simcloud.New(simcloud.Options{
		Projects: []simcloud.Project{{Name: "demo"}, {Name: "second"}, {Name: "third"}},
		Users: []simcloud.User{{Name: "tagger", Password: thePassword,
			Roles: map[string]string{"demo": "member", "second": "member"}}},
	})
	var tokens []string
	transport := roundTripper(func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/v3/projects/") {
			tokens = append(tokens, req.Header.Get("X-Auth-Token"))
		}
		return sim.Transport().RoundTrip(req)
	})
	credentials := passwordCredentials()
	credentials.AuthURL = simcloud.DefaultEndpoint + "/identity/v3"
	c := cloud.New(cloud.Options{Credentials: credentials, Projects: []string{"roles"}, Transport: transport})
	for _, name := range []string{"demo", "second"} {
		p, _ := sim.Project(name)
		if got, err := c.Project(t.Context(), p.ID); err != nil || got.Name != name {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if len(tokens) != 2 || tokens[0] == tokens[1] {
		t.Errorf("%d reads, with the same token: %t", len(tokens), len(tokens) == 2)
	}
	third, _ := sim.Project("third")
	_, err := c.Project(t.Context(), third.ID)
	if _, ok := errors.AsType[*cloud.UnknownError](err); !ok {
		t.Errorf("error %v", err)
	}
}

// Refusals are cached, too. Failures are not; a stale result serves meanwhile.
func TestNamesThatAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		status := map[string]int{"users/secret": 403, "users/missing": 404, "users/u7": 200}
		f.keystone(func(path string) (int, string) {
			if status[path] == 200 {
				return 200, aliceJSON
			}
			return status[path], `{"error": {"code": 0, "message": "You are not authorized \u001b[2J"}}`
		})
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		for range 100 {
			for id, missing := range map[string]bool{"secret": false, "missing": true} {
				_, err := c.User(t.Context(), id)
				unknown, ok := errors.AsType[*cloud.UnknownError](err)
				if !ok {
					t.Fatalf("error %v, want an UnknownError", err)
				}
				if want := (cloud.UnknownError{Kind: "user", ID: id, Missing: missing}); *unknown != want {
					t.Fatalf("error %+v, want %+v", *unknown, want)
				}
			}
		}
		if n := f.count("GET keystone.test"); n != 2 {
			t.Errorf("%d look-ups", n)
		}
		<-time.NewTimer(11 * time.Minute).C
		status["users/secret"] = 200 // a role was granted
		if user, err := c.User(t.Context(), "secret"); err != nil || user.Name != "alice" {
			t.Errorf("%+v, %v", user, err)
		}
		<-time.NewTimer(11 * time.Minute).C
		status["users/secret"], status["users/u7"] = 500, 500
		if user, err := c.User(t.Context(), "secret"); err != nil || user.Name != "alice" {
			t.Errorf("while Keystone fails: %+v, %v", user, err)
		}
		_, err := c.User(t.Context(), "u7")
		if _, ok := errors.AsType[*cloud.UnknownError](err); err == nil || ok || fault.ScopeOf(err) != "" {
			t.Errorf("error %v, want a temporary one", err)
		}
		if err != nil && strings.Contains(err.Error(), "\x1b") {
			t.Errorf("error %q has a terminal escape", err)
		}
		for _, id := range []string{"", strings.Repeat("x", 65)} {
			if _, err := c.User(t.Context(), id); err == nil {
				t.Errorf("%q is looked up", id)
			}
		}
	})
}

// The rate of look-ups and the size of the cache are limited.
func TestNamesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keystone(func(string) (int, string) { return 200, aliceJSON })
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		start := time.Now()
		for i := range 12_000 {
			if _, err := c.User(t.Context(), fmt.Sprint("u", i)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 19*time.Minute {
			t.Errorf("12,000 look-ups took %s", took)
		}
		before := f.count("GET keystone.test")
		if _, err := c.User(t.Context(), "u11999"); err != nil || f.count("GET keystone.test") != before {
			t.Errorf("the newest entry was evicted: %v", err)
		}
		ending, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.User(ending, "another"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestNamesWithAnAccessKey(t *testing.T) {
	f := newFake()
	_, err := cloud.New(cloud.Options{Credentials: keyCredentials(), Transport: f}).User(t.Context(), "u7")
	if unknown, ok := errors.AsType[*cloud.UnknownError](err); !ok || unknown.Missing || len(f.requests) != 0 {
		t.Errorf("error %v, %d requests", err, len(f.requests))
	}
}

// Keystone does not page the list of projects: an administrator's has all of the cloud.
func TestLongListOfProjects(t *testing.T) {
	const n = 8000
	for role, want := range map[string]string{"member": "auth/projects", "admin": "projects"} {
		f := newFake()
		f.role = role
		f.keystone(func(path string) (int, string) {
			if path != want {
				return 404, "{}"
			}
			var all []string
			for i := range n {
				all = append(all, fmt.Sprintf(`{"id": "p-%d", "name": "n", "description": %q}`, i, strings.Repeat("d", 150)))
			}
			return 200, `{"projects": [` + strings.Join(all, ",") + `]}`
		})
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Transport: f})
		if all, err := c.Projects(t.Context()); err != nil || len(all) != n {
			t.Errorf("%s: %d projects, error %v", role, len(all), err)
		}
	}
}

func TestRoleProjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		listed := []string{"p-demo", "p-one"}
		down := false
		f.keystone(func(path string) (int, string) {
			if down || path != "auth/projects" {
				return 503, "{}"
			}
			var all []string
			for _, id := range listed {
				all = append(all, fmt.Sprintf(`{"id": %q, "name": %q, "domain_id": "default", "enabled": %t}`, id, id,
					id != "p-disabled"))
			}
			return 200, `{"projects": [` + strings.Join(all, ",") + `], "links": {}}`
		})
		c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Projects: []string{"roles"}, Transport: f})
		reads := func() int { return f.count("GET keystone.test") }
		var together sync.WaitGroup
		for range 20 {
			together.Go(func() {
				if s, err := c.Session(t.Context(), "p-one"); err != nil || s.Project != "p-one" {
					t.Errorf("%v", err)
				}
			})
		}
		together.Wait()
		if reads() != 1 || f.loginCount() != 2 {
			t.Errorf("%d reads and %d logins for one project", reads(), f.loginCount())
		}
		outOfBounds := func(project string) bool {
			_, err := c.Session(t.Context(), project)
			_, ok := errors.AsType[*cloud.OutOfBoundsError](err)
			return ok
		}
		for range 100 {
			if !outOfBounds("p-two") || !outOfBounds("nowhere") {
				t.Fatal("a project without a role is within bounds")
			}
		}
		if reads() != 1 {
			t.Errorf("%d reads within a minute", reads())
		}
		listed = append(listed, "p-two", "p-disabled")
		<-time.NewTimer(time.Minute).C
		mustSession(t, c, "p-two")
		if !outOfBounds("p-disabled") || reads() != 2 {
			t.Errorf("%d reads after a minute", reads())
		}
		listed = listed[:1] // the roles are revoked
		<-time.NewTimer(10 * time.Minute).C
		if !outOfBounds("p-two") || reads() != 3 {
			t.Errorf("%d reads after ten minutes", reads())
		}
		listed, down = []string{"p-demo", "p-one"}, true
		<-time.NewTimer(10 * time.Minute).C
		if _, err := c.Session(t.Context(), "p-one"); err == nil || outOfBounds("p-one") {
			t.Errorf("a stale list without the project decides: %v", err)
		}
	})
}

// The case of the role admin does not matter, as in Nova's policies. CheckBounds requires bounds for it.
func TestAdmin(t *testing.T) {
	for _, role := range []string{"admin", "Admin", "ADMIN"} {
		if s := (&cloud.Session{Roles: []string{"member", role}}); !s.Admin() {
			t.Errorf("%s", role)
		}
	}
	if s := (&cloud.Session{Roles: []string{"member", "reader", "administrator", "manager"}}); s.Admin() {
		t.Error("no administrator")
	}
	sim := simcloud.New(simcloud.Options{})
	credentials := passwordCredentials()
	credentials.AuthURL = simcloud.DefaultEndpoint + "/identity/v3"
	credentials.Username, credentials.ProjectName = "admin", "admin"
	if err := credentials.Password.UnmarshalText([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	o := cloud.Options{Credentials: credentials, Transport: sim.Transport()}
	if err := cloud.New(o).CheckBounds(t.Context()); !errors.Is(err, cloud.ErrNoBounds) ||
		fault.ScopeOf(err) != fault.Everything {
		t.Errorf("error %v", err)
	}
	if _, err := cloud.New(o).Login(t.Context()); err != nil {
		t.Error(err)
	}
	o.Projects = []string{"own"}
	if err := cloud.New(o).CheckBounds(t.Context()); err != nil {
		t.Error(err)
	}
	sim.Inject(simcloud.Fault{Answer: simcloud.Drop()})
	o.Projects = nil
	if err := cloud.New(o).CheckBounds(t.Context()); err != nil {
		t.Errorf("a temporary login failure prevents the start: %v", err)
	}
}

// Beyond maxLogins, logins still work. Only the credentials' own project is never evicted.
func TestLoginsAreBounded(t *testing.T) {
	f := newFake()
	var ids []string
	for i := range 600 {
		ids = append(ids, fmt.Sprint("p-", i))
	}
	c := cloud.New(cloud.Options{Credentials: passwordCredentials(), Projects: ids, Transport: f})
	first := mustSession(t, c, "p-0")
	for _, id := range ids {
		mustSession(t, c, id)
	}
	if n := f.loginCount(); n != 601 {
		t.Errorf("%d logins", n)
	}
	mustSession(t, c, "")
	mustSession(t, c, "p-599")
	if n := f.loginCount(); n != 601 {
		t.Errorf("%d logins: the newest were evicted", n)
	}
	mustSession(t, c, "p-0")
	if n := f.loginCount(); n != 602 {
		t.Errorf("%d logins: the oldest was kept", n)
	}
	if err := get(t.Context(), first); err != nil {
		t.Error(err)
	}
}
