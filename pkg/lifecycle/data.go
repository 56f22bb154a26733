package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// decode decodes an event's data as Change.Data describes, nil if there is none.
func decode(data []byte) (any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("data after the value")
	}
	return convertNumbers(v), nil
}

// convertNumbers replaces every json.Number in v; see [number].
func convertNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			switch member.(type) {
			case json.Number, map[string]any, []any:
				v[name] = convertNumbers(member)
			}
		}
	case []any:
		for i, element := range v {
			v[i] = convertNumbers(element)
		}
	case json.Number:
		return number(string(v))
	}
	return v
}

// number returns an int64 if the value is integral and fits, else a float64, or the digits as a string if neither can
// hold it.
func number(digits string) any {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return n
	}
	if !strings.ContainsAny(digits, ".eE") {
		return digits
	}
	f, err := strconv.ParseFloat(digits, 64)
	switch {
	case err != nil:
		return digits
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return int64(f)
	}
	return f
}

// object returns v if it is an object, else a nil map, which can be read.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// list returns v if it is an array, else nil.
func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// text returns v if it is a string, else "".
func text(v any) string {
	s, _ := v.(string)
	return s
}

// uuidOrEmpty returns s if it is a UUID, else "". It is for optional references.
func uuidOrEmpty(s string) string {
	if isUUID(s) {
		return s
	}
	return ""
}

// identifier returns an id, "" for none (null, "", "null"). wrong describes a value that is not a string or not valid.
func identifier(v any, valid func(string) bool, problem func(string) string) (id, wrong string) {
	if _, ok := v.(string); v != nil && !ok {
		return "", "is not a string"
	}
	id = optionalID(v)
	if id != "" && !valid(id) {
		return "", problem(id)
	}
	return id, ""
}

// optionalID returns an id, "" for none. Some request ids are the strings "null" and "None", which also mean none.
func optionalID(v any) string {
	switch s := text(v); s {
	case "null", "None":
		return ""
	default:
		return s
	}
}

// isUUID reports whether s has the form 8-4-4-4-12 hexadecimal digits, as resource ids of Nova, Cinder, ECS, BMS and
// EVS do. Ids of 32 digits without dashes (Keystone, Huawei Cloud's jobs) are of projects, users and jobs.
func isUUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil // which also accepts braces, a prefix, and no dashes
}

// notUUID and notProject describe an invalid id. They quote it, truncated: it is not secret and helps to find the
// event.
func notUUID(id string) string {
	return fmt.Sprintf("%.60q is not a UUID; want 8-4-4-4-12 hexadecimal digits", id)
}

func notProject(id string) string { return fmt.Sprintf("%.60q is not a project id", id) }

// isProject reports whether s can be a project's id: 32 hexadecimal digits, or another short word in old or migrated
// clouds. Nothing else is accepted, because the id becomes part of a URL.
func isProject(s string) bool {
	if len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}
