package simcloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// The services are written in Python: responses are json.dumps output, and messages quote values as repr() does, with
// the members of an object in the order of the request. object keeps that order.

// member is a name and a value of an object. Values are nil, bool, string, json.Number, int, float64, object, []object,
// []any, []string or map[string]string.
type member struct {
	name  string
	value any
}

// object is an ordered JSON object.
type object []member

// get returns the value of a member.
func (o object) get(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

// at returns the value at a path of members, nil if there is none.
func (o object) at(path ...string) any {
	var v any = o
	for _, name := range path {
		inner, ok := v.(object)
		if !ok {
			return nil
		}
		v, _ = inner.get(name)
	}
	return v
}

// text returns the string at a path, "" for any other value.
func (o object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

// decodeJSON decodes one JSON value. As in Python, the last of two members with the same name wins, in the place of the
// first.
func decodeJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("decode JSON: not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d)
	if err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("decode JSON: more after the value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			n := name.(string) // the decoder accepts only strings here
			if i := slices.IndexFunc(o, func(m member) bool { return m.name == n }); i >= 0 {
				o[i].value = v
			} else {
				o = append(o, member{n, v})
			}
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

// dumps is Python's json.dumps: a space after comma and colon, ASCII only.
func dumps(v any) []byte { return appendDumps(nil, v, ", ", ": ") }

// dumpsCompact is dumps without the spaces.
func dumpsCompact(v any) []byte { return appendDumps(nil, v, ",", ":") }

func appendDumps(b []byte, v any, comma, colon string) []byte {
	open := func(i int, bracket byte) {
		if i == 0 {
			b = append(b, bracket)
		} else {
			b = append(b, comma...)
		}
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case float64:
		return append(b, pythonFloat(v)...)
	case json.Number:
		return append(b, v...)
	case string:
		return appendASCII(b, v)
	case object:
		if len(v) == 0 {
			return append(b, "{}"...)
		}
		for i, m := range v {
			open(i, '{')
			b = append(appendASCII(b, m.name), colon...)
			b = appendDumps(b, m.value, comma, colon)
		}
		return append(b, '}')
	case map[string]string:
		return appendDumps(b, sortedObject(v), comma, colon)
	case []object:
		return appendDumps(b, anyList(v), comma, colon)
	case []string:
		return appendDumps(b, anyList(v), comma, colon)
	case []any:
		if len(v) == 0 {
			return append(b, "[]"...)
		}
		for i, e := range v {
			open(i, '[')
			b = appendDumps(b, e, comma, colon)
		}
		return append(b, ']')
	}
	return appendASCII(b, fmt.Sprint(v)) // responses contain no other types
}

func anyList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

func sortedObject(m map[string]string) object {
	o := object{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o = append(o, member{k, m[k]})
	}
	return o
}

// appendASCII is json.dumps of a string with ensure_ascii, the default.
func appendASCII(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r < 0x20 || 0x7e < r && r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = append(b, byte(r))
		}
	}
	return append(b, '"')
}

// pythonRepr is repr() of a value that json.loads returned.
func pythonRepr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			return string(v)
		}
		f, _ := v.Float64() // out of range is ±Inf, as in Python
		return pythonFloat(f)
	case string:
		return quoteRepr(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = pythonRepr(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case object:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = quoteRepr(m.name) + ": " + pythonRepr(m.value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// pythonStr is str(): as repr(), except for strings.
func pythonStr(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return pythonRepr(v)
}

// quoteRepr is repr() of a string: in single quotes, unless it contains some and no double quotes.
func quoteRepr(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote, r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f || 0x7f < r && r <= 0xff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xff && r <= 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

// pythonFloat is repr() of a float: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
func pythonFloat(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if strings.ContainsAny(s, "IN") {
		return strings.ToLower(strings.TrimPrefix(s, "+"))
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	n, _ := strconv.Atoi(exponent) // FormatFloat's own digits
	if n < -4 || n >= 16 {
		return fmt.Sprintf("%se%+03d", mantissa, n)
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
