package deploy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// Every home has one page, with the same headings in the same order.
func TestPages(t *testing.T) {
	headings := []string{
		"Deploy", "First event", "Watch", "Change rules", "Upgrade", "Roll back", "Dead letters", "Cost", "Remove", "What was run",
	}
	for _, home := range []string{"aws", "functiongraph", "knative", "kolla", "kubernetes", "systemd"} {
		text := read(t, home+"/README.md")
		var found []string
		for _, h := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(text, -1) {
			if slices.Contains(headings, h[1]) {
				found = append(found, h[1])
			}
		}
		if !slices.Equal(found, headings) {
			t.Errorf("%s/README.md has the headings %q, want %q", home, found, headings)
		}
		if !strings.Contains(text, "**Not run:**") {
			t.Errorf("%s/README.md does not say what was not run", home)
		}
		for _, target := range regexp.MustCompile("`make ([a-z-]+)`").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(read(t, "../Makefile"), "\n"+target[1]+":") {
				t.Errorf("%s/README.md: there is no target %s", home, target[1])
			}
		}
	}
}

// Links of the pages lead to files, and to headings in them.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("*/README.md")
	if err != nil || len(pages) < 6 {
		t.Fatalf("%q, %v", pages, err)
	}
	for _, page := range append(pages, "../docs/runbook.md") {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link[1], "#")
			path := filepath.Join(filepath.Dir(page), file)
			if file == "" {
				path = page
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, path, anchor)
			}
		}
	}
}

// anchors are those that GitHub makes of a page's headings.
func anchors(text string) []string {
	var found []string
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(h[1]), "")
		found = append(found, strings.ReplaceAll(plain, " ", "-"))
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Kolla's lines enable one topic for each service, and the unit and the quadlet run the same command.
func TestHosts(t *testing.T) {
	var globals map[string][]struct {
		Name    string
		Enabled bool
	}
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "kolla/globals.yml"))))
	decoder.KnownFields(true)
	if err := decoder.Decode(&globals); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"nova", "cinder"} {
		topics := globals[service+"_notification_topics"]
		if len(topics) != 1 || topics[0].Name != "notifications" || !topics[0].Enabled {
			t.Errorf("%s: topics %v", service, topics)
		}
	}
	started := func(file, key string) []string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(read(t, file))
		if m == nil {
			t.Fatalf("%s has no %s", file, key)
		}
		return strings.Fields(strings.TrimPrefix(m[1], "/usr/bin/tagger "))
	}
	unit, quadlet := started("systemd/tagger-listen.service", "ExecStart"), started("systemd/tagger-listen.container", "Exec")
	if !slices.Equal(unit, quadlet) {
		t.Errorf("the unit runs %q, the quadlet %q", unit, quadlet)
	}
	help := exec.Command("go", append([]string{"run", "./cmd/tagger"}, append(slices.Clone(unit), "--help")...)...)
	help.Dir = ".."
	if out, err := help.CombinedOutput(); err != nil {
		t.Errorf("%q: %v: %s", unit, err, out)
	}
	configuration := read(t, "../docs/configuration.md")
	for _, name := range regexp.MustCompile(`(?m)^#?((?:TAGGER|OS)_\w+)=`).FindAllStringSubmatch(read(t, "systemd/environment"), -1) {
		if !strings.Contains(configuration, "`"+name[1]+"`") {
			t.Errorf("docs/configuration.md has no %s", name[1])
		}
	}
}
