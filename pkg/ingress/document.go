package ingress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxPayload is the largest payload that is read, in bytes: what AWS Lambda takes in a synchronous invocation
// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const MaxPayload = 6 << 20

const (
	// maxDepth is how deep JSON may be nested. The deepest real notification (Nova's scheduler) has 9 levels.
	maxDepth = 64
	// maxMembers is how many members an object may have whose names are looked at: an envelope, a CloudEvent, a
	// notification.
	maxMembers = 1000
)

var (
	errMembers  = fmt.Errorf("has more than %d members", maxMembers)
	errTooLarge = fmt.Errorf("is larger than %d bytes", MaxPayload)
)

// check says what keeps b from being read as a JSON document. What passes may be taken apart with members, elements and
// strip.
func check(b []byte) error {
	if len(b) > MaxPayload {
		return errTooLarge
	}
	if len(skipSpace(b)) == 0 {
		return errors.New("is empty")
	}
	if tooDeep(b) {
		return fmt.Errorf("is nested deeper than %d levels", maxDepth)
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

// isUTF16 reports whether b is as Windows PowerShell's > writes text: with a byte order mark, or with a zero byte in each ASCII character.
func isUTF16(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff}) || len(b) > 1 && (b[0] == 0) != (b[1] == 0)
}

// secondDocument returns where, counted from 1, an object or array begins that follows one, as in JSON Lines; 0 when there is none.
func secondDocument(b []byte) int {
	dec := json.NewDecoder(bytes.NewReader(b))
	var first json.RawMessage
	if dec.Decode(&first) != nil || kindOf(first) != '{' && kindOf(first) != '[' {
		return 0
	}
	rest := skipSpace(b[dec.InputOffset():])
	if kind := kindOf(rest); kind != '{' && kind != '[' {
		return 0
	}
	return len(b) - len(rest) + 1
}

// checks is check for where the reason does not matter.
func checks(b []byte) bool { return len(b) <= MaxPayload && !tooDeep(b) && json.Valid(b) }

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
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// The functions below take a document apart without copying it. They rely on check having passed.

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// kindOf is the byte that a JSON value begins with.
func kindOf(v []byte) byte {
	if v = skipSpace(v); len(v) > 0 {
		return v[0]
	}
	return 0
}

// cutString cuts the string, quotes included, that b begins with.
func cutString(b []byte) (token, rest []byte) {
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

// cutValue cuts the value that b begins with, without the space around it.
func cutValue(b []byte) (value, rest []byte) {
	b = skipSpace(b)
	switch kindOf(b) {
	case '"':
		return cutString(b)
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
	b = skipSpace(b)
	if len(b) == 0 || b[0] == '}' {
		return nil, nil, b, true
	}
	name, b = cutString(b)
	b = skipSpace(b)
	value, b = cutValue(b[1:]) // past the colon
	return name, value, cutComma(b), false
}

func cutComma(b []byte) []byte {
	if b = skipSpace(b); len(b) > 0 && b[0] == ',' {
		return b[1:]
	}
	return b
}

// members returns an object's members by name. Of two members with one name the last wins, as in encoding/json.
func members(object []byte) (map[string][]byte, error) {
	m := make(map[string][]byte, 16)
	for rest := skipSpace(object)[1:]; ; {
		name, value, next, done := cutMember(rest)
		if done {
			return m, nil
		}
		if len(m) == maxMembers {
			return nil, errMembers
		}
		m[unquote(name)] = value
		rest = next
	}
}

// elements returns an array's elements, or an error when there are more than limit of them.
func elements(array []byte, limit int) ([][]byte, error) {
	var list [][]byte
	for rest := skipSpace(array)[1:]; kindOf(rest) != ']'; {
		if len(list) == limit {
			return nil, fmt.Errorf("has more than %d elements", limit)
		}
		var value []byte
		value, rest = cutValue(rest)
		list, rest = append(list, value), cutComma(rest)
	}
	return list, nil
}

// unquote returns what a JSON string says, "" for a value of another kind.
func unquote(token []byte) string {
	token = skipSpace(token)
	if kindOf(token) != '"' {
		return ""
	}
	if inner := token[1 : len(token)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return strings.ToValidUTF8(string(inner), "\uFFFD")
	}
	var s string
	if json.Unmarshal(token, &s) != nil {
		return ""
	}
	return s
}
