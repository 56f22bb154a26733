package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"gopkg.in/yaml.v3"
)

// dist is a release of commit, which is HEAD when the tests begin. TestMain builds it.
var dist, commit string

func TestMain(m *testing.M) {
	os.Exit(releaseAndRun(m))
}

func releaseAndRun(m *testing.M) int {
	directory, err := os.MkdirTemp("", "tagger-release")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	dist = filepath.Join(directory, "dist")
	head, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "find the commit:", err)
		return 1
	}
	commit = strings.TrimSpace(string(head))
	if err := release("../..", commit, dist); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// matching returns the only file of the release that a pattern matches.
func matching(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

func digests(t *testing.T, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(directory, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(text))
	}
	return found
}

func TestReproducible(t *testing.T) {
	again := filepath.Join(t.TempDir(), "somewhere", "else")
	if err := release("../..", commit, again); err != nil {
		t.Fatal(err)
	}
	first, second := digests(t, dist), digests(t, again)
	if len(first) != len(second) {
		t.Errorf("%d files, then %d", len(first), len(second))
	}
	for name, digest := range first {
		if second[name] != digest {
			t.Errorf("%s differs", name)
		}
	}
}

func TestChecksums(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(dist, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		digest, name, _ := strings.Cut(line, "  ")
		listed[name] = digest
	}
	want := digests(t, dist)
	delete(want, "checksums.txt")
	// Twelve function archives, six of the command, a bill of materials for each, four packages, the image.
	if len(want) != 12+6+18+4+1 {
		t.Errorf("%d files", len(want))
	}
	for name, digest := range want {
		if listed[name] != digest {
			t.Errorf("%s: listed as %q", name, listed[name])
		}
	}
	if len(listed) != len(want) {
		t.Errorf("%d files are listed, %d are there", len(listed), len(want))
	}
}

