package simcloud

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Nova and Cinder validate bodies with Python's jsonschema, and return its messages. schema covers the keywords that
// their schemas for these operations use; the zero value accepts anything. Sources: jsonschema 4.10 (_validators.py,
// exceptions.py), nova/api/validation/validators.py.
type schema struct {
	types      []string // of: object, array, string, integer, boolean, null
	properties []property
	// keys, if set, is the pattern of the other properties' names, and values their schema.
	keys                         lazyRegexp
	values                       *schema
	closed                       bool // no other properties
	required                     []string
	minProperties, maxProperties int
	minLength, maxLength         int
	pattern                      lazyRegexp
	minimum                      int
	enum                         []any
	// anyOf requires at least one of them. It also stands for oneOf, which has the same message, and whose schemas here
	// exclude each other.
	anyOf []schema
	// format checks a string and returns the whole message, or "".
	format func(string) string
}

type property struct {
	name   string
	schema schema
}

// mismatch is the first violation of a schema.
type mismatch struct {
	path    []string
	value   any
	message string
	whole   bool // the message needs no introduction
}

// validate returns "" if the value is valid, or else the API's message.
func (s schema) validate(v any) string {
	m := s.check(v, nil)
	switch {
	case m == nil:
		return ""
	case m.whole || len(m.path) == 0:
		return m.message
	}
	return fmt.Sprintf("Invalid input for field/attribute %s. Value: %s. %s", m.path[len(m.path)-1], pythonStr(m.value),
		m.message)
}

// check returns the first mismatch in the order of the keywords in the services' schemas: the type, the members, the
// object itself.
func (s schema) check(v any, path []string) *mismatch {
	wrong := func(format string, args ...any) *mismatch {
		return &mismatch{path: path, value: v, message: fmt.Sprintf(format, args...)}
	}
	if len(s.types) > 0 && !slices.ContainsFunc(s.types, func(t string) bool { return isType(v, t) }) {
		quoted := make([]string, len(s.types))
		for i, t := range s.types {
			quoted[i] = quoteRepr(t)
		}
		return wrong("%s is not of type %s", pythonRepr(v), strings.Join(quoted, ", "))
	}
	if len(s.enum) > 0 && !slices.Contains(s.enum, v) {
		return wrong("%s is not one of %s", pythonRepr(v), pythonRepr(s.enum))
	}
	message := ""
	switch v := v.(type) {
	case string:
		message = s.checkString(v)
		if s.format != nil && message == "" {
			if whole := s.format(v); whole != "" {
				return &mismatch{message: whole, whole: true}
			}
		}
	case json.Number:
		if n, err := v.Int64(); err == nil && s.minimum != 0 && n < int64(s.minimum) {
			message = fmt.Sprintf("%s is less than the minimum of %d", v, s.minimum)
		}
	case object:
		if below := s.checkMembers(v, path); below != nil {
			return below
		}
		message = s.checkObject(v)
	}
	if message != "" {
		return wrong("%s", message)
	}
	if len(s.anyOf) > 0 && !slices.ContainsFunc(s.anyOf, func(one schema) bool { return one.check(v, nil) == nil }) {
		return wrong("%s is not valid under any of the given schemas", pythonRepr(v))
	}
	return nil
}

// checkString checks the keywords for strings, and returns a message or "".
func (s schema) checkString(v string) string {
	if s.pattern != nil && !pythonSearch(s.pattern(), v) {
		return fmt.Sprintf("%s does not match %s", quoteRepr(v), quoteRepr(s.pattern().String()))
	}
	if n, err := strconv.Atoi(v); err == nil && s.minimum != 0 && n < s.minimum {
		return fmt.Sprintf("%d is less than the minimum of %d", n, s.minimum)
	}
	switch n := utf8.RuneCountInString(v); {
	case n < s.minLength:
		return quoteRepr(v) + " is too short"
	case s.maxLength > 0 && n > s.maxLength:
		return quoteRepr(v) + " is too long"
	}
	return ""
}

