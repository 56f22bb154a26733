package rules_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// hostile is a payload that makes expressions expensive, within the limits of an event. small divides the sizes of some
// parts.
func hostile(small int) map[string]any {
	long := strings.Repeat("s", 9000)
	many := make([]any, 3000/small)
	for i := range many {
		many[i] = map[string]any{"s": long, "i": int64(i)}
	}
	wide, numbers := make([]any, 40_000/small), make([]any, 40_000/small)
	for i := range wide {
		wide[i], numbers[i] = fmt.Sprint("v", i), int64(i)
	}
	var deep any = numbers[:20_000/small]
	for range 5000 / small {
		deep = []any{deep}
	}
	return map[string]any{
		"many": many, "wide": wide, "numbers": numbers, "deep": deep, "n": int64(100_000), "big": int64(1 << 62),
		"s": long, "mb": strings.Repeat("x", 1<<20/small), "accents": strings.Repeat("é", 1<<19/small),
		"json":    "[" + strings.Repeat(`{"":0},`, 100_000/small) + "0]",
		"pattern": strings.Repeat("(x{100}y?)", 90), "longer": strings.Repeat("x", 2000),
		"layout": strings.Repeat("January ", 1000),
	}
}

// attacks are expressions that a payload can make arbitrarily expensive.
var attacks = []string{
	// Texts that grow
	`reduce(data.many, #acc + data.s, "")`,
	`reduce(data.many, "${" + #acc + "}" + .s, "")`,
	`len(repeat(data.s, data.n))`,
	`repeat(data.s, data.big)`,
	`map(data.wide, repeat(data.s, 100))`,
	`join(map(data.wide, data.mb))`,
	`join(data.many | map(.s), data.mb)`,
	`replace(data.mb, "x", data.s)`,
	`replace(data.mb, "", data.s, 5000)`,
	`map(data.wide, upper(data.mb))`,
	`map(data.many, time.Format(data.layout))`,
	`map(data.many, len(time.Format(data.layout)))`,
	`map(data.wide, data.s + "x" + data.s)`,
	`map(1..data.n, toBase64(data.s))`,
	`map(1..data.n, string(data.many))`,
	`map(1..data.n, toJSON(data.many))`,
	`reduce(1..60, [#acc, #acc], "x")`,
	`toJSON(reduce(1..60, [#acc, #acc], "x"))`,
	`string(let a = [data.mb, data.mb, data.mb, data.mb]; let b = [a, a, a, a]; [b, b, b, b])`,
	`toJSON(data.deep)`,

	// Lists that grow
	`len(1..data.big)`,
	`len(0 .. data.big + data.big)`,
	`map(data.wide, len(1..data.n))`,
	`reduce(data.wide, concat(#acc, data.wide), [])`,
	`flatten(data.deep)`,
	`flatten(map(data.many, data.wide))`,
	`map(data.many, split(data.mb, ""))`,
	`map(data.many, fromJSON(data.json))`,
	`fromJSON(data.json)`,
	`map(data.many, keys(data))`,
	`map(data.many, reverse(data.wide))`,
	`map(data.many, sort(data.wide))`,
	`map(data.many, toPairs(#))`,
	`map(data.wide, groupBy(data.wide, #))`,
	`map(data.wide, sortBy(data.wide, #))`,
	`map(data.wide, len({(data.s): data.s}))`,

	// Time
	`uniq(data.numbers)`,
	`map(data.many, uniq(data.wide))`,
	`count(data.wide, # in data.wide)`,
	`count(data.wide, any(data.wide, # == "x"))`,
	`count(data.wide, sum(data.numbers) > 1)`,
	`count(data.wide, max(data.numbers) > 1)`,
	`count(data.wide, median(data.numbers) > 1)`,
	`count(data.wide, data.mb == data.mb + "")`,
	`count(data.wide, data.numbers == data.numbers)`,
	`count(data.wide, data.mb contains "y")`,
	`count(data.wide, data.mb endsWith data.mb)`,
	`count(data.wide, data.mb < data.mb)`,
	`count(data.wide, data.mb matches "y")`,
	`count(data.wide, data.s matches data.pattern)`,
	`data.mb matches data.pattern`,
	`data.s matches data.longer`,
	`count(data.wide, len(data.mb) > 1)`,
	`count(data.wide, data[data.mb] == 1)`,
	`count(data.wide, get(data, data.mb) == 1)`,
	`count(data.wide, trim(data.mb, "xy") == "")`,
	`trim(data.accents, data.accents + data.accents)`,
	`count(data.wide, indexOf(data.mb, "y") > 0)`,
	`count(data.wide, float(data.mb) > 0)`,
	`count(data.wide, timezone("Europe/" + #) == nil)`,
	`count(1..data.n, all(1..data.n, # > 0))`,
	`count(data.deep, # == data.deep)`,
	`reduce(1..data.n, [#acc], 0)`,
}