// The configuration of GoReleaser publishes each file of a release once, and no other. The workflow signs the
// checksums.
func TestPublished(t *testing.T) {
	var configuration struct {
		Release struct {
			ExtraFiles []struct{ Glob string } `yaml:"extra_files"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../.goreleaser.yaml")), &configuration); err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(digests(t, dist)))
	const signature = "checksums.txt.sigstore.json"
	if !strings.Contains(read(t, "../../.github/workflows/release.yml"), "--bundle dist/"+signature+
		" dist/checksums.txt\n") {
		t.Errorf("the workflow does not create %s", signature)
	}
	names = append(names, signature)
	times := map[string]int{}
	for _, f := range configuration.Release.ExtraFiles {
		pattern, inside := strings.CutPrefix(f.Glob, "dist/")
		found := 0
		for _, name := range names {
			if matches, err := path.Match(pattern, name); err != nil || matches {
				times[name]++
				found++
			}
		}
		if !inside || found == 0 {
			t.Errorf("%s is not a file of a release", f.Glob)
		}
	}
	for _, name := range names {
		if times[name] != 1 {
			t.Errorf("%s would be published %d times", name, times[name])
		}
	}
}

func TestArchives(t *testing.T) {
	want := []string{"CHANGELOG.md", "LICENSE", "README.md", "THIRD_PARTY_LICENSES", "completions/tagger.bash",
		"completions/tagger.fish", "completions/tagger.zsh"}
	for _, pattern := range []string{"tagger_*_linux_amd64.tar.gz", "tagger_*_linux_arm64.tar.gz",
		"tagger_*_darwin_amd64.tar.gz", "tagger_*_darwin_arm64.tar.gz"} {
		f, err := os.Open(matching(t, pattern))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if mode := int64(0o644); h.Name == "tagger" {
				mode = 0o755
			} else if h.Mode != mode {
				t.Errorf("%s: %s has mode %o", pattern, h.Name, h.Mode)
			}
			names = append(names, h.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, append(slices.Clone(want), "tagger")) {
			t.Errorf("%s has %q", pattern, names)
		}
	}
	for pattern, program := range map[string]string{"tagger_*_windows_amd64.zip": "tagger.exe",
		"server-created-arm64.zip": "bootstrap", "server-changed-amd64.zip": "bootstrap"} {
		z, err := zip.OpenReader(matching(t, pattern))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		var names []string
		for _, f := range z.File {
			names = append(names, f.Name)
		}
		for _, name := range []string{program, "LICENSE", "THIRD_PARTY_LICENSES"} {
			if !slices.Contains(names, name) {
				t.Errorf("%s has %q", pattern, names)
			}
		}
	}
}

func TestBillOfMaterials(t *testing.T) {
	for pattern, modules := range map[string][]string{
		"tagger_*_linux_arm64.tar.gz.cdx.json": {"std", "github.com/spf13/cobra", "github.com/gophercloud/gophercloud/v2"},
		"server-created-arm64.zip.cdx.json": {"std", "github.com/aws/aws-lambda-go",
			"github.com/gophercloud/gophercloud/v2"},
		"tagger_*_windows_amd64.zip.cdx.json":   {"std", "github.com/inconshreveable/mousetrap"},
		"snapshot-created-amd64.zip.cdx.json":   {"github.com/cloudevents/sdk-go/v2"},
		"tagger_*_darwin_amd64.tar.gz.cdx.json": {"github.com/rabbitmq/amqp091-go"},
	} {
		f, err := os.Open(matching(t, pattern))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var bom cyclonedx.BOM
		if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range *bom.Components {
			names = append(names, c.Name)
			if c.Version == "" || c.PackageURL == "" {
				t.Errorf("%s: %s has no version or address", pattern, c.Name)
			}
		}
		for _, m := range modules {
			if !slices.Contains(names, m) {
				t.Errorf("%s has no %s", pattern, m)
			}
		}
		if bom.Metadata.Component.Version == "" || bom.SerialNumber != "" {
			t.Errorf("%s: version %q, serial number %q, which a second build could not repeat", pattern,
				bom.Metadata.Component.Version, bom.SerialNumber)
		}
	}
}

// unpackImage unpacks the image for an architecture, and returns its root and its configuration.
func unpackImage(t *testing.T, arch string) (string, *v1.ConfigFile) {
	t.Helper()
	directory, root := t.TempDir(), t.TempDir()
	f, err := os.Open(matching(t, "tagger_*_oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpack(t, f, directory)
	path, err := layout.FromPath(directory)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range inner.Manifests {
		if m.Platform.Architecture != arch {
			continue
		}
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		content := mutate.Extract(image)
		defer content.Close()
		unpack(t, content, root)
		return root, config
	}
	t.Fatalf("no image for %s", arch)
	return "", nil
}

func unpack(t *testing.T, r io.Reader, directory string) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(directory, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, os.FileMode(h.Mode)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImage(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		root, config := unpackImage(t, arch)
		if config.OS != "linux" || config.Architecture != arch {
			t.Errorf("%s: the image is for %s/%s", arch, config.OS, config.Architecture)
		}
		if config.Config.User != nonroot || config.Created.IsZero() {
			t.Errorf("%s: user %q, created %s", arch, config.Config.User, config.Created)
		}
		if !slices.Equal(config.Config.Entrypoint, []string{"/usr/bin/tagger"}) ||
			!slices.Equal(config.Config.Cmd, []string{"serve"}) {
			t.Errorf("%s: runs %q %q", arch, config.Config.Entrypoint, config.Config.Cmd)
		}
		authorities, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
		if err != nil || bytes.Count(authorities, []byte("BEGIN CERTIFICATE")) < 100 {
			t.Errorf("%s: authorities: %d bytes, %v", arch, len(authorities), err)
		}
		for _, name := range []string{"LICENSE", "THIRD_PARTY_LICENSES"} {
			if _, err := os.Stat(filepath.Join(root, "usr/share/doc/tagger", name)); err != nil {
				t.Error(err)
			}
		}
	}
}

// The command runs with the image as its root directory, as a user without write permission. It prints its version, and
// plans an event with a rule that needs time zones.
func TestImageRuns(t *testing.T) {
	root, config := unpackImage(t, runtime.GOARCH)
	if err := os.MkdirAll(filepath.Join(root, "mnt"), 0o755); err != nil { // the mount point of a container
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"rules.yaml": "rules:\n- name: zone\n  on: [server.created]\n  set: {zone: " +
			"'${string(timezone(\"Europe/Zurich\"))}'}\n",
		"event.json": read(t, "../../events/server-created.json"),
	} {
		if err := os.WriteFile(filepath.Join(root, "mnt", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		command := exec.Command(config.Config.Entrypoint[0], args...)
		command.Path = config.Config.Entrypoint[0]
		command.Env, command.Dir = config.Config.Env, "/"
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		if os.Getuid() == 0 {
			command.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
		} else {
			command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		}
		out, err := command.CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		return string(out)
	}
	if got := run("version"); !strings.HasPrefix(got, "tagger v") {
		t.Errorf("version: %s", got)
	}
	if got := run("plan", "--rules", "/mnt/rules.yaml", "/mnt/event.json"); !strings.Contains(got, "Europe/Zurich") {
		t.Errorf("plan: %s", got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tool runs an installed program, and fails the test if it fails.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

func TestDebianPackage(t *testing.T) {
	path, root := matching(t, "tagger_*_"+runtime.GOARCH+".deb"), t.TempDir()
	fields := tool(t, "dpkg-deb", "--field", path)
	for _, want := range []string{"Package: tagger\n", "Architecture: " + runtime.GOARCH + "\n"} {
		if !strings.Contains(fields, want) {
			t.Errorf("no %q in %s", want, fields)
		}
	}
	tool(t, "dpkg-deb", "--extract", path, root)
	checkUnpacked(t, root)
	control := t.TempDir()
	tool(t, "dpkg-deb", "--control", path, control)
	const want = "/etc/tagger/environment\n/etc/tagger/rules.yaml\n"
	if got := read(t, filepath.Join(control, "conffiles")); got != want {
		t.Errorf("conffiles %q, want %q", got, want)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		tool(t, "sh", "-n", filepath.Join(control, script))
	}
}

func TestRPM(t *testing.T) {
	path, root := matching(t, "tagger_*_"+runtime.GOARCH+".rpm"), t.TempDir()
	got := tool(t, "rpm", "--query", "--package", "--queryformat", "%{NAME} %{LICENSE} %{OS}\\n", path)
	if !strings.HasSuffix(got, "tagger Apache-2.0 linux\n") {
		t.Errorf("rpm says %q", got)
	}
	configuration := tool(t, "rpm", "--query", "--package", "--configfiles", path)
	for _, want := range []string{"/etc/tagger/environment", "/etc/tagger/rules.yaml"} {
		if !strings.Contains(configuration, want) {
			t.Errorf("no configuration file %s in %s", want, configuration)
		}
	}
	tool(t, "sh", "-c", `cd "$1" && rpm2cpio "$2" | cpio --extract --make-directories --no-absolute-filenames --quiet`,
		"sh", root, path)
	checkUnpacked(t, root)
}

// checkUnpacked checks the files that a package installs.
func checkUnpacked(t *testing.T, root string) {
	t.Helper()
	for path, mode := range map[string]os.FileMode{
		"usr/bin/tagger": 0o755, "etc/tagger": os.ModeDir | 0o755, "etc/tagger/environment": 0o600,
		"etc/tagger/rules.yaml":                        0o644,
		"usr/lib/systemd/system/tagger-listen.service": 0o644, "usr/share/bash-completion/completions/tagger": 0o644,
		"usr/share/doc/tagger/THIRD_PARTY_LICENSES": 0o644, "usr/share/doc/tagger/copyright": 0o644,
	} {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %s, want %s", path, info.Mode(), mode)
		}
	}
	binary := filepath.Join(root, "usr/bin/tagger")
	if got := tool(t, binary, "version"); !strings.HasPrefix(got, "tagger v") {
		t.Errorf("version: %s", got)
	}
	tool(t, binary, "rules", "check", filepath.Join(root, "etc/tagger/rules.yaml"))

	// systemd accepts the unit and its sandbox.
	unit := filepath.Join(root, "usr/lib/systemd/system/tagger-listen.service")
	here := filepath.Join(t.TempDir(), "tagger-listen.service")
	text := strings.ReplaceAll(read(t, unit), "/usr/bin/tagger", binary)
	if err := os.WriteFile(here, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := tool(t, "systemd-analyze", "verify", "--recursive-errors=no", here); strings.Contains(got, "tagger-listen") {
		t.Errorf("systemd-analyze verify: %s", got)
	}
	var rating []struct {
		Set      *bool  `json:"set"`
		Name     string `json:"name"`
		Exposure string `json:"exposure"`
	}
	out := tool(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", "--json=short", here)
	if err := json.Unmarshal([]byte(out), &rating); err != nil || len(rating) < 50 {
		t.Errorf("systemd-analyze security: %v: %s", err, out)
	}
}
