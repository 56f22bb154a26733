package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// possibleValues returns all values that a path can have, and those that it can have in the rule. Both are nil if the
// path can have any value.
func (r rule) possibleValues(path string) (all, here []string) {
	all = fieldValues(path)
	switch path {
	case "action":
		return all, words(r.on)
	case "resource.kind":
		for _, a := range r.on {
			here = append(here, words(a.Kinds())...)
		}
		return all, here
	}
	return all, all
}

func words[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, w := range list {
		all[i] = string(w)
	}
	return all
}

// comparison returns the path and the literals of a == "b", "b" == a and a in ["b", "c"].
func comparison(node ast.Node) (path string, with []string) {
	n, ok := node.(*ast.BinaryNode)
	if !ok {
		return "", nil
	}
	left, right := n.Left, n.Right
	if _, isText := left.(*ast.StringNode); isText && n.Operator == "==" {
		left, right = right, left
	}
	if !isPath(left) {
		return "", nil
	}
	switch r := right.(type) {
	case *ast.StringNode:
		if n.Operator == "==" {
			return pathText(left), []string{r.Value}
		}
	case *ast.ArrayNode:
		for _, element := range r.Nodes {
			text, ok := element.(*ast.StringNode)
			if !ok || n.Operator != "in" {
				return "", nil
			}
			with = append(with, text.Value)
		}
	}
	return pathText(left), with
}

// neverTrue reports whether the comparisons in a condition keep it from ever being true.
func (r rule) neverTrue(node ast.Node) bool {
	if n, ok := node.(*ast.BinaryNode); ok {
		switch n.Operator {
		case "and", "&&":
			return r.neverTrue(n.Left) || r.neverTrue(n.Right)
		case "or", "||":
			return r.neverTrue(n.Left) && r.neverTrue(n.Right)
		}
	}
	path, with := comparison(node)
	all, here := r.possibleValues(path)
	return all != nil && with != nil && !slices.ContainsFunc(with, func(w string) bool { return slices.Contains(here, w) })
}

// impossible describes the comparisons of an expression with values that are not possible.
func (r rule) impossible(root ast.Node) []string {
	var found []string
	ast.Walk(&root, visit(func(node ast.Node) {
		path, with := comparison(node)
		all, here := r.possibleValues(path)
		for _, w := range with {
			switch {
			case all == nil || slices.Contains(here, w):
			case slices.Contains(all, w):
				found = append(found, fmt.Sprintf("%s is never %q in a rule for %s", path, w, list(r.on)))
			default:
				found = append(found, fmt.Sprintf("%s is never %q%s", path, w, suggest.Hint(w, all)))
			}
		}
	}))
	return found
}

// checkComparisons warns about comparisons with impossible values. It reports whether they keep the rule from ever
// matching.
func (r rule) checkComparisons(warn func(line int, format string, args ...any)) (never bool) {
	if r.when != nil {
		found := strings.Join(r.impossible(r.when.checked), "; ")
		if never = r.neverTrue(r.when.checked); never {
			found = "it never matches: " + found
		}
		if found != "" {
			warn(r.line, "%s", found)
		}
	}
	for _, op := range r.operations {
		for _, s := range op.value {
			if s.code == nil {
				continue
			}
			for _, text := range r.impossible(s.code.checked) {
				warn(op.line, "key %s: %s", op.key, text)
			}
		}
	}
	return never
}
