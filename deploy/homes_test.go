package deploy_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
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
		"Deploy", "First event", "Watch", "Change rules", "Upgrade", "Roll back", "Dead letters", "Cost", "Remove",
		"What was run",
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

// Links of all pages lead to files, and to headings in them.
func TestLinks(t *testing.T) {
	pages := files(t, ".md")
	if len(pages) < 25 {
		t.Fatalf("%d pages: %q", len(pages), pages)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, page)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			path := filepath.Join(filepath.Dir(page), file)
			if file == "" {
				path = page
			}
			if problem := target(t, path, anchor); problem != "" {
				t.Errorf("%s: %s", page, problem)
			}
		}
	}
}

// Pages under docs that code, manifests and messages name exist, with the named heading.
func TestNamedPages(t *testing.T) {
	name := regexp.MustCompile(`\bdocs/([a-z][\w-]*\.md)(?:#([\w-]+))?`)
	named := 0
	for _, file := range files(t, ".go", ".yaml", ".tf", ".sh", ".py", ".service", ".container", "environment", ".html") {
		for _, m := range name.FindAllStringSubmatch(read(t, file), -1) {
			named++
			if problem := target(t, filepath.Join("../docs", m[1]), m[2]); problem != "" {
				t.Errorf("%s: %s", file, problem)
			}
		}
	}
	if named < 50 {
		t.Errorf("%d places name a page", named)
	}
}

// Each page under docs can be reached by links from the README.
func TestPagesAreReached(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)`)
	reached := map[string]bool{}
	for todo := []string{"../README.md"}; len(todo) > 0; todo = todo[1:] {
		page := todo[0]
		if reached[page] || filepath.Ext(page) != ".md" {
			continue
		}
		reached[page] = true
		for _, m := range link.FindAllStringSubmatch(prose(read(t, page)), -1) {
			if !strings.Contains(m[1], "://") {
				todo = append(todo, filepath.Join(filepath.Dir(page), m[1]))
			}
		}
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) < 15 {
		t.Fatalf("%q, %v", pages, err)
	}
	for _, page := range pages {
		if !reached[page] {
			t.Errorf("no link leads to %s", page)
		}
	}
}

// The README shows the command that runs the tests on a line of its own: CI takes it from there.
func TestReadmeShowsTheTestCommand(t *testing.T) {
	if !regexp.MustCompile(`(?m)^    make test$`).MatchString(read(t, "../README.md")) {
		t.Error("README.md has no line that is an indented code block with `make test`")
	}
}

// target returns what is wrong with a link to a file and a heading in it, or "".
func target(t *testing.T, path, anchor string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		return err.Error()
	}
	if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
		return path + " has no heading #" + anchor
	}
	return ""
}

// files returns the paths of the project's files with one of the endings, without test data.
func files(t *testing.T, endings ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "dist", "testdata", ".aws-sam"}, entry.Name()):
			return filepath.SkipDir
		case entry.Type().IsRegular() && slices.ContainsFunc(endings, func(ending string) bool {
			return strings.HasSuffix(path, ending)
		}):
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// prose returns a page without its code.
func prose(text string) string {
	text = regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "code")
}

// anchors returns those that GitHub gives a page's headings.
func anchors(text string) []string {
	var found []string
	text = regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`).ReplaceAllString(strings.ToLower(h[1]), "")
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

