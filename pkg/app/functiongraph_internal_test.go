package app

import (
	"os"
	"strings"
	"testing"
)

// TestSetEnvFromUserData: FunctionGraph passes variables as JSON; values are not changed.
func TestSetEnvFromUserData(t *testing.T) {
	t.Setenv("TAGGER_TEST_SET", "before")
	for _, name := range []string{"TAGGER_TEST_TEXT", "TAGGER_TEST_NUMBER", "TAGGER_TEST_TRUTH"} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
	t.Setenv("RUNTIME_USERDATA", `{"TAGGER_TEST_TEXT": "a \"b\"", "TAGGER_TEST_NUMBER": 123456789012,
		"TAGGER_TEST_TRUTH": true, "TAGGER_TEST_SET": "after"}`)
	if err := setEnvFromUserData(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"TAGGER_TEST_TEXT":   `a "b"`,
		"TAGGER_TEST_NUMBER": "123456789012",
		"TAGGER_TEST_TRUTH":  "true",
		"TAGGER_TEST_SET":    "before",
	} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, bad := range []string{
		`{"TAGGER_TEST_X": null}`, `{"TAGGER_TEST_X": {"secret": "s3cret"}}`, `{"TAGGER_TEST_X": ["s3cret"]}`, `s3cret`,
	} {
		t.Setenv("RUNTIME_USERDATA", bad)
		if err := setEnvFromUserData(); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
