package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Request is one request, byte for byte as it will be sent.
type Request struct {
	Method string
	// Path is relative to the service's endpoint, escaped, without a leading slash: "servers/{id}/metadata".
	Path string
	// Body is the JSON body, nil for none.
	Body []byte
	// Microversion is the value of the header OpenStack-API-Version: "compute 2.9", "" for the service's default.
	Microversion string
}

// encode returns a JSON object with the metadata as its only member. The keys are sorted, and <, > and & are not
// escaped, so that a plan shows the request as it is sent.
func encode(member string, metadata map[string]string) []byte {
	b := append(appendString([]byte("{"), member), ":{"...)
	for i, key := range sortedKeys(metadata) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		b = appendString(b, metadata[key])
	}
	return append(b, "}}"...)
}

func appendString(b []byte, s string) []byte {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(b, '"'), s...), '"')
	}
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("encode a string: " + err.Error()) // a string can always be marshalled
	}
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

func sortedKeys(metadata map[string]string) []string {
	keys := slices.AppendSeq(make([]string, 0, len(metadata)), maps.Keys(metadata))
	slices.Sort(keys)
	return keys
}

// CheckID returns an error unless id is a UUID in its usual form of 8-4-4-4-12 hexadecimal digits. Other text would
// become part of a URL.
func CheckID(id string) error {
	if len(id) != 36 || uuid.Validate(id) != nil { // Validate alone also accepts braces, a prefix and missing dashes
		return fmt.Errorf("id %.40q is not a UUID", id)
	}
	return nil
}
