package config

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Secret is a string that no ordinary way of printing shows. Secrets with the same text are equal under ==.
//
// The text is behind a pointer: fmt cannot call the methods of a value in an unexported field and prints its memory
// instead, which is then an address.
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

// Equal is ==, for packages that look for a method.
func (s Secret) Equal(other Secret) bool { return s == other }

// String returns "[redacted]", or "" when the secret is missing.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String; encoding/json uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// UnmarshalText takes the text as it is; envconfig and encoding/json call it.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
