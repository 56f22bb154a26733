package coverage

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
	"github.com/cloudtagger/tagger/pkg/rules"
)

// Limits for counts that grow with the metadata. The excess is counted as one group, others.
const (
	// maxGroups limits how many projects, and how many owners, are counted separately.
	maxGroups = 50_000
	// maxValues limits how many values of the allocation key are counted separately.
	maxValues = 1_000
	// others is the id of the group that holds the excess.
	others = "(others)"
)

// statusCount is how many statuses there are.
const statusCount = 6

// cell is a tally in progress. A project has one for each row.
type cell struct {
	status                    [statusCount]Amount
	paid, aliases, selfExempt Amount
}

func (c *cell) add(f Finding, status int) {
	size, cost := f.View.Size, f.Cost
	c.status[status].add(size, cost)
	if f.AllocateTo != "" {
		c.paid.add(size, cost)
	}
	if f.Alias != "" && f.Status == OK {
		c.aliases.add(size, cost)
	}
	if f.SelfExempt && f.Value == "" {
		c.selfExempt.add(size, cost)
	}
}

func (c *cell) tally() Tally {
	t := Tally{Status: map[Status]Amount{}, Paid: c.paid, Aliases: c.aliases, SelfExempt: c.selfExempt}
	for i, s := range Statuses() {
		t.Status[s] = c.status[i]
		t.Total.merge(c.status[i])
	}
	return t
}

// counted holds the cells of one project or owner.
type counted struct {
	name  string
	cells []cell
	owner majority
}

// majority finds the value that more than half of the resources have, in constant memory (Boyer-Moore vote).
type majority struct {
	value string
	votes int
	// seen counts the resources that have any value, with those that have this one since it was the candidate: a lower
	// bound.
	seen, with int
}

func (m *majority) vote(value string) {
	if value == "" {
		return
	}
	m.seen++
	switch {
	case m.votes == 0:
		m.value, m.votes, m.with = value, 1, 1
	case m.value == value:
		m.votes++
		m.with++
	default:
		m.votes--
	}
}

// result returns the value if more than half certainly have it, else "".
func (m *majority) result() string {
	if 2*m.with > m.seen {
		return m.value
	}
	return ""
}

// counter adds up findings.
type counter struct {
	rows     []Row // without tallies
	total    []cell
	projects map[string]*counted
	owners   map[string]*counted // nil if they were not asked for
	key      string
	paid     map[string]map[metadata.Unit]Amount
	covered  map[string]int // by exemption
	unsized  map[lifecycle.Kind]int
	orphans  map[lifecycle.Kind]Amount
	statuses map[Status]int
}

func newCounter(policy rules.Policy, key string, kinds []lifecycle.Kind, owners bool) *counter {
	c := &counter{
		projects: map[string]*counted{}, key: key, paid: map[string]map[metadata.Unit]Amount{}, covered: map[string]int{},
		unsized: map[lifecycle.Kind]int{}, orphans: map[lifecycle.Kind]Amount{}, statuses: map[Status]int{},
	}
	if owners {
		c.owners = map[string]*counted{}
	}
	for i, s := range Statuses() {
		c.statuses[s] = i
	}
	for _, r := range policy.Required {
		for _, kind := range kinds {
			if slices.Contains(r.Kinds, kind) {
				c.rows = append(c.rows, Row{Key: r.Key, Kind: kind, Unit: metadata.Kind(kind).Unit()})
			}
		}
	}
	c.total = make([]cell, len(c.rows))
	return c
}

// group returns the cells of a project or an owner.
func (c *counter) group(in map[string]*counted, id, name string) *counted {
	g := in[id]
	if g == nil {
		if len(in) >= maxGroups {
			id, name = others, ""
		}
		if g = in[id]; g == nil {
			g = &counted{name: name, cells: make([]cell, len(c.rows))}
			in[id] = g
		}
	}
	return g
}

// ownerKey is the key whose value names the responsible owner.
const ownerKey = "owner"

