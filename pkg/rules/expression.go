package rules

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/cloudtagger/tagger/pkg/lifecycle/timestamp"
)

// expression is one compiled expr-lang expression.
type expression struct {
	source  string
	checked ast.Node // the source text
	program *vm.Program
	needs   Needs
	tables  bool // it reads a table
}

// compileExpression compiles twice. The first time, every field has its type, which finds misspelt names and
// comparisons of different types. The second time, for running, fields may be absent. A string field then has any type,
// because a program compiled for a string would fail on an absent one instead of finding it unequal. A path into
// something absent is absent.
func compileExpression(source string, s scope, isCondition bool) (*expression, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("expression is empty")
	}
	named, tooLarge := s.named()
	check := append(language(), expr.Env(environmentTypes(s, types.String)), expr.Optimize(false), named)
	if isCondition {
		check = append(check, expr.AsBool())
	}
	checked, err := expr.Compile(source, check...)
	if err := tooLarge(); err != nil {
		return nil, fmt.Errorf("expression %s: %w", oneLine(source), err)
	}
	if err != nil {
		return nil, explain(source, err, s)
	}
	if readsAll(checked.Node()) {
		return nil, fmt.Errorf("expression %s: $env cannot be used; name what is read: %s", oneLine(source),
			strings.Join(variables, ", "))
	}
	if err := checkConstants(checked.Node()); err != nil {
		return nil, fmt.Errorf("expression %s: %w", oneLine(source), err)
	}
	named, _ = s.named()
	inside := map[ast.Node]bool{}
	lenientTypes := environmentTypes(s, types.Any)
	lenientTypes[theBudget] = types.Any
	lenient := append(language(), charged(), expr.Env(lenientTypes), expr.Function(elementAt, at),
		expr.Function(methodOf, withMethod),
		named, expr.Patch(absencePatcher{}), expr.Patch(predicateFinder{inside}), expr.Patch(chargePatcher{inside}))
	program, err := expr.Compile(source, lenient...)
	if err != nil {
		return nil, explain(source, err, s)
	}
	return &expression{source: strings.TrimSpace(source), checked: checked.Node(), program: program,
		needs:  needsOf(checked.Node()),
		tables: readsTables(checked.Node())}, nil
}

// readsAll reports whether an expression uses expr's name for the whole environment.
func readsAll(root ast.Node) bool {
	found := false
	ast.Walk(&root, visit(func(node ast.Node) {
		name, ok := node.(*ast.IdentifierNode)
		found = found || ok && name.Value == "$env"
	}))
	return found
}

// language returns the functions that expressions can call besides expr's own.
func language() []expr.Option {
	options := []expr.Option{expr.DisableBuiltin("now"), expr.DisableBuiltin("date")}
	for _, f := range functions() {
		options = append(options, expr.Function(f.name, f.call, f.signatures...))
	}
	return options
}

// run evaluates the expression. A nil value is absent. The error is errOverBudget if the plan's budget is used up.
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
		if absentFault().MatchString(message) {
			if why := missing(e.checked, env, optional); why != "" {
				return nil, fmt.Errorf("%s: %s", e.source, why)
			}
		}
		message = absentText().ReplaceAllString(oneLine(shortened(message)), "found an absent value where a $1 is needed")
		return nil, fmt.Errorf("%s: %s", e.source, strings.ReplaceAll(message, "<nil>", "an absent value"))
	}
	return v, nil
}

var (
	absentText = pattern(`interface conversion: interface \{\} is nil, not (\w+)`)
	// absentFault matches errors that an absent value causes.
	absentFault = pattern(`<nil>|\bnil\b|an absent value`)
)

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// absencePatcher makes a path into something absent, or into a value without parts, absent instead of an error. It also
// makes "??" treat an empty value as absent.
type absencePatcher struct{}

// Names that no expression can contain.
const (
	elementAt = "element at"
	methodOf  = "value with a method"
)

