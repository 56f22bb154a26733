package rules

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/vm/runtime"
)

// planBudget is what the expressions of one plan may cost together. A byte of text that is made or compared costs about 1, an element of a list
// 8 to 48, one call of a predicate 40 and more. It lets a plan walk lists of 100,000 elements or make 16 MiB of text, some thousand times of what
// rules need, and ends the worst expressions that we know in a quarter of a second and with 100 MB allocated.
//
// expr itself has a budget too, which counts the elements of lists but not what they hold, and no way to end an evaluation from outside.
const planBudget = 16 << 20

// longestComputedPattern bounds a regular expression that an event brings: compiling one takes memory for each repetition in it.
const longestComputedPattern = 1000

// BudgetError says that a plan would take more time or memory than Tagger allows. What the rules would do is not known then: nothing of the
// plan can be used.
type BudgetError struct {
	Rule string
	Key  string // "" for the condition
}

func (e *BudgetError) Error() string {
	where := "rule " + e.Rule
	if e.Key != "" {
		where += ", key " + e.Key
	}
	return where + ": takes more time or memory than a plan may, for what this event holds; bound it in the rule, such as with take(list, 100) or text[:1000]"
}

// errOverBudget is a BudgetError before rule and key are known.
var errOverBudget = errors.New("over the plan's budget")

// budget is what one plan may still cost.
type budget struct{ left int }

// charge takes a cost from the budget. It is done before what costs, wherever the cost can be known then.
func (b *budget) charge(cost int) error {
	if cost < 0 || cost > b.left { // below 0 after an overflow
		b.left = 0
		return errOverBudget
	}
	b.left -= cost
	return nil
}

// weigh charges a value: the length of a text, and of lists and objects all that is in them. Values can share their parts, so that walking one
// takes far longer than it takes memory; the walk ends with the budget. deeper is what an element costs more for each level above it.
func (b *budget) weigh(v any, deeper int) error { return b.weighAt(v, 0, deeper) }

