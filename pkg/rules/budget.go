package rules

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm/runtime"
)

// planBudget limits the total cost of one plan's expressions. A byte of text that is created or compared costs about 1,
// a list element 8 to 48, a predicate call 40 or more. The budget allows a plan to walk lists of 100,000 elements or to
// create 16 MiB of text, thousands of times what ordinary rules need. With it, the worst expressions in this package's
// tests end in under half a second and allocate less than 256 MB.
//
// expr's own memory budget counts list elements but not their contents, and expr cannot stop an evaluation.
const planBudget = 16 << 20

// EventBudget limits the total [Plan.Cost] of one event's plans: an event can report thousands of changes. It is 16
// times the budget of one plan. A rule that searches a trace of 1,000 servers for the one at hand takes a quarter.
const EventBudget = 16 * planBudget

// maxComputedPattern limits a regular expression that comes from an event: compiling it needs memory for each
// repetition.
const maxComputedPattern = 1000

// BudgetError reports that a plan would need more time or memory than allowed. The plan is incomplete and must not be
// used.
type BudgetError struct {
	Rule string
	Key  string // "" for the condition
}

func (e *BudgetError) Error() string {
	where := "rule " + e.Rule
	if e.Key != "" {
		where += ", key " + e.Key
	}
	return where + ": needs more time or memory for this event than a plan may use; " +
		"limit it in the rule, for example with take(list, 100) or text[:1000]"
}

// errOverBudget becomes a BudgetError once the rule and the key are known.
var errOverBudget = errors.New("over the plan's budget")

// budget is the rest of a plan's budget.
type budget struct{ left int }

// charge subtracts a cost from the budget. Callers charge before they do the work if they know the cost by then.
func (b *budget) charge(cost int) error {
	if cost < 0 || cost > b.left { // negative after an overflow
		b.left = 0
		return errOverBudget
	}
	b.left -= cost
	return nil
}

// chargeValue charges a value: the length of a text, or everything in a list or an object. A value can contain the same
// part many times, so walking it can take far longer than its memory suggests. The walk stops when the budget is used
// up. perLevel is the additional cost of an element for each level above it.
func (b *budget) chargeValue(v any, perLevel int) error { return b.chargeValueAt(v, 0, perLevel) }

func (b *budget) chargeValueAt(v any, depth, perLevel int) error {
	switch v := v.(type) {
	case nil, bool, int, int64, float64, time.Time, time.Duration, *time.Location:
		return nil
	case string:
		return b.charge(len(v))
	case []any:
		if err := b.charge(len(v) * (8 + depth*perLevel)); err != nil {
			return err
		}
		for _, element := range v {
			if err := b.chargeValueAt(element, depth+1, perLevel); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if err := b.charge(len(v) * (16 + depth*perLevel)); err != nil {
			return err
		}
		for key, element := range v {
			if err := b.charge(len(key)); err != nil {
				return err
			}
			if err := b.chargeValueAt(element, depth+1, perLevel); err != nil {
				return err
			}
		}
		return nil
	}
	switch r := reflect.ValueOf(v); r.Kind() { // what expr's functions return: []string, []int, map[any][]any, [][2]any
	case reflect.Slice, reflect.Array:
		if err := b.charge(r.Len() * (8 + depth*perLevel)); err != nil {
			return err
		}
		for i := range r.Len() {
			if err := b.chargeValueAt(r.Index(i).Interface(), depth+1, perLevel); err != nil {
				return err
			}
		}
	case reflect.Map:
		for each := r.MapRange(); each.Next(); {
			if err := b.charge(16 + depth*perLevel); err != nil {
				return err
			}
			for _, part := range []reflect.Value{each.Key(), each.Value()} {
				if err := b.chargeValueAt(part.Interface(), depth+1, perLevel); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lengths returns the length of a text and the number of elements of a list or an object; 0 for other values.
func lengths(v any) (text, elements int) {
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
		text, elements := lengths(v)
		if err := b.charge(text*perByte + elements*perElement); err != nil {
			return err
		}
	}
	return nil
}

// times multiplies. If the product overflows, the result is negative, which charge rejects.
func times(a, b int) int {
	if hi, lo := bits.Mul64(uint64(max(a, 0)), uint64(max(b, 0))); hi == 0 && lo <= math.MaxInt64 {
		return int(lo)
	}
	return -1
}

// free lists those of expr's functions whose cost does not depend on their arguments.
var free = map[string]bool{
	"abs": true, "ceil": true, "floor": true, "round": true, "type": true, "first": true, "last": true, "take": true,
	"bitand": true, "bitor": true, "bitxor": true, "bitnand": true, "bitnot": true, "bitshl": true, "bitshr": true,
	"bitushr": true,
}

// cost charges a call of one of expr's functions before the call. It does not handle free functions and functions with
// predicates.
func (b *budget) cost(name string, args []any) error {
	text := func(i int) string {
		if i >= len(args) {
			return ""
		}
		s, _ := args[i].(string) // the function itself refuses other types
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
		_, n := lengths(args[0])
		if err := b.charge(times(n, len(text(1)))); err != nil {
			return err
		}
		return b.chargeValue(args[0], 0)
	case "fromJSON": // a list of empty objects takes 64 times the memory of its text
		return b.charge(times(len(text(0)), 64))
	case "toJSON": // indents each line by its depth
		if err := b.chargeValue(args[0], 2); err != nil {
			return err
		}
		return b.chargeValue(args[0], 2)
	case "flatten": // copies an element once for each level above it
		return b.chargeValue(args[0], 16)
	case "string", "max", "min", "mean", "median":
		for _, arg := range args {
			if err := b.chargeValue(arg, 0); err != nil {
				return err
			}
		}
		return nil
	case "sort": // compares each element several times
		_, n := lengths(args[0])
		for range bits.Len(uint(n)) {
			if err := b.chargeValue(args[0], 0); err != nil {
				return err
			}
		}
		return nil
	case "fromPairs":
		if err := b.chargeShallow(0, 64, args...); err != nil {
			return err
		}
		return b.chargeValue(args[0], 0)
	}
	// Copying a list takes 16 bytes an element, or 48 for pairs; upper() can make a text three times as long.
	return b.chargeShallow(2, 48, args...)
}

// number converts a value to an integer as expr does.
func number(v any) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return runtime.ToInt(v), nil
}

// compared charges a comparison. Texts of different lengths and values of different types are unequal at no cost.
func (b *budget) compared(x, y any) error {
	if s, ok := x.(string); ok {
		if t, ok := y.(string); ok && len(s) == len(t) {
			return b.charge(len(s))
		}
		return nil
	}
	if _, elements := lengths(x); elements == 0 {
		return nil
	} else if _, elements := lengths(y); elements == 0 {
		return nil
	}
	return b.chargeValue(x, 0)
}

// matches is expr's operator of that name for a computed pattern.
func (b *budget) matches(text, pattern any) (any, error) {
	if runtime.IsNil(text) || runtime.IsNil(pattern) {
		return false, nil
	}
	p := pattern.(string)
	if len(p) > maxComputedPattern {
		return nil, fmt.Errorf("a computed pattern has at most %d bytes, this has %d", maxComputedPattern, len(p))
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

// patternSize returns the number of instructions in a compiled pattern. The error is the one that regexp returns.
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

// matchCost is the cost of a pattern for each byte of a text. In the worst case, every instruction is tried at every
// byte.
func matchCost(size int) int { return 1 + size/4 }

// uniq is expr's function of that name, but linear for texts: expr compares each element with all others.
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

// shortened cuts the text of an error, because some of expr's errors contain values.
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
