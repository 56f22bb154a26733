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

// Point is a run in a history file, one JSON object a line.
type Point struct {
	At       time.Time  `json:"at"`
	Complete bool       `json:"complete"`
	Rules    string     `json:"rules"`
	Key      string     `json:"key"`
	Rows     []PointRow `json:"rows"`
	// Worst has the share in percent that is not allocated in the worst projects, by id.
	Worst map[string]float64 `json:"worst"`
}

// PointRow is a row of a run.
type PointRow struct {
	Key       string         `json:"key"`
	Kind      lifecycle.Kind `json:"kind"`
	Total     Amount         `json:"total"`
	OK        Amount         `json:"ok"`
	Allocated Amount         `json:"allocated"`
}

const (
	// maxHistoryLine bounds a line of a history in bytes, maxPoints how many of the last runs are kept in memory.
	maxHistoryLine = 1 << 20
	maxPoints      = 5_000
	// maxWorst is how many projects a run in a history has.
	maxWorst = 100
	// week is what a run is compared over.
	week = 7 * 24 * time.Hour
)

// Changes compares a run with an earlier one.
type Changes struct {
	// Since is the earlier run's time. Week says that it is the last one at least a week before; otherwise it is the
	// oldest one there is.
	Since time.Time `json:"since"`
	Week  bool      `json:"week"`
	// Points has the change of each row's share that is ok, by count, in percentage points, by key/kind.
	Points map[string]float64 `json:"points"`
	// Projects has the change of the share that is not allocated, by project id, of those that both runs have.
	Projects map[string]float64 `json:"projects"`
}

// Point returns what a history keeps of the report.
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

// Share is how much of a project is not allocated in percent, by size where sizes are known; false without resources.
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

// ReadHistory reads the last runs of a history file, the oldest first. A file that does not exist has none. A line that
// a crash cut off is left out.
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
		return nil, fmt.Errorf("read the history %s: it is no history of tagger coverage", path)
	}
	// Runs that overlap, and files joined by hand, leave points out of order.
	slices.SortStableFunc(all, func(a, b Point) int { return a.At.Compare(b.At) })
	return all, nil
}

// AppendHistory adds a run to a history file, which it makes with mode 0600.
func AppendHistory(path string, p Point) error {
	line, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	// A line that was cut off must not swallow this one.
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

// Compare returns the change since an earlier complete run with the same key: the last one that is at least a week
// old, or else the oldest one. It is nil without such a run.
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
