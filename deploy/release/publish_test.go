//go:build goreleaser

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// github fakes the part of GitHub's API that a release needs.
type github struct {
	mu       sync.Mutex
	releases []map[string]any  // as requested
	assets   map[string]string // digests
}

func (g *github) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	release := map[string]any{"id": 1, "html_url": "https://github.com/cloudtagger/tagger/releases/1"}
	// The prefixes are those of a GitHub Enterprise Server.
	asked := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v3"), "/api/uploads")
	at, below := strings.CutPrefix(asked, "/repos/cloudtagger/tagger/releases")
	switch {
	case below && r.Method == http.MethodPost && path.Base(at) == "assets":
		g.assets[r.URL.Query().Get("name")] = fmt.Sprintf("%x", sha256.Sum256(body))
		answer(http.StatusCreated, map[string]any{"id": len(g.assets)})
	case below && (r.Method == http.MethodPost && at == "" || r.Method == http.MethodPatch):
		var wanted map[string]any
		if err := json.Unmarshal(body, &wanted); err != nil {
			answer(http.StatusBadRequest, map[string]any{"message": err.Error()})
			return
		}
		g.releases = append(g.releases, wanted)
		answer(http.StatusCreated, release)
	case below && at == "":
		answer(http.StatusOK, []any{})
	case asked == "/rate_limit":
		answer(http.StatusOK, map[string]any{"resources": map[string]any{"core": map[string]any{"limit": 5000,
			"remaining": 5000}}})
	default:
		answer(http.StatusNotFound, map[string]any{"message": "Not Found"})
	}
}

// GoReleaser, run as in the workflow, publishes exactly the files of a release, with the notes.
func TestPublish(t *testing.T) {
	workflow := read(t, "../../.github/workflows/release.yml")
	command := regexp.MustCompile(`run: go run (github\.com/goreleaser/goreleaser/v2@v[\d.]+) (release .*) ` +
		`--release-notes "\$RUNNER_TEMP/notes\.md"\n`)
	called := command.FindStringSubmatch(workflow)
	if called == nil {
		t.Fatal("release.yml does not call GoReleaser")
	}
	g := &github{assets: map[string]string{}}
	server := httptest.NewServer(g)
	defer server.Close()

	// A clone with a tag and the real origin, from which GoReleaser reads owner and name.
	clone := filepath.Join(t.TempDir(), "tagger")
	git := func(args ...string) {
		t.Helper()
		tool(t, "git", append([]string{"-C", clone, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	}
	tool(t, "git", "clone", "--quiet", "../..", clone)
	git("checkout", "--quiet", commit)
	git("remote", "set-url", "origin", "https://github.com/cloudtagger/tagger")
	git("tag", "v0.0.1-rc.1")
	if err := os.CopyFS(filepath.Join(clone, "dist"), os.DirFS(dist)); err != nil {
		t.Fatal(err)
	}
	signature := filepath.Join(clone, "dist", "checksums.txt.sigstore.json")
	if err := os.WriteFile(signature, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	notes, configuration := filepath.Join(temporary, "notes.md"), filepath.Join(temporary, "goreleaser.yaml")
	urls := fmt.Sprintf("\ngithub_urls: {api: %[1]s/, upload: %[1]s/, download: %[1]s/}\n", server.URL)
	for name, text := range map[string]string{notes: "What is new.\n", configuration: read(t, "../../.goreleaser.yaml") +
		urls} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	program := filepath.Join(temporary, "bin", "goreleaser")
	install := exec.Command("go", "install", called[1])
	install.Env = append(os.Environ(), "GOBIN="+filepath.Dir(program))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v: %s", called[1], err, out)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir = clone
		cmd.Env = append(os.Environ(), "GITHUB_TOKEN=of-the-test")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("goreleaser %q: %v: %s", args, err, out)
		}
	}
	run("check")
	run(append(strings.Fields(called[2]), "--release-notes", notes, "--config", configuration)...)

	if want := digests(t, filepath.Join(clone, "dist")); !maps.Equal(g.assets, want) {
		t.Errorf("published %d files, %d are in dist: %v", len(g.assets), len(want), g.assets)
	}
	if len(g.releases) == 0 {
		t.Fatal("no release was made")
	}
	if r := g.releases[0]; r["tag_name"] != "v0.0.1-rc.1" || r["prerelease"] != true ||
		!strings.Contains(fmt.Sprint(r["body"]), "What is new.") {
		t.Errorf("the release is %v", r)
	}
	if r := g.releases[len(g.releases)-1]; r["draft"] != false {
		t.Errorf("the release is still a draft: %v", r)
	}
}
