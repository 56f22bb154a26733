package rules

import (
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
)

var (
	// wrapped is an expression in another tool's marks: {{ x }}, {x}, $(x), or a field after a lone $. "${" can only be
	// one that its author escaped, and is left alone.
	wrapped = pattern(`\$?\{\{?\s*([^{}]+?)\s*\}?\}|\$\(\s*((?:[^()]|\([^()]*\))+?)\s*\)|\$([a-z]+(?:\??\.\w+)+)`)
	// mayRead spares other texts from being compiled.
	mayRead = regexp.MustCompile(`\b(?:action|time|resource|actor|event|data|tables|parent|project)\b`)
)

// forgotten returns what a text would be with ${…} around the expressions that stand in it without, or in another
// tool's marks; "" where none does. What reads no field is a text like any other.
func forgotten(text string, s scope) string {
	if !mayRead.MatchString(text) {
		return ""
	}
	if source := strings.TrimSpace(text); readsField(source, s, false) {
		return "${" + source + "}"
	}
	found := false
	meant := wrapped().ReplaceAllStringFunc(text, func(marked string) string {
		m := wrapped().FindStringSubmatch(marked)
		source := m[1] + m[2] + m[3]
		if strings.HasPrefix(marked, "${") || !readsField(source, s, true) {
			return marked
		}
		found = true
		return "${" + source + "}"
	})
	if !found {
		return ""
	}
	return meant
}

// readsField reports whether a text is an expression that reads a field of the environment, or calls something with
// one. action and time, which are words of the language too, count by themselves in marks only.
func readsField(source string, s scope, marked bool) bool {
	e, err := compileExpression(source, s, false)
	if err != nil {
		return false
	}
	_, calls := e.checked.(*ast.CallNode)
	for _, path := range reads(e.checked, nil) {
		name, alone := path.(*ast.IdentifierNode)
		if !alone || calls || marked && (name.Value == "action" || name.Value == "time") {
			return true
		}
	}
	return false
}
