package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/suggest"
)

// Options configure the compilation of rules.
type Options struct {
	// Name is the origin of the rules in errors: a file's path or TAGGER_RULES.
	Name string
	// API selects the limits for literal keys and values. The default is [metadata.OpenStack].
	API metadata.API
	// Now is the time for checking the end of exemptions. The default is the current time.
	Now time.Time
	// Files is where {file: …} tables are read, nil if there is no such place.
	Files fs.FS
}

// Error is one fault in rules.
type Error struct {
	Name string // Options.Name
	Line int    // 1-based, 0 when the fault has no line
	Rule string // "" outside a rule
	Text string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Name)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Rule != "" {
		fmt.Fprintf(&b, ": rule %q", e.Rule)
	}
	return b.String() + ": " + e.Text
}

// Errors are all errors found, at least one, in the order of their lines.
type Errors []*Error

// Error returns the first fault in one line, and the number of other faults.
func (e Errors) Error() string {
	switch len(e) {
	case 0:
		return "no fault"
	case 1:
		return e[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", e[0], len(e)-1)
}

// Compile compiles rules in YAML, or in JSON, which is a subset. Its error has the type Errors.
func Compile(text []byte, o Options) (*Set, error) {
	if o.API == "" {
		o.API = metadata.OpenStack
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	c := &compiler{Options: o, keys: map[string]string{}, misspelt: map[*yaml.Node][]string{}, set: &Set{
		api:    o.API,
		scope:  scope{tables: map[string]table{}, conditions: map[string]string{}},
		policy: Policy{SelfExemption: ReportSelfExemption, VolumesWrite: UnmanagedVolumes},
	}}
	if root := c.parse(text); root != nil {
		c.document(root)
	}
	if len(c.errors) > 0 {
		slices.SortStableFunc(c.errors, func(a, b *Error) int { return a.Line - b.Line })
		return nil, c.errors
	}
	c.set.tables = c.set.scope.values()
	c.set.namesProject = projectName.Match(text)
	c.set.hash = hashOf(text, c.set.tables)
	return c.set, nil
}

// projectName finds the name project. It also finds some other uses of the word, and escapes that may hide the word.
var projectName = regexp.MustCompile(`(?:^|[^.\w])project\b|\\[uUx]`)

// hashOf returns the SHA-256 of rules and of their tables, which can be in other files.
func hashOf(text []byte, tables map[string]any) string {
	h := sha256.New()
	h.Write(text)
	_ = json.NewEncoder(h).Encode(tables) // maps of texts: it cannot fail
	return hex.EncodeToString(h.Sum(nil))
}

type compiler struct {
	Options
	set    *Set
	rule   string            // the rule being compiled
	keys   map[string]string // the original spelling by its lower case
	errors Errors
	// misspelt has, for each unknown field of a mapping, the field that is probably meant, "" for none.
	misspelt map[*yaml.Node][]string
}

func (c *compiler) fail(node *yaml.Node, format string, args ...any) {
	line := 0
	if node != nil {
		line = node.Line
	}
	c.errors = append(c.errors, &Error{Name: c.Name, Line: line, Rule: c.rule, Text: fmt.Sprintf(format, args...)})
}

// notice records a warning about a section other than one rule.
func (c *compiler) notice(node *yaml.Node, format string, args ...any) {
	c.set.notices = append(c.set.notices, Warning{Line: node.Line, Text: fmt.Sprintf(format, args...)})
}

func (c *compiler) document(root *yaml.Node) {
	if isCaseFile(root) {
		c.fail(nil, "is a file of cases; use tagger rules test")
		return
	}
	sections := []struct {
		name string
		read func(*yaml.Node)
	}{
		// In this order: each can refer to those before it.
		{"tables", c.tables}, {"conditions", c.conditions}, {"ignore", c.ignored},
		{"priority", c.priority}, {"reserve_items", c.reserve}, {"volumes", c.volumes},
		{"required", c.required}, {"exemptions", c.exemptions}, {"self_exemption", c.selfExemption},
		{"protected_keys", c.protectedKeys}, {"yield_to", c.yieldTo},
	}
	known := []string{"rules"}
	for _, section := range sections {
		known = append(known, section.name)
	}
	fields := c.fields(root, known...)
	for _, section := range sections {
		if node, ok := fields[section.name]; ok {
			section.read(node)
		}
	}
	if c.lacks(root, fields, "rules") {
		c.fail(root, "no rules: section; write rules: [] if there are none")
	}
	rules, ok := fields["rules"]
	if !ok {
		return
	}
	if rules.Kind != yaml.SequenceNode {
		c.fail(rules, "rules: want a list, found %s", describe(rules))
		return
	}
	if len(rules.Content) == 0 { // valid, to stop writing (docs/runbook.md)
		c.notice(rules, "rules: is empty, so Tagger writes nothing and ignores every event")
	}
	seen := map[string]int{}
	for i, node := range rules.Content {
		c.rule = "rule-" + strconv.Itoa(i+1)
		r := c.compileRule(node)
		if first, ok := seen[r.name]; ok {
			c.fail(node, "line %d already has a rule of this name", first)
		}
		seen[r.name] = node.Line
		c.set.rules = append(c.set.rules, r)
	}
	c.rule = ""
}

// isCaseFile reports whether a document is a file of tests, whose rules: is the name of a file.
func isCaseFile(root *yaml.Node) bool {
	cases := false
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key, value := root.Content[i].Value, root.Content[i+1]; {
		case key == "cases" && value.Kind == yaml.SequenceNode:
			cases = true
		case key == "rules" && value.Kind != yaml.ScalarNode:
			return false
		}
	}
	return cases
}

func (c *compiler) compileRule(node *yaml.Node) rule {
	r := rule{name: c.rule, line: node.Line}
	if node.Kind != yaml.MappingNode {
		c.fail(node, "want a mapping with on: and one of add:, set:, remove:, rename:, inherit:, found %s", describe(node))
		return r
	}
	if name := nameOf(node); name != "" { // first: faults name the rule
		r.name, c.rule = name, name
	}
	fields := c.fields(node, "name", "on", "when", "add", "set", "remove", "rename", "inherit", "reconcile")
	if name, ok := fields["name"]; ok {
		c.scalar(name, "name")
	}
	if on, ok := fields["on"]; ok {
		r.on = c.actions(on)
	} else if c.lacks(node, fields, "on") {
		c.fail(node, "no on: name the actions that it is for")
	}
	if when, ok := fields["when"]; ok {
		if r.when = c.condition(when, "when"); r.when != nil {
			r.needs = r.when.needs
			r.guards = c.guards(r.when)
		}
	}
	r.reconcile = c.reconciles(fields)
	owner := map[string]string{}
	for _, section := range sections {
		body, ok := fields[section.name]
		if !ok {
			continue
		}
		for _, op := range section.read(c, body, r.on) {
			if other, ok := owner[op.key]; ok {
				c.fail(body, "key %q is in %s: and in %s:", op.key, other, section.name)
			}
			if op.verb != inherit { // which has add: for where the parent has no value
				owner[op.key] = section.name
			}
			r.needs = r.needs.and(op.needs())
			c.set.inherits = c.set.inherits || op.verb == inherit
			r.operations = append(r.operations, op)
		}
	}
	if c.lacks(node, fields, "add", "set", "remove", "rename", "inherit") {
		c.fail(node, "nothing to do: it has none of add:, set:, remove:, rename:, inherit:")
	}
	c.set.reads = c.set.reads.and(r.needs)
	return r
}

// sections are the actions of a rule.
var sections = []struct {
	name string
	read func(c *compiler, node *yaml.Node, on []lifecycle.Action) []operation
}{
	{"inherit", (*compiler).inherited}, // first: it comes under what the rule says itself
	{"add", func(c *compiler, node *yaml.Node, on []lifecycle.Action) []operation {
		return c.values(node, "add", add, on)
	}},
	{"set", func(c *compiler, node *yaml.Node, on []lifecycle.Action) []operation {
		return c.values(node, "set", set, on)
	}},
	{"remove", (*compiler).removed},
	{"rename", (*compiler).renamed},
}

// nameOf returns the text of a rule's first name:, "" if there is none.
func nameOf(rule *yaml.Node) string {
	for i := 0; i+1 < len(rule.Content); i += 2 {
		if value := rule.Content[i+1]; rule.Content[i].Value == "name" && value.Kind == yaml.ScalarNode && !isEmpty(value) {
			return value.Value
		}
	}
	return ""
}

func (c *compiler) actions(node *yaml.Node) []lifecycle.Action {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
		if len(items) == 0 {
			c.fail(node, "on: is empty; want at least one action%s", knownActions(""))
		}
	}
	var actions []lifecycle.Action
	for _, item := range items {
		text, ok := c.scalar(item, "on")
		if !ok {
			continue
		}
		switch a := lifecycle.Action(text); {
		case !slices.Contains(lifecycle.Actions(), a):
			c.fail(item, "on: unknown action %q%s", text, knownActions(text))
		case !a.Writable():
			c.fail(item, "on: %s: a deleted resource cannot be written", a)
		case slices.Contains(actions, a):
			c.fail(item, "on: %s is given twice", a)
		default:
			actions = append(actions, a)
		}
	}
	return actions
}

func knownActions(word string) string {
	var known []string
	for _, a := range lifecycle.Actions() {
		if a.Writable() {
			known = append(known, string(a))
		}
	}
	return suggest.Hint(word, known)
}

// values reads add: and set:.
func (c *compiler) values(node *yaml.Node, section string, v verb, on []lifecycle.Action) []operation {
	var ops []operation
	if node.Kind != yaml.MappingNode || len(node.Content) == 0 {
		c.fail(node, "%s: want a mapping of keys to values, found %s", section, describe(node))
		return nil
	}
	for _, e := range c.mapping(node, section) {
		if isGlob(e.name) {
			c.fail(e.key, "%s: key %q: only remove: and inherit: accept * and ?", section, e.name)
			continue
		}
		text, ok := c.value(e.value, section, e.name)
		if !ok || !c.key(e.key, section, e.name, on) {
			continue
		}
		t, err := parseTemplate(text, func(source string) (*expression, error) {
			return compileExpression(source, c.set.scope, false)
		})
		if err != nil {
			c.fail(e.value, "%s: %s: %v", section, e.name, err)
			continue
		}
		if literal, ok := t.literal(); ok {
			for _, f := range c.families(on) {
				if err := f.CheckValue(e.name, literal); err != nil {
					c.fail(e.value, "%s: %v", section, err)
				}
			}
		}
		ops = append(ops, operation{key: e.name, line: e.key.Line, verb: v, value: t})
	}
	return ops
}

// key checks a literal key of a section.
func (c *compiler) key(node *yaml.Node, section, key string, on []lifecycle.Action) bool {
	if strings.Contains(key, "${") {
		c.fail(node, "%s: key %q: a key cannot be computed", section, key)
		return false
	}
	for _, f := range c.families(on) {
		if err := f.CheckKey(key); err != nil {
			c.fail(node, "%s: %v", section, err)
			return false
		}
	}
	lower := strings.ToLower(key)
	if other, ok := c.keys[lower]; ok && other != key {
		// Nova adds them as two keys, and deletes both if one is deleted.
		c.fail(node, "%s: key %q: another rule writes it %q; the cloud confuses keys that differ in case only "+
			"(rename: {%s: %s} changes the case)", section, key, other, key, other)
		return false
	}
	c.keys[lower] = key
	return true
}

// families returns the families that a rule with these actions certainly applies to. Bare metal is not included: it
// shares the servers' actions, and a key that only it rejects is left out for such a server.
func (c *compiler) families(on []lifecycle.Action) []metadata.Family {
	var families []metadata.Family
	for _, a := range on {
		if f := FamilyOf(c.API, a.Kinds()[0]); !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	return families
}
