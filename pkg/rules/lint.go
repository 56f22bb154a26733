package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Warning is something in valid rules that is probably a mistake.
type Warning struct {
	Line int
	Rule string // "" outside a rule
	Text string
}

func (w Warning) String() string {
	if w.Rule == "" {
		return fmt.Sprintf("%d: warning: %s", w.Line, w.Text)
	}
	return fmt.Sprintf("%d: rule %q: warning: %s", w.Line, w.Rule, w.Text)
}

// Warnings finds texts that look like expressions without ${…}, rules and comparisons that are never true, rules
// without any effect, keys that a later rule always overwrites, and keys that bare metal rejects.
func (s *Set) Warnings() []Warning {
	all := slices.Clone(s.notices)
	for i, r := range s.rules {
		warn := func(line int, format string, args ...any) {
			all = append(all, Warning{line, r.name, fmt.Sprintf(format, args...)})
		}
		if constant, ok := r.constant(); ok && !constant {
			warn(r.line, "it never matches: when is always false")
			continue
		} else if ok {
			warn(r.line, "when is always true; leave it out")
		}
		if r.checkComparisons(warn) {
			continue
		}
		shadowed := 0
		for _, op := range r.operations {
			if text, ok := op.value.literal(); ok && op.writes() {
				if meant := withPlaceholders(text, s.scope); meant != "" {
					warn(op.line, "key %s is the text %q; did you mean %s?", op.key, text, meant)
				}
			}
			if by := s.overwrites(i, op.key); by != "" {
				warn(r.line, "key %q is always overwritten by rule %q", op.key, by)
				shadowed++
			}
			op.checkKinds(r, s.api, warn)
		}
		if shadowed == len(r.operations) {
			warn(r.line, "it never has an effect: later rules overwrite each of its keys")
		}
	}
	return all
}

// checkKinds warns about a key or value that one kind of these actions rejects and another accepts.
func (o operation) checkKinds(r rule, api metadata.API, warn func(line int, format string, args ...any)) {
	var checked []lifecycle.Kind
	for _, a := range r.on {
		kinds := a.Kinds()
		usual := FamilyOf(api, kinds[0])
		for _, kind := range kinds[1:] {
			family := FamilyOf(api, kind)
			if family == usual || slices.Contains(checked, kind) {
				continue
			}
			checked = append(checked, kind)
			if text, ok := o.value.literal(); ok && text == "" && o.writes() && usual.CheckValue(o.key, "") == nil &&
				family.CheckValue(o.key, "") != nil {
				warn(o.line, "key %q is left out on %s: its values must not be empty", o.key, kind)
			}
			if isGlob(o.key) || usual.CheckKey(o.key) != nil {
				continue
			}
			if err := family.CheckKey(o.key); err != nil {
				warn(r.line, "key %q is left out on %s: %v", o.key, kind, err)
			}
		}
	}
}

// constant returns the constant value of the condition, if it has one.
func (r rule) constant() (value, ok bool) {
	if r.when == nil {
		return false, false
	}
	node, ok := r.when.program.Node().(*ast.BoolNode)
	return ok && node.Value, ok
}

// writes reports whether an operation is one of add: and set:.
func (o operation) writes() bool { return o.verb == add || o.verb == set }

// overwrites names a rule after i that always overwrites a key when rule i matches, "" if there is none. A rule with a
// condition, or with a value that may be absent, does not count.
func (s *Set) overwrites(i int, key string) string {
	for _, later := range s.rules[i+1:] {
		if later.when != nil {
			if value, ok := later.constant(); !ok || !value {
				continue
			}
		}
		if slices.ContainsFunc(s.rules[i].on, func(a lifecycle.Action) bool { return !slices.Contains(later.on, a) }) {
			continue
		}
		for _, op := range later.operations {
			_, literal := op.value.literal()
			if op.writes() && literal && op.key == key || op.verb == remove && matchesGlob(op.key, key) {
				return later.name
			}
		}
	}
	return ""
}
