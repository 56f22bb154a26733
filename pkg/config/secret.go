package config

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Secret is a string that fmt, log/slog and encoding/json do not show. Secrets with the same text are equal under ==.
//
// The text is behind a pointer, because fmt cannot call the methods of a value in an unexported field. It prints the
// pointer instead.
type Secret struct {
	text unique.Handle[string]
}

const redacted = "[redacted]"

// NewSecret returns s as a Secret; the empty string is the zero Secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{unique.Make(s)}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// IsZero reports whether the secret is missing.
func (s Secret) IsZero() bool { return s == Secret{} }

// Equal is ==, for packages that require a method.
func (s Secret) Equal(other Secret) bool { return s == other }

// String returns "[redacted]", or "" if the secret is missing.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString returns String.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// UnmarshalText stores the text unchanged. envconfig and encoding/json call it.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
