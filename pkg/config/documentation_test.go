package config_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
)

var update = flag.Bool("update", false, "rewrite the tables of variables in the documentation")

func table(variables []config.Variable) string {
	var b strings.Builder
	b.WriteString("\n| variable | default | |\n| --- | --- | --- |\n")
	for _, v := range variables {
		value := ""
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, value, strings.ReplaceAll(v.Description, "|", `\|`))
	}
	return b.String()
}

// alsoUnderstood reports whether a variable is read because openrc files of older clouds have it.
func alsoUnderstood(v config.Variable) bool {
	return strings.HasPrefix(v.Description, "Former name of") || strings.HasPrefix(v.Name, "OS_DEFAULT_DOMAIN") ||
		v.Name == "OS_IDENTITY_API_VERSION"
}

func usual(v config.Variable) bool { return !alsoUnderstood(v) }

// TestDocumentation compares the tables of variables in docs/configuration.md with the code.
func TestDocumentation(t *testing.T) {
	tables := map[string]string{
		"settings":    table(config.Variables[config.Settings]()),
		"credentials": table(slices.DeleteFunc(config.Variables[config.Credentials](), alsoUnderstood)),
		"former":      table(slices.DeleteFunc(config.Variables[config.Credentials](), usual)),
		"listen":      table(config.Variables[config.Listen]()),
		"reconcile":   table(config.Variables[config.Reconcile]()),
	}
	all := []string{"settings", "listen", "reconcile", "credentials", "former"}
	for file, wanted := range map[string][]string{"../../docs/configuration.md": all} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := string(text)
		for _, name := range wanted {
			place := regexp.MustCompile(`(?s)(<!-- variables: ` + name + ` -->\n)(\n\|.*?\|\n)?(\n[^|]|\z)`)
			if !place.MatchString(got) {
				t.Fatalf("%s has no marker for the table of %s", file, name)
			}
			got = place.ReplaceAllString(got, "${1}"+strings.ReplaceAll(tables[name], "$", "$$")+"${3}")
		}
		if got == string(text) {
			continue
		}
		if !*update {
			t.Errorf("%s differs from the code; run go test ./pkg/config -update", file)
			continue
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryVariableIsDescribed checks that each variable has a description in sentences.
func TestEveryVariableIsDescribed(t *testing.T) {
	all := slices.Concat(
		config.Variables[config.Settings](), config.Variables[config.Credentials](), config.Variables[config.Listen](),
	)
	for _, v := range all {
		if v.Name == "" || !strings.HasSuffix(v.Description, ".") {
			t.Errorf("%s: %q is not a sentence", v.Name, v.Description)
		}
	}
}
