// Package rules turns tagging rules and a change into a plan: which metadata keys to set, to add and to remove.
//
// Rules are compiled once, strictly: whatever can be known to be wrong at start is an error then, with the line. Planning is pure: the
// same rules and the same event give the same plan, today and when the event is played again.
//
// timezone() needs data of time zones, which an image may lack. The data is therefore in the binary (time/tzdata): 390 KB more of 15 MB, 95 KB
// more of a function's 5.3 MB zip. Without it, one machine would write a key that another leaves out.
package rules

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	_ "time/tzdata" // timezone(); see above

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Set is a compiled set of rules. It is immutable and safe for concurrent use.
type Set struct {
	api    metadata.API
	rules  []rule
	tables map[string]any
}

type rule struct {
	name       string
	line       int
	on         []lifecycle.Action
	when       *expression // nil: always
	operations []operation
}

// operation is what one rule wants of one key.
type operation struct {
	key   string
	line  int
	verb  verb
	value template // of set and add
}

type verb int

const (
	set verb = iota
	add
	remove
)

// Plan is what the rules want for one change. Its maps are never nil.
type Plan struct {
	// Family is whose limits the plan keeps.
	Family metadata.Family
	// Set is written whatever is there, Add only where the key is not there yet, Remove (sorted) deleted.
	Set, Add map[string]string
	Remove   []string
	// Rules names the rules that matched, in their order.
	Rules []string
	// Skipped says of every other rule why it did not match.
	Skipped []Skip
	// Problems says what could not be used, and what was altered to be usable.
	Problems []Problem
	// Err is a [*BudgetError] when the rules would cost more than a plan may. Nothing else of the plan is to be used then: it is rejected.
	Err error
}

// Skip is a rule that did not match, and why.
type Skip struct {
	Rule string `json:"rule"`
	Why  string `json:"why"`
	// OtherAction reports that the rule is for other actions, which nobody wants to read twice.
	OtherAction bool `json:"-"`
}

// Problem is something of a rule that could not be used as it stands. Key is "" when it concerns the rule as a whole.
type Problem struct {
	Rule string `json:"rule"`
	Key  string `json:"key"`
	Why  string `json:"why"`
}

// String names the rule and the key and says why.
func (p Problem) String() string {
	switch {
	case p.Key == "":
		return "rule " + p.Rule + ": " + p.Why
	case p.Rule == "":
		return "key " + p.Key + ": " + p.Why
	}
	return "rule " + p.Rule + ", key " + p.Key + ": " + p.Why
}

// Empty reports whether the plan asks for nothing.
func (p Plan) Empty() bool { return len(p.Set) == 0 && len(p.Add) == 0 && len(p.Remove) == 0 }

// FamilyOf returns whose limits apply to a kind of resource.
func FamilyOf(api metadata.API, kind lifecycle.Kind) metadata.Family {
	return metadata.Kind(kind).Family(api)
}

// Len returns the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Names returns the rules' names, in their order.
func (s *Set) Names() []string {
	names := make([]string, len(s.rules))
	for i, r := range s.rules {
		names[i] = r.name
	}
	return names
}

// Unreachable names the rules that none of the actions can make match.
func (s *Set) Unreachable(actions []lifecycle.Action) []string {
	var names []string
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.on, func(a lifecycle.Action) bool { return slices.Contains(actions, a) }) {
			names = append(names, r.name)
		}
	}
	return names
}

// Plan applies every rule that matches, in order; for one key the last one wins. A key whose value cannot be had is left out, which
// leaves an earlier rule's value in force, and is listed in Problems.
func (s *Set) Plan(change lifecycle.Change, e event.Event) Plan {
	p := planner{
		env:   environment(change, e, s.tables),
		left:  &budget{left: planBudget},
		plan:  Plan{Family: FamilyOf(s.api, change.Resource.Kind)},
		slots: map[string]slot{},
	}
	p.env[theBudget] = p.left
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
		p.plan.Rules = append(p.plan.Rules, r.name)
		for _, op := range r.operations {
			if p.take(r, op); p.plan.Err != nil {
				return p.finish()
			}
		}
	}
	return p.finish()
}

type planner struct {
	env   map[string]any
	left  *budget
	plan  Plan
	slots map[string]slot
}

// slot is the last word on one key.
type slot struct {
	verb  verb
	value string
}

// skips returns why the rule's condition is not met, "" when it is.
func (p *planner) skips(r rule) string {
	if r.when == nil {
		return ""
	}
	v, err := r.when.run(p.env)
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
		return "when is false: " + r.when.source
	}
	return ""
}

func (p *planner) take(r rule, op operation) {
	if err := p.plan.Family.CheckKey(op.key); err != nil {
		p.problem(r, op.key, err.Error())
		return
	}
	if op.verb == remove {
		p.slots[op.key] = slot{verb: remove}
		return
	}
	value, why, err := op.value.render(p.env, p.left)
	if err != nil {
		p.plan.Err = &BudgetError{Rule: r.name, Key: op.key}
		return
	}
	if why != "" {
		p.problem(r, op.key, "left out: "+why)
		return
	}
	fit, changed := p.plan.Family.FitValue(value)
	if err := p.plan.Family.CheckValue(op.key, fit); err != nil { // such as an empty one for bare metal
		p.problem(r, op.key, "left out: "+err.Error())
		return
	}
	if changed {
		p.problem(r, op.key, fmt.Sprintf("made to fit: %v", p.plan.Family.CheckValue(op.key, value)))
	}
	p.slots[op.key] = slot{op.verb, fit}
}

func (p *planner) problem(r rule, key, why string) {
	p.plan.Problems = append(p.plan.Problems, Problem{Rule: r.name, Key: key, Why: why})
}

func (p *planner) finish() Plan {
	p.plan.Set, p.plan.Add = map[string]string{}, map[string]string{}
	if p.plan.Err != nil {
		return p.plan
	}
	for _, key := range slices.Sorted(maps.Keys(p.slots)) {
		switch s := p.slots[key]; s.verb {
		case set:
			p.plan.Set[key] = s.value
		case add:
			p.plan.Add[key] = s.value
		case remove:
			p.plan.Remove = append(p.plan.Remove, key)
		}
	}
	return p.plan
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
