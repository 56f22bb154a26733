// Package document takes JSON documents apart without decoding or copying them, so that an event's envelopes cost
// little and what a document would need in memory is known before anything is decoded.
//
// Everything but [Check], [Valid] and [TrimMark] relies on Check having passed.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The limits of a document. Reading one that exceeds them is a [*LimitError].
const (
	// MaxBytes is how many bytes a document may have: what AWS Lambda takes in a synchronous invocation
	// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
	MaxBytes = 6 << 20
	// MaxDepth is how deep JSON may be nested. The deepest real notification (Nova's scheduler) has 9 levels.
	MaxDepth = 64
	// MaxMembers is how many members an object may have whose names are looked at: an envelope, a CloudEvent, a
	// notification.
	MaxMembers = 1000
)

// LimitError says that something which an event made is larger than a limit allows. It is final: the same event
// exceeds the limit each time.
type LimitError struct {
	// What is counted: "bytes", "levels of nesting".
	What string
	// Max is the limit.
	Max int
}

func (e *LimitError) Error() string { return fmt.Sprintf("has more than %d %s", e.Max, e.What) }

// TrimMark returns b without the UTF-8 byte order mark that some editors and Windows PowerShell put before a document.
// RFC 8259, section 8.1, lets a reader ignore it.
func TrimMark(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\uFEFF")) }

// Check says what keeps b from being read as a JSON document. What passes may be taken apart with the other functions.
// The error is one line that begins with a verb ("is empty", "has more than …") and shows no part of b.
func Check(b []byte) error {
	if len(b) > MaxBytes {
		return &LimitError{"bytes", MaxBytes}
	}
	if len(SkipSpace(b)) == 0 {
		return errors.New("is empty")
	}
	if tooDeep(b) {
		return &LimitError{"levels of nesting", MaxDepth}
	}
	if json.Valid(b) {
		return nil
	}
	if isUTF16(b) {
		return errors.New("is UTF-16; want UTF-8")
	}
	if at := secondDocument(b); at > 0 {
		return fmt.Errorf("holds a second document (byte %d of %d); put them into [ ], with commas between", at, len(b))
	}
	if s, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(b, new(json.RawMessage))); ok {
		return fmt.Errorf("is not JSON (byte %d of %d)", s.Offset, len(b))
	}
	return errors.New("is not JSON")
}

// isUTF16 reports whether b is as Windows PowerShell's > writes text: with a byte order mark, or with a zero byte in
// each ASCII character.
func isUTF16(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff}) ||
		len(b) > 1 && (b[0] == 0) != (b[1] == 0)
}

// secondDocument returns where, counted from 1, an object or array begins that follows one, as in JSON Lines; 0 when
// there is none.
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

// Valid is [Check] for where the reason does not matter.
func Valid(b []byte) bool { return len(b) <= MaxBytes && !tooDeep(b) && json.Valid(b) }

func tooDeep(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// CountValues counts the values in a document (objects, arrays and scalars, at any depth) until there are more than
// limit. It tells what decoding would cost before anything is decoded: an object of one member takes some 350 bytes of
// memory, however short its text.
func CountValues(b []byte, limit int) int {
	n := 1
	quoted := false
	for i := 0; i < len(b) && n <= limit; i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',':
			n++
		case c == '{' || c == '[':
			if k := Kind(b[i+1:]); k != '}' && k != ']' {
				n++
			}
		}
	}
	return n
}

// SkipSpace returns b without the space that it begins with.
func SkipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// Kind is the byte that a JSON value begins with, 0 for no value.
func Kind(v []byte) byte {
	if v = SkipSpace(v); len(v) > 0 {
		return v[0]
	}
	return 0
}

// CutString cuts the string, quotes included, that b begins with.
func CutString(b []byte) (token, rest []byte) {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i+1], b[i+1:]
		}
	}
	return b, nil
}

// CutValue cuts the value that b begins with, without the space around it.
func CutValue(b []byte) (value, rest []byte) {
	b = SkipSpace(b)
	switch Kind(b) {
	case '"':
		return CutString(b)
	case '{', '[':
		depth, quoted := 0, false
		for i := 0; i < len(b); i++ {
			switch c := b[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '{' || c == '[':
				depth++
			case c == '}' || c == ']':
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

// cutMember cuts the first member off what stands between an object's braces; done reports that there is none left.
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

// CutComma returns what follows a comma, if there is one.
func CutComma(b []byte) []byte {
	if b = SkipSpace(b); len(b) > 0 && b[0] == ',' {
		return b[1:]
	}
	return b
}

// Object is a JSON object taken apart one level deep.
type Object struct {
	// Raw is the whole object.
	Raw []byte
	// Members are its members' values by name.
	Members map[string][]byte
}

// Kind is the byte that a member's value begins with, 0 where there is no such member.
func (o Object) Kind(name string) byte { return Kind(o.Members[name]) }

// Has reports whether there is such a member, whatever its value.
func (o Object) Has(name string) bool { return o.Members[name] != nil }

// Text is a member's value, "" where it is not a string.
func (o Object) Text(name string) string { return Unquote(o.Members[name]) }

// Members takes an object apart. Of two members with one name the last wins, as in encoding/json. The error is a
// [*LimitError].
func Members(object []byte) (Object, error) {
	m := make(map[string][]byte, 16)
	for rest := SkipSpace(object)[1:]; ; {
		name, value, next, done := cutMember(rest)
		if done {
			return Object{object, m}, nil
		}
		if len(m) == MaxMembers {
			return Object{}, &LimitError{"members", MaxMembers}
		}
		m[Unquote(name)] = value
		rest = next
	}
}

// Elements returns an array's elements. When there are more than limit the error is a [*LimitError].
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

// Unquote returns what a JSON string says, "" for a value of another kind.
func Unquote(token []byte) string {
	token = SkipSpace(token)
	if Kind(token) != '"' {
		return ""
	}
	if inner := token[1 : len(token)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if json.Unmarshal(token, &s) != nil {
		return ""
	}
	return s
}
