//go:build openstack

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/internal/processtest"
)

// stand is the OpenStack cloud that "make openstack" starts.
type stand struct {
	state   string
	scripts string
	amqpURL string
	creds   struct {
		AuthURL       string `json:"auth_url"`
		Password      string `json:"password"`
		DemoProjectID string `json:"demo_project_id"`
		Flavor        string `json:"flavor"`
		Image         string `json:"image"`
	}
	compute, volume *gophercloud.ServiceClient
}

// newStand fails the test without a stand, because a test that passes by skipping proves nothing.
func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{state: os.Getenv("OPENSTACK_DEV_STATE"), amqpURL: os.Getenv("OPENSTACK_DEV_AMQP_URL")}
	if s.state == "" || s.amqpURL == "" {
		t.Fatal("OPENSTACK_DEV_STATE and OPENSTACK_DEV_AMQP_URL are not set: run make test-openstack")
	}
	var err error
	if s.scripts, err = filepath.Abs("../../deploy/openstack-dev"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.state, "creds.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s.creds); err != nil {
		t.Fatal(err)
	}
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: s.creds.AuthURL, Username: "tagger", Password: s.creds.Password, DomainName: "Default",
		TenantID: s.creds.DemoProjectID, AllowReauth: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.compute, err = openstack.NewComputeV2(provider, gophercloud.EndpointOpts{}); err != nil {
		t.Fatal(err)
	}
	s.compute.Microversion = "2.37" // the first that can create servers without a network
	if s.volume, err = openstack.NewBlockStorageV3(provider, gophercloud.EndpointOpts{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// knob sets one of the stand's knobs until the test ends.
func (s *stand) knob(t *testing.T, name, value string) {
	t.Helper()
	file := filepath.Join(s.state, "knobs", name)
	if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(file) })
}

// stop stops services of the stand.
func (s *stand) stop(t *testing.T, services ...string) {
	t.Helper()
	if err := s.script(t, nil, "down", services...); err != nil {
		t.Fatal(err)
	}
}

// start starts the services that do not run, with settings of the stand.
func (s *stand) start(t *testing.T, settings ...string) {
	t.Helper()
	if err := s.script(t, settings, "up"); err != nil {
		t.Fatal(err)
	}
}

func (s *stand) script(t *testing.T, settings []string, name string, args ...string) error {
	// clean-ups need this token too
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(s.scripts, name), args...)
	cmd.Env = append(os.Environ(), settings...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// waiting returns the number of messages in a queue, 0 if the queue does not exist.
func (s *stand) waiting(t *testing.T, queue string) int {
	t.Helper()
	conn, err := amqp.Dial(s.amqpURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		return 0
	}
	return q.Messages
}

// buildTagger builds the command and returns its path.
func buildTagger(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "tagger")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// env returns the environment of the command with credentials of the stand's administrator, who sees all projects.
func (s *stand) env(queue, rules string) environment {
	return environment{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"OS_AUTH_URL=" + s.creds.AuthURL, "OS_USERNAME=admin", "OS_PASSWORD=" + s.creds.Password, "OS_PROJECT_NAME=admin",
		"TAGGER_PROJECTS=*",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
		"TAGGER_AMQP_URL=" + s.amqpURL, "TAGGER_AMQP_QUEUE=" + queue, "TAGGER_RULES=" + rules, "TAGGER_LOG_LEVEL=debug",
	}
}

// startListener starts a listener and waits until it consumes.
func startListener(t *testing.T, bin string, env environment) *processtest.Process {
	t.Helper()
	l := processtest.Start(t, processtest.Options{Environ: env}, bin, "listen")
	l.WaitFor(t, "consuming")
	return l
}