func (b *budget) weighAt(v any, depth, deeper int) error {
	switch v := v.(type) {
	case nil, bool, int, int64, float64, time.Time, time.Duration, *time.Location:
		return nil
	case string:
		return b.charge(len(v))
	case []any:
		if err := b.charge(len(v) * (8 + depth*deeper)); err != nil {
			return err
		}
		for _, element := range v {
			if err := b.weighAt(element, depth+1, deeper); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if err := b.charge(len(v) * (16 + depth*deeper)); err != nil {
			return err
		}
		for key, element := range v {
			if err := b.charge(len(key)); err != nil {
				return err
			}
			if err := b.weighAt(element, depth+1, deeper); err != nil {
				return err
			}
		}
		return nil
	}
	switch r := reflect.ValueOf(v); r.Kind() { // what expr's functions return: []string, []int, map[any][]any, [][2]any
	case reflect.Slice, reflect.Array:
		if err := b.charge(r.Len() * (8 + depth*deeper)); err != nil {
			return err
		}
		for i := range r.Len() {
			if err := b.weighAt(r.Index(i).Interface(), depth+1, deeper); err != nil {
				return err
			}
		}
	case reflect.Map:
		for each := r.MapRange(); each.Next(); {
			if err := b.charge(16 + depth*deeper); err != nil {
				return err
			}
			for _, part := range []reflect.Value{each.Key(), each.Value()} {
				if err := b.weighAt(part.Interface(), depth+1, deeper); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// shallow is the length of a text, 0 for anything but one, and the number of a list's or an object's elements.
func shallow(v any) (text, elements int) {
	switch v := v.(type) {
	case nil, bool, int, int64, float64:
		return 0, 0
	case string:
		return len(v), 0
	case []any:
		return 0, len(v)
	case map[string]any:
		return 0, len(v)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return 0, r.Len()
	}
	return 0, 0
}

func (b *budget) chargeShallow(perByte, perElement int, values ...any) error {
	for _, v := range values {
		text, elements := shallow(v)
		if err := b.charge(text*perByte + elements*perElement); err != nil {
			return err
		}
	}
	return nil
}

// times multiplies, and is negative, which no budget grants, where the product does not fit.
func times(a, b int) int {
	if hi, lo := bits.Mul64(uint64(max(a, 0)), uint64(max(b, 0))); hi == 0 && lo <= math.MaxInt64 {
		return int(lo)
	}
	return -1
}

// free are expr's functions whose cost does not depend on their arguments.
var free = map[string]bool{
	"abs": true, "ceil": true, "floor": true, "round": true, "type": true, "first": true, "last": true, "take": true,
	"bitand": true, "bitor": true, "bitxor": true, "bitnand": true, "bitnot": true, "bitshl": true, "bitshr": true, "bitushr": true,
}

// cost charges a call of one of expr's functions that is neither free nor takes a predicate, before it is made.
func (b *budget) cost(name string, args []any) error {
	text := func(i int) string {
		if i >= len(args) {
			return ""
		}
		s, _ := args[i].(string) // what it is else, the function itself refuses
		return s
	}
	switch name {
	case "len":
		return b.chargeShallow(1, 0, args...)
	case "repeat":
		if len(args) == 2 {
			if n, err := number(args[1]); err == nil && n > 0 {
				return b.charge(times(len(text(0)), n))
			}
		}
	case "replace":
		old, by := text(1), text(2)
		n := strings.Count(text(0), old)
		if len(args) == 4 {
			if most, err := number(args[3]); err == nil && most >= 0 {
				n = min(n, most)
			}
		}
		return b.charge(len(text(0)) + times(n, len(by)))
	case "split", "splitAfter":
		n := strings.Count(text(0), text(1)) + 1
		if len(args) == 3 {
			if most, err := number(args[2]); err == nil && most >= 0 {
				n = min(n, most)
			}
		}
		return b.charge(len(text(0)) + times(n, 16))
	case "trim":
		return b.charge(len(text(0)) + times(len(text(0)), len(text(1))/8))
	case "join":
		_, n := shallow(args[0])
		if err := b.charge(times(n, len(text(1)))); err != nil {
			return err
		}
		return b.weigh(args[0], 0)
	case "fromJSON": // an empty object in a list takes 64 times its text
		return b.charge(times(len(text(0)), 64))
	case "toJSON": // indents each line by its depth
		if err := b.weigh(args[0], 2); err != nil {
			return err
		}
		return b.weigh(args[0], 2)
	case "flatten": // copies an element once for each level above it
		return b.weigh(args[0], 16)
	case "string", "max", "min", "mean", "median":
		for _, arg := range args {
			if err := b.weigh(arg, 0); err != nil {
				return err
			}
		}
		return nil
	case "sort": // compares each element some times
		_, n := shallow(args[0])
		for range bits.Len(uint(n)) {
			if err := b.weigh(args[0], 0); err != nil {
				return err
			}
		}
		return nil
	case "fromPairs":
		if err := b.chargeShallow(0, 64, args...); err != nil {
			return err
		}
		return b.weigh(args[0], 0)
	}
	// Lists are copied with 16 bytes an element, pairs with 48; texts become up to three times as long (upper).
	return b.chargeShallow(2, 48, args...)
}

// number is what expr takes for a whole number.
func number(v any) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return runtime.ToInt(v), nil
}

func isBuiltin(name string) bool {
	_, ok := builtin.Index[name]
	return ok
}

// The names of functions that no expression can spell: what the compiler puts in place of expr's own operations.
const (
	theBudget      = "the budget"
	chargedStep    = "charged step"
	chargedText    = "charged value"
	chargedList    = "charged list"
	chargedMatch   = "charged match"
	chargedBuiltin = "charged " // and the name
)

// charged gives expressions the functions that the compiler puts in place of expr's own. Each takes the budget first.
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
			if err := b.weigh(args[0], 0); err != nil {
				return nil, err
			}
			if kind := reflect.ValueOf(args[1]).Kind(); kind == reflect.Slice || kind == reflect.Array {
				if err := b.weigh(args[1], 0); err != nil {
					return nil, err
				}
			}
			return runtime.In(args[0], args[1]), nil
		},
		"matches": func(b *budget, args []any) (any, error) { return b.matches(args[0], args[1]) },
		chargedStep: func(b *budget, args []any) (any, error) { // what a call of a predicate costs, and its result
			if err := b.charge(args[0].(int)); err != nil {
				return nil, err
			}
			return args[1], b.weigh(args[1], 0)
		},
		chargedText: func(b *budget, args []any) (any, error) { return args[0], b.weigh(args[0], 0) },
		chargedList: func(b *budget, args []any) (any, error) { return args[0], b.chargeShallow(1, 8, args[0]) },
		chargedMatch: func(b *budget, args []any) (any, error) {
			text, _ := shallow(args[0])
			return args[0], b.charge(times(text, args[1].(int)))
		},
		"timezone": func(b *budget, args []any) (any, error) {
			if err := b.charge(20_000); err != nil { // it is looked up in a file, or in the embedded data
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

// compared charges a comparison: no more is looked at than the smaller of two values has, and nothing of two different kinds.
func (b *budget) compared(x, y any) error {
	if s, ok := x.(string); ok {
		if t, ok := y.(string); ok && len(s) == len(t) {
			return b.charge(len(s))
		}
		return nil
	}
	if _, elements := shallow(x); elements == 0 {
		return nil
	} else if _, elements := shallow(y); elements == 0 {
		return nil
	}
	return b.weigh(x, 0)
}

// matches is expr's operator for a pattern that is not known before.
func (b *budget) matches(text, pattern any) (any, error) {
	if runtime.IsNil(text) || runtime.IsNil(pattern) {
		return false, nil
	}
	p := pattern.(string)
	if len(p) > longestComputedPattern {
		return nil, fmt.Errorf("a computed pattern has at most %d bytes, this has %d", longestComputedPattern, len(p))
	}
	size, err := patternSize(p)
	if err != nil {
		return nil, err
	}
	s := text.(string)
	if err := b.charge(times(size, 100)); err != nil {
		return nil, err
	}
	if err := b.charge(times(len(s), matchCost(size))); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return nil, err
	}
	return re.MatchString(s), nil
}

// patternSize is the number of instructions of a pattern. Its error is the one that regexp has.
func patternSize(pattern string) (int, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, err
	}
	return len(program.Inst), nil
}

// matchCost is what a pattern costs for each byte of a text: in the worst case each of its instructions is tried at each byte.
func matchCost(size int) int { return 1 + size/4 }

// uniq is expr's function without its square of comparisons where all are texts.
func (b *budget) uniq(list any) (any, error) {
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Array && v.Kind() != reflect.Slice {
		return nil, fmt.Errorf("cannot uniq %s", v.Kind())
	}
	unique := []any{}
	texts := map[string]bool{}
	var others []any
next:
	for i := range v.Len() {
		element := v.Index(i).Interface()
		if err := b.charge(48); err != nil {
			return nil, err
		}
		if s, ok := element.(string); ok {
			if err := b.charge(len(s)); err != nil {
				return nil, err
			}
			if !texts[s] {
				texts[s] = true
				unique = append(unique, s)
			}
			continue
		}
		for _, other := range others {
			if err := b.charge(16); err != nil {
				return nil, err
			}
			if err := b.compared(element, other); err != nil {
				return nil, err
			}
			if runtime.Equal(element, other) {
				continue next
			}
		}
		others = append(others, element)
		unique = append(unique, element)
	}
	return unique, nil
}

// charging puts charged operations in place of expr's own. What takes no longer for a larger value is left alone; so is, outside of predicates,
// what happens once, takes time in proportion to values that are there already, and makes none.
type charging struct {
	// inside are the nodes in predicates.
	inside map[ast.Node]bool
}

// predicates finds the nodes in predicates for charging.
type predicates struct{ inside map[ast.Node]bool }

// Visit marks the nodes of a predicate.
func (p predicates) Visit(node *ast.Node) {
	if predicate, ok := (*node).(*ast.PredicateNode); ok {
		ast.Walk(&predicate.Node, visit(func(inner ast.Node) { p.inside[inner] = true }))
	}
}

// Visit replaces a node.
func (c charging) Visit(node *ast.Node) {
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

func (c charging) operator(node *ast.Node, n *ast.BinaryNode) {
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
		if size, err := patternSize(pattern.Value); err == nil { // else the compiler says so
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
func (c charging) value(node *ast.Node) {
	if mayBeText(*node) && !isLiteral(*node) {
		ast.Patch(node, call(chargedText, *node))
	}
}

// call is a call of a charged function.
func call(name string, args ...ast.Node) *ast.CallNode {
	return &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: name},
		Arguments: append([]ast.Node{&ast.IdentifierNode{Value: theBudget}}, args...),
	}
}

// mayBeText reports whether a node's value may be a text, a list or an object, going by its type.
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

// shortened is a text of an error as far as it is shown: expr puts values into some.
func shortened(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
