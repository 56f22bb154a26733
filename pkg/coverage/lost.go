package coverage

import (
	"cmp"
	"slices"
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

const (
	// maxTrail is how many keys of resources a trail remembers, some 150 bytes each. What is beyond is counted.
	maxTrail = 500_000
	// maxRemovers is how many users who removed keys are counted each by itself, maxLostKeys how many lost keys a report
	// lists.
	maxRemovers = 100
	maxLostKeys = 1_000
)

// User is who removed keys. The zero value is a user who is not known.
type User struct {
	ID   string `json:"user_id"`
	Name string `json:"user_name,omitempty"`
}

// Trail is what Tagger's own records, its journals and its log, say about keys of the last week: which ones it wrote,
// and which ones it saw others remove. Records can come in any order. Not safe for concurrent use.
type Trail struct {
	since    time.Time
	from, to time.Time
	// resources has the keys of each resource by its id.
	resources map[string][]keyTrail
	names     map[string]string // each text once
	size      int
	leftOut   int
}

// keyTrail is the newest that is known of a key of a resource.
type keyTrail struct {
	key string
	// wrote is when Tagger last wrote the key, took when it last removed it itself, removed when it last saw another user
	// remove it, in nanoseconds since 1970; 0 for never.
	wrote, took, removed int64
	by                   User
}

// NewTrail returns the trail of the week before now.
func NewTrail(now time.Time) *Trail {
	return &Trail{since: now.Add(-week).UTC(), resources: map[string][]keyTrail{}, names: map[string]string{}}
}

// Covers notes that there is a log of a time. Journals say nothing about the time between runs.
func (t *Trail) Covers(at time.Time) {
	if t.from.IsZero() || at.Before(t.from) {
		t.from = at.UTC()
	}
	if at.After(t.to) {
		t.to = at.UTC()
	}
}

// Wrote notes that Tagger wrote keys of a resource.
func (t *Trail) Wrote(id string, keys []string, at time.Time) {
	t.note(id, keys, at, func(k *keyTrail, at int64) { k.wrote = max(k.wrote, at) })
}

// Took notes that Tagger itself removed keys of a resource.
func (t *Trail) Took(id string, keys []string, at time.Time) {
	t.note(id, keys, at, func(k *keyTrail, at int64) { k.took = max(k.took, at) })
}

// Removed notes that another user removed keys that Tagger had written, this week or long before.
func (t *Trail) Removed(id string, keys []string, at time.Time, by User) {
	by = User{t.once(by.ID), t.once(by.Name)}
	t.note(id, keys, at, func(k *keyTrail, at int64) {
		if at >= k.removed {
			k.removed, k.by = at, by
		}
	})
}

// once returns the text as it was kept when it came first.
func (t *Trail) once(s string) string {
	if kept, ok := t.names[s]; ok {
		return kept
	}
	if len(t.names) < maxTrail {
		t.names[s] = s
	}
	return s
}

func (t *Trail) note(id string, keys []string, at time.Time, set func(*keyTrail, int64)) {
	if at.Before(t.since) || id == "" {
		return
	}
	for _, key := range keys {
		known := t.resources[id]
		i := slices.IndexFunc(known, func(k keyTrail) bool { return k.key == key })
		if i < 0 {
			if t.size >= maxTrail {
				t.leftOut++
				continue
			}
			t.size++
			i = len(known)
			known = append(known, keyTrail{key: t.once(key)})
			t.resources[id] = known
		}
		set(&known[i], at.UnixNano())
	}
}

// Lost has the keys that Tagger wrote and that are absent now: those that it wrote in the last week, and those that it
// saw removed in it. Resources that are deleted, or were not read, do not count; neither do keys that Tagger removed
// itself.
type Lost struct {
	// Since is a week before the run, From and To the first and the last time in the log, zero without one.
	Since time.Time `json:"since"`
	From  time.Time `json:"from,omitzero"`
	To    time.Time `json:"to,omitzero"`
	// Compared is how many keys of resources the records are about.
	Compared int `json:"compared"`
	// Count counts keys, Resources the resources that lack at least one.
	Count     int `json:"count"`
	Resources int `json:"resources"`
	// By has who removed them, the one with the most first; who is not known comes last.
	By     []LostBy       `json:"by"`
	PerKey map[string]int `json:"per_key"`
	// Keys has the first of them.
	Keys []LostKey `json:"keys"`
	// LeftOut counts records beyond what is remembered.
	LeftOut int `json:"left_out,omitempty"`
}

// LostBy is how many keys one user removed, and when last.
type LostBy struct {
	User
	// Others is how many users are counted here together, 0 for one.
	Others int            `json:"others,omitempty"`
	Count  int            `json:"count"`
	PerKey map[string]int `json:"per_key"`
	Last   time.Time      `json:"last,omitzero"`
}

// LostKey is one key that is absent from a resource.
type LostKey struct {
	Kind    lifecycle.Kind `json:"kind"`
	ID      string         `json:"id"`
	Project string         `json:"project"`
	Key     string         `json:"key"`
	// Written is when Tagger wrote it, zero for more than a week ago; Removed when Tagger saw it removed, zero for never.
	Written time.Time `json:"written,omitzero"`
	Removed time.Time `json:"removed,omitzero"`
	User
}

// Known reports whether it is known who removed the keys.
func (b LostBy) Known() bool { return b.Others > 0 || b.User != User{} }

// loss counts lost keys while resources are read.
type loss struct {
	trail *Trail
	lost  Lost
	by    map[User]*LostBy
}

func newLoss(t *Trail) *loss {
	return &loss{trail: t, by: map[User]*LostBy{}, lost: Lost{PerKey: map[string]int{}, By: []LostBy{}, Keys: []LostKey{}}}
}

// look compares a resource with the trail.
func (l *loss) look(kind lifecycle.Kind, v metadata.View) {
	if l.trail == nil {
		return
	}
	lostAny := false
	for _, k := range l.trail.resources[v.ID] {
		if v.Metadata[k.key] != "" || k.took > max(k.wrote, k.removed) || max(k.wrote, k.removed) == 0 {
			continue
		}
		lostAny = true
		lost := LostKey{Kind: kind, ID: v.ID, Project: v.Project, Key: k.key, Written: moment(k.wrote)}
		if k.removed >= k.wrote {
			lost.Removed, lost.User = moment(k.removed), k.by
		}
		l.lost.Count++
		l.lost.PerKey[k.key]++
		if len(l.lost.Keys) < maxLostKeys {
			l.lost.Keys = append(l.lost.Keys, lost)
		}
		by := l.by[lost.User]
		if by == nil {
			by = &LostBy{User: lost.User, PerKey: map[string]int{}}
			l.by[lost.User] = by
		}
		by.Count++
		by.PerKey[k.key]++
		if lost.Removed.After(by.Last) {
			by.Last = lost.Removed
		}
	}
	if lostAny {
		l.lost.Resources++
	}
}

func moment(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}

// result is what was counted, nil without a trail.
func (l *loss) result() *Lost {
	if l.trail == nil {
		return nil
	}
	out := l.lost
	out.Since, out.From, out.To, out.LeftOut = l.trail.since, l.trail.from, l.trail.to, l.trail.leftOut
	out.Compared = l.trail.size
	known := func(b LostBy) int {
		if b.Known() {
			return 0
		}
		return 1
	}
	for _, by := range l.by {
		out.By = append(out.By, *by)
	}
	slices.SortFunc(out.By, func(a, b LostBy) int {
		return cmp.Or(cmp.Compare(known(a), known(b)), cmp.Compare(b.Count, a.Count), cmp.Compare(a.ID, b.ID),
			cmp.Compare(a.Name, b.Name))
	})
	if over := len(out.By) - maxRemovers; over > 0 {
		rest := LostBy{PerKey: map[string]int{}}
		keep := out.By[:0:0]
		for i, by := range out.By {
			if i < maxRemovers-1 || !by.Known() {
				keep = append(keep, by)
				continue
			}
			rest.Others++
			rest.Count += by.Count
			for key, n := range by.PerKey {
				rest.PerKey[key] += n
			}
			if by.Last.After(rest.Last) {
				rest.Last = by.Last
			}
		}
		out.By = slices.Insert(keep, min(len(keep), maxRemovers-1), rest)
	}
	return &out
}
