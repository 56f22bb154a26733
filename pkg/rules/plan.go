package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Plan is what the rules want for one change. Set and Add are never nil.
//
// A key is in one of Set, Add and Remove. The new key of a Rename can be in Set or Add, too: Set has precedence over the value that moves, and Add
// is for a resource that has neither. What a plan means depends on what is on the resource; [Plan.Removals], [Plan.Renames] and [Plan.Fit] say that
// for metadata as it was read.
type Plan struct {
	// Family is whose limits the plan keeps.
	Family metadata.Family
	// Set is written whatever is there, Add only where the key is not there yet or its value is empty, Remove (sorted) deleted.
	Set, Add map[string]string
	Remove   []string
	// RemoveGlobs (sorted) are patterns of keys to delete: * stands for any characters, ? for one.
	RemoveGlobs []string
	// Rename has new keys by old ones: the value moves. It is nil for none.
	Rename map[string]string
	// Order has the keys of Set and Add and the new keys of Rename, the most important first: those of priority: in its order, then the others
	// in the order of their rules.
	Order []string
	// Reserve is how many items of metadata to leave free for others: no key is added beyond what is left.
	Reserve int
	// Inherited (sorted) are the keys of Add whose values are the parent's, Lacking (sorted) those that rules would inherit and the parent does
	// not have, whether or not another rule has a value.
	Inherited, Lacking []string
	// Ignored says which condition of ignore: is met, "" for none. No rule was looked at then.
	Ignored string
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
func (p Plan) Empty() bool {
	return len(p.Set) == 0 && len(p.Add) == 0 && len(p.Remove) == 0 && len(p.RemoveGlobs) == 0 && len(p.Rename) == 0
}

// Removals returns the keys of current metadata, sorted, that the plan deletes: those of Remove and those that a pattern of RemoveGlobs matches.
// A pattern never deletes a key that the plan writes or renames, nor one that the cloud writes itself.
func (p Plan) Removals(current map[string]string) []string {
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
func (p Plan) names(key string) bool {
	_, isSet := p.Set[key]
	_, isAdded := p.Add[key]
	_, isRenamed := p.Rename[key]
	return isSet || isAdded || isRenamed || slices.Contains(slices.Collect(maps.Values(p.Rename)), key)
}

// Renaming is one rename for a resource that has the old key. Value is what the new one gets: the old key's value, or what the plan sets.
type Renaming struct {
	From, To, Value string
	// CaseOnly says that the keys differ in upper and lower case only. Nova and Cinder delete both when one is deleted: the old key is deleted
	// first and the new one written then, so that the value must be kept until it is verified.
	CaseOnly bool
}

// Renames returns what is to be renamed in current metadata, sorted by the old keys: a key that is there, whose new one is not there or empty. Where
// both have a value neither is touched, and a problem says so.
func (p Plan) Renames(current map[string]string) ([]Renaming, []Problem) {
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
			problems = append(problems, Problem{Key: from, Why: fmt.Sprintf("not renamed: %q is there too, with a value of its own", to)})
		default:
			all = append(all, Renaming{From: from, To: to, Value: value, CaseOnly: strings.EqualFold(from, to)})
		}
	}
	return all, problems
}

// Fit returns the plan without the keys that would be more than most items of metadata, with Reserve left free, in the order of Order; and a
// problem for each key that is left out. Keys that are there already and keys that the plan deletes take no room. A most of 0 is no limit.
func (p Plan) Fit(current map[string]string, most int) (Plan, []Problem) {
	if most <= 0 {
		return p, nil
	}
	room := most - p.Reserve - (len(current) - len(p.Removals(current)))
	renamed, _ := p.Renames(current) // takes no room: an old key makes it
	fit := p
	fit.Set, fit.Add = maps.Clone(p.Set), maps.Clone(p.Add)
	var problems []Problem
	for _, key := range p.Order {
		_, isNew := p.Set[key]
		if _, isAdded := p.Add[key]; isAdded {
			isNew = true
		}
		if _, there := current[key]; there || !isNew || slices.ContainsFunc(renamed, func(r Renaming) bool { return r.To == key }) {
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
	return fit, problems
}
