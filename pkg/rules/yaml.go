package rules

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// entry is one name and its value in a mapping.
type entry struct {
	name       string
	key, value *yaml.Node
}

// parse returns the root mapping, nil after a fault.
func (c *compiler) parse(text []byte) *yaml.Node {
	if isUTF16(text) {
		c.fail(nil, "is UTF-16; save it as UTF-8")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		c.fail(nil, "is empty; want at least one rule under rules:")
		return nil
	} else if err != nil {
		c.syntax(text, err)
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		c.fail(&second, "a second document (---); put all rules under one rules:")
		return nil
	} else if !errors.Is(err, io.EOF) {
		c.syntax(text, err)
		return nil
	}
	root := doc.Content[0]
	if c.tagged(root) || !c.aliases(root) {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		c.fail(root, "want a mapping with rules:, found %s", describe(root))
		return nil
	}
	return root
}

// isUTF16 reports whether a text is UTF-16: it begins with a byte order mark of that, or its first character has a zero
// byte.
func isUTF16(text []byte) bool {
	return len(text) >= 2 && (text[0] == 0xFF && text[1] == 0xFE || text[0] == 0xFE && text[1] == 0xFF ||
		(text[0] == 0) != (text[1] == 0))
}

// tagged rejects YAML tags everywhere. YAML drops the ! of "when: ! x", which would invert the condition. The parser
// marks every tag in the style except that lone one.
func (c *compiler) tagged(node *yaml.Node) bool {
	found := node.Style&yaml.TaggedStyle != 0 || node.Tag == "!"
	if found {
		c.fail(node, "YAML reads %.60q as a tag, not as a part of the text; write not (…) for \"not\", or put the whole "+
			"value in quotes", node.Tag)
	}
	for _, inner := range node.Content {
		found = c.tagged(inner) || found
	}
	return found
}

var (
	yamlLine = pattern(`^yaml: (?:line (\d+): )?`)
	// begunQuoted matches a value that begins with a quoted text and continues after the closing quote.
	begunQuoted = pattern(`[:,-]\s+(?:"[^"\n]*"|'[^'\n]*')[ \t]*[^\s"',:}\]#]`)
)

// syntax reports a YAML error. The parser's line is where it gave up, so an unquoted text there or just above is the
// likely cause.
func (c *compiler) syntax(text []byte, err error) {
	node := &yaml.Node{}
	message := err.Error()
	if m := yamlLine().FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		node.Line, _ = strconv.Atoi(m[1])
	}
	lines := strings.Split(string(text), "\n")
	near := strings.Join(lines[max(0, min(node.Line-2, len(lines))):max(0, min(node.Line+1, len(lines)))], "\n")
	if node.Line == 0 {
		near = string(text)
	}
	switch {
	case begunQuoted().MatchString(near):
		message += `; a value that begins with a quoted text and continues after it must be in quotes, or in ( ), as a whole`
	case strings.Contains(near, "${"):
		message += `; a value with ${…} in { } or that contains ": " or " #" must be in quotes`
	case strings.Contains(near, "when:"):
		message += `; a condition that contains ": " or begins with one of [ { * & % @ must be in quotes, or in ( )`
	case strings.HasPrefix(message, "mapping values are not allowed"):
		message += " (is the indentation right?)"
	}
	c.fail(node, "not YAML: %s", oneLine(message))
}

// mapping returns a mapping's entries in order and reports duplicates. With known names, it also reports unknown ones.
// where is the mapping's own name.
func (c *compiler) mapping(node *yaml.Node, where string, known ...string) []entry {
	entries := make([]entry, 0, len(node.Content)/2)
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		name, ok := c.name(key, where)
		switch {
		case !ok:
		case seen[name]:
			c.fail(key, "%s is given twice", name)
		case where == "" && strings.HasPrefix(name, "x-"): // a place for anchors
		case len(known) > 0 && !slices.Contains(known, name):
			c.fail(key, "unknown field %q%s", name, fieldNameHint(name, known))
			c.misspelt[node] = append(c.misspelt[node], fieldMeant(name, known))
		default:
			seen[name] = true
			entries = append(entries, entry{name, key, node.Content[i+1]})
		}
	}
	return entries
}

// lacks reports whether a mapping lacks all of the fields and has no unknown field that may be one of them: one typing
// error is one fault.
func (c *compiler) lacks(node *yaml.Node, fields map[string]*yaml.Node, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return fields[name] != nil }) &&
		!slices.ContainsFunc(c.misspelt[node], func(meant string) bool {
			return meant == "" ||
				slices.Contains(names, meant)
		})
}

// fieldMeant returns the known field most similar to an unknown one, "" if none is similar.
func fieldMeant(name string, known []string) string {
	if isTrue(name) && slices.Contains(known, "on") {
		return "on"
	}
	return suggest.Word(name, known)
}

func isTrue(name string) bool { return strings.EqualFold(name, "true") }

func fieldNameHint(name string, known []string) string {
	if isTrue(name) && slices.Contains(known, "on") {
		return `; another tool has rewritten on:, which YAML 1.1 reads as true; write "on": in quotes`
	}
	return suggest.Hint(name, known)
}

// fields is mapping for a mapping with known names. The result is by name.
func (c *compiler) fields(node *yaml.Node, known ...string) map[string]*yaml.Node {
	fields := map[string]*yaml.Node{}
	for _, e := range c.mapping(node, "", known...) {
		fields[e.name] = e.value
	}
	return fields
}

// name is scalar for a key of the mapping, or an element of the list, called where.
func (c *compiler) name(node *yaml.Node, where string) (string, bool) {
	what := "a key"
	if where != "" {
		what = where + ": a key"
	}
	if isEmpty(node) {
		c.fail(node, "%s is empty", what)
		return "", false
	}
	return c.scalar(node, what)
}

// scalar returns a text exactly as written: 014 stays 014, and yes stays yes.
func (c *compiler) scalar(node *yaml.Node, what string) (string, bool) {
	switch {
	case node.Kind != yaml.ScalarNode:
		c.fail(node, "%s: want one value, found %s", what, describe(node))
	case isEmpty(node):
		c.fail(node, "%s: is empty", what)
	default:
		return node.Value, true
	}
	return "", false
}

func isEmpty(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && (node.Value == "" || node.Tag == "!!null" && node.Style == 0)
}

func describe(node *yaml.Node) string {
	switch {
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
