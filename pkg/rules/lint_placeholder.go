package rules

import (
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
)

var (
	// otherMarks matches an expression in another tool's notation: {{ x }}, {x}, $(x), or a field after a $. "${" here
	// is one that its author escaped, so it is skipped.
	otherMarks = pattern(`\$?\{\{?\s*([^{}]+?)\s*\}?\}|\$\(\s*((?:[^()]|\([^()]*\))+?)\s*\)|\$([a-z]+(?:\??\.\w+)+)`)
	// fieldName is a quick check, so that texts without a field's name are not compiled.
	fieldName = regexp.MustCompile(`\b(?:action|time|resource|actor|event|data|tables|parent|project)\b`)
)

// withPlaceholders returns a text with ${…} around the expressions that lack it or are in another tool's notation. It
// returns "" if there are none. An expression that reads no field counts as plain text.
func withPlaceholders(text string, s scope) string {
	if !fieldName.MatchString(text) {
		return ""
	}
	if source := strings.TrimSpace(text); readsField(source, s, false) {
		return "${" + source + "}"
	}
	found := false
	meant := otherMarks().ReplaceAllStringFunc(text, func(marked string) string {
		m := otherMarks().FindStringSubmatch(marked)
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

// readsField reports whether a text is an expression that reads a field of the environment or calls a function with
// one. action and time are also English words, so alone they count only inside marks.
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
