package rules

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Readings are facts that are read from the cloud because the event lacks them. A nil or "" field is absent in rules.
type Readings struct {
	// Metadata is the resource's metadata, nil if it was not read.
	Metadata map[string]string
	// Parent is the resource's parent with its metadata, nil if it was not read or does not exist.
	Parent *lifecycle.Parent
	// OtherParents has the other servers that a volume is attached to. A key is inherited only if all of them have the
	// same value.
	OtherParents []lifecycle.Parent
	// ActorName is the name of the user whose id is in the event.
	ActorName string
	// Project is the resource's project.
	Project *Project
	// Given has the values that the rules gave the resource at its creation. A parent's value replaces one that is
	// still unchanged.
	Given map[string]string
	// Unknown has the reason for each reading that failed, by its name in rules: resource.metadata, parent, actor.name
	// or project. Problems quote it.
	Unknown map[string]string
}

// Project is a project as Keystone's GET /v3/projects/{id} returns it.
type Project struct {
	Name, Description string
	Tags              []string
	// Extra has properties outside the API, which Keystone stores unchanged.
	Extra map[string]string
}

// Needs are the readings that the rules need for a change.
type Needs struct {
	// Metadata is the resource's metadata, Parent the parent with its metadata.
	Metadata, Parent bool
	// ActorName is the name of the user with the event's user id, Project the resource's project.
	ActorName, Project bool
}

// Names returns the needed readings by their names in expressions.
func (n Needs) Names() []string {
	var names []string
	for _, each := range []struct {
		needed bool
		name   string
	}{
		{n.Metadata, "resource.metadata"}, {n.Parent, "parent"}, {n.ActorName, "actor.name"}, {n.Project, "project"},
	} {
		if each.needed {
			names = append(names, each.name)
		}
	}
	return names
}

// Any reports whether anything is needed.
func (n Needs) Any() bool { return n != Needs{} }

func (n Needs) and(other Needs) Needs {
	return Needs{
		Metadata: n.Metadata || other.Metadata, Parent: n.Parent || other.Parent,
		ActorName: n.ActorName || other.ActorName, Project: n.Project || other.Project,
	}
}

// known returns the needs that the change itself does not meet.
func (n Needs) known(c lifecycle.Change) Needs {
	n.Metadata = n.Metadata && c.Resource.Metadata == nil
	n.Parent = n.Parent && c.Parent.Metadata == nil && hasParent(c.Action)
	n.ActorName = n.ActorName && c.Actor.Name == "" && c.Actor.ID != ""
	n.Project = n.Project && c.Resource.Project != ""
	return n
}

// hasParent reports whether the action's kind of resource has a parent.
func hasParent(a lifecycle.Action) bool {
	return slices.ContainsFunc(a.Kinds(), func(k lifecycle.Kind) bool { return parentOf(k) != "" })
}

// Needs returns the readings that the rules use and the change does not have. It considers the rules for the change's
// action, except those whose condition has a part, joined with and, that is already false.
func (s *Set) Needs(change lifecycle.Change, e event.Event) Needs {
	if s.given {
		return Needs{}
	}
	if !s.reads.known(change).Any() { // the usual case
		return Needs{}
	}
	p := s.planner(change, e, Readings{})
	is := func(condition *expression) bool {
		v, err := condition.run(p.env())
		met, ok := v.(bool)
		return err == nil && ok && met
	}
	var all Needs
	for i := range s.ignore {
		if needs := s.ignore[i].needs.known(change); needs.Any() {
			all = all.and(needs)
		} else if is(&s.ignore[i]) {
			return Needs{}
		}
	}
	for _, r := range s.rules {
		if !slices.Contains(r.on, change.Action) {
			continue
		}
		fails := func(guard *expression) bool { return !guard.needs.known(change).Any() && !is(guard) }
		if !slices.ContainsFunc(r.guards, fails) {
			all = all.and(r.needs.known(change))
		}
	}
	return all
}

// Reads returns the readings that the rules use at all.
func (s *Set) Reads() Needs { return s.reads }

// Gives reports whether a rule for the action could write the key, with add:, set: or inherit:.
func (s *Set) Gives(action lifecycle.Action, key string) bool {
	return slices.ContainsFunc(s.rules, func(r rule) bool {
		return slices.Contains(r.on, action) && slices.ContainsFunc(r.operations, func(op operation) bool {
			return op.verb != remove && (op.to == key || op.verb != rename && matchesGlob(op.key, key))
		})
	})
}

// Adds reports whether a rule for the action has the key in add:.
func (s *Set) Adds(action lifecycle.Action, key string) bool {
	return slices.ContainsFunc(s.rules, func(r rule) bool {
		return slices.Contains(r.on, action) && slices.ContainsFunc(r.operations, func(op operation) bool {
			return op.verb == add && op.key == key
		})
	})
}

// Owns reports whether the rules own a key of a kind of resource: whether a rule for an action of the kind writes,
// renames or removes it.
func (s *Set) Owns(kind lifecycle.Kind, key string) bool {
	return slices.ContainsFunc(s.rules, func(r rule) bool {
		return slices.ContainsFunc(r.on, func(a lifecycle.Action) bool { return slices.Contains(a.Kinds(), kind) }) &&
			slices.ContainsFunc(r.operations, func(op operation) bool { return op.to == key || matchesGlob(op.key, key) })
	})
}

