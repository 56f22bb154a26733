// Package document splits JSON documents into their parts without decoding or copying them. Envelopes around an event
// are cheap to open, and the memory that decoding would take is known in advance.
//
// All functions except [Check], [Valid] and [TrimMark] require a document that passed Check.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"unicode/utf8"
)

// The limits of a document. A document that exceeds one causes a [*LimitError].
const (
	// MaxBytes is the maximum size of a document, that of a synchronous invocation of AWS Lambda
	// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
	MaxBytes = 6 << 20
	// MaxDepth is the maximum depth of nesting. The deepest real notification (Nova's scheduler) has 9 levels.
	MaxDepth = 64
	// MaxMembers is the maximum number of members of an object that is split: an envelope, a CloudEvent, a notification.
	// Members with the same name count separately.
	MaxMembers = 1000
)

// LimitError reports that an event exceeds a limit. Retrying is useless, because the same event always exceeds it.
type LimitError struct {
	// What is the unit of the limit: "bytes", "levels of nesting".
	What string
	// Max is the limit.
	Max int
}

func (e *LimitError) Error() string { return fmt.Sprintf("has more than %d %s", e.Max, e.What) }

// TrimMark returns b without a leading UTF-8 byte order mark, which some editors and Windows PowerShell write. RFC
// 8259, section 8.1, allows a reader to ignore it.
func TrimMark(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\uFEFF")) }

// Check reports why b cannot be read as a JSON document. The other functions accept a document that passes. The error
// is one line that begins with a verb ("is empty", "has more than …") and contains no part of b.
func Check(b []byte) error {
	if len(b) > MaxBytes {
		return &LimitError{"bytes", MaxBytes}
	}
	if len(SkipSpace(b)) == 0 {
		return errors.New("is empty")
	}
	if Valid(b) {
		return nil
	}
	if tooDeep(b) {
		return &LimitError{"levels of nesting", MaxDepth}
	}
	if isUTF16(b) {
		return errors.New("is UTF-16; want UTF-8")
	}
	if at := secondDocument(b); at > 0 {
		return fmt.Errorf("contains a second document (%s); put them into [ ], separated by commas", place(b, at))
	}
	if s, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(b, new(json.RawMessage))); ok {
		if s.Error() == "unexpected end of JSON input" {
			return fmt.Errorf("is not JSON (%s: it ends too early)", place(b, int(s.Offset)))
		}
		return fmt.Errorf("is not JSON (%s)", place(b, int(s.Offset)))
	}
	return errors.New("is not JSON")
}

// place returns the line and the column of the n-th byte, counted from 1.
func place(b []byte, n int) string {
	before := b[:max(0, min(n, len(b))-1)]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, utf8.RuneCount(line)+1)
}

// isUTF16 reports whether b looks like UTF-16, which Windows PowerShell's > writes: with a byte order mark, or with a
// zero byte in each ASCII character.
func isUTF16(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff}) ||
		len(b) > 1 && (b[0] == 0) != (b[1] == 0)
}

// secondDocument returns the position, counted from 1, of a second object or array, as in JSON Lines; 0 if there is
// none.
func secondDocument(b []byte) int {
	dec := json.NewDecoder(bytes.NewReader(b))
	var first json.RawMessage
	if dec.Decode(&first) != nil || Kind(first) != '{' && Kind(first) != '[' {
		return 0
	}
	rest := SkipSpace(b[dec.InputOffset():])
	if kind := Kind(rest); kind != '{' && kind != '[' {
		return 0
	}
	return len(b) - len(rest) + 1
}

func tooDeep(b []byte) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			token, _ := CutString(b[i:])
			i += len(token) - 1
		case '{', '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// CountValues counts the values in a document (objects, arrays and scalars, at any depth). It stops soon after limit.
// The count predicts the cost of decoding: an object of one member takes about 350 bytes of memory, however short its
// text.
func CountValues(b []byte, limit int) int {
	n := 1
	for i := 0; i < len(b) && n <= limit; i++ {
		switch b[i] {
		case '"':
			token, _ := CutString(b[i:])
			i += len(token) - 1
		case ',':
			n++
		case '{', '[':
			if k := Kind(b[i+1:]); k != '}' && k != ']' {
				n++
			}
		}
	}
	return n
}

// SkipSpace returns b without leading white space.
func SkipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// Kind returns the first byte of a JSON value, 0 if there is no value.
func Kind(v []byte) byte {
	if v = SkipSpace(v); len(v) > 0 {
		return v[0]
	}
	return 0
}

// CutString cuts off the leading string, including its quotes.
func CutString(b []byte) (token, rest []byte) {
	for end := 1; end < len(b); end++ {
		next := bytes.IndexByte(b[end:], '"')
		if next < 0 {
			break
		}
		end += next
		backslashes := 0
		for b[end-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 { // each pair of them is a backslash
			return b[:end+1], b[end+1:]
		}
	}
	return b, nil
}

// CutValue cuts off the leading value, without white space around it.
func CutValue(b []byte) (value, rest []byte) {
	b = SkipSpace(b)
	switch Kind(b) {
	case '"':
		return CutString(b)
	case '{', '[':
		depth := 0
		for i := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				token, _ := CutString(b[i:])
				i += len(token) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return b[:i+1], b[i+1:]
				}
			}
		}
		return b, nil
	}
	if end := bytes.IndexAny(b, ",]} \t\r\n"); end >= 0 {
		return b[:end], b[end:]
	}
	return b, nil
}

