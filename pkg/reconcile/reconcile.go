// Package reconcile finds resources that lack metadata required by the rules, and corrects them.
//
// It works in two steps. [Plan] lists resources page by page and writes the corrections to a plan file. [Apply] checks
// all limits, sends exactly the plan's corrections, and keeps a journal from which [Revert] undoes them. Package tagger
// plans each resource as if it had just been created, with the rules that events use.
//
// Memory does not grow with the number of resources: plans and journals are read line by line.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const (
	// pageSize is the number of resources that one request lists.
	pageSize = 200
	// pageRetries is the number of retries for a failed page.
	pageRetries = 4
	// maxIndex limits the parent resources kept in memory; others are read again.
	maxIndex = 10_000
	// maxErrors limits the errors that a summary lists.
	maxErrors = 10
)

// Options configure a plan.
type Options struct {
	// Tagger plans and writes, with the rules of [rules.Set.ForExisting].
	Tagger *tagger.Tagger
	Policy rules.Policy
	// Rules is the hash of the rules.
	Rules string
	API   metadata.API
	// Region is the configured region.
	Region string
	// Cloud opens sessions for the projects in the scope, Bounds for the projects that Tagger may write to.
	Cloud, Bounds *cloud.Cloud
	Scope         config.Projects
	Kinds         []lifecycle.Kind
	// Name is a pattern for names, "" for all. CreatedFrom and CreatedTo limit the time of creation unless zero.
	Name                   string
	CreatedFrom, CreatedTo time.Time
	// Overwrite are the keys that may replace another value, Protected the protected keys that may be written.
	Overwrite, Protected []string
	AllowPastDates       bool
	// Grace is the minimum age of a resource; younger ones are left to their events.
	Grace time.Duration
	// Settled is the minimum age of a resource's last change.
	Settled time.Duration
	// Listed, if not nil, is called with each listed resource in the scope before it is planned, so that callers can count
	// in the same pass. It is called whatever the resource's name, age and bounds, and with the state [metadata.Unread] if
	// its metadata is unknown, but not for deleted resources. An error from it ends the plan. [Summary].Complete reports
	// whether everything was listed.
	Listed func(kind lifecycle.Kind, v metadata.View) error
	// Progress, if not nil, is called with the number of resources read.
	Progress func(read int)
}

// State is the plan's decision about a resource.
type State string

// The states. Only Add is in the plan.
const (
	Add         State = "would add"
	Complete    State = "complete"
	Differs     State = "differs"
	Exempt      State = "exempt"
	NotWritable State = "not writable"
	TooYoung    State = "too young"
	Busy        State = "busy"
	NotManaged  State = "not managed"
	NoRule      State = "no rule"
	OutOfBounds State = "out of bounds"
	Unread      State = "not read"
)

// States returns the states in the order of summaries.
func States() []State {
	return []State{Add, Complete, Differs, Exempt, NotWritable, TooYoung, Busy, NotManaged, NoRule, OutOfBounds, Unread}
}

// Assessment is the decision about one resource.
type Assessment struct {
	State State
	// Why is the reason, if the state alone does not explain it.
	Why string
	// Keys are the keys to change.
	Keys map[string]journal.Replacement
	// Wanted are all keys that the rules set. Problems has the reasons why keys are missing from Keys.
	Wanted   map[string]string
	Problems []rules.Problem
	Plan     tagger.ExistingPlan
}

// Assess decides what to do with a resource. It returns an error if something could not be read.
func Assess(ctx context.Context, o Options, kind lifecycle.Kind, v metadata.View,
	parent func(metadata.Kind, string) (metadata.View, bool),
) (Assessment, error) {
	if v.State == metadata.Unread {
		return Assessment{State: Unread}, errors.New("its cell is down, so its metadata is unknown")
	}
	name, err := o.projectName(ctx, v.Project)
	if err != nil {
		return Assessment{State: Unread}, err
	}
	plan, err := o.Tagger.PlanExisting(ctx, tagger.Existing{
		Kind: kind, View: v, Region: o.Region, ProjectName: name, Parent: parent,
	})
	if err != nil {
		return Assessment{State: Unread}, err
	}
	a := Assessment{
		Wanted:   plan.Wanted,
		Keys:     map[string]journal.Replacement{},
		Plan:     plan,
		Problems: slices.Concat(plan.Problems, plan.NoRoom),
	}
	problem := func(key, why string) { a.Problems = append(a.Problems, rules.Problem{Key: key, Why: why}) }
	if metadata.Kind(kind).Readiness(v.State) == metadata.Deleted {
		a.State, a.Why = NotWritable, v.State
		return a, nil
	}
	if plan.Decision != nil && plan.Outcome == apply.Deferred {
		a.State, a.Why = TooYoung, plan.Reason
		return a, nil
	}
	if plan.Decision != nil && len(plan.Wanted) == 0 {
		a.State, a.Why = NoRule, plan.Reason
		return a, nil
	}
	exempt, differs := 0, 0
	for _, key := range slices.Sorted(maps.Keys(plan.Wanted)) {
		want := plan.Wanted[key]
		have, there := v.Metadata[key]
		twin := ""
		if !there {
			twin = sameKey(v.Metadata, key)
		}
		alias, exemption := o.alias(kind, key, v.Metadata), o.exempts(plan.Resource(), key, v.Metadata)
		switch {
		case there && have == want:
		case twin != "":
			problem(key, fmt.Sprintf("%q exists and differs only in case", twin))
			differs++
		case !there && alias != "":
			problem(key, fmt.Sprintf("exists as alias %q", alias))
		case o.Policy.Protects(key) && !slices.Contains(o.Protected, key):
			problem(key, "protected_keys lists it; --protected "+key+" allows the write")
		case exemption != "":
			problem(key, exemption)
			exempt++
		case there && have != "" && !o.overwrites(key, plan.Set):
			why := "the rules set it under add:, which replaces no value"
			if o.Overwrites(key, plan.Set) {
				why = "only --overwrite lets a reconcile replace a value"
			}
			problem(key, fmt.Sprintf("has another value, %q; %s", have, why))
			differs++
		case there:
			a.Keys[key] = journal.Replacement{From: &have, To: &want}
		default:
			a.Keys[key] = journal.Replacement{To: &want}
		}
	}
	a.State = o.state(&a, kind, v, exempt, differs)
	return a, nil
}

