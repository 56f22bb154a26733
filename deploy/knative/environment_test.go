package knative

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// tagger is the path of the command, which TestMain builds.
var tagger string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	directory, err := os.MkdirTemp("", "tagger-knative")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	tagger = filepath.Join(directory, "tagger")
	build := exec.Command("go", "build", "-o", tagger, "./cmd/tagger")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build tagger: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// environment is a process's environment without the test's variables: it has none that a shell set for Tagger or an
// OpenStack client.
func environment(lines ...string) []string {
	var kept []string
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "TAGGER_") && !strings.HasPrefix(line, "OS_") &&
			!strings.HasPrefix(line, "HUAWEICLOUD_") {
			kept = append(kept, line)
		}
	}
	return append(kept, lines...)
}

// start starts tagger and passes each line of its standard output to line, until the test ends.
func start(t *testing.T, env []string, line func(string), args ...string) {
	t.Helper()
	command := exec.Command(tagger, args...)
	command.Env = env
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line(lines.Text())
		}
	})
	t.Cleanup(func() {
		_ = command.Process.Kill()
		reading.Wait()
		_ = command.Wait()
		if t.Failed() && said.Len() > 0 {
			t.Logf("tagger %s said:\n%s", strings.Join(args, " "), said.String())
		}
	})
}

// within returns a value from a channel. It fails the test after a minute.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	select {
	case v := <-c:
		return v
	case <-timeout.C:
		t.Fatalf("%s: not after a minute", what)
		panic("unreachable")
	}
}

// cloud is the embedded cloud with one user's token.
type cloud struct {
	env   map[string]string
	token string
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	lines := make(chan string, 100)
	start(t, environment(), func(line string) { lines <- line }, "simcloud", "--listen", "127.0.0.1:0", "--build-time",
		"0s")
	c := &cloud{env: map[string]string{}}
	for c.env["OS_PROJECT_ID"] == "" {
		name, value, _ := strings.Cut(strings.TrimPrefix(within(t, "the embedded cloud", lines), "export "), "=")
		c.env[name] = value
	}
	c.token = c.login(t)
	return c
}

func (c *cloud) login(t *testing.T) string {
	t.Helper()
	body := fmt.Sprintf(`{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": %q, "password": %q, "domain": {"name": "Default"}}}},
		"scope": {"project": {"id": %q}}}}`, c.env["OS_USERNAME"], c.env["OS_PASSWORD"], c.env["OS_PROJECT_ID"])
	response, err := http.Post(c.env["OS_AUTH_URL"]+"/auth/tokens", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("log in: %s", response.Status)
	}
	return response.Header.Get("X-Subject-Token")
}

// do sends a request to the compute API and decodes the response into v, unless v is nil.
func (c *cloud) do(t *testing.T, method, path, body string, v any) {
	t.Helper()
	base := strings.TrimSuffix(c.env["OS_AUTH_URL"], "/identity/v3") + "/compute/v2.1"
	request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Auth-Token", c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	if v != nil {
		if err := json.Unmarshal(answer, v); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
}

// server creates a server and returns its id.
func (c *cloud) server(t *testing.T, name string) string {
	t.Helper()
	var flavors struct{ Flavors []struct{ ID string } }
	c.do(t, http.MethodGet, "/flavors", "", &flavors)
	var images struct{ Images []struct{ ID string } }
	c.do(t, http.MethodGet, "/images", "", &images)
	var made struct{ Server struct{ ID string } }
	c.do(t, http.MethodPost, "/servers", fmt.Sprintf(`{"server": {"name": %q, "flavorRef": %q, "imageRef": %q}}`,
		name, flavors.Flavors[0].ID, images.Images[0].ID), &made)
	return made.Server.ID
}

func (c *cloud) metadata(t *testing.T, id string) map[string]string {
	t.Helper()
	var answer struct{ Metadata map[string]string }
	c.do(t, http.MethodGet, "/servers/"+id+"/metadata", "", &answer)
	return answer.Metadata
}

// delivery is one request to tagger serve, with the response.
type delivery struct {
	id, prefer, contentType string // of the event, and of the request
	status                  int
	header                  http.Header
	body                    string
}

// subscriber is tagger serve behind a proxy that records each delivery.
type subscriber struct {
	*httptest.Server
	direct string // the address of tagger serve, without the proxy

	mu         sync.Mutex
	deliveries []delivery
	after      func(delivery) // called after each
}

const rules = `
rules:
- name: owner
  on: [server.created]
  when: resource.name startsWith "web-"
  add:
    owner: ${actor.name}
`

// startSubscriber starts tagger serve for a cloud. The lines are variables that override the cloud's.
func startSubscriber(t *testing.T, c *cloud, lines ...string) *subscriber {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	env := environment("TAGGER_RULES_FILE="+file, "TAGGER_WAIT=10ms")
	for name, value := range c.env {
		env = append(env, name+"="+value)
	}
	address := make(chan string, 1)
	start(t, append(env, lines...), func(line string) {
		var entry struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
			address <- entry.Address
		}
	}, "serve", "--listen", "127.0.0.1:0")
	target := &url.URL{Scheme: "http", Host: within(t, "tagger serve", address)}
	s := &subscriber{direct: target.String(), after: func(delivery) {}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			s.keep(delivery{
				id: r.Request.Header.Get("X-Test-Event"), prefer: r.Request.Header.Get("Prefer"),
				contentType: r.Request.Header.Get("Content-Type"),
				status:      r.StatusCode, header: r.Header.Clone(), body: string(body),
			})
			return nil
		},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		id := r.Header.Get("Ce-Id") // in binary mode
		if id == "" {
			var event struct{ ID string }
			_ = json.Unmarshal(body, &event)
			id = event.ID
		}
		r.Header.Set("X-Test-Event", id)
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *subscriber) keep(d delivery) {
	s.mu.Lock()
	s.deliveries = append(s.deliveries, d)
	after := s.after
	s.mu.Unlock()
	after(d)
}

// of returns the deliveries of one event.
func (s *subscriber) of(id string) []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []delivery
	for _, d := range s.deliveries {
		if d.id == id {
			found = append(found, d)
		}
	}
	return found
}

func (s *subscriber) afterEach(f func(delivery)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

// route resolves a host's name to a server of the test. Knative takes its clients' transports from
// http.DefaultTransport.
func route(t *testing.T, host string, server *httptest.Server) {
	t.Helper()
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatalf("http.DefaultTransport is a %T", http.DefaultTransport)
	}
	before := transport.DialContext
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport.DialContext = routed(dialer, host, server.Listener.Addr().String())
	t.Cleanup(func() { transport.DialContext = before })
}
