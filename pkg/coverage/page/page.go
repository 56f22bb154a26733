// Package page writes a coverage report for finance as one self-contained HTML page, readable offline.
package page

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Names selects how a page identifies projects and people.
type Names string

// The values of Names. Without names, projects are numbered and users are left out. With the cloud's ids, the approvers
// of exemptions are named too, because the rules file names them. A page never names servers.
const (
	NoNames   Names = "none"
	IDNames   Names = "id"
	FullNames Names = "full"
)

// Options configure a page.
type Options struct {
	Names Names
	// History has the earlier runs, oldest first.
	History []coverage.Point
}

const (
	// Limits of what a page shows: projects in the heat map, projects in the table of the worst, rows about lost keys,
	// rows about payers, and points in the trend.
	heatProjects  = 40
	worstProjects = 10
	lostRows      = 10
	paidRows      = 20
	trendPoints   = 120
	// maxPageProjects limits the projects in the search, maxPageData their data in bytes.
	maxPageProjects = 10_000
	maxPageData     = 1 << 20
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

// Write writes a page with its styles, script and charts inline, so that it needs no network.
func Write(w io.Writer, r coverage.Report, o Options) error {
	t, err := template.New("page.html").ParseFS(pageFiles, "page.html")
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	p := newContent(r, o)
	for name, to := range map[string]func(string){
		"page.css": func(s string) { p.Style = template.CSS(s) }, //nolint:gosec // our own files
		"page.js":  func(s string) { p.Script = template.JS(s) }, //nolint:gosec // as above
	} {
		text, err := pageFiles.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read the page's files: %w", err)
		}
		to(string(text))
	}
	return t.Execute(w, p)
}

// content is the data of the template.
type content struct {
	Style    template.CSS
	Script   template.JS
	Report   coverage.Report
	NotRead  string
	Date     string
	Sentence string
	Others   []string // sentences about the other kinds, and about unattached volumes
	Weighted string
	Money    string // the currency, "" without prices
	Bars     []bar
	Trend    *trend
	Heat     heat
	Worst    []worstRow
	Since    string
	Lost     *lostKeys
	Paid     []paidRow
	PaidUnit []string
	PaidMore int
	Exempt   []exemptRow
	Columns  []string // of the search
	Projects []any
	LeftOut  int
	Digest   string
	Named    bool
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func newContent(r coverage.Report, o Options) content {
	label := func(n int, g coverage.Group) string {
		switch {
		case o.Names == NoNames:
			return fmt.Sprintf("project %d", n+1)
		case o.Names == FullNames && g.Name != "":
			return g.Name
		}
		return g.ID
	}
	p := content{Report: r, Date: r.At.Format("2 January 2006, 15:04 UTC"), Named: o.Names == FullNames}
	p.NotRead = coverage.Numbered(r.NotRead, "list or resource", "lists or resources")
	p.sentences(r)
	for _, row := range r.Rows {
		if row.Total.Count > 0 {
			p.Bars = append(p.Bars, newBar(row))
		}
	}
	p.Trend = newTrend(r, o.History)
	p.Heat = newHeat(r, label)
	p.worst(r, label)
	p.Lost = newLostKeys(r.Lost, o.Names)
	p.paid(r, o.Names)
	for _, row := range r.Rows {
		if a := r.Orphans[row.Kind]; a.Count > 0 && row.Key == firstKey(r.Rows, row) {
			text := fmt.Sprintf("%s with %s %s", coverage.Numbered(a.Count, string(row.Kind), string(row.Kind)+"s"),
				coverage.Thousands(a.Size), row.Unit)
			if r.Prices != nil && r.Unpriced[row.Kind] == 0 {
				text += ", " + r.Prices.About(a.Cost) + " a month,"
			}
			p.Others = append(p.Others, fmt.Sprintf("%s %s attached to no %s.", text, isOrAre(a.Count),
				metadata.Kind(row.Kind).Parent()))
		}
	}
	for _, x := range r.Exemptions {
		row := exemptRow{ExemptionUse: x, Day: x.Until.Format("2 Jan 2006")}
		switch {
		case x.Ended:
			row.State = "ended"
		case x.EndsSoon:
			row.State = "ends soon"
		}
		if o.Names == NoNames {
			row.By = ""
		}
		p.Exempt = append(p.Exempt, row)
	}
	p.search(r, label)
	// Pages with the same digest come from the same run.
	figures, _ := json.Marshal(r) // only maps, strings and numbers: cannot fail
	sum := sha256.Sum256(figures)
	p.Digest = hex.EncodeToString(sum[:])
	return p
}

// firstKey returns the key of the first row with the row's kind.
func firstKey(rows []coverage.Row, row coverage.Row) string {
	for _, other := range rows {
		if other.Kind == row.Kind {
			return other.Key
		}
	}
	return ""
}

// unbroken keeps a number and its percent sign on one line.
func unbroken(text string) string { return strings.ReplaceAll(text, " %", "\u00a0%") }

// sentences returns the main figures as sentences.
func (p *content) sentences(r coverage.Report) {
	nouns := map[metadata.Unit]string{metadata.VCPU: "compute", metadata.GiB: "storage"}
	var units []string
	for i, row := range r.AllocationRows() {
		total, allocated, what := row.Total.Size, row.Allocated().Size, string(row.Unit)
		noun := cmp.Or(nouns[row.Unit], string(row.Kind)+"s")
		if i > 0 {
			noun = string(row.Kind) + " " + noun
		}
		if total == 0 {
			total, allocated, what = row.Total.Count, row.Allocated().Count, string(row.Kind)+"s"
			noun = "all " + what
		} else {
			units = append(units, string(row.Unit)+" of "+string(row.Kind)+"s")
		}
		if total == 0 {
			continue
		}
		shares := tenths([]int{allocated, total - allocated})
		if shares[1] == 0 && allocated < total { // rounded up, but not all is allocated
			shares[0], shares[1] = 999, 1
		}
		rest := fmt.Sprintf("%s of %s %s", coverage.Thousands(total-allocated), coverage.Thousands(total), what)
		if r.Prices != nil && r.Unpriced[row.Kind] == 0 {
			rest = r.Prices.About(row.Unallocated().Cost) + " a month"
		}
		text := fmt.Sprintf("%d.%d %% of %s is allocated; %d.%d %%, %s, is not.", shares[0]/10, shares[0]%10, noun,
			shares[1]/10, shares[1]%10, rest)
		if allocated == total {
			text = fmt.Sprintf("All of %s is allocated: %s %s.", noun, coverage.Thousands(total), what)
		}
		if text = unbroken(text); p.Sentence == "" {
			p.Sentence = text
		} else {
			p.Others = append(p.Others, text)
		}
	}
	if p.Sentence == "" {
		p.Sentence = "There is nothing to allocate."
	}
	p.Weighted = "by number of resources"
	if len(units) > 0 {
		p.Weighted = "weighted by " + strings.Join(units, ", ")
	}
	if r.Prices == nil {
		p.Weighted = "no prices: " + p.Weighted
		return
	}
	p.Weighted += "; prices: " + r.Prices.Source
	p.Money = r.Prices.Currency
}
