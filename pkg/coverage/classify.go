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
	// Value is the current value, "" if there is none. Alias is the key that has it, if not Key.
	Value, Alias string
	// Expected is the result of expect:. Why explains the status.
	Expected, Why string
	// Exemption is the name of the exemption, AllocateTo its payer.
	Exemption, AllocateTo string
	SelfExempt            bool
	// Cost is the resource's monthly cost in Currency, 0 without prices.
	Cost     float64
	Currency string
}

// classifier assigns a status to each required key of a resource.
type classifier struct {
	set         *rules.Set
	policy      rules.Policy
	region      string
	writeLocked bool
	now         time.Time
	// unknown counts the resources whose expected value could not be computed, by key.
	unknown map[string]int
}

// resource returns the resource as rules and exemptions see it.
func (c *classifier) resource(kind lifecycle.Kind, v metadata.View, projectName string) lifecycle.Resource {
	return lifecycle.Resource{
		Kind: kind, ID: v.ID, Name: v.Name, Project: v.Project, ProjectName: projectName, Region: c.region,
		Flavor: v.Flavor, Created: v.Created, Metadata: v.Metadata,
	}
}

// find returns the finding about one required key of a resource.
func (c *classifier) find(r rules.Required, v metadata.View, resource lifecycle.Resource, readings rules.Readings,
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
	f.SelfExempt = f.SelfExempt && c.policy.SelfExemption != rules.IgnoreSelfExemption
	placeholder := f.Value != "" && slices.Contains(r.Placeholders, f.Value)
	if f.Value != "" && !placeholder {
		if f.Why = c.wrong(r, &f, v, resource, readings); f.Why == "" {
			f.Status = OK
			return f
		}
	}
	if x, ok := c.policy.Exemption(r.Key, resource, c.now); ok {
		f.Status, f.Why, f.Exemption, f.AllocateTo = Exempt, x.Reason, x.Name, x.AllocateTo
		return f
	}
	switch {
	case f.SelfExempt && c.policy.SelfExemption == rules.AcceptSelfExemption:
		f.Status, f.Why = Exempt, "it has the key "+rules.SelfExemptKey
	case placeholder:
		f.Status = Placeholder
	case f.Value != "":
		f.Status = Differs
	default:
		f.Status = Missing
		if f.Why = c.locked(resource.Kind, v); f.Why != "" {
			f.Status = NotWritable
		}
	}
	return f
}

// wrong returns the reason why the value is wrong, "" if it is right.
func (c *classifier) wrong(r rules.Required, f *Finding, v metadata.View, resource lifecycle.Resource,
	readings rules.Readings,
) string {
	if !c.set.Allows(r, f.Value) {
		return "not one of the values that are allowed"
	}
	change := lifecycle.Change{Resource: resource, Time: v.Created, Action: resource.Kind.Creation()}
	if v.User != "" {
		change.Actor = lifecycle.Actor{ID: v.User, Kind: lifecycle.User}
	}
	expected, why, err := c.set.Expected(r, change, event.New(), readings)
	if err != nil || why != "" {
		c.unknown[r.Key]++
	}
	if f.Expected = expected; expected != "" && f.Value != expected {
		return "another value is expected"
	}
	return ""
}

// locked returns the reason why metadata cannot be written, "" if it can.
func (c *classifier) locked(kind lifecycle.Kind, v metadata.View) string {
	k := metadata.Kind(kind)
	switch {
	case k.Readiness(v.State) != metadata.Ready:
		return k.StateName() + " " + v.State
	case v.Locked && !c.writeLocked:
		return "locked"
	}
	return ""
}
