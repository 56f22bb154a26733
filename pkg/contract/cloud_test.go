package contract_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"
)

// cloud is a cloud under test: the operations that differ between the clouds.
type cloud interface {
	// http returns a client and the URL of Keystone, with the version.
	http() (client *http.Client, identity string)
	// password returns the password of a user: member, admin, reader or stranger.
	password(user string) (name, password string)
	// flavors returns the ids of two flavors, image that of an image for them.
	flavors() (small, large string)
	image() string
	// hold stops all transitions that start afterwards until release.
	hold(k knob) (release func(), err error)
	// building creates a server in vm_state building and task_state spawning. Builds are held.
	building(ctx context.Context, s *session) (id string, err error)
	// unbuilt creates a server whose build fails; it returns the id once it failed.
	unbuilt(ctx context.Context, s *session) (id string, err error)
	// expired returns a member's token that has expired.
	expired(ctx context.Context, s *session) (token string, err error)
	// newProject creates a project with a unique name, a description, tags and an extra member, in which the member and
	// the administrator have their roles. It also gives the administrator and the reader their roles on the domain.
	newProject(ctx context.Context, s *session) (name string, err error)
	// setVolumeStatus sets a volume's status.
	setVolumeStatus(ctx context.Context, s *session, id, status string) error
	// setSnapshotStatus sets a snapshot's status.
	setSnapshotStatus(ctx context.Context, s *session, id, status string) error
}

// knob is a kind of transition that a cloud can hold.
type knob string

const (
	builds           knob = "builds"
	stops            knob = "stops"
	deletions        knob = "deletions"
	snapshots        knob = "snapshots"
	snapshotRemovals knob = "snapshot removals"
	volumes          knob = "volumes"
	volumeRemovals   knob = "volume removals"
	attaching        knob = "attaching"
	detaching        knob = "detaching"
	extending        knob = "extending"
	uploading        knob = "uploading"
	// overlap makes concurrent writers of one resource overlap. On a real cloud they always do.
	overlap knob = "overlap"
)

// stateTimeout is the timeout of one state change on a real cloud.
const stateTimeout = 2 * time.Minute

// session holds the tokens of a cloud's users.
type session struct {
	cloud    cloud
	client   *http.Client
	identity string            // Keystone's URL, with the version
	tokens   map[string]string // by user
	// names are the values of placeholders: service roots and project ids.
	names map[string]string

	// spacing is the time between the creation of resources that are listed in order.
	spacing time.Duration

	mu   sync.Mutex
	made []resource // deleted at the end
}

// resource is a created resource.
type resource struct{ kind, id string }

// remember keeps a resource for cleanUp.
func (s *session) remember(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, resource{kind, id})
}

// cleanUp deletes all created resources: servers and snapshots, then volumes.
func (s *session) cleanUp(t *testing.T) {
	urls := map[string]string{
		"server":   s.names["nova"] + "/v2.1/servers/",
		"snapshot": s.names["cinder"] + "/v3/snapshots/",
		"volume":   s.names["cinder"] + "/v3/volumes/",
		"image":    s.names["glance"] + "/v2/images/",
	}
	for _, kind := range []string{"server", "snapshot", "volume", "image"} {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stateTimeout)
		defer cancel()
		var wg sync.WaitGroup
		for _, r := range s.made {
			if r.kind != kind {
				continue
			}
			wg.Go(func() {
				err := s.removeWhenPossible(ctx, kind, urls[kind]+r.id)
				if err == nil && kind == "snapshot" {
					err = s.awaitVolume(ctx, kind, r.id, "")
				}
				if err == nil && kind == "server" {
					err = s.awaitServer(ctx, r.id, "", "")
				}
				if err != nil && !isMissing(err) {
					t.Errorf("clean up: %v", err)
				}
			})
		}
		wg.Wait()
	}
}

// removeWhenPossible deletes a resource, and tries again while the API refuses (400): Cinder deletes no volume that is
// still being detached from a deleted server.
func (s *session) removeWhenPossible(ctx context.Context, kind, url string) error {
	var err error
	waited := s.await(ctx, func() (bool, error) {
		err = s.remove(ctx, kind, url)
		r, isRefused := err.(*refused) //nolint:errorlint // it is never wrapped
		return !isRefused || r.status != http.StatusBadRequest, nil
	}, func() string { return err.Error() })
	return cmp.Or(waited, err)
}

// remove deletes a resource if it still exists.
func (s *session) remove(ctx context.Context, kind, url string) error {
	if kind == "volume" || kind == "snapshot" {
		_ = s.send(
			ctx,
			http.MethodPost,
			url+"/action",
			"demo admin",
			map[string]any{"os-reset_status": map[string]string{"status": "available"}},
			nil,
		)
	}
	return s.send(ctx, http.MethodDelete, url, "demo admin", nil, nil)
}