// resource counts a resource once, however many keys are required of its kind.
func (c *counter) resource(kind lifecycle.Kind, v metadata.View, projectName string, cost float64) {
	c.group(c.projects, v.Project, projectName).owner.vote(strings.TrimSpace(v.Metadata[ownerKey]))
	if v.Size == 0 {
		c.unsized[kind]++
	}
	// A volume that is attached to no server. A snapshot always has its volume.
	if k := metadata.Kind(kind); k.Parent() != "" && len(v.Parents) == 0 {
		a := c.orphans[kind]
		a.add(v.Size, cost)
		c.orphans[kind] = a
	}
}

func (c *counter) finding(f Finding) {
	row := slices.IndexFunc(c.rows, func(r Row) bool { return r.Key == f.Key && r.Kind == f.Kind })
	status := c.statuses[f.Status]
	c.total[row].add(f, status)
	c.group(c.projects, f.View.Project, f.ProjectName).cells[row].add(f, status)
	if c.owners != nil {
		c.group(c.owners, f.View.Metadata[ownerKey], "").cells[row].add(f, status)
	}
	if f.Exemption != "" {
		c.covered[f.Exemption]++
	}
	if f.Key != c.key {
		return
	}
	payer := f.AllocateTo
	if f.Status == OK {
		payer = f.Value
	}
	if payer == "" {
		return
	}
	if _, there := c.paid[payer]; !there {
		if len(c.paid) >= maxValues {
			payer = others
		}
		if c.paid[payer] == nil {
			c.paid[payer] = map[metadata.Unit]Amount{}
		}
	}
	a := c.paid[payer][c.rows[row].Unit]
	a.add(f.View.Size, f.Cost)
	c.paid[payer][c.rows[row].Unit] = a
}

// withTallies returns the rows, each with its cell's tally.
func (c *counter) withTallies(cells []cell) []Row {
	rows := slices.Clone(c.rows)
	for i := range rows {
		rows[i].Tally = cells[i].tally()
	}
	return rows
}

func (c *counter) groups(in map[string]*counted) []Group {
	all, unallocated := make([]Group, 0, len(in)), make(map[string]Amount, len(in)) // Cost is that of all kinds
	for id, g := range in {
		rows := slices.DeleteFunc(c.withTallies(g.cells), func(r Row) bool { return r.Total.Count == 0 })
		group := Group{ID: id, Name: g.name, Owner: g.owner.result(), Rows: rows}
		amount := group.Unallocated(c.key)
		amount.Cost = group.UnallocatedCost(c.key)
		all, unallocated[id] = append(all, group), amount
	}
	slices.SortFunc(all, func(a, b Group) int {
		x, y := unallocated[a.ID], unallocated[b.ID]
		return cmp.Or(cmp.Compare(y.Cost, x.Cost), cmp.Compare(y.Size, x.Size), cmp.Compare(y.Count, x.Count),
			cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Unallocated returns the unallocated amount in the unit of the key's first row.
func (g Group) Unallocated(key string) Amount {
	rows := rowsOf(g.Rows, key)
	var sum Amount
	for _, row := range rows {
		if row.Unit == rows[0].Unit {
			sum.merge(row.Unallocated())
		}
	}
	return sum
}

// report fills in a report's counts.
func (c *counter) report(r *Report) {
	r.Key = c.key
	r.Rows = c.withTallies(c.total)
	r.Projects = c.groups(c.projects)
	if c.owners != nil {
		r.Owners = c.groups(c.owners)
	}
	r.Unsized, r.Orphans = c.unsized, c.orphans
	for _, value := range slices.Sorted(maps.Keys(c.paid)) {
		r.Paid = append(r.Paid, PaidBy{value, c.paid[value]})
	}
	if rows := r.AllocationRows(); len(rows) > 0 {
		unit := rows[0].Unit
		slices.SortStableFunc(r.Paid, func(a, b PaidBy) int {
			return cmp.Or(cmp.Compare(b.Cost(), a.Cost()), cmp.Compare(b.Sizes[unit].Size, a.Sizes[unit].Size))
		})
	}
}
