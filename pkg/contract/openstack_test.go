//go:build openstack

package contract_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// openstack is a real cloud, started by deploy/openstack-dev.
type openstack struct {
	state string // the stand's state directory
	creds struct {
		AuthURL  string `json:"auth_url"`
		Password string
		Flavor   string
		Flavor2  string
		Image    string
	}
	atEnd []func(context.Context) error
}

func newOpenStack(t *testing.T) *openstack {
	const way = "make test-openstack sets it"
	o := &openstack{state: os.Getenv("OPENSTACK_DEV_STATE")}
	if o.state == "" {
		t.Fatal("OPENSTACK_DEV_STATE is not set to the state directory of a development OpenStack: " + way)
	}
	text, err := os.ReadFile(filepath.Join(o.state, "creds.json"))
	if err != nil {
		t.Fatalf("OPENSTACK_DEV_STATE is not the state directory of a development OpenStack (%s): %v", way, err)
	}
	if err := json.Unmarshal(text, &o.creds); err != nil {
		t.Fatalf("read %s/creds.json: %v", o.state, err)
	}
	return o
}

func TestOpenStack(t *testing.T) {
	o := newOpenStack(t)
	t.Cleanup(func() { // after the resources were deleted, also after a failure
		for _, end := range o.atEnd {
			if err := end(context.WithoutCancel(t.Context())); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	})
	run(t, o, true)
}

func (o *openstack) http() (*http.Client, string) {
	return &http.Client{
		// The stand's uWSGI closes idle connections without notice.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       stateTimeout,
	}, o.creds.AuthURL
}

func (o *openstack) password(user string) (name, password string) {
	if user == "member" {
		user = "tagger"
	}
	return user, o.creds.Password
}

func (o *openstack) flavors() (small, large string) { return o.creds.Flavor, o.creds.Flavor2 }

func (o *openstack) image() string { return o.creds.Image }

func (o *openstack) hold(k knob) (release func(), err error) {
	name := map[knob]string{
		builds: "spawn_delay", stops: "power_off_delay", deletions: "destroy_delay", snapshots: "snapshot_delay",
		snapshotRemovals: "snapshot_delete_delay", volumes: "volume_delay", volumeRemovals: "volume_delete_delay",
		attaching: "attach_delay", detaching: "detach_delay", extending: "extend_delay", uploading: "upload_delay",
	}[k]
	if name == "" {
		return func() {}, nil
	}
	file := filepath.Join(o.state, "knobs", name)
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	held := fmt.Appendln(nil, int(stateTimeout.Seconds()))
	if bytes.Equal(before, held) {
		before = nil // left by a run that was killed
	}
	if err := os.WriteFile(file, held, 0o644); err != nil {
		return nil, err
	}
	return func() {
		_ = os.Remove(file)
		if before != nil {
			time.Sleep(time.Second) // so that the services notice its removal
			_ = os.WriteFile(file, before, 0o644)
		}
	}, nil
}

func (o *openstack) building(ctx context.Context, s *session) (string, error) {
	id, err := s.createServer(ctx, "", kept)
	if err != nil {
		return "", err
	}
	return id, s.awaitServer(ctx, id, "building", "spawning")
}

// unbuilt requests more processors than any host has.
func (o *openstack) unbuilt(ctx context.Context, s *session) (string, error) {
	flavors := s.names["nova"] + "/v2.1/flavors"
	var made struct{ Flavor struct{ ID string } }
	if err := s.send(ctx, http.MethodPost, flavors, "admin", map[string]any{"flavor": map[string]any{
		"name": "contract " + time.Now().Format(time.RFC3339Nano), "vcpus": 100_000, "ram": 1, "disk": 1,
	}}, &made); err != nil {
		return "", err
	}
	id, err := s.createServer(ctx, made.Flavor.ID, kept)
	if err == nil {
		err = s.awaitServer(ctx, id, "error", "")
	}
	return id, errors.Join(err, s.send(ctx, http.MethodDelete, flavors+"/"+made.Flavor.ID, "admin", nil, nil))
}

// expired lets an application credential expire. Its tokens expire with it.
func (o *openstack) expired(ctx context.Context, s *session) (string, error) {
	var who struct {
		Token struct{ User struct{ ID string } }
	}
	if err := s.send(ctx, http.MethodGet, s.identity+"/auth/tokens", "member", nil, &who, "X-Subject-Token",
		s.tokens["member"]); err != nil {
		return "", err
	}
	const life = 4 * time.Second
	own := s.identity + "/users/" + who.Token.User.ID + "/application_credentials"
	var made struct {
		Credential struct{ ID, Secret string } `json:"application_credential"`
	}
	if err := s.send(ctx, http.MethodPost, own, "member", map[string]any{"application_credential": map[string]any{
		"name":       "contract " + time.Now().Format(time.RFC3339Nano),
		"expires_at": time.Now().Add(life).UTC().Format("2006-01-02T15:04:05"),
	}}, &made); err != nil {
		return "", err
	}
	var issued struct {
		Token struct {
			Expires string `json:"expires_at"`
		}
	}
	token, err := s.authenticate(ctx, withApplicationCredential(made.Credential.ID, made.Credential.Secret), &issued)
	if err != nil {
		return "", err
	}
	time.Sleep(life)
	// Keystone writes only this time without a zone.
	if end, err := time.Parse("2006-01-02T15:04:05", issued.Token.Expires); err != nil || !end.Before(time.Now()) {
		return "", fmt.Errorf("the token is valid until %s (%w)", issued.Token.Expires, err)
	}
	o.atEnd = append(o.atEnd, func(ctx context.Context) error {
		return s.send(ctx, http.MethodDelete, own+"/"+made.Credential.ID, "member", nil, nil)
	})
	return token, nil
}

func (o *openstack) setSnapshotStatus(ctx context.Context, s *session, id, status string) error {
	return s.send(ctx, http.MethodPost, s.volumes()+"/snapshots/"+id+"/action", "demo admin", map[string]any{
		"os-reset_status": map[string]string{"status": status},
	}, nil)
}

func (o *openstack) setVolumeStatus(ctx context.Context, s *session, id, status string) error {
	return s.send(ctx, http.MethodPost, s.volumes()+"/volumes/"+id+"/action", "demo admin", map[string]any{
		"os-reset_status": map[string]string{"status": status},
	}, nil)
}

func (o *openstack) newProject(ctx context.Context, s *session) (string, error) {
	name := "contract-" + time.Now().UTC().Format("20060102T150405.000")
	var made struct{ Project struct{ ID string } }
	if err := s.send(ctx, http.MethodPost, s.identity+"/projects", "admin", map[string]any{"project": map[string]any{
		"name":        name,
		"domain_id":   "default",
		"description": "made by the contract suite",
		"tags":        []string{"contract", "no-bill"},
		"cost_center": "CC-17",
	}}, &made); err != nil {
		return "", err
	}
	project := s.identity + "/projects/" + made.Project.ID
	o.atEnd = append(
		o.atEnd,
		func(ctx context.Context) error { return s.send(ctx, http.MethodDelete, project, "admin", nil, nil) },
	)
	ids := func(kind string) (map[string]string, error) {
		var answer map[string]json.RawMessage
		if err := s.send(ctx, http.MethodGet, s.identity+"/"+kind, "admin", nil, &answer); err != nil {
			return nil, err
		}
		var list []struct{ ID, Name string }
		if err := json.Unmarshal(answer[kind], &list); err != nil {
			return nil, err
		}
		out := map[string]string{}
		for _, one := range list {
			out[one.Name] = one.ID
		}
		return out, nil
	}
	users, err := ids("users")
	if err != nil {
		return "", err
	}
	roles, err := ids("roles")
	if err != nil {
		return "", err
	}
	domain := s.identity + "/domains/default"
	for _, grant := range []struct{ on, user, role string }{
		{project, "tagger", "member"}, {project, "admin", "admin"}, {domain, "admin", "admin"}, {domain, "reader", "reader"},
	} {
		url := grant.on + "/users/" + users[grant.user] + "/roles/" + roles[grant.role]
		if err := s.send(ctx, http.MethodPut, url, "admin", nil, nil); err != nil {
			return "", err
		}
		if grant.on == domain {
			o.atEnd = append(
				o.atEnd,
				func(ctx context.Context) error { return s.send(ctx, http.MethodDelete, url, "admin", nil, nil) },
			)
		}
	}
	return name, nil
}
