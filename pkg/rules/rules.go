// Package rules turns tagging rules and a change into a plan: which metadata keys to set, to add and to remove.
//
// Rules are compiled once, strictly: whatever can be known to be wrong at start is an error then, with the line.
// Planning is pure: the same rules, event and readings give the same plan, today and when the event is played again.
//
// timezone() needs data of time zones, which an image may lack. The data is therefore in the binary (time/tzdata): 390
// KB more of 15 MB, 95 KB more of a function's 5.3 MB zip. Without it, one machine would write a key that another
// leaves out.
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
	// priority are keys and patterns of keys, the most important first; reserve is how many items of metadata are left
	// free.
	priority []string
	reserve  int
	// reads is which readings any rule uses, inherits says that a rule has inherit:.
	reads    Needs
	inherits bool
	// namesProject says that the text has the word project otherwise than in resource.project.
	namesProject bool
	readings     Readings
	given        bool // readings are all there is to know
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
	// guards are parts of when that must all be true; needs is which readings the rule uses.
	guards []*expression
	needs  Needs
	// reconcile says that the rule is for existing resources even if it mentions time, data or event. uncertain says that
	// nothing is known of its condition but its guards.
	reconcile, uncertain bool
}

// operation is what one rule wants of one key.
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

// FamilyOf returns whose limits apply to a kind of resource.
func FamilyOf(api metadata.API, kind lifecycle.Kind) metadata.Family {
	return metadata.Kind(kind).Family(api)
}

// Hash identifies the rules and the contents of their tables: 64 hexadecimal digits.
func (s *Set) Hash() string { return s.hash }

// shownDigits is how many digits of a hash tell versions apart for people.
const shownDigits = 12

// Version identifies the rules. Name is where they are from. The hash is the beginning of [Set.Hash].
func (s *Set) Version(name string) Version {
	return Version{Name: name, Hash: s.hash[:shownDigits], Rules: s.Len()}
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
