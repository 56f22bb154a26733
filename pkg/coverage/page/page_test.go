package page_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/coverage/page"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

var now = time.Date(2026, 11, 25, 14, 20, 0, 0, time.UTC)

// testReport returns the report of a fleet with this many projects, each with ten servers and five volumes.
func testReport(projects int) coverage.Report {
	r := coverage.Report{
		At: now, Cloud: "keystone.example", Rules: strings.Repeat("9f3c1a2e", 8), Complete: true, Key: "cost-center",
		ProjectsRead: projects, ProjectsTotal: projects, Errors: []string{}, Notes: []string{},
		Orphans: map[lifecycle.Kind]coverage.Amount{"volume": {Count: 41, Size: 8_200}},
		Exemptions: []coverage.ExemptionUse{
			{Name: "amphorae", Keys: []string{"owner"}, Reason: "Octavia's own servers", By: "m.weber", Ticket: "FIN-311",
				AllocateTo: "CC-900", Until: now.AddDate(0, 0, 9), EndsSoon: true, Covered: 26},
			{Name: "old-lab", Keys: []string{"owner", "cost-center"}, Reason: "closed", By: "m.weber",
				Until: now.AddDate(0, 0, -3), Ended: true},
		},
	}
	add := func(rows []coverage.Row, i int, key string, kind lifecycle.Kind, unit metadata.Unit, n, size int,
		bad [6]int) []coverage.Row {
		row := coverage.Row{Key: key, Kind: kind, Unit: unit}
		row.Status = map[coverage.Status]coverage.Amount{}
		ok := n
		for s, status := range coverage.Statuses() {
			if s == 0 {
				continue
			}
			c := min(bad[s], ok)
			ok -= c
			row.Status[status] = coverage.Amount{Count: c, Size: c * size}
		}
		row.Status[coverage.OK] = coverage.Amount{Count: ok, Size: ok * size}
		row.Total = coverage.Amount{Count: n, Size: n * size}
		if i%2 == 0 {
			row.Paid = row.Status[coverage.Exempt]
		}
		return append(rows, row)
	}
	for i := range projects {
		var rows []coverage.Row
		one := func(every, offset int) int {
			if i%every == offset {
				return 1 + i%3
			}
			return 0
		}
		rows = add(rows, i, "cost-center", "server", metadata.VCPU, 10, 1+i%8,
			[6]int{0, one(9, 2), one(11, 3), one(7, 1), one(5, 4), one(13, 5)})
		rows = add(rows, i, "cost-center", "volume", metadata.GiB, 5, 20+i%80,
			[6]int{0, one(8, 2), 0, one(6, 1), one(2, 0), one(19, 5)})
		rows = add(rows, i, "owner", "server", metadata.VCPU, 10, 1+i%8, [6]int{0, one(4, 2), 0, 0, one(3, 0), one(17, 5)})
		if i%10 == 7 {
			rows = rows[:1]
		}
		r.Projects = append(r.Projects, coverage.Group{
			ID: fmt.Sprintf("%032x", 0x5f705ac7+i*7919), Name: fmt.Sprintf("shop-prod-%d", i),
			Owner: fmt.Sprintf("ann.%d@example.org", i), Rows: rows,
		})
		for n, row := range rows {
			if len(r.Rows) <= n {
				r.Rows = append(r.Rows, coverage.Row{Key: row.Key, Kind: row.Kind, Unit: row.Unit,
					Tally: coverage.Tally{Status: map[coverage.Status]coverage.Amount{}}})
			}
			sum := &r.Rows[n]
			sum.Total = plus(sum.Total, row.Total)
			sum.Paid = plus(sum.Paid, row.Paid)
			for s, a := range row.Status {
				sum.Status[s] = plus(sum.Status[s], a)
			}
		}
	}
	slices.SortStableFunc(r.Projects, func(a, b coverage.Group) int {
		return b.Rows[0].Unallocated().Size - a.Rows[0].Unallocated().Size
	})
	// Each cost centre pays for a tenth of the rest.
	left := map[metadata.Unit]coverage.Amount{}
	for _, row := range r.AllocationRows() {
		left[row.Unit] = row.Allocated()
	}
	for i := range 25 {
		p := coverage.PaidBy{Value: fmt.Sprintf("CC-%d", 17+i), Sizes: map[metadata.Unit]coverage.Amount{}}
		for unit, a := range left {
			part := coverage.Amount{Count: (a.Count + 9) / 10, Size: (a.Size + 9) / 10}
			p.Sizes[unit] = part
			left[unit] = coverage.Amount{Count: a.Count - part.Count, Size: a.Size - part.Size}
		}
		r.Paid = append(r.Paid, p)
	}
	return r
}

