package contract_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documentation states the number of requests, and has the table of differences.
func TestDocumentation(t *testing.T) {
	const file = "../../docs/embedded-cloud.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, want := range map[string]string{"size": size(), "differences": differenceTable()} {
		place := regexp.MustCompile(`(?s)(<!-- contract: ` + name + ` -->\n)(.*?)(\n<!-- end -->)`)
		if !place.MatchString(got) {
			t.Fatalf("%s has no marker for the %s", file, name)
		}
		got = place.ReplaceAllString(got, "${1}"+strings.ReplaceAll(want, "$", "$$")+"${3}")
	}
	if got == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s does not match the suite; run: go test ./pkg/contract -run Documentation -update", file)
	}
	if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// size returns a sentence on the number of comparisons.
func size() string {
	groups := allGroups()
	requests, operations := 0, 0
	for _, g := range groups {
		requests += len(g.steps)
		operations += len(g.ours)
	}
	return fmt.Sprintf("\n%d requests for %d resources in their states, %d equal responses, "+
		"%d operations of Tagger's own.\n", requests, len(groups), requests-len(differences), operations)
}

// differenceTable returns a table with a row for each difference and reason.
func differenceTable() string {
	cases := map[difference][]string{}
	for _, name := range slices.Sorted(maps.Keys(differences)) {
		cases[differences[name]] = append(cases[differences[name]], name)
	}
	rows := slices.SortedFunc(maps.Keys(cases), func(a, b difference) int {
		return strings.Compare(cases[a][0], cases[b][0])
	})
	var b strings.Builder
	b.WriteString("\n| case | real | embedded | reason |\n| --- | --- | --- | --- |\n")
	for _, d := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Join(cases[d], "; "), d.Real, d.Embedded, d.Reason)
	}
	return b.String()
}
