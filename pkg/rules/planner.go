package rules

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// Plan applies every matching rule, in order. For each key, the last rule wins. A key without a value is left out and
// listed in Problems, and an earlier rule's value stays in force. r has the readings that [Set.Needs] asked for, as far
// as they could be read. The event's own values take precedence.
func (s *Set) Plan(change lifecycle.Change, e event.Event, r Readings) Plan {
	p := s.planner(change, e, r)
	for _, condition := range s.ignore {
		if ignored := p.ignores(condition); ignored || p.plan.Err != nil {
			return p.finish()
		}
	}
	for _, r := range s.rules {
		if !slices.Contains(r.on, change.Action) {
			why := fmt.Sprintf("it is for %s, this is %s", list(r.on), change.Action)
			p.plan.Skipped = append(p.plan.Skipped, Skip{Rule: r.name, Why: why, OtherAction: true})
			continue
		}
		if why := p.skips(r); p.plan.Err != nil {
			return p.finish()
		} else if why != "" {
			p.plan.Skipped = append(p.plan.Skipped, Skip{Rule: r.name, Why: why})
			continue
		}
		if r.uncertain {
			why := "its condition depends on an event"
			p.plan.Skipped = append(p.plan.Skipped, Skip{Rule: r.name, Why: why})
		} else {
			p.plan.Rules = append(p.plan.Rules, r.name)
		}
		for _, op := range r.operations {
			if p.take(r, op); p.plan.Err != nil {
				return p.finish()
			}
		}
	}
	return p.finish()
}

func (s *Set) planner(change lifecycle.Change, e event.Event, r Readings) planner {
	r = r.withDefaults(s.readings)
	change = r.fill(change)
	p := planner{
		set:      s,
		change:   change,
		event:    e,
		readings: r,
		left:     &budget{left: planBudget},
		parents:  r.parents(change),
		plan:     Plan{Family: FamilyOf(s.api, change.Resource.Kind), Reserve: s.reserve},
		slots:    map[string]slot{},
	}
	if s.inherits {
		p.inherited, p.disagreed = map[string]slot{}, map[string]bool{}
	}
	return p
}

type planner struct {
	set      *Set
	change   lifecycle.Change
	event    event.Event
	readings Readings
	// variables are those of expressions; see env.
	variables map[string]any
	left      *budget
	parents   []lifecycle.Parent
	plan      Plan
	slots     map[string]slot
	// inherited has values of the parent, disagreed the keys for which several parents have different values, and
	// renames maps old keys to new ones.
	inherited map[string]slot
	disagreed map[string]bool
	renames   map[string]slot
	// omitted has keys and patterns of keys whose value depends on an event.
	omitted []string
	taken   int
}

// slot is the result of the rules so far for a key.
type slot struct {
	verb  verb
	value string
	order int // of the operation among all
	// lookedUp reports that the value is from a table.
	lookedUp bool
}

// env returns the variables of expressions. Most events match no rule with an expression, so they are made on demand.
func (p *planner) env() map[string]any {
	if p.variables == nil {
		p.variables = environment(p.change, p.event, p.set.tables)
		p.readings.addTo(p.variables, p.change, p.set.namesProject)
		p.variables[theBudget] = p.left
	}
	return p.variables
}

// ignores reports whether a condition of ignore: is true.
func (p *planner) ignores(condition expression) bool {
	v, err := condition.run(p.env())
	ignored, isBool := v.(bool)
	switch {
	case errors.Is(err, errOverBudget):
		p.plan.Err = &BudgetError{Rule: "ignore"}
	case err != nil:
		p.plan.Problems = append(p.plan.Problems, Problem{Rule: "ignore", Why: err.Error()})
	case !isBool:
		p.plan.Problems = append(p.plan.Problems,
			Problem{Rule: "ignore", Why: "is neither true nor false: " + condition.source})
	case ignored:
		p.plan.Ignored = "ignored: " + condition.source
	}
	return p.plan.Ignored != ""
}

// skips returns why the rule's condition is not met, "" when it is.
func (p *planner) skips(r rule) string {
	if r.uncertain {
		return p.excluded(r)
	}
	if r.when == nil {
		return ""
	}
	v, err := r.when.run(p.env())
	switch matched, isBool := v.(bool); {
	case errors.Is(err, errOverBudget):
		p.plan.Err = &BudgetError{Rule: r.name}
		return ""
	case err != nil:
		p.problem(r, "", err.Error())
		return "when has no value: " + err.Error()
	case v == nil:
		p.problem(r, "", fmt.Sprintf("when is absent: %s", r.when.source))
		return "when is absent: " + r.when.source
	case !isBool:
		p.problem(r, "", fmt.Sprintf("when is neither true nor false: %s", r.when.source))
		return "when is neither true nor false: " + r.when.source
	case !matched:
		return "when is false: " + r.when.source + p.absentFields(r)
	}
	return ""
}

