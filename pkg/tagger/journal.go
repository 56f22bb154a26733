package tagger

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Journal gets a record before and after each write; [journal.Audit] implements it. A lost record does not stop a
// write.
type Journal interface {
	// Next returns the number that a write's first and last record share.
	Next() int
	Write(journal.Header, journal.Record)
}

// journaled records each write to a resource in the journal. The old values are those last read: nothing is read only
// for the journal.
type journaled struct {
	apply.Resource
	journal Journal
	header  journal.Header
	record  journal.Record // without the fields of a single phase

	known    map[string]string // nil if nothing was read
	assumed  map[string]string // from the event, nil if it has none
	begun    map[string]journal.Replacement
	unknown  []string
	numbered bool
}

// journaled wraps the resource so that writes are journaled. Without a journal it returns the resource unchanged.
func (t *Tagger) journaled(p *Plan, session *cloud.Session, resource apply.Resource) (apply.Resource, *journaled) {
	if t.options.Journal == nil {
		return resource, nil
	}
	hash := ""
	if p.rules != nil {
		hash = p.rules.Hash()
	}
	j := &journaled{
		Resource: resource, journal: t.options.Journal, assumed: p.change.Resource.Metadata,
		header: journal.Header{Cloud: session.CloudName(), Rules: hash, Operator: session.User},
		record: journal.Record{
			Rules: hash, Event: p.Event.ID, Cause: p.change.Request,
			Kind: p.Resource.Kind, ID: p.Resource.ID, Name: p.Resource.Name, Project: p.Resource.Project,
		},
		begun: map[string]journal.Replacement{},
	}
	if p.Event.ID != "" {
		j.record.Action = p.Action
	}
	return j, j
}

func (j *journaled) Get(ctx context.Context) (v metadata.View, err error) {
	if v, err = j.Resource.Get(ctx); err == nil {
		j.know(v.Metadata)
	}
	return v, err
}

func (j *journaled) Metadata(ctx context.Context) (map[string]string, error) {
	known, err := j.Resource.Metadata(ctx)
	if err == nil {
		j.know(known)
	}
	return known, err
}

func (j *journaled) know(known map[string]string) {
	if j.known = maps.Clone(known); j.known == nil {
		j.known = map[string]string{}
	}
}

func (j *journaled) Write(ctx context.Context, keys map[string]string) (map[string]string, error) {
	now := map[string]journal.Replacement{}
	for key, value := range keys {
		now[key] = journal.Replacement{To: &value}
	}
	j.begin(now)
	return j.Resource.Write(ctx, keys)
}

func (j *journaled) Remove(ctx context.Context, key string) error {
	j.begin(map[string]journal.Replacement{key: {}})
	return j.Resource.Remove(ctx, key)
}

// begin records keys before they are written. A key that is already recorded keeps its first old value.
func (j *journaled) begin(keys map[string]journal.Replacement) {
	recorded := 0
	for key, now := range keys {
		before, again := j.begun[key]
		switch {
		case again && equal(before.To, now.To):
			recorded++
			continue
		case again:
			now.From = before.From
		default:
			value, there, known := j.before(key)
			if there {
				now.From = &value
			}
			if !known {
				j.unknown = append(j.unknown, key)
				slices.Sort(j.unknown)
			}
		}
		j.begun[key] = now
	}
	if recorded == len(keys) {
		return
	}
	if !j.numbered {
		j.record.N, j.numbered = j.journal.Next(), true
	}
	r := j.record
	r.Phase, r.Keys, r.Unknown = journal.Begin, maps.Clone(j.begun), slices.Clone(j.unknown)
	j.journal.Write(j.header, r)
}

// before returns a key's value before it is written. The cloud may have it under a key that differs only in case.
func (j *journaled) before(key string) (value string, there, known bool) {
	all := j.known
	if all == nil {
		all = j.assumed
	}
	value, there = all[key]
	if !there && j.Kind().FoldsCase() {
		for other, otherValue := range all {
			if strings.EqualFold(other, key) {
				return otherValue, true, true
			}
		}
	}
	return value, there, all != nil
}

// end records the result for the keys, if there are any.
func (j *journaled) end(r *Result) {
	if j == nil || !j.numbered {
		return
	}
	out := j.record
	out.Phase, out.Outcome, out.Reason, out.Keys = journal.End, r.Outcome, r.Reason, map[string]journal.Replacement{}
	for key, replacement := range j.begun {
		_, written := r.Written[key]
		if out.Failed() || written || slices.Contains(r.Removed, key) {
			out.Keys[key] = replacement
			if slices.Contains(j.unknown, key) {
				out.Unknown = append(out.Unknown, key)
			}
		}
	}
	slices.Sort(out.Unknown)
	for _, call := range r.calls {
		if call.Request.Method != http.MethodGet && call.RequestID != "" {
			out.Requests = append(out.Requests, call.RequestID)
		}
	}
	j.journal.Write(j.header, out)
}

func equal(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }
