package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"

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

// encode writes JSON with sorted keys, without escaping <, > and &, so that a plan shows the request as it is sent.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("encode maps of strings: " + err.Error()) // a map of strings can always be marshalled
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// CheckID returns an error unless id is a UUID in its usual form of 8-4-4-4-12 hexadecimal digits. Other text would
// become part of a URL.
func CheckID(id string) error {
	if len(id) != 36 || uuid.Validate(id) != nil { // Validate alone also accepts braces, a prefix and missing dashes
		return fmt.Errorf("id %.40q is not a UUID", id)
	}
	return nil
}
