package lifecycle

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseRepr parses Python's repr of a dictionary of strings, numbers, booleans and None. It reports false for anything
// else.
func parseRepr(s string) (map[string]any, bool) {
	p := reprParser{s}
	m := map[string]any{}
	if !p.accept("{") {
		return nil, false
	}
	for first := true; !p.accept("}"); first = false {
		if !first && !p.accept(",") {
			return nil, false
		}
		key, ok := p.quoted()
		if !ok || !p.accept(":") {
			return nil, false
		}
		value, ok := p.value()
		if !ok {
			return nil, false
		}
		m[key] = value
	}
	return m, strings.TrimSpace(p.rest) == ""
}

type reprParser struct {
	rest string
}

// accept skips spaces and then word. It reports false, and skips nothing, if word does not follow.
func (p *reprParser) accept(word string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " "), word)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *reprParser) value() (any, bool) {
	switch {
	case p.accept("None"):
		return nil, true
	case p.accept("True"):
		return true, true
	case p.accept("False"):
		return false, true
	}
	if s, ok := p.quoted(); ok {
		return s, true
	}
	end := strings.IndexAny(p.rest, ",}")
	if end < 0 {
		return nil, false
	}
	digits := strings.TrimSpace(p.rest[:end])
	if _, err := strconv.ParseFloat(digits, 64); err != nil || strings.Trim(digits, "+-.eE0123456789") != "" {
		return nil, false
	}
	p.rest = p.rest[end:]
	return number(digits), true
}

// quoted parses a string literal: single or double quotes, Python's escapes, an optional u prefix from Python 2.
func (p *reprParser) quoted() (string, bool) {
	s := strings.TrimPrefix(strings.TrimLeft(p.rest, " "), "u")
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", false
	}
	quote := s[0]
	var b strings.Builder
	for s = s[1:]; s != ""; {
		switch s[0] {
		case quote:
			p.rest = s[1:]
			return b.String(), true
		case '\\':
			r, rest, ok := escape(s[1:])
			if !ok {
				return "", false
			}
			b.WriteRune(r)
			s = rest
		default:
			r, size := utf8.DecodeRuneInString(s)
			b.WriteRune(r)
			s = s[size:]
		}
	}
	return "", false
}

// escape parses the part of an escape sequence after the backslash.
func escape(s string) (r rune, rest string, ok bool) {
	if s == "" {
		return 0, "", false
	}
	digits := 0
	switch s[0] {
	case '\\', '\'', '"':
		return rune(s[0]), s[1:], true
	case 'n':
		return '\n', s[1:], true
	case 'r':
		return '\r', s[1:], true
	case 't':
		return '\t', s[1:], true
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return 0, "", false
	}
	if len(s) < 1+digits {
		return 0, "", false
	}
	n, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(n)) {
		return 0, "", false
	}
	return rune(n), s[1+digits:], true
}
