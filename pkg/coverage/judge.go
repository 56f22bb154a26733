package coverage

import (
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Finding is the status of one required key on one resource.
type Finding struct {
	Kind        lifecycle.Kind
	View        metadata.View
	ProjectName string
	Region      string
	Key         string
	Status      Status
	// Value is what is there, "" for none; Alias the key under which it is if that is another one.
	Value, Alias string
	// Expected is the value that expect: gives, Why says more about the status.
	Expected, Why string
	// Exemption is the name of the exemption, AllocateTo who pays.
	Exemption, AllocateTo string
	SelfExempt            bool
	// Cost is what the resource costs a month in Currency, 0 without prices.
	Cost     float64
	Currency string
}

// judge decides about required keys.
type judge struct {
	set         *rules.Set
	policy      rules.Policy
	region      string
	writeLocked bool
	now         time.Time
	// unknown counts keys whose expected value could not be worked out, by key.
	unknown map[string]int
}

// resource is what rules and exemptions see.
func (j *judge) resource(kind lifecycle.Kind, v metadata.View, projectName string) lifecycle.Resource {
	return lifecycle.Resource{
		Kind: kind, ID: v.ID, Name: v.Name, Project: v.Project, ProjectName: projectName, Region: j.region,
		Flavor: v.Flavor, Created: v.Created, Metadata: v.Metadata,
	}
}

// find decides about a key of a resource.
func (j *judge) find(r rules.Required, v metadata.View, resource lifecycle.Resource, readings rules.Readings,
) Finding {
	f := Finding{
		Kind: resource.Kind, View: v, ProjectName: resource.ProjectName, Region: resource.Region, Key: r.Key,
	}
	f.Value = strings.TrimSpace(v.Metadata[r.Key])
	for _, alias := range r.Aliases {
		if f.Value == "" {
			if f.Value = strings.TrimSpace(v.Metadata[alias]); f.Value != "" {
				f.Alias = alias
			}
		}
	}
	_, f.SelfExempt = v.Metadata[rules.SelfExemptKey]
	f.SelfExempt = f.SelfExempt && j.policy.SelfExemption != rules.IgnoreSelfExemption
	placeholder := f.Value != "" && slices.Contains(r.Placeholders, f.Value)
	if f.Value != "" && !placeholder {
		if f.Why = j.wrong(r, &f, v, resource, readings); f.Why == "" {
			f.Status = OK
			return f
		}
	}
	if x, ok := j.policy.Exemption(r.Key, resource, j.now); ok {
		f.Status, f.Why, f.Exemption, f.AllocateTo = Exempt, x.Reason, x.Name, x.AllocateTo
		return f
	}
	switch {
	case f.SelfExempt && j.policy.SelfExemption == rules.AcceptSelfExemption:
		f.Status, f.Why = Exempt, "it has the key "+rules.SelfExemptKey
	case placeholder:
		f.Status = Placeholder
	case f.Value != "":
		f.Status = Differs
	default:
		f.Status = Missing
		if f.Why = j.locked(resource.Kind, v); f.Why != "" {
			f.Status = NotWritable
		}
	}
	return f
}

// wrong says what is wrong with the value, "" if nothing is.
func (j *judge) wrong(r rules.Required, f *Finding, v metadata.View, resource lifecycle.Resource,
	readings rules.Readings,
) string {
	if !j.set.Allows(r, f.Value) {
		return "not one of the values that are allowed"
	}
	change := lifecycle.Change{Resource: resource, Time: v.Created, Action: resource.Kind.Creation()}
	if v.User != "" {
		change.Actor = lifecycle.Actor{ID: v.User, Kind: lifecycle.User}
	}
	expected, why, err := j.set.Expected(r, change, event.New(), readings)
	if err != nil || why != "" {
		j.unknown[r.Key]++
	}
	if f.Expected = expected; expected != "" && f.Value != expected {
		return "another value is expected"
	}
	return ""
}

// locked says why metadata cannot be written, "" if it can.
func (j *judge) locked(kind lifecycle.Kind, v metadata.View) string {
	k := metadata.Kind(kind)
	switch {
	case k.Readiness(v.State) != metadata.Ready:
		return k.StateName() + " " + v.State
	case v.Locked && !j.writeLocked:
		return "locked"
	}
	return ""
}