// The users, each with a project.
var users = map[string]struct{ user, project string }{
	"member":     {"member", "demo"},
	"admin":      {"admin", "admin"},
	"demo admin": {"admin", "demo"},
	"reader":     {"reader", "demo"},
	// The project of the lists has no other users.
	"lister":        {"member", "lists"},
	"lists admin":   {"admin", "lists"},
	"domain admin":  {"admin", ""},
	"domain reader": {"reader", ""},
	"stranger":      {"stranger", "other"},
	"revoked":       {"member", "demo"},
}

// signIn gets a token for each user.
func signIn(ctx context.Context, c cloud) (*session, error) {
	client, identity := c.http()
	s := &session{
		cloud: c, client: client, identity: identity, tokens: map[string]string{"anonymous": "", "wrong": "nonsense"},
		names: map[string]string{"image": c.image()},
	}
	admin := users["admin"]
	if err := s.signIn(ctx, "admin", admin.user, admin.project, admin.project); err != nil {
		return nil, err
	}
	lists, err := c.newProject(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("make a project: %w", err)
	}
	for who, p := range users {
		name := p.project
		if name == "lists" {
			name = lists
		}
		if err := s.signIn(ctx, who, p.user, p.project, name); err != nil {
			return nil, err
		}
	}
	if err := s.send(ctx, http.MethodDelete, identity+"/auth/tokens", "admin", nil, nil, "X-Subject-Token",
		s.tokens["revoked"]); err != nil {
		return nil, fmt.Errorf("revoke a token: %w", err)
	}
	if s.tokens["expired"], err = c.expired(ctx, s); err != nil {
		return nil, fmt.Errorf("get an expired token: %w", err)
	}
	return s, nil
}

// signIn gets a user's token for a project, or for the domain if that is "".
func (s *session) signIn(ctx context.Context, who, person, project, projectName string) error {
	user, password := s.cloud.password(person)
	domain := map[string]string{"id": "default"}
	scope := map[string]any{"project": map[string]any{"name": projectName, "domain": domain}}
	if projectName == "" {
		scope = map[string]any{"domain": domain}
	}
	var answer struct {
		Token struct {
			User    struct{ ID string }
			Project struct{ ID string }
			Catalog []struct {
				Type      string
				Endpoints []struct{ Interface, URL string }
			}
		}
	}
	token, err := s.authenticate(ctx, map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": user, "password": password, "domain": domain},
		}},
		"scope": scope,
	}, &answer)
	if err != nil {
		return fmt.Errorf("sign in as the %s: %w", who, err)
	}
	s.tokens[who] = token
	s.names[person+" id"] = answer.Token.User.ID
	if project != "" {
		s.names[project] = answer.Token.Project.ID
	}
	if project == "lists" {
		s.names["lists name"] = projectName
	}
	for _, service := range answer.Token.Catalog {
		for _, e := range service.Endpoints {
			name := map[string]string{
				"compute": "nova", "volumev3": "cinder", "identity": "keystone", "image": "glance",
			}[service.Type]
			if name != "" && e.Interface == "public" && projectName != "" {
				s.names[name] = version.ReplaceAllString(e.URL, "")
			}
		}
	}
	return nil
}

// version returns the part of an endpoint after its service's root.
var version = regexp.MustCompile(`/v[0-9].*$`)

// authenticate returns a new token, and decodes the response.
func (s *session) authenticate(ctx context.Context, auth, answer any) (string, error) {
	body, err := json.Marshal(map[string]any{"auth": auth})
	if err != nil {
		return "", err
	}
	res, text, err := s.do(ctx, http.MethodPost, s.identity+"/auth/tokens", bytes.NewReader(body),
		http.Header{"Content-Type": {"application/json"}})
	switch {
	case err != nil:
		return "", err
	case res.StatusCode != http.StatusCreated:
		return "", fmt.Errorf("POST auth/tokens: %d", res.StatusCode)
	}
	return res.Header.Get("X-Subject-Token"), json.Unmarshal(text, answer)
}

// do sends one request and reads the response.
func (s *session) do(
	ctx context.Context, method, url string, body io.Reader, header http.Header,
) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, nil, err
	}
	r.Header = header
	res, err := s.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return res, text, err
}

// send sends a request that must succeed. headers are pairs of name and value.
func (s *session) send(ctx context.Context, method, url, who string, body, answer any, headers ...string) error {
	header := http.Header{"X-Auth-Token": {s.tokens[who]}}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
		header.Set("Content-Type", "application/json")
	}
	res, text, err := s.do(ctx, method, url, reader, header)
	switch {
	case err != nil:
		return err
	case res.StatusCode >= 300:
		return &refused{res.StatusCode, fmt.Sprintf("%s %s: %d: %s", method, url, res.StatusCode, text)}
	case answer != nil:
		return json.Unmarshal(text, answer)
	}
	return nil
}