// Leaves reports whether volumes: {write: …} keeps the rules from adding keys to a parent.
func (s *Set) Leaves(parent lifecycle.Parent) bool {
	if !metadata.Kind(parent.Kind).OwnedWhole() {
		return false
	}
	switch s.policy.VolumesWrite {
	case NoVolumes:
		return true
	case UnmanagedVolumes:
		for key := range parent.Metadata {
			if !s.Owns(parent.Kind, key) {
				return true
			}
		}
	}
	return false
}

// WithReadings returns the same rules with default readings for [Set.Plan], for testing rules.
func (s *Set) WithReadings(r Readings) *Set {
	with := *s
	with.readings, with.given = r, true
	return &with
}

// Offline reports whether the rules already have all available readings. See [Set.WithReadings].
func (s *Set) Offline() bool { return s.given }

// withDefaults returns the readings, with others for missing ones.
func (r Readings) withDefaults(other Readings) Readings {
	if r.Metadata == nil {
		r.Metadata = other.Metadata
	}
	if r.Parent == nil {
		r.Parent, r.OtherParents = other.Parent, other.OtherParents
	}
	if r.Unknown == nil {
		r.Unknown = other.Unknown
	}
	if r.Given == nil {
		r.Given = other.Given
	}
	r.ActorName = cmp.Or(r.ActorName, other.ActorName)
	r.Project = cmp.Or(r.Project, other.Project)
	return r
}

// fill returns the change with the readings in its empty fields.
func (r Readings) fill(c lifecycle.Change) lifecycle.Change {
	if c.Resource.Metadata == nil {
		c.Resource.Metadata = r.Metadata
	}
	if r.Parent != nil {
		if c.Parent.Metadata == nil {
			c.Parent.Metadata = r.Parent.Metadata
		}
		c.Parent.Kind = cmp.Or(c.Parent.Kind, r.Parent.Kind)
		c.Parent.ID = cmp.Or(c.Parent.ID, r.Parent.ID)
		c.Parent.Name = cmp.Or(c.Parent.Name, r.Parent.Name)
	}
	c.Actor.Name = cmp.Or(c.Actor.Name, r.ActorName)
	if r.Project != nil {
		c.Resource.ProjectName = cmp.Or(c.Resource.ProjectName, r.Project.Name)
	}
	return c
}

// parents returns the parents with known metadata. c is the change with the readings in it.
func (r Readings) parents(c lifecycle.Change) []lifecycle.Parent {
	if c.Parent.Metadata == nil {
		return nil
	}
	return append([]lifecycle.Parent{c.Parent}, r.OtherParents...)
}

// unknownVariable is the environment's name for Readings.Unknown. No expression can contain it.
const unknownVariable = "the unknown"

// addTo adds readings to an environment. c is the change with the readings in it. project is false if no rule uses it.
func (r Readings) addTo(env map[string]any, c lifecycle.Change, project bool) {
	env[unknownVariable] = r.Unknown
	env["parent"], env["project"] = nil, nil
	if resource, ok := env["resource"].(map[string]any); ok && c.Resource.Metadata != nil {
		resource["metadata"] = texts(c.Resource.Metadata)
	}
	if c.Parent.ID != "" || c.Parent.Metadata != nil {
		parent := known(map[string]any{"kind": string(c.Parent.Kind), "id": c.Parent.ID, "name": c.Parent.Name})
		if c.Parent.Metadata != nil {
			parent["metadata"] = texts(c.Parent.Metadata)
		}
		env["parent"] = parent
	}
	if project && (c.Resource.Project != "" || r.Project != nil) {
		p := cmp.Or(r.Project, &Project{})
		project := texts(p.Extra)
		project["id"], project["name"] = c.Resource.Project, c.Resource.ProjectName
		project["description"] = p.Description
		if p.Tags != nil {
			tags := make([]any, len(p.Tags))
			for i, tag := range p.Tags {
				tags[i] = tag
			}
			project["tags"] = tags
		}
		env["project"] = known(project)
	}
}

func texts(m map[string]string) map[string]any {
	all := make(map[string]any, len(m)+4)
	for key, value := range m {
		if value != "" {
			all[key] = value
		}
	}
	return all
}

// readingTypes adds the types of the values that addTo adds.
func readingTypes(env types.Map, text types.Type) {
	if resource, ok := env["resource"].(types.Map); ok {
		resource["metadata"] = types.Map{types.Extra: text}
	}
	env["parent"] = types.Map{"kind": text, "id": text, "name": text, "metadata": types.Map{types.Extra: text}}
	env["project"] = types.Map{"id": text, "name": text, "description": text, "tags": types.Any, types.Extra: text}
}

// needsOf returns which readings an expression reads.
func needsOf(root ast.Node) Needs {
	var n Needs
	for _, path := range reads(root, nil) {
		text := pathText(path)
		is := func(name string) bool {
			return text == name || strings.HasPrefix(text, name+".") || strings.HasPrefix(text, name+"[")
		}
		n.Metadata = n.Metadata || is("resource.metadata") || text == "resource"
		n.Parent = n.Parent || is("parent") && text != "parent.id" && text != "parent.kind"
		n.ActorName = n.ActorName || is("actor.name") || text == "actor"
		n.Project = n.Project || is("project") && text != "project.id"
		n.Project = n.Project || is("resource.project_name") || text == "resource"
	}
	return n
}

// unknownHere returns why a path could not be read, "" if the readings do not say.
func unknownHere(env map[string]any, path string) string {
	why, _ := env[unknownVariable].(map[string]string)
	for _, what := range slices.Sorted(maps.Keys(why)) {
		if path == what || strings.HasPrefix(path, what+".") {
			return ": " + what + " is unknown here: " + why[what]
		}
	}
	return ""
}
