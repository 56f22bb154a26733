package coverage

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudtagger/tagger/pkg/visible"
)

// By selects the grouping of the text report's second table.
type By string

// The values of By. With NotBy, there is no second table.
const (
	NotBy     By = ""
	ByProject By = "project"
	ByKey     By = "key"
	ByKind    By = "kind"
	ByOwner   By = "owner"
)

const (
	// maxNamed limits how many projects the line about unallocated resources names.
	maxNamed = 3
	// maxTextGroups limits how many projects or owners a text report shows; JSON has all.
	maxTextGroups = 50
	// maxLabel limits a name, and maxLine an error, in characters.
	maxLabel = 40
	maxLine  = 300
)

// Percent formats a share with one decimal. It never rounds up to 100, or down to 0.
func Percent(share float64) string {
	switch rounded := math.Round(share*10) / 10; {
	case rounded >= 100 && share < 100:
		return "99.9"
	case rounded <= 0 && share > 0:
		return "0.1"
	default:
		return fmt.Sprintf("%.1f", rounded)
	}
}

// Thousands formats a number with commas.
func Thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Numbered formats a number with its noun.
func Numbered(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return Thousands(n) + " " + more
}

func shortHash(s string) string { return s[:min(len(s), 8)] }

// label returns a group's name for a terminal.
func (g Group) label() string { return visible.Line(cmp.Or(g.Name, g.ID, "(none)"), maxLabel) }

// WriteText writes the report as text. minimum is as for [Report.Below]; a negative one is ignored.
func WriteText(w io.Writer, r Report, by By, minimum float64) error {
	b := &strings.Builder{}
	r.heading(b)
	b.WriteByte('\n')
	r.table(b, r.Rows)
	b.WriteByte('\n')
	r.details(b)
	switch by {
	case ByProject:
		r.groupTable(b, "PROJECT", r.Projects)
	case ByOwner:
		r.groupTable(b, "OWNER", r.Owners)
	case ByKey, ByKind:
		r.sums(b, by)
	}
	if below := r.Below(minimum); len(below) > 0 {
		slices.SortFunc(below, func(a, b Row) int {
			return cmp.Compare(Share(a.Status[OK].Count, a.Total.Count), Share(b.Status[OK].Count, b.Total.Count))
		})
		var parts []string
		for _, row := range below {
			share := Share(row.Status[OK].Count, row.Total.Count)
			text := Percent(share)
			if math.Round(share*10)/10 >= minimum {
				text = fmt.Sprintf("%.3f", share)
			}
			parts = append(parts, fmt.Sprintf("%s/%s %s %%", row.Key, row.Kind, text))
		}
		fmt.Fprintf(b, "FAIL  %s < %g %%\n", strings.Join(parts, ", "), minimum)
	}
	for line := range strings.Lines(b.String()) { // columns end in spaces
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func (r Report) heading(b *strings.Builder) {
	state := "complete read"
	if !r.Complete {
		b.WriteString("INCOMPLETE  ")
		state = Numbered(r.NotRead, "list or resource", "lists or resources") + " not read"
	}
	weight := "not weighted"
	if row, ok := leading(r.AllocationRows()); ok && row.Total.Size > 0 {
		weight = fmt.Sprintf("weighted by %s (no prices)", row.Unit)
		if r.Prices != nil {
			weight = fmt.Sprintf("weighted by %s", row.Unit)
		}
	}
	fmt.Fprintf(b, "%s  %d/%d projects, %s, rules %s, %s\n", r.At.Format("02 Jan 15:04 UTC"), r.ProjectsRead,
		r.ProjectsTotal, state, shortHash(r.Rules), weight)
	for _, e := range r.Errors {
		fmt.Fprintln(b, "not read  ", visible.Line(e, maxLine))
	}
	for _, n := range r.Notes {
		fmt.Fprintln(b, "note      ", visible.Line(n, maxLine))
	}
}

// table writes the rows in columns.
func (r Report) table(b *strings.Builder, rows []Row) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	since := ""
	if r.Changes != nil {
		since = "7 DAYS"
		if !r.Changes.Week {
			since = "SINCE " + strings.ToUpper(r.Changes.Since.Format("02 Jan"))
		}
	}
	fmt.Fprintln(t, "KEY\tKIND\tCOUNT\tOK\tMISSING\tDIFFERS\tPLACEHOLDER\tNOT-WRITABLE\tEXEMPT\tBY WEIGHT\t"+since)
	for _, row := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\n", row.Key, row.Kind, strings.Join(append(row.columns(), r.change(row)), "\t"))
	}
	_ = t.Flush() // a strings.Builder does not fail
}

