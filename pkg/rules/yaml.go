package rules

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/nearest"
)

// entry is one name and its value in a mapping.
type entry struct {
	name       string
	key, value *yaml.Node
}

// mapping returns a mapping's entries in their order and reports duplicates; with known names, others too.
func (c *compiler) mapping(node *yaml.Node, known ...string) []entry {
	var entries []entry
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		name, ok := c.scalar(key, "a name")
		switch {
		case !ok:
		case slices.ContainsFunc(entries, func(e entry) bool { return e.name == name }):
			c.fail(key, "%q stands there twice", name)
		case len(known) > 0 && !slices.Contains(known, name):
			c.fail(key, "unknown field %q%s", name, nearest.Hint(name, known))
		default:
			entries = append(entries, entry{name, key, node.Content[i+1]})
		}
	}
	return entries
}

// fields is mapping for a mapping whose names are all known, by name.
func (c *compiler) fields(node *yaml.Node, known ...string) map[string]*yaml.Node {
	fields := map[string]*yaml.Node{}
	for _, e := range c.mapping(node, known...) {
		fields[e.name] = e.value
	}
	return fields
}

// scalar returns a text exactly as its author wrote it: 014 stays 014, and yes stays yes.
func (c *compiler) scalar(node *yaml.Node, what string) (string, bool) {
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		c.fail(node, "%s: YAML anchors and aliases are not supported; write the value out", what)
	case node.Style&yaml.TaggedStyle != 0:
		// YAML reads "!x" as a tag with no value, so "when: !x" would be a condition that is not there.
		c.fail(node, "%s: YAML reads %s as a tag; put the value in quotes, or use not", what, node.Tag)
	case node.Kind != yaml.ScalarNode:
		c.fail(node, "%s: want one value, found %s", what, describe(node))
	case node.Value == "" || node.Tag == "!!null" && node.Style == 0:
		c.fail(node, "%s: is empty", what)
	default:
		return node.Value, true
	}
	return "", false
}

func describe(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.AliasNode:
		return "an alias"
	case node.Kind == yaml.SequenceNode && len(node.Content) == 0:
		return "an empty list"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Kind == yaml.MappingNode && len(node.Content) == 0:
		return "an empty mapping"
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Value == "":
		return "nothing"
	}
	return "a single value"
}
