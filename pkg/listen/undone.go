package listen

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Servers notices and restores undone writes to servers; [tagger.Tagger] implements it.
type Servers interface {
	// Notice returns what an event reports about a server.
	Notice(e event.Event) (lifecycle.Notice, bool)
	// YieldsTo reports whether the rules list the actor in yield_to:.
	YieldsTo(ctx context.Context, a lifecycle.Actor) bool
	// Restore writes the absent keys again, unless refuse returns a reason.
	Restore(ctx context.Context, d tagger.Delivery, w tagger.Write, keys []string,
		refuse func(absent []string) (why string)) *tagger.Result
}

// Limits of the memory for noticing undone writes.
const (
	// undoneWithin is how long after our write another writer can undo it unknowingly. A later removal counts as
	// deliberate.
	undoneWithin = 30 * time.Second
	// quietFor is how long no other writer may have saved a server without our keys before they are written again. A
	// script that writes its keys one by one would undo each repair that comes between two of them.
	quietFor = 5 * time.Second
	// maxQuietWait limits that wait, so that a program that never stops writing cannot postpone a repair for ever.
	maxQuietWait = time.Minute
	// burstFor is how long a burst is remembered whose message does not return: another listener may have got it.
	burstFor = 10 * time.Minute
	// maxRepairs is how often within repairsPer the keys of one server are written again.
	maxRepairs = 2
	repairsPer = 24 * time.Hour
	// maxRemovals is the number of removals of one key of a server by one actor that make a conflict.
	maxRemovals = 3
	// maxWatched and maxWatchedBytes limit the servers and the bytes of metadata that are remembered. The least
	// recently written server is evicted first.
	maxWatched      = 10_000
	maxWatchedBytes = 32 << 20
	// maxRequests limits the request ids, and the pairs of key and actor, that are remembered for each server.
	maxRequests = 32
	// maxRemovedKeys limits the keys with a metric of their own; the others are counted together.
	maxRemovedKeys = 100
	otherKeys      = "(other)"
)

// Log messages by which [github.com/cloudtagger/tagger/pkg/coverage] counts lost keys. Their attributes are
// resource_id, keys, user_id and user_name.
const (
	LogRemoved  = "keys were removed"
	LogRestored = "keys that another writer had undone were written again"
)

// logMissing is the message at the start of a burst.
const logMissing = "keys are missing; they are checked once the other writer is quiet"

// undone notices when another writer undoes our writes to servers, and repeats them.
//
// Nova saves a server's whole metadata map when it changes one key. Of two concurrent writers, one can lose its keys
// although both got 200. The one that saved last sends an update whose map lacks the other's keys. That map comes from
// memory and not from the database, so a GET decides.
//
// Updates that undo writes to one server within a short time are a burst. It counts as one removal, and one repair
// follows, once the other writer is quiet. Meanwhile the message of its first update is in a delay queue, so that the
// wait takes neither a slot nor a timer, and a shutdown does not wait for it.
//
// Updates and changes reach the same listener, because the main queue has a single active consumer or a lock in its
// place. The writes of an earlier listener are not remembered.
type undone struct {
	servers Servers
	log     *slog.Logger

	mu       sync.Mutex
	underway map[string]*underway
	watched  map[string]*list.Element // of *watched, by the server's id
	order    list.List                // least recently written first
	bytes    int

	removed, restored   map[string]int64 // by key
	checks, conflicting int64
}

// underway counts a server's changes under way.
type underway struct {
	jobs int
	idle chan struct{} // closed when there are none
}

// watched holds our writes to one server.
type watched struct {
	write tagger.Write // the newest; its Keys and Others are nil
	keys  map[string]watchedKey
	// others is the fingerprint of the other metadata, as last known.
	others uint64
	// ours holds the ids of our own requests and of those that caused our changes, seen those of updates already
	// checked.
	ours, seen []string
	repairs    []time.Time
	removals   map[removal]int
	burst      *burst // nil if no repair waits
	bytes      int
}

type watchedKey struct {
	value string
	at    time.Time // when it was read back
}

// removal is one key and the actor who removed it.
type removal struct{ key, actor string }

func newUndone(s Servers, log *slog.Logger) *undone {
	return &undone{
		servers: s, log: log, underway: map[string]*underway{}, watched: map[string]*list.Element{},
		removed: map[string]int64{}, restored: map[string]int64{},
	}
}

