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

// decode reads an event's data as Change.Data describes it, nil for no data.
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
	return plainNumbers(v), nil
}

// plainNumbers replaces json.Number throughout v.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			switch member.(type) {
			case json.Number, map[string]any, []any:
				v[name] = plainNumbers(member)
			}
		}
	case []any:
		for i, element := range v {
			v[i] = plainNumbers(element)
		}
	case json.Number:
		return number(string(v))
	}
	return v
}

// number is an int64 where the value is integral and fits, else a float64, or the digits themselves where neither can
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

// object is v as an object; a nil map, which can be looked into, when it is none.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// list is v as an array, nil when it is none.
func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// text is v as a string, "" when it is none.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// first is the first string that is not empty.
func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// uuidOnly is s if it is a UUID, else "". It is for references that nothing depends on.
func uuidOnly(s string) string {
	if isUUID(s) {
		return s
	}
	return ""
}

// identifier returns an id, "" for none (null, "", "null"), and what is wrong with one that is no text or not of its
// form.
func identifier(v any, valid func(string) bool, problem func(string) string) (id, wrong string) {
	if _, ok := v.(string); v != nil && !ok {
		return "", "is not a string"
	}
	id = reference(v)
	if id != "" && !valid(id) {
		return "", problem(id)
	}
	return id, ""
}

// reference is an id in an event, "" for none. "null" and "None" are none: what JSON and Python call nothing, written
// into a text (seen in request_id).
func reference(v any) string {
	switch s := text(v); s {
	case "null", "None":
		return ""
	default:
		return s
	}
}

// isUUID reports whether s is 8-4-4-4-12 hexadecimal digits. Nova, Cinder, ECS, BMS and EVS all write resource ids so;
// the 32 digits without dashes that Keystone and Huawei Cloud's job service use are ids of projects, users and jobs.
func isUUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil // which takes braces, a prefix and no dashes too
}

// notUUID and notProject say what is wrong with an id. They show it, cut and quoted: an id is no secret, and finding
// the event takes it.
func notUUID(id string) string {
	return fmt.Sprintf("%.60q is not a UUID; want 8-4-4-4-12 hexadecimal digits", id)
}

func notProject(id string) string { return fmt.Sprintf("%.60q is not a project id", id) }

// isProject reports whether s can be a project's id: Keystone's are 32 hexadecimal digits, those of old or migrated
// clouds are other short words. It becomes part of a URL.
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
