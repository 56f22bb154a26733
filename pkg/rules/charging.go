package rules

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/vm/runtime"
)

func isBuiltin(name string) bool {
	_, ok := builtin.Index[name]
	return ok
}

// Names that no expression can contain, for the functions that replace expr's own operations.
const (
	theBudget      = "the budget"
	chargedStep    = "charged step"
	chargedText    = "charged value"
	chargedList    = "charged list"
	chargedMatch   = "charged match"
	chargedBuiltin = "charged " // and the name
)

// charged provides the functions that replace expr's own operations. Their first argument is the budget.
var charged = sync.OnceValue(func() expr.Option {
	operators := map[string]func(b *budget, args []any) (any, error){
		"+": func(b *budget, args []any) (any, error) {
			if x, ok := args[0].(string); ok {
				if y, ok := args[1].(string); ok {
					if err := b.charge(len(x) + len(y)); err != nil {
						return nil, err
					}
					return x + y, nil
				}
			}
			return runtime.Add(args[0], args[1]), nil
		},
		"..": func(b *budget, args []any) (any, error) {
			from, to := runtime.ToInt(args[0]), runtime.ToInt(args[1])
			if from <= to {
				if size := to - from + 1; size <= 0 || b.charge(times(size, 8)) != nil {
					return nil, b.charge(-1)
				}
			}
			return runtime.MakeRange(from, to), nil
		},
		"==": func(b *budget, args []any) (any, error) {
			if err := b.compared(args[0], args[1]); err != nil {
				return nil, err
			}
			return runtime.Equal(args[0], args[1]), nil
		},
		"!=": func(b *budget, args []any) (any, error) {
			if err := b.compared(args[0], args[1]); err != nil {
				return nil, err
			}
			return !runtime.Equal(args[0], args[1]), nil
		},
		"in": func(b *budget, args []any) (any, error) {
			if err := b.chargeValue(args[0], 0); err != nil {
				return nil, err
			}
			if kind := reflect.ValueOf(args[1]).Kind(); kind == reflect.Slice || kind == reflect.Array {
				if err := b.chargeValue(args[1], 0); err != nil {
					return nil, err
				}
			}
			return runtime.In(args[0], args[1]), nil
		},
		"matches": func(b *budget, args []any) (any, error) { return b.matches(args[0], args[1]) },
		chargedStep: func(b *budget, args []any) (any, error) { // charges a predicate call and its result
			if err := b.charge(args[0].(int)); err != nil {
				return nil, err
			}
			return args[1], b.chargeValue(args[1], 0)
		},
		chargedText: func(b *budget, args []any) (any, error) { return args[0], b.chargeValue(args[0], 0) },
		chargedList: func(b *budget, args []any) (any, error) { return args[0], b.chargeShallow(1, 8, args[0]) },
		chargedMatch: func(b *budget, args []any) (any, error) {
			text, _ := lengths(args[0])
			return args[0], b.charge(times(text, args[1].(int)))
		},
		"timezone": func(b *budget, args []any) (any, error) {
			if err := b.charge(20_000); err != nil { // it is looked up in a file or in the embedded data
				return nil, err
			}
			name, ok := args[0].(string)
			if !ok {
				return nil, fmt.Errorf("timezone() wants a text, found %s", found(args[0]))
			}
			return zone(name)
		},
		"get": func(b *budget, args []any) (any, error) {
			if key, ok := args[1].(string); ok {
				if err := b.charge(len(key)); err != nil {
					return nil, err
				}
			}
			return elementOf(args[0], args[1]), nil
		},
		"uniq": func(b *budget, args []any) (any, error) { return b.uniq(args[0]) },
	}
	for _, f := range builtin.Builtins {
		if f.Predicate || free[f.Name] || operators[f.Name] != nil {
			continue
		}
		operators[f.Name] = func(b *budget, args []any) (any, error) {
			if err := b.cost(f.Name, args); err != nil {
				return nil, err
			}
			switch {
			case f.Fast != nil:
				return f.Fast(args[0]), nil
			case f.Safe != nil:
				v, _, err := f.Safe(args...)
				return v, err
			}
			return f.Func(args...)
		}
	}
	functions := conf.FunctionsTable{}
	for name, call := range operators {
		if !strings.HasPrefix(name, chargedBuiltin) {
			name = chargedBuiltin + name
		}
		functions[name] = &builtin.Function{
			Name: name, Types: []reflect.Type{reflect.TypeFor[func(...any) any]()},
			Func: func(p ...any) (any, error) { return call(p[0].(*budget), p[1:]) },
		}
	}
	return func(c *conf.Config) { maps.Copy(c.Functions, functions) }
})