// columns returns the figures of a row as text.
func (row Row) columns() []string {
	s := row.Status
	weight := "-"
	if row.Total.Size > 0 {
		weight = fmt.Sprintf("%s%% %s", Percent(Share(s[OK].Size, row.Total.Size)), row.Unit)
	}
	ok := "-"
	if row.Total.Count > 0 {
		ok = Percent(Share(s[OK].Count, row.Total.Count)) + "%"
	}
	return []string{
		fmt.Sprint(row.Total.Count), ok, fmt.Sprint(s[Missing].Count), fmt.Sprint(s[Differs].Count),
		fmt.Sprint(s[Placeholder].Count), fmt.Sprint(s[NotWritable].Count), fmt.Sprint(s[Exempt].Count), weight,
	}
}

// change returns a row's change in percentage points, "" if it is not known.
func (r Report) change(row Row) string {
	if r.Changes == nil {
		return ""
	}
	points, ok := r.Changes.Points[row.Key+"/"+string(row.Kind)]
	if !ok {
		return "-"
	}
	return Signed(points)
}

// Signed formats a change in percentage points with its sign.
func Signed(points float64) string {
	if math.Abs(points) < 0.05 {
		return "0.0"
	}
	return fmt.Sprintf("%+.1f", points)
}

// details writes the lines below the table.
func (r Report) details(b *strings.Builder) {
	if first, ok := leading(r.AllocationRows()); ok {
		total, none, of := first.Total.Size, first.Unallocated().Size, string(first.Unit)
		bySize := total > 0
		if !bySize {
			total, none, of = first.Total.Count, first.Unallocated().Count, string(first.Kind)+"s"
		}
		fmt.Fprintf(b, "unallocated  %s %% of %s", Percent(100-Share(total-none, total)), of)
		var parts []string
		others, rest := 0, 0
		for _, g := range r.Projects {
			amount := 0
			for _, row := range rowsOf(g.Rows, r.Key) {
				if row.Kind == first.Kind {
					a := row.Unallocated()
					amount = a.Count
					if bySize {
						amount = a.Size
					}
				}
			}
			switch {
			case amount == 0:
			case len(parts) < maxNamed:
				parts = append(parts, fmt.Sprintf("%s %s", g.label(), Percent(Share(amount, total))))
			default:
				others++
				rest += amount
			}
		}
		if others > 0 {
			parts = append(parts, fmt.Sprintf("%d others %s", others, Percent(Share(rest, total))))
		}
		if len(parts) > 0 {
			b.WriteString(": " + strings.Join(parts, ", "))
		}
		b.WriteByte('\n')
	}
	if r.Prices != nil {
		total, none := r.Costs()
		fmt.Fprintf(b, "estimate     %s of %s a month is not allocated (prices: %s)\n", r.Prices.About(none),
			strings.TrimPrefix(r.Prices.About(total), "about "), visible.Line(r.Prices.Source, maxLabel))
	}
	for _, row := range r.Rows {
		if a, ok := r.Orphans[row.Kind]; ok && a.Count > 0 {
			cost := ""
			if r.Prices != nil && r.Unpriced[row.Kind] == 0 {
				cost = ", " + r.Prices.About(a.Cost) + " a month"
			}
			fmt.Fprintf(b, "unattached   %s, %s %s%s\n", Numbered(a.Count, string(row.Kind), string(row.Kind)+"s"),
				Thousands(a.Size), row.Unit, cost)
			break
		}
	}
	fmt.Fprintln(b, "lost keys    "+r.Lost.text())
	exempt, self, soon, ended := 0, 0, 0, 0
	for _, row := range r.Rows {
		exempt += row.Status[Exempt].Count
		self += row.SelfExempt.Count
	}
	for _, x := range r.Exemptions {
		if x.EndsSoon {
			soon++
		}
		if x.Ended {
			ended++
		}
	}
	if exempt+self+soon+ended > 0 {
		fmt.Fprintf(b, "exempt       %d", exempt)
		if soon > 0 {
			fmt.Fprintf(b, ", %s within 14 days", exemptionsEnd(soon))
		}
		if ended > 0 {
			fmt.Fprintf(b, ", %d ended", ended)
		}
		if self > 0 {
			fmt.Fprintf(b, ", %d self-declared", self)
			if !r.SelfAccepted {
				b.WriteString(" (counted missing)")
			}
		}
		b.WriteByte('\n')
	}
}