// priced returns the report with monthly prices for a vCPU and a GiB.
func priced(r coverage.Report) coverage.Report {
	r.Prices = &coverage.Prices{Currency: "EUR", Source: "price list of October 2026"}
	per := map[metadata.Unit]float64{metadata.VCPU: 14.2, metadata.GiB: 0.09}
	at := func(a coverage.Amount, unit metadata.Unit) coverage.Amount {
		a.Cost = float64(a.Size) * per[unit]
		return a
	}
	rows := func(rows []coverage.Row) []coverage.Row {
		rows = slices.Clone(rows)
		for i, row := range rows {
			row.Status = maps.Clone(row.Status)
			for s, a := range row.Status {
				row.Status[s] = at(a, row.Unit)
			}
			row.Total, row.Paid = at(row.Total, row.Unit), at(row.Paid, row.Unit)
			rows[i] = row
		}
		return rows
	}
	r.Rows = rows(r.Rows)
	r.Projects = slices.Clone(r.Projects)
	for i, g := range r.Projects {
		r.Projects[i].Rows = rows(g.Rows)
	}
	for _, p := range r.Paid {
		for unit, a := range p.Sizes {
			p.Sizes[unit] = at(a, unit)
		}
	}
	for kind, a := range r.Orphans {
		r.Orphans[kind] = at(a, metadata.GiB)
	}
	return r
}

