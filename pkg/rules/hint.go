package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"github.com/cloudtagger/tagger/pkg/suggest"
)

// explain formats expr's error as one line, with a hint at the probable intention.
func explain(source string, err error, s scope) error {
	message := err.Error()
	if fe, ok := errors.AsType[*file.Error](err); ok {
		message = fmt.Sprintf("%s at character %d%s", fe.Message, fe.Column+1, hint(source, fe, s))
	} else {
		message += mistakeHint(message, source, "")
	}
	message = strings.NewReplacer("map[string]interface {}", "object", "interface {}", "any").Replace(message)
	return fmt.Errorf("expression %s: %s", oneLine(source), oneLine(message))
}

// pattern returns a regular expression that is compiled on first use. Compiling those that only errors need would take
// a third of the memory that a function allocates at start.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var (
	unknownName  = pattern(`^unknown name (\S+)`)
	unknownField = pattern(`^unknown field (\S+)`)
	// word is a name or an operator at the start of a text, lastWord at its end.
	word     = pattern(`^(?:[A-Za-z_$][\w$]*|[=!<>&|~]+)`)
	lastWord = pattern(`(?:([A-Za-z_]\w*)\s+|([=!<>&|~]+))$`)
)

func hint(source string, err *file.Error, s scope) string {
	runes := []rune(source)
	at := min(max(err.From, 0), len(runes))
	before, rest := string(runes[:at]), string(runes[at:])
	if m := unknownName().FindStringSubmatch(err.Message); m != nil {
		called := strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(rest, m[1])), "(")
		return nameHint(m[1], called, s)
	}
	if m := unknownField().FindStringSubmatch(err.Message); m != nil {
		return fieldHint(m[1], objectAt(source, err.From), s)
	}
	if h := mistakeHint(err.Message, source, rest); h != "" || strings.HasPrefix(err.Message, "unexpected token EOF") {
		return h
	}
	// The token that expr rejects, or the one before it, may be from another language. An operator begins before its
	// last character.
	last := lastWord().FindStringSubmatch(before)
	if last == nil {
		last = make([]string, 3)
	}
	here := last[2] + word().FindString(rest)
	for _, w := range []string{here, last[1]} {
		if own := ownWord(w); own != "" && own != w {
			return "; did you mean " + own + "?"
		}
	}
	if slices.Contains(operators, here) {
		return "; " + here + " needs a value on each side"
	}
	return ""
}

// otherLanguages maps words of other languages, in lower case, to expr's own.
var otherLanguages = map[string]string{
	"=": "==", "===": "==", "!==": "!=", "<>": "!=", "=~": "matches", "~": "matches", "&": "and", "|": "or",
	"is": "==", "eq": "==", "ne": "!=", "like": "matches", "null": "nil", "none": "nil", "undefined": "nil",
}

var operators = []string{"and", "or", "not", "in", "contains", "startsWith", "endsWith", "matches"}

// ownWord returns expr's word for one from another language, in another case, or misspelt. It returns "" if there
// is none.
func ownWord(w string) string {
	if own, ok := otherLanguages[strings.ToLower(w)]; ok {
		return own
	}
	for _, own := range append([]string{"nil", "true", "false"}, operators...) {
		if strings.EqualFold(w, own) {
			return own
		}
	}
	if len(w) < 5 { // a short word resembles any other
		return ""
	}
	return suggest.Word(w, operators)
}

