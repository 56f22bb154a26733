package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Plan is the result of the rules for one change. Set and Add are never nil.
//
// A key is in one of Set, Add and Remove. The new key of a Rename can also be in Set or Add: Set takes precedence over
// the renamed value, and Add applies if the resource has neither key. The effect of a plan depends on the resource's
// metadata: see [Plan.Removals], [Plan.Renames] and [Plan.Fit].
type Plan struct {
	// Family is the family whose limits the plan keeps.
	Family metadata.Family
	// Set is always written. Add is written if the key is missing or its value is empty. Remove (sorted) is deleted.
	Set, Add map[string]string
	Remove   []string
	// RemoveGlobs (sorted) are patterns of keys to delete: * stands for any characters, ? for one.
	RemoveGlobs []string
	// Rename maps old keys to new ones: the value moves. It is nil if there are none.
	Rename map[string]string
	// Order lists the keys of Set and Add and the new keys of Rename, the most important first: the keys in priority:,
	// then the others in the order of their rules.
	Order []string
	// Reserve is the number of metadata items to keep free for other writers.
	Reserve int
	// Inherited (sorted) lists the keys of Add with a value of the parent. Lacking (sorted) lists the keys that a rule
	// inherits by name and that the parent does not have, even if another rule gives a value.
	Inherited, Lacking []string
	// Replaces has values of inherited keys that count as missing, because only the rules for the resource's creation
	// gave them. It is nil if there are none.
	Replaces map[string]string
	// LookedUp (sorted) lists the keys of Add with a value from a table. It is set only if a rule has inherit:.
	LookedUp []string
	// EventOnly (sorted) lists the keys, and patterns of keys, whose value depends on an event. See [Set.ForExisting].
	EventOnly []string
	// Ignored is the condition of ignore: that is true, "" if none is. If one is, no rule is applied.
	Ignored string
	// Rules names the rules that matched, in order.
	Rules []string
	// Skipped lists the other rules with the reason for each.
	Skipped []Skip
	// Problems lists values that could not be used, and values that were changed to fit.
	Problems []Problem
	// Cost is the part of a plan's budget that its expressions took. A plan over budget took all of it.
	Cost int
	// Err is a [*BudgetError] if the rules would exceed the budget of a plan. Reject the event then.
	Err error
}

// Skip is a rule that did not match, with the reason.
type Skip struct {
	Rule string `json:"rule"`
	Why  string `json:"why"`
	// OtherAction reports that the rule is for other actions. Lists of skipped rules can leave such rules out.
	OtherAction bool `json:"-"`
}

// Problem is a part of a rule that could not be used as written. Key is "" if it concerns the whole rule.
type Problem struct {
	Rule string `json:"rule"`
	Key  string `json:"key"`
	Why  string `json:"why"`
}

// String returns the rule, the key and the reason.
func (p Problem) String() string {
	switch {
	case p.Key == "":
		return "rule " + p.Rule + ": " + p.Why
	case p.Rule == "":
		return "key " + p.Key + ": " + p.Why
	}
	return "rule " + p.Rule + ", key " + p.Key + ": " + p.Why
}

// Empty reports whether the plan changes nothing.
func (p *Plan) Empty() bool {
	return len(p.Set) == 0 && len(p.Add) == 0 && len(p.Remove) == 0 && len(p.RemoveGlobs) == 0 && len(p.Rename) == 0
}

// Removals returns the keys of current metadata that the plan deletes, sorted: those of Remove and those that a pattern
// of RemoveGlobs matches. A pattern never deletes a key that the plan writes or renames, or one that the cloud writes
// itself.
func (p *Plan) Removals(current map[string]string) []string {
	var keys []string
	for key := range current {
		if slices.Contains(p.Remove, key) {
			keys = append(keys, key)
		} else if matchesAny(p.RemoveGlobs, key) >= 0 && !p.names(key) && p.Family.CheckKey(key) == nil {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// names reports whether the plan writes or renames a key.
func (p *Plan) names(key string) bool {
	_, isSet := p.Set[key]
	_, isAdded := p.Add[key]
	_, isRenamed := p.Rename[key]
	return isSet || isAdded || isRenamed || slices.Contains(slices.Collect(maps.Values(p.Rename)), key)
}

// Renaming is a rename on a resource that has the old key. Value is the new key's value: the old key's, or that of Set.
type Renaming struct {
	From, To, Value string
	// CaseOnly reports that the keys differ only in case. Nova and Cinder delete both if one is deleted. Delete the old
	// key before writing the new one, and keep the value until the write is verified.
	CaseOnly bool
}

// DifferInCaseOnly reports whether Nova and Cinder confuse two keys when they delete: their databases compare without
// regard to case and to spaces at the end.
func DifferInCaseOnly(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, " "), strings.TrimRight(b, " "))
}

// Renames returns the renames that apply to the current metadata, sorted by old key: the old key exists, and the new
// key is missing or empty. If both have a value, or another rename moves a value to the new key, a problem reports it.
func (p *Plan) Renames(current map[string]string) ([]Renaming, []Problem) {
	if len(p.Rename) == 0 {
		return nil, nil
	}
	var all []Renaming
	var problems []Problem
	for _, from := range slices.Sorted(maps.Keys(p.Rename)) {
		to := p.Rename[from]
		value, there := current[from]
		if wanted, ok := p.Set[to]; ok {
			value = wanted
		}
		switch {
		case !there:
		case current[to] != "":
			why := fmt.Sprintf("not renamed: %q exists too, with another value", to)
			problems = append(problems, Problem{Key: from, Why: why})
		case slices.ContainsFunc(all, func(r Renaming) bool { return r.To == to }):
			why := fmt.Sprintf("not renamed: another key is renamed to %q", to)
			problems = append(problems, Problem{Key: from, Why: why})
		default:
			all = append(all, Renaming{From: from, To: to, Value: value, CaseOnly: DifferInCaseOnly(from, to)})
		}
	}
	return all, problems
}

// Fit returns the plan without the keys that do not fit, and a problem for each of them. The resource can have most
// items of metadata (0 means no limit), and Reserve of them stay free. Keys are placed in the order of Order. Existing
// keys need no space, and deleted keys free it.
func (p *Plan) Fit(current map[string]string, most int) (*Plan, []Problem) {
	if most <= 0 {
		return p, nil
	}
	room := most - p.Reserve - (len(current) - len(p.Removals(current)))
	taken := maps.Clone(current) // the keys that need no room
	if taken == nil {
		taken = map[string]string{}
	}
	renames, _ := p.Renames(current)
	for _, r := range renames {
		taken[r.To] = r.Value // the old key makes room
	}
	fit := *p
	fit.Set, fit.Add = maps.Clone(p.Set), maps.Clone(p.Add)
	var problems []Problem
	for _, key := range p.Order {
		_, isNew := p.Set[key]
		if _, isAdded := p.Add[key]; isAdded {
			isNew = true
		}
		if _, there := taken[key]; there || !isNew {
			continue
		}
		if room > 0 {
			room--
			continue
		}
		delete(fit.Set, key)
		delete(fit.Add, key)
		why := fmt.Sprintf("left out: the resource has %d of %d items", len(current), most)
		if p.Reserve > 0 {
			why += fmt.Sprintf(", and reserve_items keeps %d free", p.Reserve)
		}
		problems = append(problems, Problem{Key: key, Why: why + "; priority: decides which keys come first"})
	}
	return &fit, problems
}
