//go:build openstack

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// python is Debian's, because it finds the clients in Debian's packages.
const python = "/usr/bin/python3"

// startSimcloud builds the command, starts its cloud, and returns the environment that the cloud prints.
func startSimcloud(t *testing.T) []string {
	t.Helper()
	tagger := filepath.Join(t.TempDir(), "tagger")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", tagger, ".").CombinedOutput(); err != nil {
		t.Fatalf("build tagger: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, tagger, "simcloud", "--listen", "127.0.0.1:0", "--build-time", "2s", "--snapshot-time",
		"1s")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("tagger simcloud ended with %v: %s", err, errOut.String())
		}
	})
	env := []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		assignment, found := strings.CutPrefix(lines.Text(), "export ")
		if !found {
			t.Fatalf("tagger simcloud printed %q", lines.Text())
		}
		env = append(env, assignment)
		if strings.HasPrefix(assignment, "OS_PROJECT_ID=") { // the last one
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return env
		}
	}
	t.Fatalf("tagger simcloud printed only %q; %s", env, errOut.String())
	return nil
}

// The openstack command works with the embedded cloud as with a real one.
func TestOpenStackCommand(t *testing.T) {
	if _, err := os.Stat("/usr/bin/openstack"); err != nil {
		t.Fatalf("the openstack command is not installed: apt-get install python3-openstackclient: %v", err)
	}
	t.Parallel()
	env := startSimcloud(t)
	openstack := func(t *testing.T, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/usr/bin/openstack", args...)
		cmd.Env = env
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Run(); err != nil {
			t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, errOut.String())
		}
		return out.String()
	}
	// show returns a resource's fields.
	show := func(t *testing.T, args ...string) map[string]any {
		t.Helper()
		var fields map[string]any
		if out := openstack(t, append(args, "-f", "json")...); json.Unmarshal([]byte(out), &fields) != nil {
			t.Fatalf("openstack %s printed %q", strings.Join(args, " "), out)
		}
		return fields
	}
	wantProperties := func(t *testing.T, fields map[string]any, want map[string]any) {
		t.Helper()
		if diff := cmp.Diff(any(want), fields["properties"]); diff != "" {
			t.Errorf("properties (-want +got):\n%s", diff)
		}
	}

	t.Run("server", func(t *testing.T) {
		t.Parallel()
		// --nic none needs microversion 2.37. The command's default is 2.1, with a real cloud too.
		made := show(t, "--os-compute-api-version", "2.37", "server", "create", "--image", "cirros", "--flavor", "m1.nano",
			"--nic", "none", "--property", "env=dev", "--wait", "web-1")
		if made["status"] != "ACTIVE" || made["name"] != "web-1" {
			t.Errorf("made %v", made)
		}
		wantProperties(t, made, map[string]any{"env": "dev"})
		openstack(t, "server", "set", "--property", "owner=alice", "--property", "cost-center=CC 17", "web-1")
		wantProperties(t, show(t, "server", "show", "web-1"),
			map[string]any{"env": "dev", "owner": "alice", "cost-center": "CC 17"})
		openstack(t, "server", "unset", "--property", "env", "web-1")
		wantProperties(t, show(t, "server", "show", "web-1"), map[string]any{"owner": "alice", "cost-center": "CC 17"})
		if list := openstack(t, "server", "list", "--long", "-f", "value", "-c", "Name", "-c", "Status", "-c", "Flavor Name"); list != "web-1 ACTIVE m1.nano\n" {
			t.Errorf("listed %q", list)
		}
		for _, change := range [][3]string{{"stop", "status", "SHUTOFF"}, {"start", "status", "ACTIVE"}} {
			openstack(t, "server", change[0], "web-1")
			if got := show(t, "server", "show", "web-1")[change[1]]; got != change[2] {
				t.Errorf("after %s the %s is %v, want %s", change[0], change[1], got, change[2])
			}
		}
		openstack(t, "server", "lock", "web-1")
		refused := exec.CommandContext(t.Context(), "/usr/bin/openstack", "server", "set", "--property", "env=prod", "web-1")
		refused.Env = env
		if out, err := refused.CombinedOutput(); err == nil || !strings.Contains(string(out), "is locked") ||
			!strings.Contains(string(out), "HTTP 409") {
			t.Errorf("a locked server: %v, %s", err, out)
		}
		openstack(t, "server", "unlock", "web-1")
		openstack(t, "server", "delete", "--wait", "web-1")
		if list := openstack(t, "server", "list", "-f", "value"); list != "" {
			t.Errorf("after delete there is %q", list)
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		t.Parallel()
		openstack(t, "volume", "create", "--size", "1", "data")
		if got := show(t, "volume", "show", "data")["status"]; got != "available" {
			t.Fatalf("the volume is %v", got)
		}
		made := show(t, "volume", "snapshot", "create", "--volume", "data", "--property", "env=dev", "nightly")
		if made["name"] != "nightly" || made["status"] != "creating" {
			t.Errorf("made %v", made)
		}
		openstack(t, "volume", "snapshot", "set", "--property", "owner=alice", "nightly")
		wantProperties(t, show(t, "volume", "snapshot", "show", "nightly"), map[string]any{"env": "dev", "owner": "alice"})
		openstack(t, "volume", "snapshot", "unset", "--property", "env", "nightly")
		shown := show(t, "volume", "snapshot", "show", "nightly")
		wantProperties(t, shown, map[string]any{"owner": "alice"})
		if shown["status"] != "available" {
			t.Errorf("the snapshot is %v", shown["status"])
		}
		if list := openstack(t, "volume", "snapshot", "list", "-f", "value", "-c", "Name", "-c", "Status"); list != "nightly available\n" {
			t.Errorf("listed %q", list)
		}
		openstack(t, "volume", "snapshot", "delete", "nightly")
		openstack(t, "volume", "delete", "data")
		if list := openstack(t, "volume", "list", "-f", "value"); list != "" {
			t.Errorf("after delete there is %q", list)
		}
	})
}

// openstacksdk works with the embedded cloud as with a real one.
func TestOpenStackSDK(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import openstack").CombinedOutput(); err != nil {
		t.Fatalf("openstacksdk is not installed: apt-get install python3-openstacksdk: %v\n%s", err, out)
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "sdk.py"))
	cmd.Env = startSimcloud(t)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	want := "server ACTIVE env=dev\nset cost-center=CC-17 env=dev owner=alice\nunset cost-center=CC-17 " +
		"owner=alice\nSHUTOFF\nACTIVE\nlocked: 409\n" +
		"listed web-1\ndeleted\nsnapshot available env=dev\nset env=dev owner=alice\nunset owner=alice\nlisted " +
		"nightly\ndeleted\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