// cutMember cuts off the first member of an object's content. done reports that there is none left.
func cutMember(b []byte) (name, value, rest []byte, done bool) {
	b = SkipSpace(b)
	if len(b) == 0 || b[0] == '}' {
		return nil, nil, b, true
	}
	name, b = CutString(b)
	b = SkipSpace(b)
	value, b = CutValue(b[1:]) // past the colon
	return name, value, CutComma(b), false
}

// CutComma returns b without white space and a leading comma.
func CutComma(b []byte) []byte {
	if b = SkipSpace(b); len(b) > 0 && b[0] == ',' {
		return b[1:]
	}
	return b
}

// Object is a JSON object, split into its members. If several members have the same name, the last one counts, as in
// encoding/json.
type Object struct {
	// Raw is the whole object.
	Raw     []byte
	members []member // a map would take more memory and time than an envelope's few look-ups
}

type member struct{ name, value []byte }

// Member returns the value of a member, nil if there is none.
func (o Object) Member(name string) []byte {
	for i := len(o.members) - 1; i >= 0; i-- {
		if string(o.members[i].name) == name {
			return o.members[i].value
		}
	}
	return nil
}

// HasOnly reports whether there is such a member, and no other.
func (o Object) HasOnly(name string) bool {
	return o.Has(name) && !slices.ContainsFunc(o.members, func(m member) bool { return string(m.name) != name })
}

// All returns the names and values of the members, in their order.
func (o Object) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, m := range o.members {
			if !yield(string(m.name), m.value) {
				return
			}
		}
	}
}

// Kind returns the first byte of a member's value, 0 if there is no such member.
func (o Object) Kind(name string) byte { return Kind(o.Member(name)) }

// Has reports whether there is such a member, even if its value is null.
func (o Object) Has(name string) bool { return o.Member(name) != nil }

// Text returns a member's value, "" if it is not a string.
func (o Object) Text(name string) string { return Unquote(o.Member(name)) }

// Members splits an object. The error is a [*LimitError].
func Members(object []byte) (Object, error) {
	var usual [16]member // most objects have fewer
	members := usual[:0]
	for rest := SkipSpace(object)[1:]; ; {
		name, value, next, done := cutMember(rest)
		if done {
			return Object{object, slices.Clone(members)}, nil
		}
		if len(members) == MaxMembers {
			return Object{}, &LimitError{"members", MaxMembers}
		}
		plain, ok := unescaped(name)
		if !ok {
			plain = []byte(Unquote(name))
		}
		members = append(members, member{plain, value})
		rest = next
	}
}

// Elements splits an array. If it has more than limit elements, the error is a [*LimitError].
func Elements(array []byte, limit int) ([][]byte, error) {
	var list [][]byte
	for rest := SkipSpace(array)[1:]; Kind(rest) != ']'; {
		if len(list) == limit {
			return nil, &LimitError{"elements", limit}
		}
		var value []byte
		value, rest = CutValue(rest)
		list, rest = append(list, value), CutComma(rest)
	}
	return list, nil
}

// Unquote decodes a JSON string. It returns "" for any other value.
func Unquote(token []byte) string { return string(Content(token)) }

// Content is [Unquote] for a string that holds a document. The result may be a part of token; it is nil for any other
// value.
func Content(token []byte) []byte {
	token = SkipSpace(token)
	if Kind(token) != '"' {
		return nil
	}
	if inner, ok := unescaped(token); ok {
		return inner
	}
	if inner, ok := unescape(token[1 : len(token)-1]); ok {
		return inner
	}
	var s string
	if json.Unmarshal(token, &s) != nil {
		return nil
	}
	return []byte(s)
}

// unescape decodes the escapes that a document in a string usually has. encoding/json decodes all, but takes five times
// as long.
func unescape(content []byte) (plain []byte, ok bool) {
	if !utf8.Valid(content) {
		return nil, false
	}
	plain = make([]byte, 0, len(content))
	for {
		at := bytes.IndexByte(content, '\\')
		if at < 0 {
			return append(plain, content...), true
		}
		plain = append(plain, content[:at]...)
		switch escaped := content[at+1]; escaped {
		case '"', '\\', '/':
			plain = append(plain, escaped)
		case 'n':
			plain = append(plain, '\n')
		case 'r':
			plain = append(plain, '\r')
		case 't':
			plain = append(plain, '\t')
		default:
			return nil, false
		}
		content = content[at+2:]
	}
}

// unescaped returns the content of a JSON string, if it stands for itself.
func unescaped(token []byte) (content []byte, ok bool) {
	content = token[1 : len(token)-1]
	return content, bytes.IndexByte(content, '\\') < 0 && utf8.Valid(content)
}