// planWith plans one key with an expression and a payload.
func planWith(t testing.TB, expression string, data any) rules.Plan {
	t.Helper()
	text := "rules:\n- name: greedy\n  on: server.created\n  set:\n    k: '${" + strings.ReplaceAll(expression, "'",
		"''") + "}'\n"
	set, err := rules.Compile([]byte(text), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := change()
	c.Data = data
	return set.Plan(c, sample(t), rules.Readings{})
}

// allocatedBy returns how many bytes a function allocates.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Every plan ends and allocates little memory, whatever the payload.
func TestPlansAreBounded(t *testing.T) {
	data := hostile(1)
	refused := 0
	for _, expression := range attacks {
		t.Run(expression, func(t *testing.T) {
			var plan rules.Plan
			if n := allocatedBy(func() { plan = planWith(t, expression, data) }); n > 256<<20 {
				t.Errorf("%d MB allocated", n>>20)
			}
			if plan.Err == nil {
				return
			}
			refused++
			over, ok := errors.AsType[*rules.BudgetError](plan.Err)
			if !ok || over.Rule != "greedy" || over.Key != "k" {
				t.Errorf("error %v", plan.Err)
			}
			const why = "rule greedy, key k: needs more time or memory for this event than a plan may use"
			if !strings.HasPrefix(fmt.Sprint(plan.Err), why) {
				t.Errorf("error %v", plan.Err)
			}
			if !plan.Empty() {
				t.Errorf("a plan that is over its budget has %v", plan.Set)
			}
		})
	}
	if refused < 40 {
		t.Errorf("%d of %d are refused", refused, len(attacks))
	}
}

// Each plan has its own full budget.
func TestBudgetIsOfOnePlan(t *testing.T) {
	set := compile(t, "rules:\n- {on: server.created, set: {k: '${count(data.wide, # startsWith \"v1\")}'}}\n", "")
	c := change()
	c.Data = hostile(1)
	for range 20 {
		if plan := set.Plan(c, sample(t), rules.Readings{}); plan.Err != nil || plan.Set["k"] != "11111" {
			t.Fatalf("%v, %v", plan.Err, plan.Set)
		}
	}
}

// The budget also covers a condition, and a value of several parts. If a rule exceeds it, earlier rules are not used
// either.
func TestBudgetOfConditions(t *testing.T) {
	c := change()
	c.Data = hostile(1)
	for text, want := range map[string]rules.BudgetError{
		`{name: b, on: server.created, when: 'count(data.wide, data.mb contains "y") > 0', set: {k: v}}`: {Rule: "b"},
		`{name: b, on: server.created, set: {k: "` + strings.Repeat("${data.mb}", 40) + `"}}`: {Rule: "b",
			Key: "k"},
		`{name: b, on: server.created, set: {k: "${count(data.wide, data.mb == data.mb + data.s)}", after: x}}`: {Rule: "b",
			Key: "k"},
	} {
		plan := compile(t, "rules:\n- {name: a, on: server.created, set: {first: v}}\n- "+text+
			"\n- {name: c, on: server.created, set: {last: v}}\n", "").Plan(c, sample(t), rules.Readings{})
		over, ok := errors.AsType[*rules.BudgetError](plan.Err)
		if !ok || *over != want || !plan.Empty() {
			t.Errorf("%s: error %v, set %v", text, plan.Err, plan.Set)
		}
	}
}

// The charged operations have the same values and faults as expr's own.
func TestChargedOperations(t *testing.T) {
	data := map[string]any{
		"list": []any{"b", "a", "b", "c"}, "numbers": []any{int64(3), 1.5, int64(3), 3.0},
		"mixed": []any{"1", int64(1), nil, nil, []any{"x"}, []any{"x"}},
		"rows":  []any{map[string]any{"k": "x", "v": int64(1)}, map[string]any{"k": "y", "v": int64(2)}}, "s": " a-b ",
		"n": int64(3), "re": "^ a",
		"pairs": []any{[]any{"a", "1"}},
	}
	for expression, want := range map[string]string{
		`join(uniq(data.list), ",")`:                            "b,a,c",
		`toJSON(uniq(data.numbers))`:                            "[\n  3,\n  1.5\n]",
		`len(uniq(data.mixed))`:                                 "4",
		`repeat("ab", data.n)`:                                  "ababab",
		`"<" + data.s + ">"`:                                    "< a-b >",
		`data.n + 1`:                                            "4",
		`1 + data.n`:                                            "4",
		`data.n + data.n`:                                       "6",
		`(time + days(1)).Format("02")`:                         "22",
		`join(map(1..data.n, string(#)), "")`:                   "123",
		`len(5..data.n)`:                                        "0",
		`data.s matches data.re`:                                "true",
		`data.s matches "^ a"`:                                  "true",
		`data.none matches data.re`:                             "false",
		`data.n in [1, 3]`:                                      "true",
		`data.s in data.list`:                                   "false",
		`"a" in data.list`:                                      "true",
		`"k" in data.rows[0]`:                                   "true",
		`data.list == data.list`:                                "true",
		`data.list != data.numbers`:                             "true",
		`data.n == data.numbers[0]`:                             "true",
		`resource.name == actor.name`:                           "false",
		`find(data.rows, .k == "y").v`:                          "2",
		`join(map(filter(data.rows, .v > 1), .k), "")`:          "y",
		`len(groupBy(data.rows, .k))`:                           "2",
		`join(map(sortBy(data.rows, .v, "desc"), .k), "")`:      "yx",
		`reduce(data.rows, #acc + .v, 0)`:                       "3",
		`reduce(data.rows, #acc + .k, "")`:                      "xy",
		`sum(data.rows, .v)`:                                    "3",
		`sum([1, 2])`:                                           "3",
		`all(data.rows, .v > 0) and any(data.rows, .v > 1)`:     "true",
		`none(data.rows, .v > 5) and one(data.rows, .v == 1)`:   "true",
		`findIndex(data.rows, .k == "y")`:                       "1",
		`count(data.list, # == "b")`:                            "2",
		`trim(data.s)`:                                          "a-b",
		`trim(data.s, " a")`:                                    "-b",
		`split(data.s, "-")[0]`:                                 " a",
		`join(split("a-b-c", "-", 2), "+")`:                     "a+b-c",
		`replace(data.s, "-", "--")`:                            " a--b ",
		`replace("aaa", "a", "b", 2)`:                           "bba",
		`sort(data.list)[0]`:                                    "a",
		`max(1, data.n)`:                                        "3",
		`median([1, data.n])`:                                   "2",
		`upper(data.s)`:                                         " A-B ",
		`fromBase64(toBase64(data.s))`:                          " a-b ",
		`fromJSON("[1]")[0]`:                                    "1",
		`keys(fromPairs(data.pairs))[0]`:                        "a",
		`len(toPairs(data.rows[0]))`:                            "2",
		`join(reverse(concat(data.list, ["z"])), "")`:           "zcbab",
		`join(flatten([["a"], [["b"]]]), "")`:                   "ab",
		`take(data.list, 1)[0] + last(data.list)`:               "bc",
		`string(data.n) + "x"`:                                  "3x",
		`data.s[1:2]`:                                           "a",
		`time.Format("2006" + "-01")`:                           "2026-11",
		`hasPrefix(data.s, " a") and indexOf(data.s, "b") == 3`: "true",
		`int("7") + abs(-1) + bitand(6, 3)`:                     "10",
		`let x = data.n; x + x`:                                 "6",
		`{"a": data.s}.a`:                                       " a-b ",
		`data.n > 2 ? "big" : "small"`:                          "big",
		`type(data.list)`:                                       "array",
	} {
		plan := planWith(t, expression, data)
		if got, ok := plan.Set["k"]; plan.Err != nil || !ok || got != strings.ReplaceAll(want, "\n", "_") {
			t.Errorf("%s is %q, want %q: %v, %v", expression, got, want, plan.Err, plan.Problems)
		}
	}
	for expression, want := range map[string]string{
		`data.n + data.s`:                         "invalid operation: int64 + string",
		`data.list[0] + data.n`:                   "invalid operation: string + int64",
		`repeat(data.s, -1)`:                      "invalid argument for repeat (expected positive integer, got -1)",
		`repeat(data.s, data.s)`:                  "invalid operation: int(string)",
		`uniq(data.s)`:                            "cannot uniq string",
		`data.s matches "[" + data.s`:             "error parsing regexp",
		`join(data.numbers)`:                      "interface conversion: interface {} is int64, not string",
		`filter(data.list, #)`:                    "interface conversion: interface {} is string, not bool",
		`int("` + strings.Repeat("x", 500) + `")`: "invalid operation: int(" + strings.Repeat("x", 200),
	} {
		plan := planWith(t, expression, data)
		if plan.Err != nil || len(plan.Problems) != 1 {
			t.Errorf("%s: %v, %v", expression, plan.Err, plan.Problems)
			continue
		}
		if why := plan.Problems[0].Why; !strings.Contains(why, want) || len(why) > 1000 {
			t.Errorf("%s: %s, want %s", expression, why, want)
		}
	}
}

// For any expression, a plan over a hostile payload allocates bounded memory.
func FuzzBudget(f *testing.F) {
	data := hostile(20)
	for _, expression := range attacks {
		f.Add(expression)
	}
	e := sample(f)
	f.Fuzz(func(t *testing.T, expression string) {
		if len(expression) > 120 { // a long expression is its author's choice, not the payload's
			return
		}
		text := fmt.Sprintf("rules: [{on: server.created, set: {k: %q}}]", "${"+expression+"}")
		set, err := rules.Compile([]byte(text), rules.Options{})
		if err != nil {
			return
		}
		c := change()
		c.Data = data
		if n := allocatedBy(func() { set.Plan(c, e, rules.Readings{}) }); n > 512<<20 {
			t.Errorf("%d MB allocated", n>>20)
		}
	})
}

func BenchmarkOrdinaryRules(b *testing.B) {
	set := compile(b, `rules:
- on: server.created
  when: resource.name startsWith "prod-" and actor.kind != "service" and not (actor.name in ["ci", "bot"])
  set:
    a: ${upper(resource.zone) + "-" + resource.name}
    b: ${split(resource.name, "-")[-1]}
    c: '${find(data.list, .a == "x")?.a ?? "none"}'
    d: ${len(filter(data.list, .a matches "^x"))}
    e: ${data.object.deep.name ?? "d"}
    f: ${date(time + days(14))}
    g: ${replace(resource.name, "-", "_")}
`, "")
	c, e := lifecycle.Change(change()), sample(b)
	b.ReportAllocs()
	for b.Loop() {
		if plan := set.Plan(c, e, rules.Readings{}); len(plan.Set) != 7 {
			b.Fatal(plan)
		}
	}
}