// chargePatcher replaces expr's operations by charged ones. It keeps operations whose time does not depend on their
// operands. Outside predicates, where an operation runs once, it also keeps those that only read existing values in
// linear time.
type chargePatcher struct {
	// inside has the nodes within predicates.
	inside map[ast.Node]bool
}

// predicateFinder finds the nodes within predicates for chargePatcher.
type predicateFinder struct{ inside map[ast.Node]bool }

// Visit marks the nodes of a predicate.
func (p predicateFinder) Visit(node *ast.Node) {
	if predicate, ok := (*node).(*ast.PredicateNode); ok {
		ast.Walk(&predicate.Node, visit(func(inner ast.Node) { p.inside[inner] = true }))
	}
}

// Visit replaces a node.
func (c chargePatcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		size := 0
		ast.Walk(&n.Node, visit(func(ast.Node) { size++ }))
		n.Node = call(chargedStep, &ast.IntegerNode{Value: 32 + 8*size}, n.Node)
	case *ast.BuiltinNode:
		if f := builtin.Builtins[builtin.Index[n.Name]]; f.Predicate {
			n.Arguments[0] = call(chargedList, n.Arguments[0])
		} else if !free[n.Name] {
			ast.Patch(node, call(chargedBuiltin+n.Name, n.Arguments...))
		}
	case *ast.BinaryNode:
		c.operator(node, n)
	case *ast.CallNode: // a method, such as time.Format(…)
		if member, ok := n.Callee.(*ast.MemberNode); ok && member.Method {
			for i := range n.Arguments {
				c.value(&n.Arguments[i])
			}
		}
	case *ast.PairNode:
		if c.inside[n] {
			c.value(&n.Key)
		}
	}
}

func (c chargePatcher) operator(node *ast.Node, n *ast.BinaryNode) {
	inside := c.inside[n]
	switch n.Operator {
	case "+":
		if mayBeText(n.Left) && mayBeText(n.Right) && (!isLiteral(n.Left) || !isLiteral(n.Right)) {
			ast.Patch(node, call(chargedBuiltin+"+", n.Left, n.Right))
		}
	case "..":
		from, fromIsLiteral := n.Left.(*ast.IntegerNode)
		to, toIsLiteral := n.Right.(*ast.IntegerNode)
		if !fromIsLiteral || !toIsLiteral || inside || to.Value-from.Value > 1000 {
			ast.Patch(node, call(chargedBuiltin+"..", n.Left, n.Right))
		}
	case "==", "!=":
		if !isLiteral(n.Left) && !isLiteral(n.Right) {
			ast.Patch(node, call(chargedBuiltin+n.Operator, n.Left, n.Right))
		}
	case "in":
		if list, ok := n.Right.(*ast.ArrayNode); ok && len(list.Nodes) <= 1000 && allLiteral(list.Nodes) {
			if inside {
				c.value(&n.Left)
			}
			return
		}
		ast.Patch(node, call(chargedBuiltin+"in", n.Left, n.Right))
	case "matches":
		pattern, ok := n.Right.(*ast.StringNode)
		if !ok {
			ast.Patch(node, call(chargedBuiltin+"matches", n.Left, n.Right))
			return
		}
		if size, err := patternSize(pattern.Value); err == nil { // otherwise the compiler reports it
			n.Left = call(chargedMatch, n.Left, &ast.IntegerNode{Value: matchCost(size)})
		}
	case "contains", "startsWith", "endsWith", "<", "<=", ">", ">=":
		if inside {
			c.value(&n.Left)
			c.value(&n.Right)
		}
	}
}

// value charges a value that may be large.
func (c chargePatcher) value(node *ast.Node) {
	if mayBeText(*node) && !isLiteral(*node) {
		ast.Patch(node, call(chargedText, *node))
	}
}

// call returns a call of a charged function.
func call(name string, args ...ast.Node) *ast.CallNode {
	return &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: name},
		Arguments: append([]ast.Node{&ast.IdentifierNode{Value: theBudget}}, args...),
	}
}

// mayBeText reports whether a node's type allows a text, a list or an object.
func mayBeText(node ast.Node) bool {
	switch t := node.Type(); t.Kind() {
	case reflect.Interface, reflect.String, reflect.Slice, reflect.Array, reflect.Map:
		return true
	}
	return false
}

func isLiteral(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NilNode, *ast.ConstantNode:
		return true
	case *ast.UnaryNode:
		return isLiteral(n.Node)
	}
	return false
}

func allLiteral(nodes []ast.Node) bool {
	for _, n := range nodes {
		if !isLiteral(n) {
			return false
		}
	}
	return true
}
