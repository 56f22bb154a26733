// Package coverage counts how much of a fleet has the metadata that the rules require.
//
// [Read] lists the resources of a scope page by page, as a reconcile does, and judges each resource for each key that
// required: names. It returns a [Report] and keeps nothing of a single resource, so memory grows with projects and keys
// only. The other functions write a report as text, JSON and metrics, and keep its history. Package page writes it for
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

// Status is what is to be said of one required key on one resource. Each has exactly one, so that counts add up.
type Status string

// The statuses. A value that is a placeholder is [Placeholder] even on a resource that cannot be written; [NotWritable]
// has no value at all.
const (
	// OK has an allowed value, and the expected one where there is one, under the key or one of its aliases.
	OK Status = "ok"
	// Exempt has no such value, and an exemption covers it.
	Exempt Status = "exempt"
	// Differs has a value that is not the expected one, or is not allowed.
	Differs Status = "differs"
	// Placeholder has a value that stands for none.
	Placeholder Status = "placeholder"
	// Missing has no value. Metadata can be written on the resource.
	Missing Status = "missing"
	// NotWritable has no value, and the resource is locked or in a state in which its metadata cannot be written.
	NotWritable Status = "not_writable"
)

// Statuses returns the statuses in the order in which they are shown.
func Statuses() []Status {
	return []Status{OK, Exempt, Differs, Placeholder, Missing, NotWritable}
}

// Amount is a number of resources, their size together in the kind's unit, and what they cost a month by the prices
// that were given.
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

// Tally has the amounts of one key on one kind of resource.
type Tally struct {
	Total  Amount            `json:"total"`
	Status map[Status]Amount `json:"status"`
	// Paid is the part of Exempt for which an exemption names who pays (allocate_to).
	Paid Amount `json:"paid"`
	// Aliases is the part of OK under an alias of the key.
	Aliases Amount `json:"aliases"`
	// SelfExempt counts resources that have the key tagger-exempt and not the required one. They are in Missing or
	// NotWritable, or with self_exemption: accept in Exempt.
	SelfExempt Amount `json:"self_exempt"`
}

// merge adds another tally. Its sizes must be in the same unit.
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

// Allocated is what someone pays for: the right value, or an exemption that names who pays.
func (t Tally) Allocated() Amount {
	a := t.Status[OK]
	a.merge(t.Paid)
	return a
}

// Unallocated is the rest.
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

// Group is the rows of a project, or of an owner.
type Group struct {
	// Name is a project's name, ID its id. An owner has an ID only: the value of its key.
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Owner is the value of the key owner that more than half of the project's resources with an owner have.
	Owner string `json:"owner,omitempty"`
	Rows  []Row  `json:"rows"`
}

// ExemptionUse is an exemption and what it covers.
type ExemptionUse struct {
	Name       string    `json:"name"`
	Keys       []string  `json:"keys"`
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	Ticket     string    `json:"ticket,omitempty"`
	AllocateTo string    `json:"allocate_to,omitempty"`
	Until      time.Time `json:"until"`
	// Ended says that it covers nothing any more, EndsSoon that it will within [Soon].
	Ended    bool `json:"ended,omitempty"`
	EndsSoon bool `json:"ends_soon,omitempty"`
	// Covered counts resources and keys together, so a resource can count more than once.
	Covered int `json:"covered"`
}

// Soon is how far ahead the end of an exemption is announced.
const Soon = 14 * 24 * time.Hour

// PaidBy is what is allocated to one value of the allocation key.
type PaidBy struct {
	Value string                   `json:"value"`
	Sizes map[metadata.Unit]Amount `json:"sizes"`
}

// Cost is what it costs a month.
func (p PaidBy) Cost() float64 {
	sum := 0.0
	for _, unit := range slices.Sorted(maps.Keys(p.Sizes)) { // in one order, so that it always rounds the same way
		sum += p.Sizes[unit].Cost
	}
	return sum
}

// costs are what all resources of some rows, and those that are not allocated, cost a month.
func costs(rows []Row) (total, unallocated float64) {
	for _, row := range rows {
		total += row.Total.Cost
		unallocated += row.Unallocated().Cost
	}
	return total, unallocated
}

// Costs are what all resources of the kinds that have a payer, and those without one, cost a month.
func (r Report) Costs() (total, unallocated float64) { return costs(r.AllocationRows()) }

// Report is what a run found.
type Report struct {
	// At is when reading began.
	At    time.Time `json:"at"`
	Cloud string    `json:"cloud"`
	Scope []string  `json:"scope"`
	// Rules is the hash of the rules.
	Rules string `json:"rules"`
	// Complete says that everything in the scope was read. Otherwise Errors has the first errors, and NotRead counts the
	// lists and resources that were not read.
	Complete bool     `json:"complete"`
	Errors   []string `json:"errors"`
	NotRead  int      `json:"not_read"`
	// Notes say what limits the figures of a complete report.
	Notes []string `json:"notes"`
	// ProjectsRead of ProjectsTotal projects were read completely. Where one list has every project's resources, those
	// with resources count.
	ProjectsRead  int `json:"projects_read"`
	ProjectsTotal int `json:"projects_total"`
	// Key is the key that says who pays.
	Key string `json:"key"`
	// Rows has a row for each required key and kind.
	Rows []Row `json:"rows"`
	// Projects has all projects, the one with the most unallocated first; Owners is there if it was asked for.
	Projects []Group `json:"projects"`
	Owners   []Group `json:"owners,omitempty"`
	// Paid has what each value of Key pays for, the largest first.
	Paid []PaidBy `json:"paid"`
	// Prices are those that costs are from, nil without; Unpriced counts resources for which there is none.
	Prices   *Prices                `json:"prices,omitempty"`
	Unpriced map[lifecycle.Kind]int `json:"unpriced,omitempty"`
	// Unsized counts resources whose size is not known; they weigh nothing.
	Unsized map[lifecycle.Kind]int `json:"unsized"`
	// Orphans are volumes that no server has.
	Orphans    map[lifecycle.Kind]Amount `json:"orphans"`
	Exemptions []ExemptionUse            `json:"exemptions"`
	// SelfAccepted says that resources may exempt themselves (self_exemption: accept).
	SelfAccepted bool `json:"self_accepted,omitempty"`
	// Lost has the keys that Tagger wrote and that are absent now, nil if its records were not given.
	Lost *Lost `json:"lost,omitempty"`
	// Changes compares with an earlier run, nil without one.
	Changes *Changes `json:"changes,omitempty"`
}

// AllocationRows returns the rows of the key that says who pays.
func (r Report) AllocationRows() []Row { return rowsOf(r.Rows, r.Key) }

// AllocationRows returns the rows of the key that says who pays.
func (g Group) AllocationRows(key string) []Row { return rowsOf(g.Rows, key) }

// UnallocatedCost is what the resources that are not allocated cost a month.
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

// Share is part of whole in percent, 100 of nothing.
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
