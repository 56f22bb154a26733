package reconcile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/journal"
)

// runJournal is the journal of a run.
type runJournal struct {
	*journal.File
	// fault, if not nil, is called before each line, for tests.
	fault func() error
}

func (j runJournal) write(r journal.Record) error {
	if j.fault != nil {
		if err := j.fault(); err != nil {
			return err
		}
	}
	return j.Write(r)
}

// bits is a set of numbers.
type bits []uint64

func (b *bits) set(n int, to bool) {
	for len(*b) <= n/64 {
		*b = append(*b, 0)
	}
	if to {
		(*b)[n/64] |= 1 << (n % 64)
	} else {
		(*b)[n/64] &^= 1 << (n % 64)
	}
}

func (b bits) has(n int) bool { return n/64 < len(b) && b[n/64]&(1<<(n%64)) != 0 }

// past is a journal's record of its plan's entries.
type past struct {
	header journal.Header
	// done are the finished entries. begun are the keys that may have been written without a record, because the run ended
	// or the write failed.
	done  bits
	begun map[int]map[string]journal.Replacement
}

func readPast(path string) (past, error) {
	p := past{begun: map[int]map[string]journal.Replacement{}}
	var err error
	p.header, err = journal.Read(path, func(_ journal.Header, r journal.Record) error {
		if r.Phase == journal.Begin {
			p.begun[r.N] = r.Keys
			return nil
		}
		delete(p.begun, r.N)
		if r.Failed() && len(r.Keys) > 0 {
			p.begun[r.N] = r.Keys // whether they were written is unknown
		}
		p.done.set(r.N, !r.Failed())
		return nil
	})
	return p, err
}

// Selection selects the records of a journal to revert; the zero value selects all.
type Selection struct {
	// By is the id of a run or the hash of its rules, or the first digits of either.
	By string
	// From and To limit the time of the record unless zero.
	From, To time.Time
}

func (s Selection) selects(h journal.Header, r journal.Record) bool {
	hash := r.Rules
	if hash == "" {
		hash = h.Rules
	}
	return (s.By == "" || strings.HasPrefix(h.Run, s.By) || strings.HasPrefix(hash, s.By)) &&
		(s.From.IsZero() || !r.At.Before(s.From)) && (s.To.IsZero() || !r.At.After(s.To))
}

// name distinguishes the journals of different selections; it is "" for the selection of all records.
func (s Selection) name() string {
	if s == (Selection{}) {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s", s.By, s.From, s.To))
	return hex.EncodeToString(sum[:4]) + "-"
}

// maxReverted limits the resources that one run reverts, because they are kept in memory.
const maxReverted = 250_000

// written holds a journal's writes to one resource.
type written struct {
	n     int // the number of the first record about it
	entry Entry
	// pieces are the writes in the order of their Begin records.
	pieces []*piece
}

// piece is one record's write, certain or possible.
type piece struct {
	keys    map[string]journal.Replacement
	unknown []string
}

// revertible holds the writes of a journal that can be reverted.
type revertible struct {
	cloud, run string
	entries    []written
	// unknown counts the resources with keys whose previous values are unknown.
	unknown int
	// last is the time of the last record.
	last time.Time
	// names are the first runs and the first hashes of rules of all records.
	names []string
}

// maxNames limits the runs and hashes that an error names.
const maxNames = 6

func (a *revertible) name(name string) {
	if len(a.names) < maxNames && !slices.Contains(a.names, name) {
		a.names = append(a.names, name)
	}
}

// others names the runs and rules that the journal has, to follow an error.
func (a *revertible) others() string {
	if len(a.names) == 0 {
		return ""
	}
	return "; it has " + strings.Join(a.names, ", ")
}

// readRevertible reads a journal and merges all writes to a resource into one entry.
func readRevertible(path string, s Selection) (revertible, error) {
	var out revertible
	resources := map[string]int{}
	type correction struct {
		run string
		n   int
	}
	begun := map[correction]*piece{}
	number := -1
	_, err := journal.Read(path, func(h journal.Header, r journal.Record) error {
		out.name(h.Run)
		out.name(fmt.Sprintf("rules %.8s", cmp.Or(r.Rules, h.Rules)))
		if number++; !s.selects(h, r) {
			return nil
		}
		if r.At.After(out.last) {
			out.last = r.At
		}
		switch out.run = h.Run; {
		case out.cloud == "":
			out.cloud = h.Cloud
		case out.cloud != h.Cloud:
			return fmt.Errorf("the journal has several clouds, %s and %s: pick one with --written-by or --written-between",
				out.cloud, h.Cloud)
		}
		id := correction{h.Run, r.N}
		if p, there := begun[id]; there {
			p.keys, p.unknown = r.Keys, r.Unknown // written, or about to be written again
			if r.Phase == journal.End {
				delete(begun, id)
			}
			return nil
		}
		if r.Phase == journal.End && len(r.Keys) == 0 {
			return nil
		}
		name := string(r.Kind) + "/" + r.ID
		i, there := resources[name]
		if !there {
			if i = len(out.entries); i == maxReverted {
				return fmt.Errorf("the journal has more than %d resources: "+
					"undo it in parts, with --written-between", maxReverted)
			}
			resources[name] = i
			e := Entry{Kind: r.Kind, ID: r.ID, Name: r.Name, Project: r.Project}
			out.entries = append(out.entries, written{n: number, entry: e})
		}
		p := &piece{r.Keys, r.Unknown}
		out.entries[i].pieces = append(out.entries[i].pieces, p)
		if r.Phase == journal.Begin {
			begun[id] = p
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	for i := range out.entries {
		if out.entries[i].reverse() {
			out.unknown++
		}
	}
	out.entries = slices.DeleteFunc(out.entries, func(w written) bool { return len(w.entry.Keys) == 0 })
	return out, nil
}

// reverse sets the keys of the entry, from the value written last to the original one. If another writer changed the
// value between two of our writes, the other writer's value is the original. It reports whether previous values are
// unknown.
func (w *written) reverse() (unknown bool) {
	all, guessed := map[string]journal.Replacement{}, map[string]bool{}
	for _, p := range w.pieces {
		for key, r := range p.keys {
			if before, ours := all[key]; ours && r.Holds(valueOf(before.To)) {
				all[key] = journal.Replacement{From: before.From, To: r.To}
				continue
			}
			all[key], guessed[key] = r, slices.Contains(p.unknown, key)
		}
	}
	w.pieces, w.entry.Keys = nil, map[string]journal.Replacement{}
	for key, r := range all {
		switch {
		case guessed[key]:
			unknown = true
		case r.From == nil && r.To == nil, r.From != nil && r.To != nil && *r.From == *r.To:
		default:
			w.entry.Keys[key] = journal.Replacement{From: r.To, To: r.From}
		}
	}
	return unknown
}

func valueOf(value *string) (string, bool) {
	if value == nil {
		return "", false
	}
	return *value, true
}