// mistakes maps expr's messages about other mistakes to hints. A pattern matches expr's message, the source, and the
// source from the fault on, separated by line breaks.
var mistakes = []struct {
	pattern func() *regexp.Regexp
	hint    string
}{
	{pattern(`^expected bool, but got`), `compare it with something, such as == "…"`},
	{pattern(`^bad number syntax: "(\d+(?:ms|[smhdw]))\w*"`), `write duration("$1")`},
	{pattern(`^invalid operation: [+-] \(mismatched types time\.Time and (?s:.*)\n[+-]\s*["'](\d+[smhdw])["']`),
		`write duration("$1")`},
	{pattern(`^invalid operation: [+-] \(mismatched types time\.Time and (?s:.*)\n[+-]\s*["']?(\d+)(?:[^.\d]|$)`),
		`use days($1) or hours($1)`},
	{pattern(`^invalid operation: [+-] \(mismatched types time\.Time`), `use days(…) or hours(…)`},
	{pattern(`^invalid operation: \S+ \(mismatched types time\.Time and string`),
		`date(…) turns a time into a text such as "2026-11-21"`},
	{pattern(`^invalid operation: (?:not|!) \(mismatched type string`), `put ( ) around the negated condition: not (…)`},
	{pattern(`^invalid operation: in \(mismatched types string and string`),
		`in searches a list; to search a text, write text contains part`},
	{pattern(`^invalid operation: \S+ \(mismatched types (?:map\[|string and map\[)`), `compare one of its fields`},
	{pattern(`^type string has no method (startsWith|endsWith|contains|matches)`), `write text $1 "…"`},
	{pattern(`^unrecognized character: U\+20(?:18|19|1C|1D)`), `use straight quotes`},
	{pattern(`^.*\n\s*\{\s*[\w.?]+\s*\}\s*\n`), `leave out the inner { }`},
}

func mistakeHint(message, source, rest string) string {
	text := message + "\n" + oneLine(source) + "\n" + oneLine(rest)
	for _, c := range mistakes {
		if m := c.pattern().FindStringSubmatchIndex(text); m != nil {
			return "; " + string(c.pattern().ExpandString(nil, c.hint, text, m))
		}
	}
	return ""
}

// nameHint returns the hint for an unknown name: a field without its object, a word of another language, a misspelt
// one. called reports that it is used as a function.
func nameHint(name string, called bool, s scope) string {
	if name == "now" {
		return "; use time, the event's time, so that a replay gives the same plan"
	}
	var known, qualified []string
	environment := environmentTypes(s, types.String)
	for _, object := range slices.Sorted(maps.Keys(environment)) {
		known = append(known, object)
		if fields, ok := environment[object].(types.Map); ok && fields[name] != nil {
			qualified = append(qualified, object+"."+name)
		}
	}
	if own := ownWord(name); own != "" && len(name) < 5 {
		return "; did you mean " + own + "?"
	}
	if qualified != nil {
		return "; did you mean " + strings.Join(qualified, " or ") + "?"
	}
	if called {
		known = slices.Clone(builtin.Names)
		for _, f := range functions() {
			known = append(known, f.name)
		}
	} else {
		known = slices.AppendSeq(known, maps.Keys(s.conditions))
	}
	if h := didYouMean(name, known); h != "" {
		return h
	}
	if own := ownWord(name); own != "" {
		return "; did you mean " + own + "?"
	}
	if called {
		return ""
	}
	return "; put a text in quotes"
}

// fieldHint returns the hint for a field that an object of the environment does not have.
func fieldHint(name, object string, s scope) string {
	if object == "resource" && slices.Contains([]string{"tags", "labels", "properties"}, name) {
		return "; did you mean resource.metadata?"
	}
	if table, ok := strings.CutPrefix(object, "tables."); ok {
		return suggest.Hint(name, s.tables[table].columns)
	}
	fields, ok := environmentTypes(s, types.String)[object].(types.Map)
	if !ok {
		return ""
	}
	if object == "tables" && len(fields) == 0 {
		return "; these rules have no tables:"
	}
	return suggest.Hint(name, slices.Sorted(maps.Keys(fields)))
}

// objectAt returns the name of the object whose field is read at an offset of the source, "" if it has no name.
func objectAt(source string, from int) string {
	tree, err := parser.Parse(source)
	if err != nil {
		return ""
	}
	object := ""
	ast.Walk(&tree.Node, visit(func(node ast.Node) {
		if m, ok := node.(*ast.MemberNode); ok && m.Property.Location().From == from {
			switch of := m.Node.(type) {
			case *ast.IdentifierNode:
				object = of.Value
			case *ast.MemberNode: // a row: tables.project[…].owner
				if table, ok := of.Node.(*ast.MemberNode); ok {
					object = table.String()
				}
			}
		}
	}))
	return object
}

// visit is an ast.Visitor that only reads.
type visit func(ast.Node)

// Visit calls the function.
func (v visit) Visit(node *ast.Node) { v(*node) }