// Kolla's lines enable one topic for each service beside those of other services, and what Nova is to send.
func TestKolla(t *testing.T) {
	var globals map[string][]struct{ Name, Enabled string }
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "kolla/globals.yml"))))
	decoder.KnownFields(true)
	if err := decoder.Decode(&globals); err != nil {
		t.Fatal(err)
	}
	for service, others := range map[string]int{"nova": 1, "cinder": 0} {
		topics := globals[service+"_notification_topics"]
		if len(topics) != 1+others || topics[0].Name != "notifications" || topics[0].Enabled != "true" {
			t.Errorf("%s: topics %v", service, topics)
		}
	}
	settings := map[string]string{}
	section := ""
	for line := range strings.Lines(read(t, "kolla/nova.conf")) {
		line = strings.TrimSpace(line)
		name, value, assigned := strings.Cut(line, " = ")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = line
		case assigned:
			settings[section+name] = value
		default:
			t.Errorf("nova.conf: %q", line)
		}
	}
	if want := map[string]string{"[notifications]notification_format": "unversioned",
		"[notifications]notify_on_state_change": "vm_state"}; !maps.Equal(settings, want) {
		t.Errorf("nova.conf: %v", settings)
	}

	// The policy is for all of Tagger's queues, and for no others; it lets nothing expire, and its bound is above the
	// queues' own.
	policy := regexp.MustCompile(
		`set_policy .*--priority 100 --apply-to queues \\\n  tagger '([^']+)' '([^']+)'\n`).FindStringSubmatch(read(t,
		"kolla/policies.sh"))
	if policy == nil {
		t.Fatal("policies.sh sets no policy")
	}
	var definition map[string]int
	if err := json.Unmarshal([]byte(policy[2]), &definition); err != nil || len(definition) != 1 ||
		definition["max-length"] < 256<<20/100 {
		t.Errorf("the policy defines %s: %v", policy[2], err)
	}
	pattern := regexp.MustCompile(policy[1])
	names := regexp.MustCompile(`(?m)^deleted queue (\S+) `).FindAllStringSubmatch(read(t, "../docs/queues.md"), -1)
	if len(names) != 11 {
		t.Errorf("docs/queues.md names %d queues", len(names))
	}
	for _, name := range names {
		if !pattern.MatchString(name[1]) {
			t.Errorf("the policy is not for %s", name[1])
		}
	}
	for _, name := range []string{"notifications.info", "taggers", "reply_tagger", "a.tagger"} {
		if pattern.MatchString(name) {
			t.Errorf("the policy is for %s, too", name)
		}
	}

	// The rights are the same everywhere.
	rights := regexp.MustCompile(`rabbitmqctl set_permissions tagger ('.*')`)
	here := rights.FindStringSubmatch(read(t, "kolla/README.md"))
	there := rights.FindStringSubmatch(read(t, "../docs/private-cloud.md"))
	if here == nil || there == nil || here[1] != there[1] {
		t.Errorf("rights %q and %q", here, there)
	}
}

// Each alarm of each home has its place in the runbook.
func TestAlarms(t *testing.T) {
	runbook := read(t, "../docs/runbook.md")
	template := read(t, "../template.yaml")
	alarms := map[string]bool{}
	named := regexp.MustCompile(`(?m)^  (?:(?:Server|Volume|Snapshot)(?:Created|Changed)|Reconcile)(\w+):\n`+
		`    Type: AWS::CloudWatch::Alarm$`).FindAllStringSubmatch(template, -1)
	for _, m := range named {
		alarms[m[1]] = true
	}
	if n := strings.Count(template, "Type: AWS::CloudWatch::Alarm\n"); n != len(named) || n == 0 {
		t.Errorf("the template has %d alarms, %d with names that are known: %v", n, len(named), alarms)
	}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "monitoring/alerts.yaml"), -1) {
		alarms[m[1]] = true
	}
	logs := regexp.MustCompile(`setproduct\(var.functions, \[(.*)\]\)`).FindStringSubmatch(read(t,
		"functiongraph/main.tf"))
	if logs == nil {
		t.Fatal("the Terraform module has no alarms on the log")
	}
	for _, m := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(logs[1], -1) {
		alarms["…_"+m[1]] = true
	}
	for name := range alarms {
		place := regexp.MustCompile("(?s)\n## [^\n]+\n\n[^\n]*\n?[^\n]*`" + name + "`")
		if !place.MatchString(runbook) {
			t.Errorf("docs/runbook.md has no section that begins with the alarm %s", name)
		}
	}
}

// The unit and the quadlet run the same command, with settings that there are.
func TestHosts(t *testing.T) {
	started := func(file, key string) []string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(read(t, file))
		if m == nil {
			t.Fatalf("%s has no %s", file, key)
		}
		return strings.Fields(strings.TrimPrefix(m[1], "/usr/bin/tagger "))
	}
	unit, quadlet := started("systemd/tagger-listen.service", "ExecStart"),
		started("systemd/tagger-listen.container", "Exec")
	if !slices.Equal(unit, quadlet) {
		t.Errorf("the unit runs %q, the quadlet %q", unit, quadlet)
	}
	help := exec.Command("go", append([]string{"run", "./cmd/tagger"}, append(slices.Clone(unit), "--help")...)...)
	help.Dir = ".."
	if out, err := help.CombinedOutput(); err != nil {
		t.Errorf("%q: %v: %s", unit, err, out)
	}
	configuration := read(t, "../docs/configuration.md")
	for _, name := range regexp.MustCompile(`(?m)^#?((?:TAGGER|OS)_\w+)=`).FindAllStringSubmatch(read(t,
		"systemd/environment"), -1) {
		if !strings.Contains(configuration, "`"+name[1]+"`") {
			t.Errorf("docs/configuration.md has no %s", name[1])
		}
	}
}
