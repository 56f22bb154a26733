package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// needs returns the readings that an operation uses.
func (o operation) needs() Needs {
	n := Needs{Parent: o.verb == inherit}
	for _, s := range o.value {
		if s.code != nil {
			n = n.and(s.code.needs)
		}
	}
	return n
}

// guards returns the parts of a condition that are joined with and. If one is false, the others and their readings are
// not needed.
func (c *compiler) guards(when *expression) []*expression {
	var guards []*expression
	var split func(node ast.Node)
	split = func(node ast.Node) {
		if n, ok := node.(*ast.BinaryNode); ok && (n.Operator == "and" || n.Operator == "&&") {
			split(n.Left)
			split(n.Right)
			return
		}
		if guard, err := compileExpression(node.String(), c.set.scope, true); err == nil {
			guards = append(guards, guard)
		}
	}
	split(when.checked)
	return guards
}

// items returns the elements of a list, or a single value as a list of one.
func (c *compiler) items(node *yaml.Node, section, what string) []*yaml.Node {
	switch {
	case node.Kind == yaml.MappingNode || node.Kind == yaml.SequenceNode && len(node.Content) == 0:
		c.fail(node, "%s: want a list of %s, found %s", section, what, describe(node))
		return nil
	case node.Kind == yaml.SequenceNode:
		return node.Content
	}
	return []*yaml.Node{node}
}

// removed reads remove:, a list of keys and patterns.
func (c *compiler) removed(node *yaml.Node, on []lifecycle.Action) []operation {
	var ops []operation
	for _, item := range c.items(node, "remove", "keys") {
		key, ok := c.name(item, "remove")
		if ok && (isGlob(key) && c.pattern(item, "remove", key, on) || !isGlob(key) && c.key(item, "remove", key, on)) {
			ops = append(ops, operation{key: key, line: item.Line, verb: remove})
		}
	}
	return ops
}

// parents returns a clause for each kind that has a parent.
func parents() []string {
	var all []string
	for _, kind := range lifecycle.Kinds() {
		if parent := parentOf(kind); parent != "" {
			all = append(all, fmt.Sprintf("a %s has its %s", kind, parent))
		}
	}
	return all
}

// inherited reads inherit:, a list of keys and patterns.
func (c *compiler) inherited(node *yaml.Node, on []lifecycle.Action) []operation {
	if len(on) > 0 && !slices.ContainsFunc(on, hasParent) {
		c.fail(node, "inherit: a %s has no parent; %s", on[0].Kinds()[0], strings.Join(parents(), ", "))
	}
	var ops []operation
	for _, item := range c.items(node, "inherit", "keys") {
		key, ok := c.name(item, "inherit")
		if !ok {
			continue
		}
		switch {
		case slices.ContainsFunc(neverCopied, func(never string) bool { return never == key || matchesGlob(never, key) }):
			c.fail(item, "inherit: %q is never copied: it is valid only on the parent", key)
		case isGlob(key) && c.pattern(item, "inherit", key, on) || !isGlob(key) && c.key(item, "inherit", key, on):
			ops = append(ops, operation{key: key, line: item.Line, verb: inherit})
		}
	}
	return ops
}

// pattern checks a pattern of keys.
func (c *compiler) pattern(node *yaml.Node, section, pattern string, on []lifecycle.Action) bool {
	if strings.Trim(pattern, "*?") == "" {
		c.fail(node, "%s: %q matches every key; make the pattern narrower", section, pattern)
		return false
	}
	for _, f := range c.families(on) {
		if err := f.CheckKey(strings.NewReplacer("*", "x", "?", "x").Replace(pattern)); err != nil {
			c.fail(node, "%s: %q: %v", section, pattern, err)
			return false
		}
	}
	return true
}

// renamed reads rename:, a mapping of old keys to new ones.
func (c *compiler) renamed(node *yaml.Node, on []lifecycle.Action) []operation {
	if node.Kind != yaml.MappingNode || len(node.Content) == 0 {
		c.fail(node, "rename: want a mapping of old keys to new ones, found %s", describe(node))
		return nil
	}
	var ops []operation
	olds := map[string]bool{}
	entries := c.mapping(node, "rename")
	for _, e := range entries {
		olds[e.name] = true
	}
	news := map[string]string{}
	for _, e := range entries {
		to, ok := c.scalar(e.value, "rename: "+e.name)
		if !ok {
			continue
		}
		switch {
		case isGlob(e.name) || isGlob(to):
			c.fail(e.key, "rename: %s: * and ? are not accepted; name each key", e.name)
			continue
		case to == e.name:
			c.fail(e.value, "rename: %s: the new key is the old one", e.name)
			continue
		case olds[to]:
			c.fail(e.value, "rename: %s: %q is also an old key; a value moves only once", e.name, to)
			continue
		case news[to] != "":
			c.fail(e.value, "rename: %s: %q is already the new key of %q", e.name, to, news[to])
			continue
		}
		news[to] = e.name
		valid := true
		for _, f := range c.families(on) { // not c.key, which refuses keys that differ only in case
			if err := f.CheckKey(e.name); err != nil {
				c.fail(e.key, "rename: %v", err)
				valid = false
				break
			}
		}
		if valid && c.key(e.value, "rename", to, on) {
			ops = append(ops, operation{key: e.name, line: e.key.Line, verb: rename, to: to})
		}
	}
	return ops
}

// value reads a key's value. For set:, an empty text in quotes is a value.
func (c *compiler) value(node *yaml.Node, section, key string) (string, bool) {
	where := section + ": " + key
	if node.Kind == yaml.ScalarNode && node.Value == "" && node.Style != 0 {
		if section == "set" {
			return "", true
		}
		c.fail(node, "%s: is empty, and add: only fills empty keys; leave it out, or write it with set:", where)
		return "", false
	}
	if isEmpty(node) && section == "set" {
		c.fail(node, "%s: is empty; write \"\" for an empty value", where)
		return "", false
	}
	return c.scalar(node, where)
}

// priority reads priority:, keys and patterns of keys with the most important first.
func (c *compiler) priority(node *yaml.Node) {
	for _, item := range c.items(node, "priority", "keys") {
		key, ok := c.name(item, "priority")
		if !ok {
			continue
		}
		if slices.Contains(c.set.priority, key) {
			c.fail(item, "priority: %s is given twice", key)
		}
		c.set.priority = append(c.set.priority, key)
	}
}

// maxReserved is Nova's default quota (metadata_items) minus one.
const maxReserved = 127

// reserve reads reserve_items:, the number of metadata items to keep free.
func (c *compiler) reserve(node *yaml.Node) {
	text, ok := c.scalar(node, "reserve_items")
	if !ok {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxReserved {
		c.fail(node, "reserve_items: want a number from 0 to %d, found %q", maxReserved, text)
		return
	}
	c.set.reserve = n
}
