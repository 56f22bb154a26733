package functiongraph

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// documented has a resource's arguments, each "required" or "optional", and its blocks' arguments, from the provider's
// documentation.
type documented struct {
	Source    string
	Arguments map[string]string
	Blocks    map[string]map[string]string
}

type provider struct {
	Resources, Data map[string]documented
}

func read[T any](t *testing.T, path string) T {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// module returns the blocks of all files of the module.
func module(t *testing.T) []*hclsyntax.Block {
	t.Helper()
	files, err := filepath.Glob("*.tf")
	if err != nil || len(files) < 4 {
		t.Fatalf("%q, %v", files, err)
	}
	var blocks []*hclsyntax.Block
	parser := hclparse.NewParser()
	for _, name := range files {
		f, problems := parser.ParseHCLFile(name)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		body, ok := f.Body.(*hclsyntax.Body)
		if !ok {
			t.Fatalf("%s: a %T", name, f.Body)
		}
		blocks = append(blocks, body.Blocks...)
	}
	return blocks
}

func TestArguments(t *testing.T) {
	known := read[provider](t, "provider.json")
	seen := map[string]bool{}
	for _, b := range module(t) {
		var of documented
		switch b.Type {
		case "resource":
			of = known.Resources[b.Labels[0]]
		case "data":
			of = known.Data[b.Labels[0]]
		default:
			continue
		}
		seen[b.Labels[0]] = true
		if of.Source == "" {
			t.Errorf("%s: the provider documents no %s", b.TypeRange, b.Labels[0])
			continue
		}
		meta := []string{"count", "for_each", "depends_on", "provider", "lifecycle"}
		check(t, b.Labels[0], b.Body, of.Arguments, of.Blocks, meta)
	}
	for name := range known.Resources {
		if !seen[name] && name != "huaweicloud_eg_event_subscription_target" {
			t.Errorf("the module has no %s", name)
		}
	}
}

func check(t *testing.T, where string, body *hclsyntax.Body, arguments map[string]string,
	blocks map[string]map[string]string, meta []string) {
	t.Helper()
	given := map[string]bool{}
	for name := range body.Attributes {
		given[name] = true
		if arguments[name] == "" && !slices.Contains(meta, name) {
			t.Errorf("%s: there is no argument %s", where, name)
		}
	}
	for _, b := range body.Blocks {
		name, inner := b.Type, b.Body
		if b.Type == "dynamic" {
			name = b.Labels[0]
			inner = b.Body.Blocks[0].Body // content
		}
		if slices.Contains(meta, name) {
			continue
		}
		given[name] = true
		if arguments[name] == "" || blocks[name] == nil {
			t.Errorf("%s: there is no block %s", where, name)
			continue
		}
		check(t, where+"."+name, inner, blocks[name], blocks, nil)
	}
	for name, need := range arguments {
		if need == "required" && !given[name] {
			t.Errorf("%s lacks the required %s", where, name)
		}
	}
}

// Each reference in an expression exists.
func TestReferences(t *testing.T) {
	there := map[string]bool{}
	for _, b := range module(t) {
		switch b.Type {
		case "resource":
			there[b.Labels[0]+"."+b.Labels[1]] = true
		case "data":
			there["data."+b.Labels[0]+"."+b.Labels[1]] = true
		case "variable":
			there["var."+b.Labels[0]] = true
		case "locals":
			for name := range b.Body.Attributes {
				there["local."+name] = true
			}
		}
	}
	text := ""
	files, _ := filepath.Glob("*.tf")
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text += regexp.MustCompile(`(?m)#.*$`).ReplaceAllString(string(content), "")
	}
	used := regexp.MustCompile(`\b(data\.huaweicloud_\w+\.\w+|huaweicloud_\w+\.\w+|var\.\w+|local\.\w+)`).FindAllString(
		text, -1)
	if len(used) < 50 {
		t.Fatalf("%d references", len(used))
	}
	for _, name := range used {
		if !there[name] {
			t.Errorf("there is no %s", name)
		}
	}
	for name := range there {
		if strings.HasPrefix(name, "var.") && !slices.Contains(used, name) {
			t.Errorf("%s is not used", name)
		}
	}
}

