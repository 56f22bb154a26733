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

// The documentation says how many requests there are, and has the table of differences.
func TestDocumentation(t *testing.T) {
	const file = "../../docs/embedded-cloud.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, want := range map[string]string{"size": size(), "differences": differenceTable()} {
		place := regexp.MustCompile(`(<!-- contract: ` + name + ` -->\n)(\n[^<]*?\n)??(\nWhat )`)
		if !place.MatchString(got) {
			t.Fatalf("%s: no place for the %s", file, name)
		}
		got = place.ReplaceAllString(got, "${1}"+strings.ReplaceAll(want, "$", "$$")+"${3}")
	}
	if got == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the suite is: go test ./pkg/contract -run Documentation -update", file)
	}
	if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// size is a sentence on how much is compared.
func size() string {
	groups := allGroups()
	requests, operations := 0, 0
	for _, g := range groups {
		requests += len(g.steps)
		operations += len(g.ours)
	}
	return fmt.Sprintf("\n%d requests about %d resources in their states; "+
		"%d of the answers are equal; %d operations of Tagger's own.\n",
		requests, len(groups), requests-len(differences), operations)
}

// differenceTable has a row for each difference and reason.
func differenceTable() string {
	cases := map[difference][]string{}
	for _, name := range slices.Sorted(maps.Keys(differences)) {
		cases[differences[name]] = append(cases[differences[name]], name)
	}
	rows := slices.SortedFunc(maps.Keys(cases), func(a, b difference) int {
		return strings.Compare(cases[a][0], cases[b][0])
	})
	var b strings.Builder
	b.WriteString("\n| case | real | embedded | why it stays |\n| --- | --- | --- | --- |\n")
	for _, d := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Join(cases[d], "; "), d.Real, d.Embedded, d.Reason)
	}
	return b.String()
}
