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
// A key is in one of Set, Add and Remove. The new key of a Rename can be in Set or Add, too: Set has precedence over
// the value that moves, and Add is for a resource that has neither. What a plan means depends on what is on the
// resource; [Plan.Removals], [Plan.Renames] and [Plan.Fit] say that for metadata as it was read.
type Plan struct {
	// Family is whose limits the plan keeps.
	Family metadata.Family
	// Set is written whatever is there, Add only where the key is not there yet or its value is empty, Remove (sorted)
	// deleted.
	Set, Add map[string]string
	Remove   []string
	// RemoveGlobs (sorted) are patterns of keys to delete: * stands for any characters, ? for one.
	RemoveGlobs []string
	// Rename maps old keys to new ones: the value moves. It is nil if there are none.
	Rename map[string]string
	// Order lists the keys of Set and Add and the new keys of Rename, the most important first: those in priority: in
	// its order, then the others in the order of their rules.
	Order []string
	// Reserve is how many items of metadata to keep free for others.
	Reserve int
	// Inherited (sorted) lists the keys of Add whose values are the parent's. Lacking (sorted) lists the keys that a
	// rule inherits by name and that the parent does not have, even if another rule has a value.
	Inherited, Lacking []string
	// Replaces has values of inherited keys that count as missing if they are there: only the rules for the resource's
	// creation gave them. It is nil if there are none.
	Replaces map[string]string
	// LookedUp (sorted) lists the keys of Add whose values are from a table. It is only filled if a rule has inherit:.
	LookedUp []string
	// EventOnly (sorted) are the keys, and patterns of keys, that only an event gives a value; see [Set.ForExisting].
	EventOnly []string
	// Ignored says which condition of ignore: is true, "" if none is. If one is, no rule was looked at.
	Ignored string
	// Rules names the rules that matched, in their order.
	Rules []string
	// Skipped says of every other rule why it did not match.
	Skipped []Skip
	// Problems says what could not be used, and what was altered to be usable.
	Problems []Problem
	// Err is a [*BudgetError] if the rules would cost more than a plan may. The event must then be rejected.
	Err error
}

// Skip is a rule that did not match, and why.
type Skip struct {
	Rule string `json:"rule"`
	Why  string `json:"why"`
	// OtherAction reports that the rule is for other actions. A list of skipped rules need not explain each of these.
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

// Removals returns the keys of current metadata, sorted, that the plan deletes: those of Remove and those that a
// pattern of RemoveGlobs matches. A pattern never deletes a key that the plan writes or renames, nor one that the cloud
// writes itself.
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

// Renaming is a rename on a resource that has the old key. Value is the new key's value: the old key's, or the one that
// the plan sets.
type Renaming struct {
	From, To, Value string
	// CaseOnly says that the keys differ only in case. Nova and Cinder delete both if one is deleted, so the old key
	// must be deleted before the new one is written, and the value kept until it is verified.
	CaseOnly bool
}

// Renames returns what to rename in the current metadata, sorted by old key: keys that are there and whose new key is
// missing or empty. If both have a value, a problem says so.
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
			why := fmt.Sprintf("not renamed: %q is there too, with a value of its own", to)
			problems = append(problems, Problem{Key: from, Why: why})
		default:
			all = append(all, Renaming{From: from, To: to, Value: value, CaseOnly: strings.EqualFold(from, to)})
		}
	}
	return all, problems
}

// Fit returns the plan without the keys for which there is no room, and a problem for each of them. The resource can
// have most items of metadata (0: no limit), of which Reserve stay free. Keys get room in the order of Order; those
// that are there already need none, and those that the plan deletes make room.
func (p Plan) Fit(current map[string]string, most int) (Plan, []Problem) {
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
	fit := p
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
	return fit, problems
}
