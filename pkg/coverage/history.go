package coverage

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

// Point is one run in a history file, stored as one JSON object per line.
type Point struct {
	At       time.Time  `json:"at"`
	Complete bool       `json:"complete"`
	Rules    string     `json:"rules"`
	Key      string     `json:"key"`
	Rows     []PointRow `json:"rows"`
	// Worst has the unallocated share, in percent, of the projects with the largest shares, by id.
	Worst map[string]float64 `json:"worst"`
}

// PointRow is one row of a [Point].
type PointRow struct {
	Key       string         `json:"key"`
	Kind      lifecycle.Kind `json:"kind"`
	Total     Amount         `json:"total"`
	OK        Amount         `json:"ok"`
	Allocated Amount         `json:"allocated"`
}

const (
	// maxHistoryLine limits a line of a history in bytes, maxPoints how many of the latest runs are kept in memory.
	maxHistoryLine = 1 << 20
	maxPoints      = 5_000
	// maxWorst limits how many projects a [Point] has.
	maxWorst = 100
	// week is the preferred interval between compared runs.
	week = 7 * 24 * time.Hour
)

// Changes compares a run with an earlier one.
type Changes struct {
	// Since is the earlier run's time. Week reports that this run is the latest one at least a week older; otherwise it is
	// the oldest one in the history.
	Since time.Time `json:"since"`
	Week  bool      `json:"week"`
	// Points has the change in each row's OK share by count, in percentage points, by key/kind.
	Points map[string]float64 `json:"points"`
	// Projects has the change in the unallocated share, by id, for projects in both runs.
	Projects map[string]float64 `json:"projects"`
}

// Point returns the report's entry for a history.
func (r Report) Point() Point {
	p := Point{At: r.At, Complete: r.Complete, Rules: r.Rules, Key: r.Key, Worst: map[string]float64{}}
	for _, row := range r.Rows {
		p.Rows = append(p.Rows, PointRow{row.Key, row.Kind, row.Total, row.Status[OK], row.Allocated()})
	}
	for _, g := range r.Projects[:min(len(r.Projects), maxWorst)] {
		if share, ok := g.Share(r.Key); ok {
			p.Worst[g.ID] = share
		}
	}
	return p
}

// Share returns a project's unallocated share in percent, by size if sizes are known. It returns false without
// resources.
func (g Group) Share(key string) (float64, bool) {
	var total, none Amount
	rows := rowsOf(g.Rows, key)
	for _, row := range rows {
		if row.Unit == rows[0].Unit {
			total.merge(row.Total)
			none.merge(row.Unallocated())
		}
	}
	switch {
	case total.Size > 0:
		return Share(none.Size, total.Size), true
	case total.Count > 0:
		return Share(none.Count, total.Count), true
	}
	return 0, false
}

// ReadHistory reads the latest runs of a history file, oldest first. A missing file is an empty history. A line cut off
// by a crash is skipped.
func ReadHistory(path string) ([]Point, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer f.Close()
	var all []Point
	bad := 0
	scanner := bufio.NewScanner(f)
	scanner.Buffer(make([]byte, 0, 64<<10), maxHistoryLine)
	for scanner.Scan() {
		var p Point
		switch err := json.Unmarshal(scanner.Bytes(), &p); {
		case len(bytes.TrimSpace(scanner.Bytes())) == 0:
		case err != nil || p.At.IsZero():
			bad++
		default:
			all = append(all, p)
		}
		if len(all) > maxPoints {
			all = all[1:]
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read the history %s: %w", path, err)
	}
	if bad > 0 && len(all) == 0 {
		return nil, fmt.Errorf("read the history %s: it is not a history of tagger coverage", path)
	}
	// Overlapping runs and manually joined files leave points out of order.
	slices.SortStableFunc(all, func(a, b Point) int { return a.At.Compare(b.At) })
	return all, nil
}

// AppendHistory appends a run to a history file. It creates the file with mode 0600.
func AppendHistory(path string, p Point) error {
	line, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	// End a line that was cut off, so that this one is read on its own.
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	_, err = f.Write(append(line, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// Compare returns the change since an earlier complete run with the same key: the latest one that is at least a week
// old, or else the oldest. It returns nil without such a run.
func Compare(r Report, history []Point) *Changes {
	var before *Point
	old := false
	for i := range history {
		p := &history[i]
		if !p.Complete || p.Key != r.Key || !p.At.Before(r.At) {
			continue
		}
		if aged := r.At.Sub(p.At) >= week; before == nil || aged {
			before, old = p, aged
		}
	}
	if before == nil {
		return nil
	}
	c := &Changes{Since: before.At, Week: old, Points: map[string]float64{}, Projects: map[string]float64{}}
	now := r.Point()
	for _, row := range now.Rows {
		for _, was := range before.Rows {
			if was.Key == row.Key && was.Kind == row.Kind && was.Total.Count > 0 && row.Total.Count > 0 {
				c.Points[row.Key+"/"+string(row.Kind)] = Share(row.OK.Count, row.Total.Count) - Share(was.OK.Count, was.Total.Count)
			}
		}
	}
	for id, share := range now.Worst {
		if was, ok := before.Worst[id]; ok {
			c.Projects[id] = share - was
		}
	}
	return c
}
