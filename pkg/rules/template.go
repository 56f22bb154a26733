package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// template is a value with ${…} in it: segments of text and of expressions.
type template []segment

type segment struct {
	text string
	code *expression // nil for text
}

// literal returns the text of a template without expressions.
func (t template) literal() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && t[0].code == nil:
		return t[0].text, true
	}
	return "", false
}

// render evaluates the template. why names what is missing if there is no value. An error is errOverBudget.
func (t template) render(env map[string]any, left *budget) (value, why string, err error) {
	var b strings.Builder
	for _, s := range t {
		if s.code == nil {
			b.WriteString(s.text)
			continue
		}
		v, err := s.code.run(env)
		if errors.Is(err, errOverBudget) {
			return "", "", err
		} else if err != nil {
			return "", err.Error(), nil
		}
		text, err := format(v)
		if err != nil {
			return "", fmt.Sprintf("%s %s%s", s.code.source, err, s.code.unknown(env)), nil
		}
		if err := left.charge(len(text)); err != nil {
			return "", "", err
		}
		b.WriteString(text)
	}
	return b.String(), "", nil
}

// readsTables reports whether an expression of the template reads a table.
func (t template) readsTables() bool {
	return slices.ContainsFunc(t, func(s segment) bool { return s.code != nil && s.code.tables })
}

// unknown returns why a value that the expression reads could not be read.
func (e *expression) unknown(env map[string]any) string {
	for _, path := range reads(e.checked, nil) {
		if why := unknownHere(env, pathText(path)); why != "" {
			return why
		}
	}
	return ""
}

var errAbsent = errors.New("is absent")

// format writes a value as text: numbers in full and without exponent, times in RFC 3339. A value without such a form
// is an error; "<nil>" or "map[…]" never reaches a server.
func format(v any) (string, error) {
	if !present(v) {
		return "", errAbsent
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int32: // as CloudEvents' extensions have them
		return strconv.FormatInt(int64(v), 10), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", errors.New("is not a number")
		}
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case time.Time:
		if year := v.UTC().Year(); year < 1 || year > 9999 {
			return "", errors.New("is a time out of range")
		}
		return v.UTC().Format(time.RFC3339), nil
	case time.Duration:
		return v.String(), nil
	case []any, []string:
		return "", errors.New("is a list; select an element")
	case map[string]any, map[string]string:
		return "", errors.New("is an object; select a member")
	}
	return "", errors.New("has no form as text")
}

// parseTemplate finds the expressions in a value. "$${" stands for "${".
func parseTemplate(s string, compile func(string) (*expression, error)) (template, error) {
	var t template
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t = append(t, segment{text: text.String()})
			text.Reset()
		}
	}
	for s != "" {
		switch {
		case strings.HasPrefix(s, "$${"):
			text.WriteString("${")
			s = s[3:]
		case strings.HasPrefix(s, "${"):
			length := expressionLength(s[2:])
			if length < 0 {
				return nil,
					errors.New("${ is not closed by }; where the expression contains # or : , put the whole value in quotes")
			}
			code, err := compile(s[2 : 2+length])
			if err != nil {
				return nil, err
			}
			flush()
			t = append(t, segment{code: code})
			s = s[2+length+1:]
		default:
			text.WriteByte(s[0])
			s = s[1:]
		}
	}
	flush()
	return t, nil
}

// expressionLength returns the index of the "}" that ends the expression, -1 if there is none. It skips those inside
// quotes and those that close another brace.
func expressionLength(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\'', '`':
			end := closingQuote(s[i+1:], c)
			if end < 0 {
				return -1
			}
			i += 1 + end
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

func closingQuote(s string, quote byte) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i
		case s[i] == '\\' && quote != '`':
			i++
		}
	}
	return -1
}
