package rules

import (
	"go.yaml.in/yaml/v4"
)

// maxNodes limits a document after its aliases are expanded: nine nested lists of nine aliases are 387 million values.
const maxNodes = 1_000_000

// aliases replaces aliases by the values that they refer to, and merge keys (<<) by their mappings' entries. It returns
// false after an error.
func (c *compiler) aliases(root *yaml.Node) bool {
	a := aliases{compiler: c, sizes: map[*yaml.Node]int{}}
	before := len(c.errors)
	size := a.resolve(root)
	if size > maxNodes && len(c.errors) == before {
		c.fail(root, "its aliases expand it to more than %d values", maxNodes)
	}
	return len(c.errors) == before
}

type aliases struct {
	*compiler
	// sizes has the number of values in a node, 0 for a node that is being resolved.
	sizes map[*yaml.Node]int
}

// resolve changes a node in place and returns its size.
func (a aliases) resolve(node *yaml.Node) int {
	if size, ok := a.sizes[node]; ok {
		if size == 0 {
			a.fail(node, "an alias refers to a value that contains it")
		}
		return max(size, 1)
	}
	a.sizes[node] = 0
	size := 1
	for i, inner := range node.Content {
		if inner.Kind == yaml.AliasNode {
			inner = inner.Alias
			node.Content[i] = inner
		}
		size = min(size+a.resolve(inner), maxNodes+1)
	}
	if node.Kind == yaml.MappingNode {
		a.merge(node)
	}
	a.sizes[node] = size
	return size
}

// merge replaces merge keys by the entries of their mappings. An entry of the mapping itself takes precedence over a
// merged one, and an earlier mapping in a list over a later one.
func (a aliases) merge(node *yaml.Node) {
	has := map[string]bool{}
	var own, sources []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || key.Style != 0 || key.Value != "<<":
			own = append(own, key, value)
			has[key.Value] = true
		case value.Kind == yaml.SequenceNode:
			sources = append(sources, value.Content...)
		default:
			sources = append(sources, value)
		}
	}
	if sources == nil {
		return
	}
	for _, from := range sources {
		if from.Kind != yaml.MappingNode {
			a.fail(from, "<<: want a mapping to merge, found %s", describe(from))
			continue
		}
		for i := 0; i+1 < len(from.Content); i += 2 {
			if key := from.Content[i]; !has[key.Value] {
				has[key.Value] = true
				own = append(own, key, from.Content[i+1])
			}
		}
	}
	node.Content = own
}