// state returns the state of a resource after its keys were compared.
func (o Options) state(a *Assessment, kind lifecycle.Kind, v metadata.View, exempt, differs int) State {
	age := time.Since(v.Created)
	switch {
	case len(a.Keys) == 0 && exempt > 0:
		return Exempt
	case len(a.Keys) == 0 && differs > 0:
		return Differs
	case len(a.Keys) == 0:
		return Complete
	case metadata.Kind(kind).OwnedWhole() && o.Policy.VolumesWrite == rules.NoVolumes:
		a.Why = "volumes: {write: never}"
		return NotManaged
	case a.Plan.Unmanageable != "":
		a.Why = fmt.Sprintf("another program may manage its metadata: no rule sets key %q", a.Plan.Unmanageable)
		return NotManaged
	case !v.Created.IsZero() && age < o.Grace:
		a.Why = "left to its events"
		return TooYoung
	case o.Tagger.Refusal(kind, v) != "" && v.Task == "":
		a.Why = o.Tagger.Refusal(kind, v)
		return NotWritable
	case v.Task != "":
		a.Why = "task " + v.Task
		return Busy
	case !v.Updated.IsZero() && time.Since(v.Updated) < o.Settled:
		a.Why = "changed " + time.Since(v.Updated).Round(time.Second).String() + " ago"
		return Busy
	}
	return Add
}

// overwrites reports whether a key may replace another value.
func (o Options) overwrites(key string, set []string) bool {
	return slices.Contains(o.Overwrite, key) && o.Overwrites(key, set)
}

// Overwrites reports whether [Options].Overwrite can name a key: a rule has it under set:, or the policy overwrites it.
// set are the keys under set: of a resource's plan.
func (o Options) Overwrites(key string, set []string) bool {
	return slices.Contains(set, key) ||
		slices.ContainsFunc(o.Policy.Required, func(r rules.Required) bool { return r.Key == key && r.Overwrite })
}

// exempts returns the exemption that covers a key of a resource, "" if none does.
func (o Options) exempts(r lifecycle.Resource, key string, have map[string]string) string {
	if x, ok := o.Policy.Exemption(key, r, time.Now()); ok {
		return "exempt: " + x.Name
	}
	if reason, ok := have[rules.SelfExemptKey]; ok && o.Policy.SelfExemption == rules.AcceptSelfExemption {
		return "exempt by its own key " + rules.SelfExemptKey + ": " + reason
	}
	return ""
}

// sameKey returns an existing key that the cloud treats as equal to the given one, "" if there is none.
func sameKey(have map[string]string, key string) string {
	for _, other := range slices.Sorted(maps.Keys(have)) {
		if other != key && strings.EqualFold(strings.TrimSpace(other), key) {
			return other
		}
	}
	return ""
}

var datePrefix = regexp.MustCompile(`^\d{4}-\d\d-\d\d(?:$|[T ]\d\d:\d\d)`)

// pastDate reports whether a value is a date, or a time, before today.
func pastDate(value string, now time.Time) bool {
	if !datePrefix.MatchString(value) {
		return false
	}
	day, err := time.Parse(time.DateOnly, value[:len(time.DateOnly)])
	return err == nil && day.Before(now.UTC().Truncate(24*time.Hour))
}

// alias returns the alias of a required key that a resource has, "" for none.
func (o Options) alias(kind lifecycle.Kind, key string, have map[string]string) string {
	for _, r := range o.Policy.Required {
		if r.Key != key || !slices.Contains(r.Kinds, kind) {
			continue
		}
		for _, alias := range r.Aliases {
			if have[alias] != "" {
				return alias
			}
		}
	}
	return ""
}

// projectName returns the name of a project if an exemption needs it, else "".
func (o Options) projectName(ctx context.Context, id string) (string, error) {
	needsName := func(x rules.Exemption) bool { return x.Match["project_name"] != "" }
	if !slices.ContainsFunc(o.Policy.Exemptions, needsName) {
		return "", nil
	}
	session, err := o.Bounds.Session(ctx, id)
	if err != nil {
		return "", fmt.Errorf("read the project's name, which an exemption needs: %w", err)
	}
	if session.Project == id && session.ProjectName != "" {
		return session.ProjectName, nil
	}
	project, err := o.Bounds.Project(ctx, id)
	if err != nil {
		return "", fmt.Errorf("read the project's name, which an exemption needs: %w", err)
	}
	return project.Name, nil
}