// absentFields names the absent fields that make a rule's condition false. It returns "" if there are none.
func (p *planner) absentFields(r rule) string {
	for _, guard := range r.guards {
		if v, err := guard.run(p.env()); err != nil || v != false {
			continue
		}
		if why := missing(guard.checked, p.env(), replaced); why != "" {
			return " (" + why + ")"
		}
		return ""
	}
	return ""
}

func (p *planner) take(r rule, op operation) {
	p.taken++
	switch {
	case op.verb == omit:
		p.omit(op)
		return
	case op.verb == inherit:
		p.inherit(r, op)
		return
	case op.verb == remove && isGlob(op.key):
		p.removeGlob(op)
		return
	}
	for _, key := range []string{op.key, op.to} {
		if err := p.plan.Family.CheckKey(key); err != nil && key != "" {
			p.problem(r, key, err.Error())
			return
		}
	}
	switch op.verb {
	case remove:
		p.slots[op.key] = slot{verb: remove, order: p.taken}
		delete(p.renames, op.key)
		return
	case rename:
		if p.renames == nil {
			p.renames = map[string]slot{}
		}
		p.renames[op.key] = slot{verb: rename, value: op.to, order: p.taken}
		delete(p.slots, op.key)
		return
	}
	var env map[string]any
	if _, constant := op.value.literal(); !constant {
		env = p.env()
	}
	value, why, err := op.value.render(env, p.left)
	if err != nil {
		p.plan.Err = &BudgetError{Rule: r.name, Key: op.key}
		return
	}
	if why != "" {
		p.problem(r, op.key, "left out: "+why)
		return
	}
	fit, ok := p.fit(r, op.key, value)
	if !ok {
		return
	}
	lookedUp := p.set.inherits && op.verb == add && p.isLookedUp(op, value)
	p.slots[op.key] = slot{verb: op.verb, value: fit, order: p.taken, lookedUp: lookedUp}
	delete(p.renames, op.key)
}

// fit adapts a value to the limits of the family.
func (p *planner) fit(r rule, key, value string) (string, bool) {
	fit, changed := p.plan.Family.FitValue(value)
	if err := p.plan.Family.CheckValue(key, fit); err != nil { // such as an empty one for bare metal
		p.problem(r, key, "left out: "+err.Error())
		return "", false
	}
	if changed {
		p.problem(r, key, fmt.Sprintf("shortened to fit: %v", p.plan.Family.CheckValue(key, value)))
	}
	return fit, true
}

// isLookedUp reports whether a value is from a table: whether empty tables would change it.
func (p *planner) isLookedUp(op operation, value string) bool {
	if !op.value.readsTables() {
		return false
	}
	without := maps.Clone(p.env())
	without["tables"] = map[string]any{}
	other, why, err := op.value.render(without, p.left)
	return err == nil && (why != "" || other != value)
}

// removeGlob overrides the results of earlier rules for matching keys.
func (p *planner) removeGlob(op operation) {
	for key := range p.slots {
		if matchesGlob(op.key, key) {
			delete(p.slots, key)
		}
	}
	for key := range p.renames {
		if matchesGlob(op.key, key) {
			delete(p.renames, key)
		}
	}
	if !slices.Contains(p.plan.RemoveGlobs, op.key) {
		p.plan.RemoveGlobs = append(p.plan.RemoveGlobs, op.key)
	}
}

// inherit copies values of the parent.
func (p *planner) inherit(r rule, op operation) {
	if len(p.parents) == 0 {
		p.problem(r, op.key, "not inherited: parent is absent"+p.unknown("parent"))
		return
	}
	found := false
	for _, key := range slices.Sorted(maps.Keys(p.parents[0].Metadata)) {
		value := p.parents[0].Metadata[key]
		if value == "" || !matchesGlob(op.key, key) {
			continue
		}
		found = true
		if matchesAny(neverCopied, key) >= 0 {
			continue // only a pattern gets here: the compiler refuses the key itself
		}
		if err := p.plan.Family.CheckKey(key); err != nil {
			p.problem(r, key, "not inherited: "+err.Error())
			continue
		}
		if other := p.disagreement(key); other != "" {
			p.disagreed[key] = true
			p.problem(r, key, "left out: "+other)
			continue
		}
		if fit, ok := p.fit(r, key, value); ok {
			p.inherited[key] = slot{verb: inherit, value: fit, order: p.taken}
		}
	}
	if !found && !isGlob(op.key) {
		p.plan.Lacking = append(p.plan.Lacking, op.key)
	}
}

