package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"go.yaml.in/yaml/v4"
)

// scope has the names that a rules file adds to expressions.
type scope struct {
	tables     map[string]table
	conditions map[string]string // expressions by name
}

// values returns the tables as expressions see them.
func (s scope) values() map[string]any {
	values := make(map[string]any, len(s.tables))
	for name, t := range s.tables {
		values[name] = t.rows
	}
	return values
}

// types returns the types of a table's rows. text is the type of a text.
func (t table) types(text types.Type) types.Map {
	switch {
	case t.faulty:
		return types.Map{types.Extra: types.Any}
	case t.columns == nil:
		return types.Map{types.Extra: text}
	}
	row := types.Map{}
	for _, column := range t.columns {
		row[column] = text
	}
	return types.Map{types.Extra: row}
}

// maxConditionNodes limits an expression after its named conditions are expanded. These can use other conditions.
const maxConditionNodes = 10_000

// conditions reads the conditions: section: named conditions for when: and for later conditions.
func (c *compiler) conditions(node *yaml.Node) {
	if node.Kind != yaml.MappingNode || len(node.Content) == 0 {
		c.fail(node, "conditions: want a mapping of names to conditions, found %s", describe(node))
		return
	}
	for _, e := range c.mapping(node, "conditions") {
		switch {
		case !tableName.MatchString(e.name):
			c.fail(e.key, "conditions: %q cannot be used as a name; take letters, digits and _", e.name)
			continue
		case c.taken(e.name):
			c.fail(e.key, "conditions: %s is already a name in expressions", e.name)
			continue
		}
		// A condition can only use earlier ones, so there are no cycles.
		source := "true" // an invalid condition's uses are not reported too
		if compiled := c.condition(e.value, "conditions: "+e.name); compiled != nil {
			source = compiled.source
		}
		c.set.scope.conditions[e.name] = source
	}
}

// taken reports whether expressions already use a name.
func (c *compiler) taken(name string) bool {
	language := append([]string{"nil", "true", "false", "let", "if", "else"}, operators...)
	if slices.Contains(language, name) || environmentTypes(scope{}, types.Any)[name] != nil {
		return true
	}
	return slices.ContainsFunc(functions(), func(f function) bool { return f.name == name }) || isBuiltin(name)
}

// conditionPatcher replaces the names of conditions by the conditions.
type conditionPatcher struct {
	conditions map[string]string
	left       *int // the nodes that are still allowed
}

// named makes named conditions available. After the compilation, fault returns an error if they were too large.
func (s scope) named() (option expr.Option, fault func() error) {
	left := maxConditionNodes
	n := conditionPatcher{conditions: s.conditions, left: &left}
	return expr.Patch(n), func() error {
		if left < 0 {
			return fmt.Errorf("its conditions make it too large: more than %d parts", maxConditionNodes)
		}
		return nil
	}
}

// Visit replaces a name.
func (n conditionPatcher) Visit(node *ast.Node) {
	name, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	source, ok := n.conditions[name.Value]
	if !ok || *n.left < 0 {
		return
	}
	tree, err := parser.Parse(source)
	if err != nil { // it is already compiled
		return
	}
	ast.Walk(&tree.Node, visit(func(ast.Node) { *n.left-- }))
	ast.Walk(&tree.Node, n)
	ast.Patch(node, tree.Node)
}

// condition compiles a boolean expression.
func (c *compiler) condition(node *yaml.Node, what string) *expression {
	if node.Kind == yaml.SequenceNode {
		c.fail(node, "%s: want one expression, found %s; join conditions with and", what, describe(node))
		return nil
	}
	text, ok := c.scalar(node, what)
	if !ok {
		return nil
	}
	if strings.HasPrefix(strings.TrimSpace(text), "${") {
		c.fail(node, "%s: is already an expression; leave out ${ and }", what)
		return nil
	}
	e, err := compileExpression(text, c.set.scope, true)
	if err != nil {
		c.fail(node, "%s: %v", what, err)
	}
	return e
}

// ignored reads the ignore: section, a condition or a list of conditions.
func (c *compiler) ignored(node *yaml.Node) {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
		if len(items) == 0 {
			c.fail(node, "ignore: is empty; want a condition, or a list of them")
		}
	}
	for _, item := range items {
		if e := c.condition(item, "ignore"); e != nil {
			c.set.ignore = append(c.set.ignore, *e)
			if root := e.eventRoot(); root != "" {
				c.notice(item, "ignore: depends on %s, which only an event has: "+
					"tagger reconcile and tagger explain refuse these rules", root)
			}
			c.set.reads = c.set.reads.and(e.needs)
		}
	}
}
