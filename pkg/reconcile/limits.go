package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Limits bound what a plan may write. They are checked before the first write.
type Limits struct {
	// Resources limits how many resources may be written, Percent their share of the resources read.
	Resources int
	Percent   float64
	// OneValue limits the percentage of the resources read that may receive the same value.
	OneValue float64
	// PerProject limits the percentage of a project's resources that may be written, if more than fewPerProject.
	PerProject float64
	// Confirm lifts all limits except PerProject if it equals the number of resources to write; -1 lifts nothing.
	Confirm int
}

// DefaultLimits returns the limits of the command.
func DefaultLimits() Limits {
	return Limits{Resources: 100, Percent: 10, OneValue: 20, PerProject: 25, Confirm: -1}
}

const (
	// fewPerProject is the number of a project's resources that may always be written, whatever their share.
	fewPerProject = 10
	// maxValues limits the different values counted at a time. A value whose share exceeds 1/maxValues is never
	// missed.
	maxValues = 1000
)

// Check is one limit, with the plan's figure.
type Check struct {
	Name    string `json:"name"`
	Flag    string `json:"flag"`
	Planned string `json:"planned"`
	Limit   string `json:"limit"`
	Over    bool   `json:"over"`
	// Lifted reports that the plan exceeds the limit and --confirm lifts it.
	Lifted bool `json:"lifted,omitempty"`
}

// LimitError reports that a limit stopped a plan before the first write.
type LimitError struct {
	Checks []Check
	// Resources is the number of resources that would be written, Confirm the confirmed number, -1 for none.
	Resources, Confirm int
	// Over reports that the plan exceeds a limit that Confirm can lift.
	Over bool
	// Project is the project with the largest share, "" if the plan keeps PerProject.
	Project string
	// Share is that project's share.
	Share float64
}

func (e *LimitError) Error() string {
	var over []string
	for _, c := range e.Checks {
		if c.Over && !c.Lifted {
			over = append(over, fmt.Sprintf("%s: %s, the limit is %s (%s)", c.Name, c.Planned, c.Limit, c.Flag))
		}
	}
	text := "stopped before the first write: " + strings.Join(over, "; ")
	if e.Confirm >= 0 && e.Confirm != e.Resources {
		text += fmt.Sprintf("; --confirm %d was given, but %d resources would be written", e.Confirm, e.Resources)
	}
	return text
}

// Measures are the figures of a plan that limits apply to.
type Measures struct {
	Resources, Keys int
	// Projects counts the resources by project.
	Projects map[string]int
	// Values has the most frequent values, the most frequent first.
	Values []ValueCount
	// Others counts the other values of each key, as far as they were counted.
	Others map[string]int
}

// ValueCount is a value of a key and the number of resources that would get it.
type ValueCount struct {
	Key, Value string
	Count      int
	// Project is their common project, "" if there are several.
	Project string
}