// refused is the error of a request that did not succeed.
type refused struct {
	status int
	text   string
}

func (r *refused) Error() string { return r.text }

func (s *session) server(id string) string { return s.names["nova"] + "/v2.1/servers/" + id }
func (s *session) volumes() string         { return s.names["cinder"] + "/v3/" + s.names["demo"] }

// createServer creates a server without waiting for it.
func (s *session) createServer(ctx context.Context, flavor string, metadata map[string]string) (string, error) {
	small, _ := s.cloud.flavors()
	var answer struct{ Server struct{ ID string } }
	err := s.send(ctx, http.MethodPost, s.names["nova"]+"/v2.1/servers", "member", map[string]any{"server": map[string]any{
		"name": "contract", "imageRef": s.cloud.image(), "flavorRef": cmp.Or(flavor, small), "networks": "none",
		"metadata": metadata,
	}}, &answer, "OpenStack-API-Version", "compute 2.37")
	if err == nil {
		s.remember("server", answer.Server.ID)
	}
	return answer.Server.ID, err
}

// createSnapshot creates a snapshot of a new volume without waiting for it.
func (s *session) createSnapshot(ctx context.Context, volume string) (string, error) {
	var answer struct{ Snapshot struct{ ID string } }
	err := s.send(ctx, http.MethodPost, s.volumes()+"/snapshots", "member", map[string]any{"snapshot": map[string]any{
		"name": "contract", "volume_id": volume, "metadata": kept,
	}}, &answer)
	if err == nil {
		s.remember("snapshot", answer.Snapshot.ID)
	}
	return answer.Snapshot.ID, err
}

// createVolume creates a volume and waits until it is available.
func (s *session) createVolume(ctx context.Context) (string, error) {
	var answer struct{ Volume struct{ ID string } }
	err := s.send(ctx, http.MethodPost, s.volumes()+"/volumes", "member",
		map[string]any{"volume": map[string]any{"name": "contract", "size": 1}}, &answer)
	if err != nil {
		return "", err
	}
	s.remember("volume", answer.Volume.ID)
	return answer.Volume.ID, s.awaitVolume(ctx, "volume", answer.Volume.ID, "available")
}

// act performs an action on a server.
func (s *session) act(ctx context.Context, who, id, action string, argument any) error {
	return s.send(ctx, http.MethodPost, s.server(id)+"/action", who, map[string]any{action: argument}, nil)
}

// awaitServer waits for a server's vm_state and task_state; vm_state "" means that it is gone.
func (s *session) awaitServer(ctx context.Context, id, vmState, taskState string) error {
	seen := ""
	return s.await(ctx, func() (bool, error) {
		var answer struct {
			Server struct {
				VMState   string `json:"OS-EXT-STS:vm_state"`
				TaskState string `json:"OS-EXT-STS:task_state"`
			}
		}
		err := s.send(ctx, http.MethodGet, s.server(id), "demo admin", nil, &answer)
		if isMissing(err) && vmState == "" {
			return true, nil
		}
		got := answer.Server
		seen = got.VMState + " " + got.TaskState
		if got.VMState == "error" && vmState != "error" && vmState != "" {
			return false, fmt.Errorf("server %s is in error and will not become %s", id, vmState)
		}
		return vmState != "" && got.VMState == vmState && got.TaskState == taskState, err
	}, func() string { return fmt.Sprintf("server %s is %s, not %s %s", id, seen, vmState, taskState) })
}

// awaitVolume waits for the status of a volume or snapshot; "" means that it is gone.
func (s *session) awaitVolume(ctx context.Context, kind, id, status string) error {
	seen := ""
	return s.await(ctx, func() (bool, error) {
		var answer map[string]struct{ Status string }
		err := s.send(ctx, http.MethodGet, s.names["cinder"]+"/v3/"+kind+"s/"+id, "demo admin", nil, &answer)
		if isMissing(err) && status == "" {
			return true, nil
		}
		seen = answer[kind].Status
		return status != "" && seen == status, err
	}, func() string { return fmt.Sprintf("%s %s is %s, not %s", kind, id, seen, status) })
}

func isMissing(err error) bool {
	r, ok := err.(*refused) //nolint:errorlint // it is never wrapped
	return ok && r.status == http.StatusNotFound
}

// await polls until the condition holds.
func (s *session) await(ctx context.Context, done func() (bool, error), what func() string) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait %s: %s", stateTimeout, what())
		case <-time.After(300 * time.Millisecond):
		}
	}
}