// begin records that changes of servers are under way. Their updates are checked only after the returned function is
// called, which may happen more than once.
func (u *undone) begin(resources []tagger.ResourceRef) (end func()) {
	if u.servers == nil {
		return func() {}
	}
	var ids []string
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range resources {
		if !r.Kind.HasNotices() {
			continue
		}
		ids = append(ids, r.ID)
		if u.underway[r.ID] == nil {
			u.underway[r.ID] = &underway{idle: make(chan struct{})}
		}
		u.underway[r.ID].jobs++
	}
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, id := range ids {
			if u.underway[id].jobs--; u.underway[id].jobs == 0 {
				close(u.underway[id].idle)
				delete(u.underway, id)
			}
		}
	})
}

// begin calls the processor's Begin, and watches what the messages write.
func (l *Listener) begin(ctx context.Context, batch []delivery.Plan) (finish func() []delivery.Decision) {
	var resources []tagger.ResourceRef
	for _, p := range batch {
		resources = append(resources, p.Resources()...)
	}
	end := l.undone.begin(resources)
	defer func() {
		if finish == nil { // a panic
			end()
		}
	}()
	wait := l.options.Processor.Begin(ctx, batch)
	return func() []delivery.Decision {
		defer end()
		decisions := wait()
		for _, d := range decisions {
			l.undone.note(d.Results)
		}
		return decisions
	}
}

// notices handles what a message reports about a server other than a change. It gets and returns the message's
// decision.
func (l *Listener) notices(ctx context.Context, m Message, decision delivery.Decision) delivery.Decision {
	if l.options.Servers == nil || len(m.Events) != 1 {
		return decision
	}
	n, ok := l.options.Servers.Notice(m.Events[0])
	switch {
	case !ok:
	case n.Unblocks:
		l.unblocked(ctx, n)
	case l.options.Repair:
		d := l.undone.check(ctx, n, m.Message)
		if d == nil || d.Outcome != apply.Deferred || decision.Outcome == apply.Deferred {
			break
		}
		decision.Decision = *d
		if d.Fault.Scope == fault.Everything {
			l.breaker.open(d.Fault.Err)
		}
	}
	return decision
}

// idle waits until no change of the server is under way. It returns false if the context ends first.
func (u *undone) idle(ctx context.Context, server string) bool {
	for {
		u.mu.Lock()
		busy := u.underway[server]
		u.mu.Unlock()
		if busy == nil {
			return true
		}
		select {
		case <-busy.idle:
		case <-ctx.Done():
			return false
		}
	}
}

// note remembers the keys that results wrote, and forgets those that they deleted.
func (u *undone) note(results []*tagger.Result) {
	if u.servers == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range results {
		if !r.Resource.Kind.HasNotices() {
			continue
		}
		if !r.Action.Writable() {
			u.forget(r.Resource.ID)
			continue
		}
		if e := u.watched[r.Resource.ID]; e != nil {
			w := e.Value.(*watched)
			maps.DeleteFunc(w.keys, func(key string, _ watchedKey) bool {
				return r.Removes(key) || slices.Contains(r.Removed, key)
			})
		}
		if write, ok := r.Confirmed(); ok {
			u.watch(write)
		}
	}
}

// watch remembers a write. The caller holds the lock.
func (u *undone) watch(write tagger.Write) {
	id := write.Resource.ID
	e := u.watched[id]
	if e == nil {
		e = u.order.PushBack(&watched{keys: map[string]watchedKey{}, removals: map[removal]int{}})
		u.watched[id] = e
	}
	u.order.MoveToBack(e)
	w := e.Value.(*watched)
	for key, value := range write.Keys {
		w.keys[key] = watchedKey{value, write.At}
		if w.burst != nil && !w.burst.last.After(write.At) {
			delete(w.burst.keys, key) // it is there again
		}
	}
	undone := false
	maps.DeleteFunc(w.keys, func(key string, k watchedKey) bool {
		_, isNew := write.Keys[key]
		_, isOld := write.Others[key]
		if isNew || isOld || w.burst.has(key) { // a repair of the burst's keys waits
			return false
		}
		young := write.At.Sub(k.at) <= undoneWithin // the update that undid it may wait for this change
		undone = undone || young
		return !young
	})
	if !undone { // otherwise that update is compared with the metadata before it
		w.others = w.fingerprint(write.Others)
	}
	w.ours = lastOf(append(w.ours, append(write.Requests, write.Cause)...))
	if write.Time.Before(w.write.Time) { // a late, older change; a repair must not leave out the newer one's keys
		write.Time = w.write.Time
	}
	w.write = write
	w.write.Keys, w.write.Others, w.write.Requests = nil, nil, nil
	u.bytes -= w.bytes
	w.bytes = 0
	for key, k := range w.keys {
		w.bytes += len(key) + len(k.value)
	}
	u.bytes += w.bytes
	for u.order.Len() > maxWatched || u.bytes > maxWatchedBytes {
		u.forget(u.order.Front().Value.(*watched).write.Resource.ID)
	}
}