// With prices, the first sentence and the tables show costs, and the page names the source of the prices.
func TestMoney(t *testing.T) {
	text := written(t, priced(testReport(45)), page.IDNames, nil)
	for _, want := range []string{
		"<h1>86.4\u00a0% of compute is allocated; 13.6\u00a0%, about €3,760 a month, is not.</h1>", // 265 vCPU
		"30.5\u00a0%, about €237 a month, is not.",                                                 // 2,629 GiB
		"41 volumes with 8,200 GiB, about €738 a month, are attached to no server.",
		"; prices: price list of October 2026</p>", `<th scope="col" class="n">EUR a month</th>`, "It is not the bill.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if text := written(t, testReport(45), page.IDNames, nil); strings.Contains(text, "a month") ||
		!strings.Contains(text, "no prices: weighted by") {
		t.Error("a page without prices shows money")
	}
}

func plus(a, b coverage.Amount) coverage.Amount {
	return coverage.Amount{Count: a.Count + b.Count, Size: a.Size + b.Size}
}

// past returns a history of the 60 days before a report, with a gap and an incomplete run.
func past(r coverage.Report) []coverage.Point {
	var all []coverage.Point
	for day := 60; day > 0; day-- {
		if day > 30 && day < 38 {
			continue
		}
		p := r.Point()
		p.At, p.Complete = r.At.Add(-time.Duration(day)*24*time.Hour), day != 20
		p.Rows = append([]coverage.PointRow(nil), p.Rows...)
		lost := p.Rows[0].Total.Size * (day + day%7) / 500
		p.Rows[0].Allocated.Size -= lost
		p.Rows[0].OK.Count -= p.Rows[0].Total.Count * day / 500
		all = append(all, p)
	}
	return all
}

func written(t *testing.T, r coverage.Report, names page.Names, history []coverage.Point) string {
	t.Helper()
	var out bytes.Buffer
	if err := page.Write(&out, r, page.Options{Names: names, History: history}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var (
	barTable = regexp.MustCompile(`(?s)<th scope="col">Status</th>.*?</table>`)
	shares   = regexp.MustCompile(`([0-9.]+) %</td>`)
	widths   = regexp.MustCompile(`(?s)<svg class="bar".*?</svg>`)
	width    = regexp.MustCompile(` width="([0-9.]+)" height="40"`)
	outside  = regexp.MustCompile(`(?i)(?:src|href)="[^"#]*//|url\(|@import|https?://`)
)

func sum(t *testing.T, numbers [][]string) float64 {
	t.Helper()
	total := 0.0
	for _, n := range numbers {
		f, err := strconv.ParseFloat(n[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		total += f
	}
	return total
}

// The shares of a bar add up to 100.0 % after rounding, and its parts add up to its width.
func TestBarsAddUp(t *testing.T) {
	for _, projects := range []int{1, 3, 7, 40, 1000} {
		text := written(t, testReport(projects), page.IDNames, nil)
		tables, bars := barTable.FindAllString(text, -1), widths.FindAllString(text, -1)
		if len(tables) != 3 || len(bars) != 3 {
			t.Fatalf("%d tables, %d bars", len(tables), len(bars))
		}
		for i := range tables {
			if got := sum(t, shares.FindAllStringSubmatch(tables[i], -1)); math.Abs(got-100) > 1e-9 {
				t.Errorf("%d projects: shares of bar %d add up to %g", projects, i, got)
			}
			if got := sum(t, width.FindAllStringSubmatch(bars[i], -1)); math.Abs(got-1000) > 0.1 {
				t.Errorf("%d projects: parts of bar %d are %g wide", projects, i, got)
			}
		}
	}
}

func TestNames(t *testing.T) {
	r := testReport(30)
	id, name, approver := r.Projects[0].ID, r.Projects[0].Name, "m.weber"
	for names, want := range map[page.Names][4]bool{
		page.NoNames:   {false, false, false, false},
		page.IDNames:   {true, false, false, true},
		page.FullNames: {false, true, true, true},
	} {
		text := written(t, r, names, nil)
		if got := [4]bool{strings.Contains(text, id), strings.Contains(text, name), strings.Contains(text, ">ann."),
			strings.Contains(text, approver)}; got != want {
			t.Errorf("%s: id, name, owner, approver: %t, want %t", names, got, want)
		}
		if found := outside.FindString(text); found != "" {
			t.Errorf("%s: the page loads something external: %s", names, found)
		}
	}
}

func TestPageIncompleteAndEmpty(t *testing.T) {
	r := testReport(2)
	r.Complete, r.NotRead, r.Errors = false, 1, []string{"list the volumes: 500 <script>alert(1)</script>"}
	text := written(t, r, page.FullNames, nil)
	if !strings.Contains(text, "<strong>Incomplete:</strong> 1 list or resource could") ||
		strings.Contains(text, "<script>alert") {
		t.Error("the page does not say that it is incomplete, or has an error's markup")
	}
	empty := written(t, coverage.Report{At: now, Complete: true, Key: "owner"}, page.IDNames, nil)
	if !strings.Contains(empty, "There is nothing to allocate.") {
		t.Error("nothing about an empty fleet")
	}
}

// A large fleet's page stays below 2 MB.
func TestPageSize(t *testing.T) {
	for _, names := range []page.Names{page.IDNames, page.FullNames} {
		r := testReport(10_000)
		text := written(t, r, names, past(r))
		t.Logf("%s: %d bytes", names, len(text))
		if len(text) > 2_000_000 || strings.Count(text, "\n") > 5000 {
			t.Errorf("%s: %d bytes", names, len(text))
		}
	}
}
