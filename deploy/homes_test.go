package deploy_test

import (
	"bytes"
	"encoding/json"
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
	private := read(t, "../docs/private-cloud.md")
	names := regexp.MustCompile(`(?m)^deleted queue (\S+) `).FindAllStringSubmatch(private, -1)
	if len(names) != 11 {
		t.Errorf("docs/private-cloud.md names %d queues", len(names))
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
	here, there := rights.FindStringSubmatch(read(t, "kolla/README.md")), rights.FindStringSubmatch(private)
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