// Visit replaces a node.
func (absencePatcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.MemberNode:
		_, isField := n.Property.(*ast.StringNode)
		untyped := n.Node.Type().Kind() == reflect.Interface
		switch {
		case n.Method && untyped:
			n.Node = &ast.CallNode{
				Callee:    &ast.IdentifierNode{Value: methodOf},
				Arguments: []ast.Node{n.Node, n.Property, &ast.BoolNode{Value: n.Optional}},
			}
		case n.Method:
		case !isField || untyped:
			ast.Patch(node, call(elementAt, n.Node, n.Property))
		default:
			n.Optional = true
			ast.Patch(node, &ast.ChainNode{Node: n})
		}
	case *ast.BinaryNode:
		if n.Operator == "??" {
			n.Left = &ast.CallNode{Callee: &ast.IdentifierNode{Value: "first"}, Arguments: []ast.Node{n.Left}}
		}
	}
}

// at returns an element of a list or a map, nil if there is none.
func at(params ...any) (any, error) {
	if key, ok := params[2].(string); ok {
		if err := params[0].(*budget).charge(len(key)); err != nil {
			return nil, err
		}
	}
	return elementOf(params[1], params[2]), nil
}

// elementOf returns an element of a list or of an object, nil if there is none. A list has no members. Other values
// have neither elements nor members.
func elementOf(value, key any) any {
	switch v := value.(type) { // what payloads are made of
	case map[string]any:
		if name, ok := key.(string); ok {
			return v[name]
		}
		return nil
	case nil, string, bool, int64, float64:
		return nil
	}
	from, index := reflect.ValueOf(value), reflect.ValueOf(key)
	if !index.IsValid() {
		return nil
	}
	switch from.Kind() {
	case reflect.Slice, reflect.Array:
		if !index.CanInt() {
			return nil
		}
		i := int(index.Int())
		if i < 0 {
			i += from.Len()
		}
		if i >= 0 && i < from.Len() {
			return from.Index(i).Interface()
		}
	case reflect.Map:
		if index.Type().AssignableTo(from.Type().Key()) {
			if v := from.MapIndex(index); v.IsValid() {
				return v.Interface()
			}
		}
	}
	return nil
}

// withMethod returns its first argument if that has the method named by the second. The third reports that the value
// may be absent.
func withMethod(params ...any) (any, error) {
	v, name := params[0], params[1].(string)
	if v == nil && params[2].(bool) {
		return nil, nil
	}
	if reflect.ValueOf(v).IsValid() && reflect.ValueOf(v).MethodByName(name).IsValid() {
		return v, nil
	}
	return nil, fmt.Errorf("%s has no method %s", found(v), name)
}

// function is a function that expressions can call besides expr's own.
type function struct {
	name       string
	call       func(...any) (any, error)
	signatures []any
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
		}, []any{new(func(...any) any)}},
		{"date", date, []any{new(func(time.Time) string), new(func(string) string)}},
		span("days", 24*time.Hour),
		span("hours", time.Hour),
		{"duration", duration, []any{new(func(string) time.Duration)}},
	}
}

// maxDuration limits days(), hours() and duration() to a century. A much longer value would overflow a duration and
// silently give another day.
const maxDuration = 100 * 365 * 24 * time.Hour

func span(name string, unit time.Duration) function {
	return function{name, func(p ...any) (any, error) {
		n, ok := wholeNumber(p[0])
		switch most := int(maxDuration / unit); {
		case !ok:
			return nil, fmt.Errorf("%s() wants a whole number, found %s", name, found(p[0]))
		case n > most || n < -most:
			return nil, fmt.Errorf("%s() accepts at most %d", name, most)
		}
		return time.Duration(n) * unit, nil
	}, []any{new(func(int) time.Duration)}}
}

// daysAndWeeks are the units that Go's durations do not have.
var daysAndWeeks = pattern(`(\d+(?:\.\d+)?)([dw])`)

