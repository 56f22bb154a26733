package coverage

import (
	"cmp"
	"slices"
	"time"

	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

const (
	// maxTrail limits how many keys of resources a trail keeps, about 150 bytes each. Later ones are only counted.
	maxTrail = 500_000
	// maxRemovers limits how many users who removed keys are counted separately, maxLostKeys how many lost keys a report
	// lists.
	maxRemovers = 100
	maxLostKeys = 1_000
)

// User is a user who removed keys. The zero value is an unknown user.
type User struct {
	ID   string `json:"user_id"`
	Name string `json:"user_name,omitempty"`
}

// Trail collects Tagger's own records of the last week, from journals and the log: the keys that it wrote, and the keys
// that it saw others remove. Records can be added in any order. It is not safe for concurrent use.
type Trail struct {
	since    time.Time
	from, to time.Time
	// resources has the keys of each resource, by resource id.
	resources map[string][]keyTrail
	names     map[string]string // interned strings
	size      int
	leftOut   int
}

// keyTrail is the latest known history of one key of a resource.
type keyTrail struct {
	key string
	// Times in Unix nanoseconds, 0 for never: wrote is when Tagger last wrote the key, ownRemoval when Tagger
	// last removed it, userRemoval when Tagger last saw another user remove it.
	wrote, ownRemoval, userRemoval int64
	by                             User
}

// NewTrail returns an empty trail of the week before now.
func NewTrail(now time.Time) *Trail {
	return &Trail{since: now.Add(-week).UTC(), resources: map[string][]keyTrail{}, names: map[string]string{}}
}

// Covers records that the log includes a time. Journals do not cover the time between runs.
func (t *Trail) Covers(at time.Time) {
	if t.from.IsZero() || at.Before(t.from) {
		t.from = at.UTC()
	}
	if at.After(t.to) {
		t.to = at.UTC()
	}
}

// Wrote records that Tagger wrote keys of a resource.
func (t *Trail) Wrote(id string, keys []string, at time.Time) {
	t.note(id, keys, at, func(k *keyTrail, at int64) { k.wrote = max(k.wrote, at) })
}

// RemovedByTagger records that Tagger itself removed keys of a resource.
func (t *Trail) RemovedByTagger(id string, keys []string, at time.Time) {
	t.note(id, keys, at, func(k *keyTrail, at int64) { k.ownRemoval = max(k.ownRemoval, at) })
}

// RemovedByUser records that another user removed keys that Tagger had written, in this week or earlier.
func (t *Trail) RemovedByUser(id string, keys []string, at time.Time, by User) {
	by = User{t.intern(by.ID), t.intern(by.Name)}
	t.note(id, keys, at, func(k *keyTrail, at int64) {
		if at >= k.userRemoval {
			k.userRemoval, k.by = at, by
		}
	})
}

// intern returns the stored copy of a string, so that equal strings share memory.
func (t *Trail) intern(s string) string {
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
			known = append(known, keyTrail{key: t.intern(key)})
			t.resources[id] = known
		}
		set(&known[i], at.UnixNano())
	}
}

// Lost has the keys that Tagger wrote and that are absent now, if Tagger wrote them or saw their removal in the last
// week. Deleted and unread resources are not counted, nor are keys that Tagger removed itself.
type Lost struct {
	// Since is a week before the run. From and To are the first and last times in the log, zero without a log.
	Since time.Time `json:"since"`
	From  time.Time `json:"from,omitzero"`
	To    time.Time `json:"to,omitzero"`
	// Compared counts the keys of resources in the records.
	Compared int `json:"compared"`
	// Count counts lost keys, Resources the resources that lost at least one.
	Count     int `json:"count"`
	Resources int `json:"resources"`
	// By has the users who removed keys, the most keys first; unknown users are last.
	By     []LostBy       `json:"by"`
	PerKey map[string]int `json:"per_key"`
	// Keys has the first lost keys.
	Keys []LostKey `json:"keys"`
	// LeftOut counts the records beyond the trail's limit.
	LeftOut int `json:"left_out,omitempty"`
}

// LostBy is the number of keys that one user removed, and the time of the last removal.
type LostBy struct {
	User
	// Others is the number of users that are counted together here, 0 for a single user.
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
	// Written is when Tagger wrote the key, zero if more than a week ago. Removed is when Tagger saw its removal, zero if
	// it did not.
	Written time.Time `json:"written,omitzero"`
	Removed time.Time `json:"removed,omitzero"`
	User
}

// Known reports whether the user who removed the keys is known.
func (b LostBy) Known() bool { return b.Others > 0 || b.User != User{} }

// lostCounter counts lost keys while resources are read.
type lostCounter struct {
	trail *Trail
	lost  Lost
	by    map[User]*LostBy
}

func newLostCounter(t *Trail) *lostCounter {
	return &lostCounter{trail: t, by: map[User]*LostBy{}, lost: Lost{PerKey: map[string]int{}, By: []LostBy{},
		Keys: []LostKey{}}}
}

// compare compares a resource with the trail.
func (l *lostCounter) compare(kind lifecycle.Kind, v metadata.View) {
	if l.trail == nil {
		return
	}
	lostAny := false
	for _, k := range l.trail.resources[v.ID] {
		if v.Metadata[k.key] != "" || k.ownRemoval > max(k.wrote, k.userRemoval) || max(k.wrote, k.userRemoval) == 0 {
			continue
		}
		lostAny = true
		lost := LostKey{Kind: kind, ID: v.ID, Project: v.Project, Key: k.key, Written: moment(k.wrote)}
		if k.userRemoval >= k.wrote {
			lost.Removed, lost.User = moment(k.userRemoval), k.by
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

// result returns the counts, nil without a trail.
func (l *lostCounter) result() *Lost {
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
