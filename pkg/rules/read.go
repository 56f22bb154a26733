package rules

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// reads returns the paths that an expression reads, such as resource.name and data.list[0].a, each as far as it goes.
// Those that it only reads to see whether they are there, left of ?? or in first(…), are left out where needed is asked
// for.
func reads(root ast.Node, needed bool) []ast.Node {
	var paths []ast.Node
	apart := map[ast.Node]bool{} // parts of a longer path, and what need not be there
	leave := func(node ast.Node) {
		ast.Walk(&node, visit(func(inner ast.Node) { apart[inner] = true }))
	}
	ast.Walk(&root, visit(func(node ast.Node) {
		switch n := node.(type) {
		case *ast.BinaryNode:
			switch {
			case !needed:
			case n.Operator == "??":
				leave(n.Left)
			case slices.Contains(takeAbsent, n.Operator):
				leave(n)
			}
		case *ast.CallNode:
			if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
				apart[callee] = true
				if needed && callee.Value == "first" {
					leave(node)
				}
			}
		case *ast.MemberNode:
			if isPath(n) {
				apart[n.Node] = true
			}
		case *ast.ChainNode:
			apart[n.Node] = true
		}
		if isPath(node) {
			paths = append(paths, node)
		}
	}))
	return slices.DeleteFunc(paths, func(path ast.Node) bool { return apart[path] })
}

// takeAbsent are the operators that have a value where an operand is absent.
var takeAbsent = []string{"==", "!=", "in", "matches", "contains", "startsWith", "endsWith"}

// variables are the names of what expressions see.
var variables = []string{"action", "resource", "actor", "time", "data", "event", "tables", "parent", "project"}

// isPath reports whether a node is a name of the environment, or a member, known by name or number, of a path.
func isPath(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return slices.Contains(variables, n.Value)
	case *ast.ChainNode:
		return isPath(n.Node)
	case *ast.MemberNode:
		switch n.Property.(type) {
		case *ast.StringNode, *ast.IntegerNode:
			return !n.Method && isPath(n.Node)
		}
	}
	return false
}

// follow returns what stands at the end of a path, nil for nothing.
func follow(path ast.Node, env map[string]any) any {
	switch n := path.(type) {
	case *ast.IdentifierNode:
		return env[n.Value]
	case *ast.ChainNode:
		return follow(n.Node, env)
	case *ast.MemberNode:
		var key any
		switch p := n.Property.(type) {
		case *ast.StringNode:
			key = p.Value
		case *ast.IntegerNode:
			key = p.Value
		}
		return elementOf(follow(n.Node, env), key)
	}
	return nil
}

// pathText is a path as its author would write it.
func pathText(path ast.Node) string { return strings.ReplaceAll(path.String(), "?.", ".") }

// readsTables reports whether an expression reads a table.
func readsTables(root ast.Node) bool {
	return slices.ContainsFunc(reads(root, false), func(path ast.Node) bool {
		return strings.HasPrefix(pathText(path), "tables")
	})
}

// missing says which of the paths that an expression needs are absent, "" when none is.
func missing(root ast.Node, env map[string]any) string {
	var absent []string
	ofEvent, unknown := true, ""
	for _, path := range reads(root, true) {
		if text := pathText(path); !present(follow(path, env)) && !slices.Contains(absent, text) {
			absent = append(absent, text)
			ofEvent = ofEvent && !ofElsewhere.MatchString(text)
			unknown = cmp.Or(unknown, unknownHere(env, text))
		}
	}
	if len(absent) == 0 {
		return ""
	}
	last := len(absent) - 1
	switch {
	case last == 0 && ofEvent:
		return absent[0] + " is absent: the event has no " + absent[0]
	case last == 0:
		return absent[0] + " is absent" + unknown
	}
	return strings.Join(absent[:last], ", ") + " and " + absent[last] + " are absent" + unknown
}

// ofElsewhere are paths to what an event does not tell.
var ofElsewhere = regexp.MustCompile(`^(?:tables|parent|project|resource\.metadata)\b`)