// duration parses "14d", "2w", "36h" and "1d12h30m". A day has 24 hours.
func duration(p ...any) (any, error) {
	text, ok := p[0].(string)
	if !ok || text == "" {
		return nil, fmt.Errorf("duration() wants a text such as 14d or 36h, found %s", found(p[0]))
	}
	d, err := readDuration(text)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func readDuration(text string) (time.Duration, error) {
	rest, sum := text, 0.0
	if len(text) > 40 {
		rest = "too long"
	}
	for _, m := range daysAndWeeks().FindAllStringSubmatch(rest, -1) {
		n, _ := strconv.ParseFloat(m[1], 64)
		if m[2] == "w" {
			n *= 7
		}
		sum += n
	}
	sign := time.Duration(1)
	if without, ok := strings.CutPrefix(rest, "-"); ok {
		rest, sign = without, -1
	}
	rest = cmp.Or(daysAndWeeks().ReplaceAllString(rest, ""), "0s")
	d, err := time.ParseDuration(rest)
	if err != nil || strings.ContainsAny(rest, "+-") {
		return 0, fmt.Errorf("duration() wants a text such as 14d, 2w, 36h or 1d12h; found %s", found(text))
	}
	if sum > maxDuration.Hours()/24 || d > maxDuration {
		return 0, fmt.Errorf("duration() accepts at most %dd, found %s", int(maxDuration.Hours()/24), found(text))
	}
	return sign * (time.Duration(sum*24*float64(time.Hour)) + d), nil
}

// zone returns a time zone. It rejects the machine's local zone: a plan would depend on the machine.
func zone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errors.New(`timezone("Local") depends on the machine; use a name such as Europe/Berlin`)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("timezone(): unknown zone %.60q; want an IANA name, such as Europe/Berlin or UTC",
			name)
	}
	return location, nil
}

// checkConstants finds literal texts that functions would reject.
func checkConstants(root ast.Node) error {
	var fault error
	check := func(name string, args []ast.Node) {
		if len(args) != 1 || fault != nil {
			return
		}
		text, ok := args[0].(*ast.StringNode)
		if !ok {
			return
		}
		switch name {
		case "timezone":
			_, fault = zone(text.Value)
		case "date":
			_, fault = date(text.Value)
		case "duration":
			_, fault = duration(text.Value)
		}
	}
	ast.Walk(&root, visit(func(node ast.Node) {
		switch n := node.(type) {
		case *ast.BuiltinNode:
			check(n.Name, n.Arguments)
		case *ast.CallNode:
			if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
				check(callee.Value, n.Arguments)
			}
		}
	}))
	return fault
}

// wholeNumber accepts 14.0 as 14: some payloads have only such numbers.
func wholeNumber(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case int32:
		return int(v), true
	case int64:
		return int(v), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int(v), true
		}
	}
	return 0, false
}

// date returns the day in UTC of a time, of a text with a time, or of a number of seconds, milliseconds and so on since
// 1970.
func date(p ...any) (any, error) {
	switch v := p[0].(type) {
	case time.Time:
		if !v.IsZero() {
			return v.UTC().Format(time.DateOnly), nil
		}
	case string:
		if t, ok := readTime(v); ok {
			return t.UTC().Format(time.DateOnly), nil
		}
	default:
		if n, ok := wholeNumber(v); ok && n >= firstNumber {
			t, _ := timestamp.Unix(int64(n))
			return t.Format(time.DateOnly), nil
		}
	}
	return nil, fmt.Errorf("date() wants a time, or a text such as 2026-12-31 or 2026-12-31T09:15:04Z; found %s",
		found(p[0]))
}

// firstNumber is the smallest number that is read as a time, in March 1973. Below it, seconds and milliseconds cannot
// be distinguished, and the number is more likely a count.
const firstNumber = 100_000_000

// readTime parses a text with a time, or with a day alone.
func readTime(text string) (time.Time, bool) {
	if t, err := time.Parse(time.DateOnly, strings.TrimSpace(text)); err == nil {
		return t, true
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && n < firstNumber {
		return time.Time{}, false
	}
	return timestamp.Parse(text)
}

// found describes a value in an error of a function that expects another.
func found(v any) string {
	if !present(v) {
		return "an absent value"
	}
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %.40q", v)
	case bool:
		return fmt.Sprint(v)
	case int, int32, int64, float64:
		text, err := format(v)
		if err != nil {
			return "not a number"
		}
		return "the number " + text
	case time.Time:
		return "a time"
	case time.Duration:
		return "a duration"
	}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map:
		return "an object"
	}
	return "another type"
}

// present reports whether a value counts as present: an empty text does not.
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
