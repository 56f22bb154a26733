// Package rules turns tagging rules and a change into a plan: which metadata keys to set, to add and to remove.
//
// Rules are compiled once, strictly: every fault that can be found at start is an error with its line. Planning is
// pure: the same rules, event and readings always give the same plan, even if the event is replayed later.
//
// timezone() needs time zone data, which an image may lack. The binary therefore contains it (time/tzdata): 390 KB of
// 15 MB, 95 KB of a function's 5.3 MB zip. Otherwise one machine would write a key that another leaves out.
package rules

import (
	"slices"
	_ "time/tzdata" // timezone(); see above

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Set is a compiled set of rules. It is immutable and safe for concurrent use.
type Set struct {
	api    metadata.API
	rules  []rule
	scope  scope
	tables map[string]any // the scope's, as expressions see them
	ignore []expression
	// priority has keys and patterns of keys, the most important first. reserve is the number of metadata items to keep
	// free.
	priority []string
	reserve  int
	// reads has the readings that any rule uses. inherits reports that a rule has inherit:.
	reads    Needs
	inherits bool
	// namesProject reports that the text has the word project other than in resource.project.
	namesProject bool
	readings     Readings
	given        bool // no more readings are available
	policy       Policy
	hash         string
	notices      []Warning // of sections other than rules:
}

type rule struct {
	name       string
	line       int
	on         []lifecycle.Action
	when       *expression // nil: always
	operations []operation
	// guards are parts of when that must all be true. needs has the readings that the rule uses.
	guards []*expression
	needs  Needs
	// reconcile reports that the rule applies to existing resources even if it mentions time, data or event. uncertain
	// reports that only the guards of its condition are known.
	reconcile, uncertain bool
}

// operation is what one rule does to one key.
type operation struct {
	key   string // or, of remove and inherit, a pattern of keys
	line  int
	verb  verb
	value template // of set and add
	to    string   // of rename: the new key
}

type verb int

const (
	set verb = iota
	add
	remove
	rename
	inherit
	omit // only in a set for existing resources
)

func parentOf(kind lifecycle.Kind) metadata.Kind { return metadata.Kind(kind).Parent() }

// FamilyOf returns the family whose limits apply to a kind of resource.
func FamilyOf(api metadata.API, kind lifecycle.Kind) metadata.Family {
	return metadata.Kind(kind).Family(api)
}

// Hash returns a hash of the rules and the contents of their tables: 64 hexadecimal digits.
func (s *Set) Hash() string { return s.hash }

// shownDigits is the number of a hash's digits that are shown to tell versions apart.
const shownDigits = 12

// Version identifies the rules. name is their origin. The hash is the beginning of [Set.Hash].
func (s *Set) Version(name string) Version {
	return Version{Name: name, Hash: s.hash[:shownDigits], Rules: s.Len()}
}

// Len returns the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Names returns the names of the rules, in their order.
func (s *Set) Names() []string {
	names := make([]string, len(s.rules))
	for i, r := range s.rules {
		names[i] = r.name
	}
	return names
}

// WrittenKeys returns the keys that a rule replaces (set:), and the other keys that a rule writes, each once.
func (s *Set) WrittenKeys() (replaced, others []string) {
	for _, r := range s.rules {
		for _, op := range r.operations {
			switch {
			case op.verb == set && !slices.Contains(replaced, op.key):
				replaced = append(replaced, op.key)
			case op.verb == rename && !slices.Contains(others, op.to):
				others = append(others, op.to)
			case (op.verb == add || op.verb == inherit) && !slices.Contains(others, op.key):
				others = append(others, op.key)
			}
		}
	}
	return replaced, others
}

// Unreachable returns the names of the rules that match none of the actions.
func (s *Set) Unreachable(actions []lifecycle.Action) []string {
	var names []string
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.on, func(a lifecycle.Action) bool { return slices.Contains(actions, a) }) {
			names = append(names, r.name)
		}
	}
	return names
}