// The actions that Huawei Cloud wants for each call (its pages on permissions: "元数据管理" of ECS, "云硬盘快照" of EVS), for
// every call that "tagger plan" predicts.
func TestRights(t *testing.T) {
	actions := map[string][]string{
		"GET servers/ID":                 {"ecs:servers:get"},
		"GET servers/ID/metadata":        {"ecs:servers:listMetadata"},
		"GET servers/ID/metadata/KEY":    {"ecs:servers:getMetadata", "ecs:servers:get"},
		"POST servers/ID/metadata":       {"ecs:servers:setMetadata"},
		"DELETE servers/ID/metadata/KEY": {"ecs:servers:setMetadata"},

		"GET snapshots/ID":                 {"evs:snapshots:get"},
		"GET snapshots/ID/metadata":        {"evs:snapshots:get"},
		"PUT snapshots/ID/metadata/KEY":    {"evs:snapshots:update", "evs:snapshots:get"},
		"DELETE snapshots/ID/metadata/KEY": {"evs:snapshots:delete", "evs:snapshots:get"},

		"GET volumes/ID":                 {"evs:volumes:get"},
		"GET volumes/ID/metadata":        {"evs:volumes:get"},
		"POST volumes/ID/metadata":       {"evs:volumes:update", "evs:volumes:get"},
		"DELETE volumes/ID/metadata/KEY": {"evs:volumes:delete", "evs:volumes:get"},
	}
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	text := "rules:\n- name: all\n  on: [server.created, snapshot.created, volume.created]\n  add: {a: x}\n  set: {b: " +
		"y}\n  remove: [c]\n"
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := exec.Command("go", "run", "./cmd/tagger", "plan", "-o", "json", "--rules", rules,
		"events/server-created.json", "events/snapshot-created.json", "events/volume-created.json")
	plan.Dir = "../.."
	out, err := plan.Output()
	if err != nil {
		t.Fatal(err)
	}
	// A run also reads the state of a server that refuses a write, and whether a resource exists.
	calls := map[string]bool{"GET servers/ID": true, "GET snapshots/ID": true, "GET volumes/ID": true}
	path := regexp.MustCompile(`/(servers|snapshots|volumes)/[^/]+(/metadata)?(/[^/]+)?$`)
	for line := range strings.Lines(string(out)) {
		var result struct {
			Requests []struct{ Method, Path string }
		}
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			t.Fatal(err)
		}
		for _, r := range result.Requests {
			m := path.FindStringSubmatch(r.Path)
			if m == nil {
				t.Fatalf("a call of %s", r.Path)
			}
			call := r.Method + " " + m[1] + "/ID" + m[2]
			if m[3] != "" {
				call += "/KEY"
			}
			calls[call] = true
		}
	}
	if len(calls) < 11 {
		t.Fatalf("calls %q", slices.Collect(maps.Keys(calls)))
	}
	need := map[string]bool{}
	for call := range calls {
		if actions[call] == nil {
			t.Errorf("no page says which action %s needs", call)
		}
		for _, a := range actions[call] {
			need[a] = true
		}
	}
	policy := read[struct {
		Version   string
		Statement []struct {
			Effect string
			Action []string
		}
	}](t, "execution-policy.json")
	if policy.Version != "1.1" || len(policy.Statement) != 1 || policy.Statement[0].Effect != "Allow" {
		t.Fatalf("policy %v", policy)
	}
	// The action for removing a key is the one for deleting the resource, so users must allow it explicitly
	// (extra_actions).
	for _, strong := range []string{"evs:snapshots:delete", "evs:volumes:delete"} {
		if !need[strong] {
			t.Errorf("removing a key no longer needs %s", strong)
		}
		delete(need, strong)
	}
	want := slices.Sorted(maps.Keys(need))
	if got := slices.Sorted(slices.Values(policy.Statement[0].Action)); !slices.Equal(got, want) {
		t.Errorf("the policy allows %q, the calls need %q", got, want)
	}
}

// The traces match docs/events.md, the settings docs/configuration.md.
func TestDocumentation(t *testing.T) {
	main, err := os.ReadFile("main.tf")
	if err != nil {
		t.Fatal(err)
	}
	events, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	actions := map[string]string{
		"server.created": "server-created", "snapshot.created": "snapshot-created",
		"server.started": "server-changed", "server.stopped": "server-changed", "server.resized": "server-changed",
		"server.rebuilt":  "server-changed",
		"volume.created":  "volume-created",
		"volume.attached": "volume-changed", "volume.detached": "volume-changed", "volume.resized": "volume-changed",
		"volume.transferred": "volume-changed",
	}
	want := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+\\.\\w+)` \\|(.*)\\|$").FindAllStringSubmatch(string(events),
		-1) {
		cells := strings.Split(row[2], "|")
		if name := actions[row[1]]; name != "" && len(cells) >= 6 {
			for _, trace := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(strings.Join(cells[3:6], " "), -1) {
				want[name] = append(want[name], trace[1])
			}
		}
	}
	if len(want) != 5 {
		t.Fatalf("docs/events.md has the traces %v", want)
	}
	for name, traces := range want {
		m := regexp.MustCompile(`(?s)` + name + ` += \[(.*?)\]`).FindStringSubmatch(string(main))
		if m == nil {
			t.Fatalf("main.tf has no operations of %s", name)
		}
		var got []string
		for _, o := range regexp.MustCompile(`"\w+:\w+:([\w;]+)"`).FindAllStringSubmatch(m[1], -1) {
			got = append(got, strings.Split(o[1], ";")...)
		}
		slices.Sort(got)
		slices.Sort(traces)
		if !slices.Equal(got, traces) {
			t.Errorf("%s: operations %q, docs/events.md has %q", name, got, traces)
		}
	}
	if !strings.Contains(string(main), "{ TAGGER_RECONCILE_RULES = var.reconcile.rules }") ||
		!strings.Contains(string(configuration), "`TAGGER_RECONCILE_RULES`") {
		t.Error("the function reconcile does not get the hash of the reviewed rules")
	}
	// The alarms on a scheduled reconcile match docs/reconcile.md.
	reconcile, err := os.ReadFile("../../docs/reconcile.md")
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|[^|]*\\| yes \\|").FindAllStringSubmatch(
		string(reconcile), -1) {
		outcomes = append(outcomes, strconv.Quote(row[1]))
	}
	if len(outcomes) < 3 || !strings.Contains(string(main), "["+strings.Join(outcomes, ", ")+"]") {
		t.Errorf("main.tf has no alarms on %s", strings.Join(outcomes, ", "))
	}
	for _, name := range regexp.MustCompile(`(?m)^    ((?:TAGGER|OS)_\w+) `).FindAllStringSubmatch(string(main), -1) {
		if !strings.Contains(string(configuration), "`"+name[1]+"`") {
			t.Errorf("docs/configuration.md has no %s", name[1])
		}
	}
}
