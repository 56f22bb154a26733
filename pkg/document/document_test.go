package document_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/document"
)

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "is empty",
		" \n":                "is empty",
		"5":                  "",
		`{"a":[1,"x",null]}`: "",
		`{"a":`:              "is not JSON (line 1, column 5: it ends too early)",
		"{} {}": "contains a second document (line 1, column 4); put them into [ ], separated by " +
			"commas",
		"{\x00}\x00":                        "is UTF-16; want UTF-8",
		"\uFEFF{}":                          "is not JSON (line 1, column 1)", // callers use TrimMark first
		strings.Repeat("[", 65):             "has more than 64 levels of nesting",
		`"` + strings.Repeat("[", 65) + `"`: "",
	} {
		err := document.Check([]byte(text))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.40q: error %q, want %q", text, got, want)
		}
		if document.Valid([]byte(text)) != (err == nil) {
			t.Errorf("%.40q: Valid and Check differ", text)
		}
	}
	err := document.Check(bytes.Repeat([]byte(" "), document.MaxBytes+1))
	limit, ok := errors.AsType[*document.LimitError](err)
	if !ok || limit.Max != document.MaxBytes || limit.What != "bytes" {
		t.Errorf("error %v", err)
	}
}

func TestCountValues(t *testing.T) {
	for text, want := range map[string]int{
		"5": 1, `"a,b"`: 1, "{}": 1, "[ ]": 1, "[1]": 2, "[1,2]": 3, `{"a":1}`: 2, `{"a":{"b":[]}}`: 3, `[[],[],{}]`: 4,
		`{"a":"{[,\",","b":[1,{"c":null}]}`: 6,
	} {
		if got := document.CountValues([]byte(text), 100); got != want {
			t.Errorf("%s has %d values, counted %d", text, want, got)
		}
		if got := document.CountValues([]byte(text), want-1); got <= want-1 {
			t.Errorf("%s: counted %d with a limit of %d", text, got, want-1)
		}
	}
	// Counting a long document stops soon after the limit.
	if got := document.CountValues([]byte("["+strings.Repeat("1,", 1_000_000)+"1]"), 10); got != 11 {
		t.Errorf("counted %d", got)
	}
}

func TestElements(t *testing.T) {
	list, err := document.Elements([]byte(` [ 1 , "a]" ,{"b":[2]},[ ] ] `), 4)
	if err != nil || len(list) != 4 || string(bytes.Join(list, []byte("|"))) != `1|"a]"|{"b":[2]}|[ ]` {
		t.Errorf("%q, %v", list, err)
	}
	_, err = document.Elements([]byte(`[1,2,3]`), 2)
	if limit, ok := errors.AsType[*document.LimitError](err); !ok || limit.Error() != "has more than 2 elements" {
		t.Errorf("error %v", err)
	}
}

// FuzzMembers compares Members and CountValues with encoding/json.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1,"b":{"c":[1,2,{}]}}`, `{"a\u0041":"\"","a":null, "a" : [ ] }`, "{\"\xff\":1}", `{"a":-1.5e3}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if document.Check(b) != nil || document.Kind(b) != '{' {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		got, err := document.Members(b)
		if err != nil {
			return
		}
		all := maps.Collect(got.All())
		if len(all) != len(want) {
			t.Fatalf("%d members, want %d", len(all), len(want))
		}
		for name, value := range want {
			if string(got.Member(name)) != string(value) || string(all[name]) != string(value) {
				t.Errorf("%q is %s, in all %s, want %s", name, got.Member(name), all[name], value)
			}
			if got.HasOnly(name) != (len(want) == 1) {
				t.Errorf("%q is the only one: %t", name, got.HasOnly(name))
			}
		}
		var v any
		decoder := json.NewDecoder(bytes.NewReader(b))
		decoder.UseNumber()
		if err := decoder.Decode(&v); err != nil {
			t.Fatal(err)
		}
		// Decoding keeps only the last of several members with the same name, but all are counted: the count is a maximum.
		if counted := document.CountValues(b, 1<<30); counted < count(v) {
			t.Errorf("counted %d values, there are %d", counted, count(v))
		}
	})
}

func count(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			n += count(member)
		}
	case []any:
		for _, element := range v {
			n += count(element)
		}
	}
	return n
}

// FuzzContent compares Content and Unquote with encoding/json.
func FuzzContent(f *testing.F) {
	for _, text := range []string{
		`""`, `"a"`, `"{\"a\": \"b\\\"\"}\n\r\t\/"`, `"\u00e9\b"`, `"\ud83d"`, "\"\\n\xff\"", `"é\n"`, ` "a\\" `, `1`, `null`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.TrimRight(b, " \t\r\n") // a value that was cut off has no white space behind it
		if document.Check(b) != nil {
			return
		}
		var want string
		if document.Kind(b) == '"' {
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
		}
		if got := document.Content(b); string(got) != want || document.Unquote(b) != want {
			t.Errorf("%q and %q, want %q", got, document.Unquote(b), want)
		}
	})
}

// FuzzValid compares Check and Valid with encoding/json.
func FuzzValid(f *testing.F) {
	for _, text := range []string{
		``, ` `, `{}`, ` { "a" : [ 1 , -0.5e+7 , true , false , null , "\u00e9\\\"" ] } `, `[]`, `[[[]]]`, `{"a"}`, `{"a":1,}`, `[1,]`,
		`01`, `-`, `1.`, `1e`, `.5`, `+1`, `0`, `-0`, `1E-2`, `tru`, `nulll`, `"`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\x01\"",
		"\"\xff\"", `{} {}`, `{"a":1 "b":2}`, `[1 2]`, `{,}`, `{1:2}`, "\xef\xbb\xbf{}",
		strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
		strings.Repeat("[", 100_000), `["` + strings.Repeat("[", 100) + `"]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, tooDeep := errors.AsType[*document.LimitError](document.Check(b))
		want := json.Valid(b) && !tooDeep
		if document.Valid(b) != want || (document.Check(b) == nil) != want {
			t.Errorf("%q: Valid is %t, Check returns %v", b, document.Valid(b), document.Check(b))
		}
	})
}
