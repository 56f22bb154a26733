package ingress

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/document"
)

// What is dropped, at any depth, from every event's data and attributes:
//
//   - a member whose name, in lower case and without punctuation, holds one of credentialWords or is one of
//     credentialNames. Notifications carry such members in unexpected places: Nova's scheduler and compute_task
//     notifications hold the user's token in payload…pci_requests._context.auth_token, a CTS trace of a server's
//     creation its adminPass;
//   - the same inside a string that is itself JSON, as CTS sends request and response;
//   - a string that looks like a dictionary but is not JSON (a Python repr), whole, when it names a credential;
//   - a Keystone token (Fernet, always with the prefix gAAAAA) in any string.
//
// A volume's connection_info and connector hold the secrets of its storage (CHAP, keyrings). A service catalog is not
// secret but describes the inside of a cloud. user_data and personality hold files in which users put passwords. No
// rule needs any of them.
var (
	credentialWords = [...]string{
		"token", "password", "passwd", "passphrase", "secret", "credential", "privatekey", "accesskey", "apikey",
		"servicecatalog",
	}
	credentialNames = [...]string{
		"adminpass", "rootpass", "userpass", "pass", "pwd", "authkey", "authorization", "catalog", "cookie", "setcookie",
		"ak", "sk", "userdata", "personality", "connectioninfo", "connector",
	}
)

// maxEmbedded limits the layers of JSON in JSON strings that are searched. A deeper layer is dropped if it names a
// credential.
const maxEmbedded = 3

const fernetPrefix = "gAAAAA"

// strip returns the JSON value v, which has passed document.Check, without credentials and insignificant space.
func strip(v []byte) []byte {
	s := stripper{}
	out, _ := s.value(make([]byte, 0, len(v)), v)
	return out
}

// stripText returns a string without credentials, whether it is a document or holds a token.
func stripText(text string) string {
	s := stripper{}
	return cutFernet(s.embeddedDocument(text))
}

type stripper struct {
	embedded int  // layers of strings around this value
	dropped  bool // whether anything was removed
}

func (s *stripper) value(dst, src []byte) (out, rest []byte) {
	src = document.SkipSpace(src)
	switch document.Kind(src) {
	case '{':
		return s.object(dst, src)
	case '[':
		return s.array(dst, src)
	case '"':
		token, rest := document.CutString(src)
		return s.text(dst, token), rest
	}
	scalar, rest := document.CutValue(src)
	return append(dst, scalar...), rest
}

func (s *stripper) object(dst, src []byte) (out, rest []byte) {
	dst = append(dst, '{')
	rest = document.SkipSpace(src[1:])
	for first := true; document.Kind(rest) == '"'; {
		var name []byte
		name, rest = document.CutString(rest)
		rest = document.SkipSpace(rest)[1:] // past the colon
		if isCredential(name) {
			s.dropped = true
			_, rest = document.CutValue(rest)
		} else {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(append(dst, name...), ':')
			dst, rest = s.value(dst, rest)
		}
		rest = document.SkipSpace(document.CutComma(rest))
	}
	return append(dst, '}'), rest[1:]
}

func (s *stripper) array(dst, src []byte) (out, rest []byte) {
	dst = append(dst, '[')
	rest = document.SkipSpace(src[1:])
	for first := true; document.Kind(rest) != ']'; first = false {
		if !first {
			dst = append(dst, ',')
		}
		dst, rest = s.value(dst, rest)
		rest = document.SkipSpace(document.CutComma(rest))
	}
	return append(dst, ']'), rest[1:]
}

func (s *stripper) text(dst, token []byte) []byte {
	if bytes.IndexByte(token, '{') < 0 && bytes.IndexByte(token, '[') < 0 && bytes.IndexByte(token, '\\') < 0 &&
		!bytes.Contains(token, []byte(fernetPrefix)) {
		return append(dst, token...)
	}
	text := document.Unquote(token)
	clean := cutFernet(s.embeddedDocument(text))
	if clean == text {
		return append(dst, token...)
	}
	s.dropped = true
	quoted, _ := json.Marshal(clean) // a string can always be marshalled
	return append(dst, quoted...)
}

// embeddedDocument strips text if it is a document of its own.
func (s *stripper) embeddedDocument(text string) string {
	doc := []byte(text)
	if k := document.Kind(doc); k != '{' && k != '[' {
		return text
	}
	readable := document.Valid(doc)
	if readable && s.embedded < maxEmbedded {
		inner := stripper{embedded: s.embedded + 1}
		out, _ := inner.value(nil, doc)
		if !inner.dropped {
			return text
		}
		return string(out)
	}
	if (readable || looksLikeDictionary(text)) && namesCredential(doc) {
		return ""
	}
	return text
}

// looksLikeDictionary distinguishes a Python or truncated JSON dictionary, or a list of them, from a sentence in
// brackets.
func looksLikeDictionary(text string) bool {
	text = strings.TrimSpace(text)
	return text[0] == '{' || len(text) > 1 && strings.IndexByte("{[(", text[1]) >= 0
}

func namesCredential(text []byte) bool {
	plain := appendLetters(make([]byte, 0, len(text)), text)
	return bytes.Contains(plain, []byte("adminpass")) ||
		slices.ContainsFunc(credentialWords[:], func(w string) bool { return bytes.Contains(plain, []byte(w)) })
}

// isCredential reports whether a member with this name, a JSON string, holds a credential.
func isCredential(name []byte) bool {
	if bytes.IndexByte(name, '\\') >= 0 {
		name = document.Content(name)
	}
	var buffer [64]byte
	plain := appendLetters(buffer[:0], name)
	for _, w := range credentialWords {
		if bytes.Contains(plain, []byte(w)) {
			return true
		}
	}
	for _, n := range credentialNames {
		if string(plain) == n {
			return true
		}
	}
	return false
}

// appendLetters appends b's ASCII letters, in lower case, and digits, so that auth_token, X-Auth-Token and authToken
// are the same name.
func appendLetters(dst, b []byte) []byte {
	for _, c := range b {
		switch {
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c|0x20)
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			dst = append(dst, c)
		}
	}
	return dst
}

// cutFernet replaces every Keystone token in s with ***. The shortest token is far longer than 60 characters.
func cutFernet(s string) string {
	if !strings.Contains(s, fernetPrefix) {
		return s
	}
	var b strings.Builder
	for {
		start := strings.Index(s, fernetPrefix)
		if start < 0 {
			b.WriteString(s)
			return b.String()
		}
		end := start + len(fernetPrefix)
		for end < len(s) && isFernet(s[end]) {
			end++
		}
		if end-start < 60 {
			b.WriteString(s[:end])
		} else {
			b.WriteString(s[:start] + "***")
		}
		s = s[end:]
	}
}

func isFernet(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '=' ||
		c == '%'
}