// text describes how many keys were lost, and who removed them.
func (l *Lost) text() string {
	switch {
	case l == nil:
		return "unknown: give Tagger's records (--journal, --log)"
	case l.Unknown():
		return "unknown: the records do not cover this week"
	}
	text := Thousands(l.Count) + " this week"
	if late := l.Late(); late != "" {
		text += " (" + late + ")"
	}
	var parts []string
	if l.Count > 0 && !l.By[0].Known() {
		text += ", by unknown users"
	} else {
		parts = l.users()
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if l.LeftOut > 0 {
		text += fmt.Sprintf(" (%s records more than are compared)", Thousands(l.LeftOut))
	}
	return text
}

// Unknown reports that there are no records for the week.
func (l *Lost) Unknown() bool { return l.Compared == 0 && !l.To.After(l.Since) }

// Late returns when the log begins if it does not cover the whole week, and "" if it does or there is no log.
func (l *Lost) Late() string {
	if l.From.Sub(l.Since) <= time.Hour {
		return ""
	}
	return "the log begins " + l.From.Format("02 Jan 15:04 UTC")
}

// users lists who removed keys, as in "11 by user heat-svc (3f5a0c11…)". Users with one key each are counted together.
func (l *Lost) users() []string {
	var parts []string
	once, more, users, unknown := 0, 0, 0, 0
	for _, by := range l.By {
		switch {
		case !by.Known():
			unknown += by.Count
		case by.Others == 0 && by.Count == 1:
			once++
		case by.Others == 0 && len(parts) < maxNamed:
			parts = append(parts, fmt.Sprintf("%s by user %s", Thousands(by.Count), by.Label(true)))
		default:
			more += by.Count
			users += max(by.Others, 1)
		}
	}
	if users > 0 {
		parts = append(parts, fmt.Sprintf("%s by %d other users", Thousands(more), users))
	}
	if once > 0 {
		parts = append(parts, fmt.Sprintf("%d once", once))
	}
	if unknown > 0 {
		parts = append(parts, Thousands(unknown)+" by unknown users")
	}
	return parts
}

// Label returns a user's name with the beginning of the id, or only the id.
func (u User) Label(names bool) string {
	id := []rune(u.ID)
	if len(id) > 8 {
		id = append(id[:8:8], '…')
	}
	switch {
	case !names || u.Name == "":
		return visible.Line(u.ID, maxLabel)
	case u.ID == "" || u.ID == u.Name:
		return visible.Line(u.Name, maxLabel)
	}
	return visible.Line(fmt.Sprintf("%s (%s)", u.Name, string(id)), maxLabel+11)
}

func exemptionsEnd(n int) string {
	if n == 1 {
		return "1 exemption ends"
	}
	return fmt.Sprintf("%d exemptions end", n)
}

func (r Report) groupTable(b *strings.Builder, title string, groups []Group) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	b.WriteByte('\n')
	fmt.Fprintln(t, title+"\tKEY\tKIND\tCOUNT\tOK\tMISSING\tDIFFERS\tPLACEHOLDER\tNOT-WRITABLE\tEXEMPT\tBY WEIGHT")
	for _, g := range groups[:min(len(groups), maxTextGroups)] {
		for _, row := range g.Rows {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", g.label(), row.Key, row.Kind, strings.Join(row.columns(), "\t"))
		}
	}
	_ = t.Flush() // as above
	if more := len(groups) - maxTextGroups; more > 0 {
		fmt.Fprintf(b, "… %d more: -o json has all\n", more)
	}
}

// sums writes the rows summed by key or by kind. A key's kinds have different units, so only counts are summed.
func (r Report) sums(b *strings.Builder, by By) {
	sums := map[string]*Row{}
	var order []string
	for _, row := range r.Rows {
		name := row.Key
		if by == ByKind {
			name = string(row.Kind)
		}
		sum := sums[name]
		if sum == nil {
			sum = &Row{Unit: row.Unit}
			sums[name] = sum
			order = append(order, name)
		}
		sum.merge(row.Tally)
		if sum.Unit != row.Unit {
			sum.Total.Size = 0
		}
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	b.WriteByte('\n')
	fmt.Fprintln(t, strings.ToUpper(string(by))+"\tCOUNT\tOK\tMISSING\tDIFFERS\tPLACEHOLDER\tNOT-WRITABLE\tEXEMPT")
	for _, name := range order {
		columns := sums[name].columns()
		fmt.Fprintf(t, "%s\t%s\n", name, strings.Join(columns[:len(columns)-1], "\t"))
	}
	_ = t.Flush() // as above
}
