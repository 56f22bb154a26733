package rules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// expression is one compiled expr-lang expression.
type expression struct {
	source  string
	checked ast.Node // as it is written
	program *vm.Program
}

// compileExpression compiles twice. The first time every field has its type, which finds misspelt names and senseless
// comparisons. The second time, for running, fields may be absent: there a string field has any type, because a program compiled for a
// string would fail on an absent one where it should find it unequal; and a path into something absent is absent.
func compileExpression(source string, tables map[string]any, isCondition bool) (*expression, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("expression is empty")
	}
	check := append(language(), expr.Env(environmentTypes(tables, types.String)), expr.Optimize(false))
	if isCondition {
		check = append(check, expr.AsBool())
	}
	checked, err := expr.Compile(source, check...)
	if err != nil {
		return nil, explain(source, err, tables)
	}
	if readsAll(checked.Node()) {
		return nil, fmt.Errorf("expression %s: $env cannot be used; name what is read: action, resource, actor, time, data, event, tables", oneLine(source))
	}
	inside := map[ast.Node]bool{}
	lenientTypes := environmentTypes(tables, types.Any)
	lenientTypes[theBudget] = types.Any
	lenient := append(language(), charged(), expr.Env(lenientTypes), expr.Function(elementAt, at),
		expr.Patch(absence{}), expr.Patch(predicates{inside}), expr.Patch(charging{inside}))
	program, err := expr.Compile(source, lenient...)
	if err != nil {
		return nil, explain(source, err, tables)
	}
	return &expression{source: strings.TrimSpace(source), checked: checked.Node(), program: program}, nil
}

// readsAll reports whether an expression has expr's name for the whole environment.
func readsAll(root ast.Node) bool {
	found := false
	ast.Walk(&root, visit(func(node ast.Node) {
		name, ok := node.(*ast.IdentifierNode)
		found = found || ok && name.Value == "$env"
	}))
	return found
}

// language is what expressions can call, besides expr's own functions.
func language() []expr.Option {
	options := []expr.Option{expr.DisableBuiltin("now"), expr.DisableBuiltin("date")}
	for _, f := range functions() {
		options = append(options, expr.Function(f.name, f.call, f.signature))
	}
	return options
}

// run evaluates. A nil value is an absent one. The error is errOverBudget when the plan's budget is used up.
func (e *expression) run(env map[string]any) (any, error) {
	v, err := expr.Run(e.program, env)
	if err != nil {
		message := err.Error()
		if errors.Is(err, errOverBudget) || strings.Contains(message, "memory budget exceeded") {
			return nil, errOverBudget
		}
		if fe, ok := errors.AsType[*file.Error](err); ok {
			message = fe.Message
		}
		if absentFault.MatchString(message) {
			if why := missing(e.checked, env); why != "" {
				return nil, fmt.Errorf("%s: %s", e.source, why)
			}
		}
		message = absentText.ReplaceAllString(oneLine(shortened(message)), "found an absent value where a $1 is needed")
		return nil, fmt.Errorf("%s: %s", e.source, strings.ReplaceAll(message, "<nil>", "an absent value"))
	}
	return v, nil
}

var (
	absentText = regexp.MustCompile(`interface conversion: interface \{\} is nil, not (\w+)`)
	// absentFault are errors because of an absent value.
	absentFault = regexp.MustCompile(`<nil>|\bnil\b|an absent value`)
	space       = regexp.MustCompile(`\s+`)
)

func oneLine(s string) string { return strings.TrimSpace(space.ReplaceAllString(s, " ")) }

// absence makes a path into something absent absent, instead of an error, and lets "??" take an empty value for absent.
type absence struct{}

// elementAt is a name that no expression can spell.
const elementAt = "element at"

func (absence) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.MemberNode:
		if _, isField := n.Property.(*ast.StringNode); !isField {
			ast.Patch(node, call(elementAt, n.Node, n.Property))
			return
		}
		if !n.Method {
			n.Optional = true
			ast.Patch(node, &ast.ChainNode{Node: n})
		}
	case *ast.BinaryNode:
		if n.Operator == "??" {
			n.Left = &ast.CallNode{Callee: &ast.IdentifierNode{Value: "first"}, Arguments: []ast.Node{n.Left}}
		}
	}
}

// at returns an element of a list or a map, nil where there is none.
func at(params ...any) (any, error) {
	if key, ok := params[2].(string); ok {
		if err := params[0].(*budget).charge(len(key)); err != nil {
			return nil, err
		}
	}
	return elementOf(params[1], params[2])
}

func elementOf(value, key any) (any, error) {
	from, index := reflect.ValueOf(value), reflect.ValueOf(key)
	if !from.IsValid() || !index.IsValid() {
		return nil, nil
	}
	switch from.Kind() {
	case reflect.Slice, reflect.Array:
		if !index.CanInt() {
			return nil, fmt.Errorf("an element of a list has a number, not a %s", index.Kind())
		}
		i := int(index.Int())
		if i < 0 {
			i += from.Len()
		}
		if i < 0 || i >= from.Len() {
			return nil, nil
		}
		return from.Index(i).Interface(), nil
	case reflect.Map:
		if index.Type().AssignableTo(from.Type().Key()) {
			if v := from.MapIndex(index); v.IsValid() {
				return v.Interface(), nil
			}
		}
	}
	return nil, nil
}

// function is a function that expressions can call, besides expr's own.
type function struct {
	name      string
	call      func(...any) (any, error)
	signature any
}

func functions() []function {
	return []function{
		{"first", func(p ...any) (any, error) {
			for _, v := range p {
				if present(v) {
					return v, nil
				}
			}
			return nil, nil
		}, new(func(...any) any)},
		{"date", func(p ...any) (any, error) {
			if t, ok := p[0].(time.Time); ok && !t.IsZero() {
				return t.UTC().Format(time.DateOnly), nil
			}
			return nil, errors.New("date() wants a time, found an absent value")
		}, new(func(time.Time) string)},
		duration("days", 24*time.Hour),
		duration("hours", time.Hour),
	}
}

// longestDuration bounds days() and hours(): a century. Far more would not fit into a duration, and come out as another day without a word.
const longestDuration = 100 * 365 * 24 * time.Hour

func duration(name string, unit time.Duration) function {
	return function{name, func(p ...any) (any, error) {
		n, ok := p[0].(int)
		if i, isInt64 := p[0].(int64); isInt64 {
			n, ok = int(i), true
		}
		switch most := int(longestDuration / unit); {
		case p[0] == nil:
			return nil, fmt.Errorf("%s() wants a whole number, found an absent value", name)
		case !ok:
			return nil, fmt.Errorf("%s() wants a whole number, found a %T", name, p[0])
		case n > most || n < -most:
			return nil, fmt.Errorf("%s() takes at most %d", name, most)
		}
		return time.Duration(n) * unit, nil
	}, new(func(int) time.Duration)}
}

// present reports whether a value counts: an empty text does not.
func present(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case time.Time:
		return !v.IsZero()
	}
	return true
}