// checkMembers checks the object's members.
func (s schema) checkMembers(o object, path []string) *mismatch {
	below := func(name string) []string { return append(slices.Clone(path), name) }
	for _, p := range s.properties {
		if v, ok := o.get(p.name); ok {
			if m := p.schema.check(v, below(p.name)); m != nil {
				return m
			}
		}
	}
	if s.keys == nil {
		return nil
	}
	for _, e := range o {
		if pythonSearch(s.keys(), e.name) {
			if m := s.values.check(e.value, below(e.name)); m != nil {
				return m
			}
		}
	}
	return nil
}

// checkObject checks the object itself, and returns a message or "".
func (s schema) checkObject(o object) string {
	for _, name := range s.required {
		if _, ok := o.get(name); !ok {
			return quoteRepr(name) + " is a required property"
		}
	}
	if message := s.checkExtras(o); message != "" {
		return message
	}
	switch {
	case len(o) < s.minProperties:
		return pythonRepr(o) + " does not have enough properties"
	case s.maxProperties > 0 && len(o) > s.maxProperties:
		return pythonRepr(o) + " has too many properties"
	}
	return ""
}

// checkExtras looks for members that a closed schema does not allow.
func (s schema) checkExtras(o object) string {
	var extras []string
	for _, m := range o {
		known := slices.ContainsFunc(s.properties, func(p property) bool { return p.name == m.name }) ||
			s.keys != nil && pythonSearch(s.keys(), m.name)
		if !known {
			extras = append(extras, m.name)
		}
	}
	if !s.closed || len(extras) == 0 {
		return ""
	}
	slices.Sort(extras)
	quoted := make([]string, len(extras))
	for i, e := range extras {
		quoted[i] = quoteRepr(e)
	}
	joined, verb, was := strings.Join(quoted, ", "), "do", "were"
	if len(extras) == 1 {
		verb, was = "does", "was"
	}
	if s.keys != nil {
		return fmt.Sprintf("%s %s not match any of the regexes: %s", joined, verb, quoteRepr(s.keys().String()))
	}
	return fmt.Sprintf("Additional properties are not allowed (%s %s unexpected)", joined, was)
}

func isType(v any, t string) bool {
	switch v := v.(type) {
	case nil:
		return t == "null"
	case bool:
		return t == "boolean"
	case string:
		return t == "string"
	case json.Number:
		return t == "integer" && !strings.ContainsAny(string(v), ".eE")
	case []any:
		return t == "array"
	case object:
		return t == "object"
	}
	return false
}

// lazyRegexp returns a regular expression that is compiled on first use: `{1,255}` alone takes 250 kB and a
// millisecond, which every start of the command would pay.
type lazyRegexp func() *regexp.Regexp

func newLazyRegexp(pattern string) lazyRegexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// pythonSearch is re.search: a final $ also matches before a trailing newline.
func pythonSearch(re *regexp.Regexp, s string) bool {
	return re.MatchString(s) || strings.HasSuffix(re.String(), "$") && strings.HasSuffix(s, "\n") &&
		re.MatchString(strings.TrimSuffix(s, "\n"))
}

// checkName is Nova's format "name".
func checkName(s string) string {
	printable := func(r rune) bool { return r < 0xffff && (unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)) }
	if strings.TrimFunc(s, unicode.IsSpace) == s && strings.IndexFunc(s, func(r rune) bool { return !printable(r) }) < 0 {
		return ""
	}
	return "An invalid 'name' value was provided. The name must be: printable characters. " +
		"Can not start or end with whitespace."
}

// checkVolumeID is checkUUID with a complete message.
func checkVolumeID(s string) string {
	if checkUUID(s) == "" {
		return ""
	}
	return fmt.Sprintf("Invalid input for field/attribute volumeId. Value: %s. %s is not a 'uuid'", s, quoteRepr(s))
}

// checkUUID is the format "uuid". Its message is never shown: it is used only in an anyOf, which has its own.
func checkUUID(s string) string {
	digits := strings.ReplaceAll(strings.ToLower(s), "-", "")
	if len(digits) == 32 && strings.Trim(digits, "0123456789abcdef") == "" {
		return ""
	}
	return fmt.Sprintf("%s is not a 'uuid'", quoteRepr(s))
}
