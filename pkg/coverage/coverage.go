// Package coverage counts how much of a fleet has the metadata that the rules require.
//
// [Read] lists the resources of a scope page by page, as a reconcile does, and assigns each resource a status for each
// key under required:. It returns a [Report] and stores no resource, so memory grows only with projects and keys. The
// other functions write a report as text, JSON and metrics, and keep its history. Package page writes it as HTML for
// finance.
//
// docs/coverage.md defines every figure.
package coverage

import (
	"maps"
	"slices"
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Status is the result for one required key on one resource. Each pair has exactly one status, so counts add up.
type Status string

// The statuses. A placeholder value is [Placeholder] even on a resource that cannot be written; [NotWritable] means no
// value at all.
const (
	// OK: the key or one of its aliases has an allowed value, equal to the expected value if there is one.
	OK Status = "ok"
	// Exempt: the key has no such value, and an exemption covers it.
	Exempt Status = "exempt"
	// Differs: the value is not the expected one, or is not allowed.
	Differs Status = "differs"
	// Placeholder: the value is one of the configured placeholders.
	Placeholder Status = "placeholder"
	// Missing: the key has no value, and the resource's metadata can be written.
	Missing Status = "missing"
	// NotWritable: the key has no value, and the resource is locked or in a state that refuses writes.
	NotWritable Status = "not_writable"
)

// Statuses returns the statuses in display order.
func Statuses() []Status {
	return []Status{OK, Exempt, Differs, Placeholder, Missing, NotWritable}
}

// Amount is a number of resources, their total size in the kind's unit, and their monthly cost at the given prices.
type Amount struct {
	Count int     `json:"count"`
	Size  int     `json:"size"`
	Cost  float64 `json:"cost,omitempty"`
}

func (a *Amount) add(size int, cost float64) {
	a.Count++
	a.Size += size
	a.Cost += cost
}

func (a *Amount) merge(b Amount) {
	a.Count += b.Count
	a.Size += b.Size
	a.Cost += b.Cost
}

// Tally holds the amounts of one key on one kind of resource, by status.
type Tally struct {
	Total  Amount            `json:"total"`
	Status map[Status]Amount `json:"status"`
	// Paid is the part of Exempt whose exemption names a payer (allocate_to).
	Paid Amount `json:"paid"`
	// Aliases is the part of OK under an alias of the key.
	Aliases Amount `json:"aliases"`
	// SelfExempt counts resources that have the key tagger-exempt but not the required one. They are part of Missing or
	// NotWritable, or of Exempt with self_exemption: accept.
	SelfExempt Amount `json:"self_exempt"`
}

// merge adds another tally, whose sizes must be in the same unit.
func (t *Tally) merge(u Tally) {
	if t.Status == nil {
		t.Status = map[Status]Amount{}
	}
	t.Total.merge(u.Total)
	t.Paid.merge(u.Paid)
	t.Aliases.merge(u.Aliases)
	t.SelfExempt.merge(u.SelfExempt)
	for s, a := range u.Status {
		sum := t.Status[s]
		sum.merge(a)
		t.Status[s] = sum
	}
}

// Allocated returns the amount that has a payer: a correct value, or an exemption that names one.
func (t Tally) Allocated() Amount {
	a := t.Status[OK]
	a.merge(t.Paid)
	return a
}

// Unallocated returns the total less [Tally.Allocated].
func (t Tally) Unallocated() Amount {
	a := t.Allocated()
	return Amount{t.Total.Count - a.Count, t.Total.Size - a.Size, max(0, t.Total.Cost-a.Cost)}
}

// Row is the tally of one required key on one kind.
type Row struct {
	Key  string         `json:"key"`
	Kind lifecycle.Kind `json:"kind"`
	Unit metadata.Unit  `json:"unit"`
	Tally
}

// Group holds the rows of one project or one owner.
type Group struct {
	// Name is a project's name, ID its id. An owner has an ID only: the value of its key.
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Owner is the value that more than half of the project's resources with the key owner share, "" without one.
	Owner string `json:"owner,omitempty"`
	Rows  []Row  `json:"rows"`
}

// ExemptionUse is an exemption and the resources that it covers.
type ExemptionUse struct {
	Name       string    `json:"name"`
	Keys       []string  `json:"keys"`
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	Ticket     string    `json:"ticket,omitempty"`
	AllocateTo string    `json:"allocate_to,omitempty"`
	Until      time.Time `json:"until"`
	// Ended reports that the exemption has expired, EndsSoon that it expires within [soon].
	Ended    bool `json:"ended,omitempty"`
	EndsSoon bool `json:"ends_soon,omitempty"`
	// Covered counts resources and keys together, so a resource can count more than once.
	Covered int `json:"covered"`
}

// soon is how long before its end an exemption is reported as ending.
const soon = 14 * 24 * time.Hour

// PaidBy is the amount allocated to one value of the allocation key.
type PaidBy struct {
	Value string                   `json:"value"`
	Sizes map[metadata.Unit]Amount `json:"sizes"`
}

// Cost returns the monthly cost.
func (p PaidBy) Cost() float64 {
	sum := 0.0
	for _, unit := range slices.Sorted(maps.Keys(p.Sizes)) { // fixed order: the same rounding every time
		sum += p.Sizes[unit].Cost
	}
	return sum
}

// costs returns the monthly cost of all resources in some rows, and of the unallocated ones.
func costs(rows []Row) (total, unallocated float64) {
	for _, row := range rows {
		total += row.Total.Cost
		unallocated += row.Unallocated().Cost
	}
	return total, unallocated
}

// Costs returns the monthly cost of the resources with a payer, and of those without one.
func (r Report) Costs() (total, unallocated float64) { return costs(r.AllocationRows()) }

// Report is the result of a run.
type Report struct {
	// At is the time at which reading began.
	At    time.Time `json:"at"`
	Cloud string    `json:"cloud"`
	Scope []string  `json:"scope"`
	// Rules is the hash of the rules.
	Rules string `json:"rules"`
	// Complete reports that everything in the scope was read. Otherwise Errors holds the first errors, and NotRead counts
	// the lists and resources that were not read.
	Complete bool     `json:"complete"`
	Errors   []string `json:"errors"`
	NotRead  int      `json:"not_read"`
	// Notes describe the limitations of a complete report's figures.
	Notes []string `json:"notes"`
	// ProjectsRead of ProjectsTotal projects were read completely. If one list covers every project, only projects with
	// resources are counted.
	ProjectsRead  int `json:"projects_read"`
	ProjectsTotal int `json:"projects_total"`
	// Key is the allocation key: its value names the payer.
	Key string `json:"key"`
	// Rows has a row for each required key and kind.
	Rows []Row `json:"rows"`
	// Projects has all projects, largest unallocated amount first. Owners is set only if requested.
	Projects []Group `json:"projects"`
	Owners   []Group `json:"owners,omitempty"`
	// Paid has the amount that each value of Key pays for, largest first.
	Paid []PaidBy `json:"paid"`
	// Prices are the prices that costs were computed from, nil without any; Unpriced counts resources without a price.
	Prices   *Prices                `json:"prices,omitempty"`
	Unpriced map[lifecycle.Kind]int `json:"unpriced,omitempty"`
	// Unsized counts resources of unknown size; their size is counted as 0.
	Unsized map[lifecycle.Kind]int `json:"unsized"`
	// Orphans counts resources without a parent where the kind can have one: volumes that are attached to no server.
	Orphans    map[lifecycle.Kind]Amount `json:"orphans"`
	Exemptions []ExemptionUse            `json:"exemptions"`
	// SelfAccepted reports that resources may exempt themselves (self_exemption: accept).
	SelfAccepted bool `json:"self_accepted,omitempty"`
	// Lost has the keys that Tagger wrote and that are absent now, nil without Tagger's records.
	Lost *Lost `json:"lost,omitempty"`
	// Changes compares with an earlier run, nil without one.
	Changes *Changes `json:"changes,omitempty"`
}

// AllocationRows returns the rows of the allocation key.
func (r Report) AllocationRows() []Row { return rowsOf(r.Rows, r.Key) }

// AllocationRows returns the rows of the allocation key.
func (g Group) AllocationRows(key string) []Row { return rowsOf(g.Rows, key) }

// UnallocatedCost returns the monthly cost of the unallocated resources.
func (g Group) UnallocatedCost(key string) float64 {
	_, cost := costs(g.AllocationRows(key))
	return cost
}

// leading returns the first of rows that has resources, false if none has.
func leading(rows []Row) (Row, bool) {
	for _, row := range rows {
		if row.Total.Count > 0 {
			return row, true
		}
	}
	return Row{}, false
}

func rowsOf(rows []Row, key string) []Row {
	var out []Row
	for _, row := range rows {
		if row.Key == key {
			out = append(out, row)
		}
	}
	return out
}

// Share returns part of whole in percent, 100 if whole is 0.
func Share(part, whole int) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * float64(part) / float64(whole)
}

// Below returns the rows in which fewer than minimum percent of the resources are OK.
func (r Report) Below(minimum float64) []Row {
	var out []Row
	for _, row := range r.Rows {
		if row.Total.Count > 0 && Share(row.Status[OK].Count, row.Total.Count) < minimum {
			out = append(out, row)
		}
	}
	return out
}
