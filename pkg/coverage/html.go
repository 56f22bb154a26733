package coverage

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Names says what a page calls projects and people by.
type Names string

// The values of Names. Without names projects are numbered, and nobody is named. IDs are those of the cloud; approvers of
// exemptions are named then, since the rules file names them. Servers and users are on no page.
const (
	NoNames   Names = "none"
	IDNames   Names = "id"
	FullNames Names = "full"
)

// PageOptions say how to write a page.
type PageOptions struct {
	Names Names
	// History has earlier runs, the oldest first.
	History []Point
}

const (
	// heatProjects is how many projects the heat map shows, worstProjects the table of the worst, paidRows that of who
	// pays, trendPoints the trend.
	heatProjects  = 40
	worstProjects = 10
	paidRows      = 20
	trendPoints   = 120
	// maxPageProjects is how many projects one can search for, maxPageData how many bytes their data has at most.
	maxPageProjects = 10_000
	maxPageData     = 1 << 20
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

// WriteHTML writes a page that needs no network: styles, script and charts are in it.
func WriteHTML(w io.Writer, r Report, o PageOptions) error {
	t, err := template.New("page.html").ParseFS(pageFiles, "page.html")
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	p := newPage(r, o)
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

// page is what the template shows.
type page struct {
	Style    template.CSS
	Script   template.JS
	Report   Report
	Date     string
	Sentence string
	Others   []string // sentences about the other kinds
	Weighted string
	Bars     []bar
	Trend    *trend
	Heat     heat
	Worst    []worstRow
	Since    string
	Paid     []paidRow
	PaidUnit []string
	PaidMore int
	Orphans  []string
	Exempt   []exemptRow
	Columns  []string // of the search
	Projects []any
	LeftOut  int
	Digest   string
	Named    bool
}

// segmentNames are what a page calls the parts of a bar, in their order.
var segmentNames = [...]struct{ class, name string }{
	{"ok", "has the key"}, {"paid", "exempt, with a payer"}, {"exempt", "exempt, no payer"}, {"differs", "another value"},
	{"placeholder", "placeholder"}, {"missing", "missing"}, {"locked", "not writable"},
}

// bar is a stacked bar: one required key on one kind.
type bar struct {
	Title    string
	Of       string
	Total    int
	Size     string // Total as text
	Segments []segment
	Summary  string
}

type segment struct {
	Class, Name   string
	X, Width      float64 // of barWidth
	Amount, Count int
	Percent       string
}

// barWidth is the width of a bar in its drawing's units.
const barWidth = 1000

// parts are a tally's amounts in the order of segmentNames. Together they are the total.
func (t Tally) parts() [len(segmentNames)]Amount {
	s := t.Status
	return [...]Amount{
		s[OK], t.Paid, {s[Exempt].Count - t.Paid.Count, s[Exempt].Size - t.Paid.Size}, s[Differs], s[Placeholder],
		s[Missing], s[NotWritable],
	}
}

// tenths splits 1000 tenths of a percent in proportion, so that the shares that are shown add up to exactly 100 %. What
// rounding leaves goes to the largest remainders.
func tenths(parts []int) []int {
	total := 0
	for _, n := range parts {
		total += n
	}
	out := make([]int, len(parts))
	if total == 0 {
		return out
	}
	left := 1000
	for i, n := range parts {
		out[i] = n * 1000 / total
		left -= out[i]
	}
	for ; left > 0; left-- {
		best := -1
		for i, n := range parts {
			if rest := n*1000 - out[i]*total; rest > 0 && (best < 0 || rest > parts[best]*1000-out[best]*total) {
				best = i
			}
		}
		out[best]++
	}
	return out
}

func newBar(row Row) bar {
	b := bar{Title: fmt.Sprintf("%s, %ss", row.Key, row.Kind), Of: string(row.Unit), Total: row.Total.Size}
	bySize := row.Total.Size > 0
	if !bySize {
		b.Of, b.Total = string(row.Kind)+"s", row.Total.Count
	}
	b.Size = thousands(b.Total)
	parts := row.parts()
	amounts := make([]int, len(parts))
	for i, a := range parts {
		if amounts[i] = a.Count; bySize {
			amounts[i] = a.Size
		}
	}
	shares := tenths(amounts)
	x := 0.0
	var words []string
	for i, n := range amounts {
		s := segment{Class: segmentNames[i].class, Name: segmentNames[i].name, X: x, Amount: n, Count: parts[i].Count}
		if b.Total > 0 {
			s.Width = barWidth * float64(n) / float64(b.Total)
		}
		x += s.Width
		s.Percent = fmt.Sprintf("%d.%d", shares[i]/10, shares[i]%10)
		if n > 0 {
			words = append(words, s.Percent+" % "+s.Name)
		}
		b.Segments = append(b.Segments, s)
	}
	b.Summary = strings.Join(words, ", ")
	return b
}

// trend is a line of the share that is allocated.
type trend struct {
	Points []trendPoint
	// Line is the line's points in the drawing, 600 wide and 160 high.
	Line string
	// Top and Bottom are the shares at the upper and the lower edge in percent.
	Top, Bottom string
	// Mean is weighted by how long each figure held.
	Mean     string
	From, To string
	// LeftOut says how many incomplete runs are not in it, "" for none.
	LeftOut string
}

type trendPoint struct {
	Date, Share string
	X, Y        float64
}

const trendWidth, trendHeight = 600, 160

// allocated is the share of a run that is allocated, in the first row of its key.
func (p Point) allocated() (float64, bool) {
	for _, row := range p.Rows {
		if row.Key != p.Key {
			continue
		}
		if row.Total.Size > 0 {
			return Share(row.Allocated.Size, row.Total.Size), true
		}
		if row.Total.Count > 0 {
			return Share(row.Allocated.Count, row.Total.Count), true
		}
		return 0, false
	}
	return 0, false
}

func newTrend(r Report, history []Point) *trend {
	t := &trend{}
	incomplete := 0
	type at struct {
		when  time.Time
		share float64
	}
	var all []at
	for _, p := range append(history[:len(history):len(history)], r.Point()) {
		share, ok := p.allocated()
		switch {
		case !p.Complete:
			incomplete++
		case ok && p.Key == r.Key && (len(all) == 0 || p.At.After(all[len(all)-1].when)):
			all = append(all, at{p.At, share})
		}
	}
	if len(all) < 2 {
		return nil
	}
	first, last := all[0].when, all[len(all)-1].when
	sum, low, high := 0.0, 100.0, 0.0
	for i, p := range all {
		if i+1 < len(all) {
			sum += p.share * all[i+1].when.Sub(p.when).Seconds()
		}
		low, high = math.Min(low, p.share), math.Max(high, p.share)
	}
	bottom, top := math.Max(0, math.Floor(low/5)*5), math.Min(100, math.Ceil(high/5)*5)
	if bottom == top {
		bottom = math.Max(0, top-5)
		top = bottom + 5
	}
	switch {
	case incomplete == 1:
		t.LeftOut = "One incomplete run is left out."
	case incomplete > 1:
		t.LeftOut = fmt.Sprintf("%d incomplete runs are left out.", incomplete)
	}
	step := max(1, (len(all)+trendPoints-1)/trendPoints)
	var line []string
	for i, p := range all {
		if i%step != 0 && i != len(all)-1 {
			continue
		}
		x := trendWidth * p.when.Sub(first).Seconds() / last.Sub(first).Seconds()
		y := trendHeight * (top - p.share) / (top - bottom)
		t.Points = append(t.Points, trendPoint{p.when.UTC().Format("2 Jan 2006 15:04"), percent(p.share), x, y})
		line = append(line, fmt.Sprintf("%.1f,%.1f", x, y))
	}
	t.Line, t.Mean = strings.Join(line, " "), percent(sum/last.Sub(first).Seconds())
	t.Top, t.Bottom = fmt.Sprintf("%g", top), fmt.Sprintf("%g", bottom)
	t.From, t.To = first.UTC().Format("2 Jan 2006"), last.UTC().Format("2 Jan 2006")
	return t
}

// heat is a map of the share that is ok, a line for each project and a column for each key and kind.
type heat struct {
	Columns       []heatColumn
	Rows          []heatRow
	Width, Height int
	More          int
}

type heatColumn struct {
	Key, Kind string
	X, Middle int
}

type heatRow struct {
	// Label fits into the map, Full is the whole label.
	Label, Full string
	Y, Middle   int
	Cells       []heatCell
}

type heatCell struct {
	Class, Text, Title string
	X, Middle          int
}

const heatLabel, heatCellWidth, heatCellHeight, heatHead = 150, 88, 26, 44

// heatClass is the colour of a share.
func heatClass(share float64) string {
	switch {
	case share >= 99:
		return "h4"
	case share >= 95:
		return "h3"
	case share >= 80:
		return "h2"
	case share >= 50:
		return "h1"
	}
	return "h0"
}

func newHeat(r Report, label func(int, Group) string) heat {
	h := heat{Width: heatLabel + heatCellWidth*len(r.Rows), More: max(0, len(r.Projects)-heatProjects)}
	for i, row := range r.Rows {
		x := heatLabel + i*heatCellWidth
		h.Columns = append(h.Columns, heatColumn{cut(row.Key, 11), string(row.Kind), x, x + heatCellWidth/2})
	}
	for n, g := range r.Projects[:min(len(r.Projects), heatProjects)] {
		y := heatHead + n*heatCellHeight
		line := heatRow{Label: cut(label(n, g), 18), Full: label(n, g), Y: y, Middle: y + heatCellHeight/2}
		for i, column := range r.Rows {
			cell := heatCell{Class: "none", Text: "–", Title: "no resources", X: h.Columns[i].X, Middle: h.Columns[i].Middle}
			for _, row := range g.Rows {
				if row.Key == column.Key && row.Kind == column.Kind {
					share := Share(row.Status[OK].Count, row.Total.Count)
					cell.Class, cell.Text = heatClass(share), percent(share)+" %"
					cell.Title = fmt.Sprintf("%d of %d %ss have %s", row.Status[OK].Count, row.Total.Count, row.Kind, row.Key)
				}
			}
			line.Cells = append(line.Cells, cell)
		}
		h.Rows = append(h.Rows, line)
	}
	h.Height = heatHead + len(h.Rows)*heatCellHeight + 2
	return h
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

type worstRow struct {
	Label, Owner, Amount, Share, Of, Change string
}

type paidRow struct {
	Value   string
	Amounts []string
	Share   string
}

type exemptRow struct {
	ExemptionUse
	Day, State string
}

func newPage(r Report, o PageOptions) page {
	label := func(n int, g Group) string {
		switch {
		case o.Names == NoNames:
			return fmt.Sprintf("project %d", n+1)
		case o.Names == FullNames && g.Name != "":
			return g.Name
		}
		return g.ID
	}
	p := page{Report: r, Date: r.At.Format("2 January 2006, 15:04 UTC"), Named: o.Names == FullNames}
	p.sentences(r)
	for _, row := range r.Rows {
		if row.Total.Count > 0 {
			p.Bars = append(p.Bars, newBar(row))
		}
	}
	p.Trend = newTrend(r, o.History)
	p.Heat = newHeat(r, label)
	p.worst(r, label)
	p.paid(r, o.Names)
	for _, row := range r.Rows {
		if a := r.Orphans[row.Kind]; a.Count > 0 && row.Key == firstKey(r.Rows, row) {
			p.Orphans = append(p.Orphans, fmt.Sprintf("%s %ss that no server has, %s %s", thousands(a.Count), row.Kind,
				thousands(a.Size), row.Unit))
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
	// Two pages with one digest come from the same run.
	figures, _ := json.Marshal(r) // maps, texts and numbers: it cannot fail
	sum := sha256.Sum256(figures)
	p.Digest = hex.EncodeToString(sum[:])
	return p
}

// firstKey is the key of the first row with the row's kind.
func firstKey(rows []Row, row Row) string {
	for _, other := range rows {
		if other.Kind == row.Kind {
			return other.Key
		}
	}
	return ""
}

// sentences say the main figures in words.
func (p *page) sentences(r Report) {
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
		text := fmt.Sprintf("%d.%d %% of %s is allocated; %d.%d %%, %s of %s %s, is not.", shares[0]/10, shares[0]%10,
			noun, shares[1]/10, shares[1]%10, thousands(total-allocated), thousands(total), what)
		if p.Sentence == "" {
			p.Sentence = text
		} else {
			p.Others = append(p.Others, text)
		}
	}
	if p.Sentence == "" {
		p.Sentence = "There is nothing to allocate."
	}
	p.Weighted = "No prices: every resource counts as one."
	if len(units) > 0 {
		p.Weighted = "No prices: weighted by " + strings.Join(units, ", ") + "."
	}
}

func (p *page) worst(r Report, label func(int, Group) string) {
	if r.Changes != nil {
		p.Since = r.Changes.Since.Format("2 Jan")
	}
	for n, g := range r.Projects[:min(len(r.Projects), worstProjects)] {
		a := g.unallocated(r.Key)
		share, ok := g.share(r.Key)
		if !ok || a.Count == 0 {
			continue
		}
		row := worstRow{
			Label: label(n, g), Owner: g.Owner, Amount: thousands(a.Size), Share: percent(share),
			Of: string(rowsOf(g.Rows, r.Key)[0].Unit),
		}
		if a.Size == 0 {
			row.Amount, row.Of = thousands(a.Count), "resources"
		}
		if r.Changes != nil {
			row.Change = "new"
			if points, ok := r.Changes.Projects[g.ID]; ok {
				row.Change = signed(points)
			}
		}
		p.Worst = append(p.Worst, row)
	}
}

func (p *page) paid(r Report, names Names) {
	var units []metadata.Unit
	totals := map[metadata.Unit]int{}
	for _, row := range r.AllocationRows() {
		if _, there := totals[row.Unit]; !there {
			units = append(units, row.Unit)
			p.PaidUnit = append(p.PaidUnit, string(row.Unit))
		}
		totals[row.Unit] += row.Total.Size
	}
	p.PaidMore = max(0, len(r.Paid)-paidRows)
	for i, x := range r.Paid[:min(len(r.Paid), paidRows)] {
		row := paidRow{Value: cut(x.Value, 60)}
		if names == NoNames {
			row.Value = fmt.Sprintf("payer %d", i+1)
		}
		for _, unit := range units {
			row.Amounts = append(row.Amounts, thousands(x.Sizes[unit].Size))
		}
		row.Share = percent(Share(x.Sizes[units[0]].Size, totals[units[0]]))
		p.Paid = append(p.Paid, row)
	}
}

// search makes the data of the search: a list for each project, with its label, what is not allocated, and the share that
// is ok in each column, null without resources.
func (p *page) search(r Report, label func(int, Group) string) {
	for _, row := range r.Rows {
		p.Columns = append(p.Columns, row.Key+", "+string(row.Kind)+"s")
	}
	size := 0
	for n, g := range r.Projects {
		a := g.unallocated(r.Key)
		item := []any{cut(label(n, g), 64), a.Count, a.Size}
		for _, column := range r.Rows {
			var share any
			for _, row := range g.Rows {
				if row.Key == column.Key && row.Kind == column.Kind {
					share = math.Floor(Share(row.Status[OK].Count, row.Total.Count)*10) / 10
				}
			}
			item = append(item, share)
		}
		text, _ := json.Marshal(item) // texts and numbers: it cannot fail
		if size += len(text) + 1; size > maxPageData || n >= maxPageProjects {
			p.LeftOut = len(r.Projects) - n
			return
		}
		p.Projects = append(p.Projects, item)
	}
}
