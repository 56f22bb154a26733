package rules

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// reads returns the paths that an expression reads, such as resource.name and data.list[0].a, at full length. without,
// if not nil, returns the parts of a node whose paths are left out.
func reads(root ast.Node, without func(ast.Node) []ast.Node) []ast.Node {
	var paths []ast.Node
	apart := map[ast.Node]bool{} // parts of a longer path, and optional parts
	leave := func(node ast.Node) {
		ast.Walk(&node, visit(func(inner ast.Node) { apart[inner] = true }))
	}
	ast.Walk(&root, visit(func(node ast.Node) {
		if without != nil {
			for _, part := range without(node) {
				leave(part)
			}
		}
		switch n := node.(type) {
		case *ast.CallNode:
			if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
				apart[callee] = true
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

// absentOperators lists the operators that have a value even if an operand is absent.
var absentOperators = []string{"==", "!=", "in", "matches", "contains", "startsWith", "endsWith"}

// replaced returns the parts of a node that may be absent because the expression gives a substitute or tests for
// absence: the left side of ??, the arguments of first(…), and operands compared with nil.
func replaced(node ast.Node) []ast.Node {
	switch n := node.(type) {
	case *ast.BinaryNode:
		_, leftNil := n.Left.(*ast.NilNode)
		_, rightNil := n.Right.(*ast.NilNode)
		switch {
		case n.Operator == "??":
			return []ast.Node{n.Left}
		case leftNil || rightNil:
			return []ast.Node{n}
		}
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok && callee.Value == "first" {
			return []ast.Node{n}
		}
	}
	return nil
}

// optional returns the parts of a node that may be absent although the node has a value: the replaced ones, and
// operands of absentOperators.
func optional(node ast.Node) []ast.Node {
	if n, ok := node.(*ast.BinaryNode); ok && slices.Contains(absentOperators, n.Operator) {
		return []ast.Node{n}
	}
	return replaced(node)
}

// variables are the names that expressions can use.
var variables = []string{"action", "resource", "actor", "time", "data", "event", "tables", "parent", "project"}

// isPath reports whether a node is a name of the environment, or a member, by name or number, of a path.
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

// follow returns the value at the end of a path, nil if there is none.
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

// pathText returns a path as its author would write it.
func pathText(path ast.Node) string { return strings.ReplaceAll(path.String(), "?.", ".") }

// readsTables reports whether an expression reads a table.
func readsTables(root ast.Node) bool {
	return slices.ContainsFunc(reads(root, nil), func(path ast.Node) bool {
		return strings.HasPrefix(pathText(path), "tables")
	})
}

// missing names the absent paths that an expression reads, "" if there are none. without is as in reads.
func missing(root ast.Node, env map[string]any, without func(ast.Node) []ast.Node) string {
	var absent []string
	ofEvent, unknown := true, ""
	for _, path := range reads(root, without) {
		if text := pathText(path); !present(follow(path, env)) && !slices.Contains(absent, text) {
			absent = append(absent, text)
			ofEvent = ofEvent && !notInEvent.MatchString(text)
			unknown = cmp.Or(unknown, unknownHere(env, text))
		}
	}
	if len(absent) == 0 {
		return ""
	}
	last := len(absent) - 1
	switch {
	case last == 0 && ofEvent:
		return absent[0] + " is absent: the event does not have it"
	case last == 0:
		return absent[0] + " is absent" + unknown
	}
	return strings.Join(absent[:last], ", ") + " and " + absent[last] + " are absent" + unknown
}

// notInEvent matches paths whose values are not in an event.
var notInEvent = regexp.MustCompile(`^(?:tables|parent|project|resource\.metadata)\b`)