// disagreement lists the different values that parents have for a key. It returns "" if they agree.
func (p *planner) disagreement(key string) string {
	var values []string
	for _, parent := range p.parents {
		if value := cmp.Or(parent.Metadata[key], "nothing"); !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	if len(values) < 2 {
		return ""
	}
	slices.Sort(values)
	return fmt.Sprintf("%ss disagree on %s: %s", p.parents[0].Kind, key, strings.Join(values, ", "))
}

// unknown returns why a reading is missing, "" if the readings do not say.
func (p *planner) unknown(what string) string {
	return unknownHere(p.env(), what)
}

func (p *planner) problem(r rule, key, why string) {
	p.plan.Problems = append(p.plan.Problems, Problem{Rule: r.name, Key: key, Why: why})
}

func (p *planner) finish() Plan {
	if p.plan.Cost = planBudget - p.left.left; p.plan.Err != nil {
		p.plan.Cost = planBudget
	}
	p.plan.Set, p.plan.Add = map[string]string{}, map[string]string{}
	if p.plan.Err != nil || p.plan.Ignored != "" {
		p.plan.RemoveGlobs = nil
		return p.plan
	}
	maps.DeleteFunc(p.inherited, func(key string, _ slot) bool { return matchesAny(p.omitted, key) >= 0 })
	p.plan.EventOnly = p.omittedKeys()
	for key, value := range p.inherited { // it replaces add:, except for a value from a table
		if s, ok := p.slots[key]; !ok || s.verb == add && !s.lookedUp {
			p.slots[key] = value
		}
	}
	for key := range p.disagreed {
		if s := p.slots[key]; s.verb == add && !s.lookedUp || s.verb == inherit {
			delete(p.slots, key)
		}
	}
	order := make([]ranked, 0, len(p.slots)+len(p.renames))
	for from, s := range p.renames {
		if p.plan.Rename == nil {
			p.plan.Rename = map[string]string{}
		}
		p.plan.Rename[from] = s.value
		if to := p.slots[s.value]; to.verb == remove || to.order == 0 { // else it is among the keys below
			order = append(order, ranked{s.value, p.set.importance(s.value), s.order})
		}
	}
	keys := slices.AppendSeq(make([]string, 0, len(p.slots)), maps.Keys(p.slots))
	slices.Sort(keys)
	for _, key := range keys {
		s := p.slots[key]
		switch s.verb {
		case set:
			p.plan.Set[key] = s.value
		case add:
			p.plan.Add[key] = s.value
			if s.lookedUp {
				p.plan.LookedUp = append(p.plan.LookedUp, key)
			}
		case inherit:
			p.plan.Add[key] = s.value
			p.plan.Inherited = append(p.plan.Inherited, key)
			if given := p.readings.Given[key]; given != "" && given != s.value {
				if p.plan.Replaces == nil {
					p.plan.Replaces = map[string]string{}
				}
				p.plan.Replaces[key] = given
			}
		case remove:
			p.plan.Remove = append(p.plan.Remove, key)
			continue
		}
		order = append(order, ranked{key, p.set.importance(key), s.order})
	}
	slices.Sort(p.plan.RemoveGlobs)
	slices.Sort(p.plan.Lacking)
	p.plan.Lacking = slices.Compact(p.plan.Lacking)
	slices.SortFunc(order, func(a, b ranked) int {
		return cmp.Or(a.importance-b.importance, a.order-b.order, strings.Compare(a.key, b.key))
	})
	if len(order) > 0 {
		p.plan.Order = make([]string, len(order))
	}
	for i, r := range order {
		p.plan.Order[i] = r.key
	}
	return p.plan
}

// ranked is a key with its sort order for Plan.Order.
type ranked struct {
	key               string
	importance, order int
}

// importance is a key's index in priority:. Keys that are not in it come last.
func (s *Set) importance(key string) int {
	if i := matchesAny(s.priority, key); i >= 0 {
		return i
	}
	return len(s.priority)
}

func list(actions []lifecycle.Action) string {
	s := string(actions[0])
	for i, a := range actions[1:] {
		if i == len(actions)-2 {
			s += " and " + string(a)
		} else {
			s += ", " + string(a)
		}
	}
	return s
}