// forget removes a server. The caller holds the lock.
func (u *undone) forget(server string) {
	if e := u.watched[server]; e != nil {
		u.bytes -= u.order.Remove(e).(*watched).bytes
		delete(u.watched, server)
	}
}

func lastOf(ids []string) []string {
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	return slices.Clone(ids[max(0, len(ids)-maxRequests):])
}

// fingerprintSeed seeds the fingerprints, which only this process compares.
var fingerprintSeed = maphash.MakeSeed()

// fingerprint returns a fingerprint of all keys and values that are not ours.
func (w *watched) fingerprint(all map[string]string) uint64 {
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if _, ours := w.keys[key]; !ours {
			fmt.Fprintf(&h, "%q=%q\n", key, all[key])
		}
	}
	return h.Sum64()
}

// knows reports whether a write to the server is remembered or under way.
func (u *undone) knows(server string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.watched[server] != nil || u.underway[server] != nil
}

// left records that keys stay removed. The caller holds the lock.
func (u *undone) left(ctx context.Context, w *watched, n lifecycle.Notice, keys []string, why string) {
	level := slog.LevelInfo
	if conflict := u.conflict(w, n, keys); conflict != "" {
		level, why = slog.LevelWarn, conflict
		u.conflicting++
	}
	w.count(n.Actor, keys)
	for _, key := range keys {
		delete(w.keys, key)
		count(u.removed, key)
	}
	if n.Metadata != nil {
		w.others = w.fingerprint(n.Metadata)
	}
	u.logKeys(ctx, level, LogRemoved, w, n, keys, slog.String("reason", why))
}

// logKeys logs what an update did to keys. The caller holds the lock.
func (u *undone) logKeys(ctx context.Context, level slog.Level, message string, w *watched, n lifecycle.Notice,
	keys []string, more ...slog.Attr) {
	u.log.LogAttrs(ctx, level, message, append([]slog.Attr{
		slog.String("resource_id", n.Server), slog.String("project", w.write.Resource.Project), slog.Any("keys", keys),
		slog.String("user_id", n.Actor.ID), slog.String("user_name", n.Actor.Name),
		slog.String("request_id", n.Request),
	}, more...)...)
}

func count(counts map[string]int64, key string) {
	if _, known := counts[key]; !known && len(counts) >= maxRemovedKeys {
		key = otherKeys
	}
	counts[key]++
}

// who formats an actor: the id, and the name if known.
func who(a lifecycle.Actor) string {
	if a.Name == "" {
		return cmp.Or(a.ID, "unknown")
	}
	return a.ID + " (" + a.Name + ")"
}

// writePrometheus writes the metrics in Prometheus' text format.
func (u *undone) writePrometheus(w io.Writer) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var b strings.Builder
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	for _, c := range []struct {
		name, help string
		values     map[string]int64
	}{
		{"tagger_removed_total", "Keys that Tagger wrote and that another user removed, by key; they are left removed.",
			u.removed},
		{"tagger_restored_total", "Keys written again because another writer had undone the write, by key.", u.restored},
	} {
		head(c.name, "counter", c.help)
		for _, key := range slices.Sorted(maps.Keys(c.values)) {
			fmt.Fprintf(&b, "%s{key=%q} %d\n", c.name, key, c.values[key])
		}
	}
	head("tagger_undone_checks_total", "counter",
		"Servers read because another writer's update lacked keys that Tagger had just written.")
	fmt.Fprintf(&b, "tagger_undone_checks_total %d\n", u.checks)
	head("tagger_conflicts_total", "counter",
		"Removals by a user who has removed the same key of the same server three times or more.")
	fmt.Fprintf(&b, "tagger_conflicts_total %d\n", u.conflicting)
	_, err := io.WriteString(w, b.String())
	return err
}