// Measure counts the entries of a plan for which selected returns true. It reads the plan twice, so that counts are
// exact and memory does not depend on the number of entries.
func Measure(path string, selected func(n int, e Entry) bool) (Measures, error) {
	m := Measures{Projects: map[string]int{}, Others: map[string]int{}}
	frequent := map[[2]string]int{}
	err := Entries(path, func(n int, e Entry) (bool, error) {
		if !selected(n, e) {
			return true, nil
		}
		m.Resources++
		m.Keys += len(e.Keys)
		m.Projects[e.Project]++
		for key, r := range e.Keys {
			if r.To == nil {
				continue
			}
			pair := [2]string{key, *r.To}
			if _, ok := frequent[pair]; ok || len(frequent) < maxValues {
				frequent[pair]++
				continue
			}
			// Misra and Gries, Finding repeated elements (1982).
			for other := range frequent {
				if frequent[other]--; frequent[other] == 0 {
					delete(frequent, other)
				}
			}
		}
		return true, nil
	})
	if err != nil {
		return m, err
	}
	counts := map[[2]string]*ValueCount{}
	for pair := range frequent {
		counts[pair] = &ValueCount{Key: pair[0], Value: pair[1]}
	}
	several := map[[2]string]bool{}
	err = Entries(path, func(n int, e Entry) (bool, error) {
		if !selected(n, e) {
			return true, nil
		}
		for key, r := range e.Keys {
			if r.To == nil {
				continue
			}
			pair := [2]string{key, *r.To}
			if c := counts[pair]; c != nil {
				if c.Count++; c.Count > 1 && c.Project != e.Project {
					several[pair] = true
				}
				c.Project = e.Project
			}
		}
		return true, nil
	})
	for pair, c := range counts {
		if several[pair] {
			c.Project = ""
		}
		m.Values = append(m.Values, *c)
		m.Others[c.Key]++
	}
	slices.SortFunc(m.Values, func(a, b ValueCount) int {
		return cmp.Or(b.Count-a.Count, strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
	})
	return m, err
}

// Check compares a plan with each limit. It returns a [*LimitError] unless every limit is kept or lifted.
func (l Limits) Check(h Header, m Measures) ([]Check, error) {
	total := h.Total()
	share := func(n, of int) float64 {
		if of <= 0 {
			return 100 * float64(min(n, 1))
		}
		return 100 * float64(n) / float64(of)
	}
	lifted := l.Confirm == m.Resources
	e := &LimitError{Resources: m.Resources, Confirm: l.Confirm}
	add := func(name, flag, planned, limit string, over, lifted bool) {
		e.Checks = append(
			e.Checks,
			Check{Name: name, Flag: flag, Planned: planned, Limit: limit, Over: over, Lifted: over && lifted},
		)
	}
	add(
		"resources",
		"--max",
		fmt.Sprintf("%d planned", m.Resources),
		fmt.Sprint(l.Resources),
		m.Resources > l.Resources,
		lifted,
	)
	all := share(m.Resources, total)
	add("share", "--max-percent", percent(all), percent(l.Percent), all > l.Percent, lifted)
	value, most := 0.0, ""
	if len(m.Values) > 0 {
		v := m.Values[0]
		value, most = share(v.Count, total), fmt.Sprintf(" (%s %s)", v.Key, v.Value)
	}
	add("one value", "--confirm lifts it", percent(value)+most, percent(l.OneValue), value > l.OneValue, lifted)
	project, projectShare := "", 0.0
	for _, id := range slices.Sorted(maps.Keys(m.Projects)) {
		if n := m.Projects[id]; n > fewPerProject && share(n, h.Projects[id].Listed) > projectShare {
			project, projectShare = id, share(n, h.Projects[id].Listed)
		}
	}
	planned := percent(projectShare)
	if project != "" {
		planned = h.ProjectName(project) + " " + planned
	}
	e.Over = !lifted && slices.ContainsFunc(e.Checks, func(c Check) bool { return c.Over })
	add("per project", "--max-per-project", planned, percent(l.PerProject), projectShare > l.PerProject, false)
	if projectShare > l.PerProject {
		e.Project, e.Share = project, projectShare
	}
	mismatch := l.Confirm >= 0 && !lifted // the confirmed number differs from the plan's
	if mismatch || slices.ContainsFunc(e.Checks, func(c Check) bool { return c.Over && !c.Lifted }) {
		return e.Checks, e
	}
	return e.Checks, nil
}

// CheckLeft checks the limits for the entries of a plan that its journal has not finished; without a journal, that is
// all of them.
func CheckLeft(path string, l Limits) ([]Check, error) {
	h, err := ReadHeader(path)
	if err != nil {
		return nil, err
	}
	before, err := readPast(journalPath(path, h))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	measures, err := Measure(path, func(n int, _ Entry) bool { return !before.done.has(n) })
	if err != nil {
		return nil, err
	}
	return l.Check(h, measures)
}

func percent(share float64) string {
	if share == float64(int(share)) {
		return fmt.Sprintf("%d %%", int(share))
	}
	return fmt.Sprintf("%.1f %%", share)
}
