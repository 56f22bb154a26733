package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// EventOnly is a part of the rules that has no effect on existing resources, because it depends on an event.
type EventOnly struct {
	Rule string
	// Key is "" for the whole rule.
	Key string
	// Why is what makes it depend on an event.
	Why string
}

// String returns the rule and the key, if there is one.
func (e EventOnly) String() string {
	if e.Key == "" {
		return e.Rule
	}
	return e.Rule + "." + e.Key
}

// ForExisting returns the rules for existing resources: with them, [Set.Plan] plans the creation of a resource long
// after it. It omits and returns the parts that depend on the event: rules for other actions, and keys whose
// value mentions time, data or event, unless their rule has reconcile: true. Such a key has no value in a plan, even if
// another rule gives one; [Plan.EventOnly] names it. The keys of a rule whose condition mentions time, data or event
// are left out in the same way.
//
// It is an error if ignore: has a condition that depends on an event.
func (s *Set) ForExisting() (*Set, []EventOnly, error) {
	for i := range s.ignore {
		if root := s.ignore[i].eventRoot(); root != "" {
			return nil, nil, fmt.Errorf("plan existing resources: ignore: %s depends on %s, which only an event has: "+
				"write the condition with resource, actor or project", s.ignore[i].source, root)
		}
	}
	existing := *s
	existing.rules = nil
	var left []EventOnly
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.on, lifecycle.Action.Creates) {
			left = append(left, EventOnly{Rule: r.name, Why: "it is for " + list(r.on)})
			existing.rules = append(existing.rules, r)
			continue
		}
		if r.reconcile {
			existing.rules = append(existing.rules, r)
			continue
		}
		if root := r.when.eventRoot(); root != "" {
			left = append(left, EventOnly{Rule: r.name, Why: "its condition depends on " + root})
			existing.rules = append(existing.rules, r.omitted())
			continue
		}
		operations := slices.Clone(r.operations)
		for i, op := range operations {
			if root := op.value.eventRoot(); root != "" {
				left = append(left, EventOnly{Rule: r.name, Key: op.key, Why: "its value depends on " + root})
				operations[i] = operation{key: op.key, line: op.line, verb: omit}
			}
		}
		r.operations = operations
		existing.rules = append(existing.rules, r)
	}
	return &existing, left, nil
}

// omitted returns the rule with all its keys left out. Whether it matches is unknown, so it always matches, unless a
// part of its condition that needs no event is false.
func (r rule) omitted() rule {
	var known []*expression
	for _, guard := range r.guards {
		if guard.eventRoot() == "" {
			known = append(known, guard)
		}
	}
	out := rule{name: r.name, line: r.line, on: r.on, guards: known, uncertain: true, needs: r.needs}
	for _, op := range r.operations {
		for _, key := range []string{op.key, op.to} {
			if key != "" {
				out.operations = append(out.operations, operation{key: key, line: op.line, verb: omit})
			}
		}
	}
	return out
}

// excluded returns the part of an uncertain rule's condition that is certainly false, "" if there is none.
func (p *planner) excluded(r rule) string {
	for _, guard := range r.guards {
		if v, err := guard.run(p.env()); err == nil && v == false {
			return "when is false: " + guard.source
		}
	}
	return ""
}

// omit leaves keys out, whatever earlier rules give them.
func (p *planner) omit(op operation) {
	maps.DeleteFunc(p.slots, func(key string, _ slot) bool { return matchesGlob(op.key, key) })
	maps.DeleteFunc(p.renames, func(key string, _ slot) bool { return matchesGlob(op.key, key) })
	if !slices.Contains(p.omitted, op.key) {
		p.omitted = append(p.omitted, op.key)
	}
}

// omittedKeys returns the omitted keys without a value from a later rule, sorted.
func (p *planner) omittedKeys() []string {
	var keys []string
	for _, key := range p.omitted {
		if _, wanted := p.slots[key]; !wanted {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// MatchesGlob reports whether a text matches a pattern: * stands for any characters, ? for one.
func MatchesGlob(pattern, text string) bool { return matchesGlob(pattern, text) }

// eventRoots are the variables whose values come only from an event.
var eventRoots = []string{"time", "data", "event"}

// eventRoot returns the variable of eventRoots that an expression reads, "" if it reads none.
func (e *expression) eventRoot() string {
	if e == nil {
		return ""
	}
	found := ""
	root := e.checked
	ast.Walk(&root, visit(func(node ast.Node) {
		if name, ok := node.(*ast.IdentifierNode); ok && found == "" && slices.Contains(eventRoots, name.Value) {
			found = name.Value
		}
	}))
	return found
}

func (t template) eventRoot() string {
	for _, s := range t {
		if root := s.code.eventRoot(); root != "" {
			return root
		}
	}
	return ""
}

// reconciles reads reconcile:, which is true or false.
func (c *compiler) reconciles(fields map[string]*yaml.Node) bool {
	node, ok := fields["reconcile"]
	if !ok {
		return false
	}
	text, ok := c.scalar(node, "reconcile")
	if ok && !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
		c.fail(node, "reconcile: want true or false, found %q", text)
	}
	return strings.EqualFold(text, "true")
}
