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
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

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

// burst is one update that lacks our keys, or several. Each remembered server has at most one that waits.
type burst struct {
	// notice is the first update, whose user the removal counts for. A burst that waits does without its metadata.
	notice lifecycle.Notice
	// message identifies the message of the first update, delivery is its delivery.
	message  string
	delivery tagger.Delivery
	keys     map[string]bool
	// began is when the first update arrived, last when the newest did.
	began, last time.Time
	// waited reports that only the wait for the other writer was missing for a repair.
	waited bool
}

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
		if w.burst != nil {
			delete(w.burst.keys, key) // it is there again
		}
	}
	maps.DeleteFunc(w.keys, func(key string, _ watchedKey) bool {
		_, isNew := write.Keys[key]
		_, isOld := write.Others[key]
		return !isNew && !isOld && !w.burst.has(key) // a repair of the burst's keys waits
	})
	w.others = w.fingerprint(write.Others)
	w.ours = lastOf(append(w.ours, append(write.Requests, write.Cause)...))
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

// check checks an update of a server, and rewrites those of our keys that it undid. The result is nil if there is
// nothing to do. It defers the message if the repair waits until the other writer is quiet.
func (u *undone) check(ctx context.Context, n lifecycle.Notice, m delivery.Message) *apply.Decision {
	if u.servers == nil || !n.Saved || n.Request == "" || n.Metadata == nil || !u.knows(n.Server) ||
		!u.idle(ctx, n.Server) {
		return nil
	}
	b, wait := u.suspect(ctx, n, m, u.servers.YieldsTo(ctx, n.Actor))
	if wait {
		return &apply.Decision{Outcome: apply.Deferred, Reason: logMissing, Delay: quietFor}
	}
	if b == nil {
		return nil
	}
	b.delivery = deliveryOf(m)
	r := u.restore(ctx, b)
	if r == nil {
		return nil
	}
	return r.Decision
}

// deliveryOf returns a message's delivery, without its event.
func deliveryOf(m delivery.Message) tagger.Delivery {
	return tagger.Delivery{SentAt: m.SentAt, ReceivedAt: m.ReceivedAt, Receives: m.Receives}
}

// restore reads the server of a burst and rewrites its absent keys. The result is nil if no call was needed. A burst
// that waited is kept if this fails, because its message is then redelivered.
func (u *undone) restore(ctx context.Context, b *burst) *tagger.Result {
	write, keys := u.missing(b)
	if len(keys) == 0 {
		return nil
	}
	failed := true // unless it ends otherwise; it may panic
	defer func() {
		if failed && b.waited {
			u.resume(b)
		}
	}()
	var granted []string
	r := u.servers.Restore(ctx, b.delivery, write, keys, func(absent []string) string {
		why := u.refuse(ctx, b, absent)
		if why == "" {
			granted = absent
		}
		return why
	})
	u.checked(b.notice, r, granted)
	failed = r.Outcome == apply.Deferred
	return r
}

// missing returns our write with the keys of a burst that are still remembered.
func (u *undone) missing(b *burst) (tagger.Write, []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.watched[b.notice.Server]
	if e == nil {
		return tagger.Write{}, nil
	}
	w := e.Value.(*watched)
	write := w.write
	write.Keys = map[string]string{}
	for key := range b.keys {
		if k, ours := w.keys[key]; ours {
			write.Keys[key] = k.value
		}
	}
	if len(write.Keys) > 0 {
		u.checks++
	}
	return write, slices.Sorted(maps.Keys(write.Keys))
}

// resume makes a burst wait again. Updates that came during its repair may have begun another; they are then one.
func (u *undone) resume(b *burst) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.watched[b.notice.Server]
	if e == nil {
		return
	}
	w := e.Value.(*watched)
	if w.burst == nil {
		w.burst = b
		return
	}
	maps.Copy(w.burst.keys, b.keys)
}

// finish ends all waits: a listener that stops repairs at once, because the next one does not remember the writes.
func (u *undone) finish(ctx context.Context, concurrency int) {
	u.mu.Lock()
	var waiting []*burst
	for e := u.order.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*watched); w.burst != nil {
			waiting = append(waiting, w.burst)
			w.burst = nil
		}
	}
	u.mu.Unlock()
	var left atomic.Int64
	var group errgroup.Group
	group.SetLimit(concurrency)
	for _, b := range waiting {
		group.Go(func() error {
			if ctx.Err() != nil {
				left.Add(1)
			} else {
				u.restore(ctx, b)
			}
			return nil
		})
	}
	_ = group.Wait()
	if n := left.Load(); n > 0 {
		u.log.Warn("no time to repair undone writes; tagger reconcile finds the servers", "servers", n)
	}
}

// knows reports whether a write to the server is remembered or under way.
func (u *undone) knows(server string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.watched[server] != nil || u.underway[server] != nil
}

// suspect returns what to check now because of an update: keys that it may have undone by accident, or the burst that
// has waited long enough. wait reports that the message has to return later. A missing key that was written long before
// counts as removed on purpose. A redelivered update is checked again; another report of the same request is not.
func (u *undone) suspect(ctx context.Context, n lifecycle.Notice, m delivery.Message, yields bool) (b *burst,
	wait bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.watched[n.Server]
	if e == nil {
		return nil, false
	}
	w := e.Value.(*watched)
	now, id, again := time.Now(), m.Identity(), m.Receives > 1
	known := slices.Contains(w.ours, n.Request) || !again && slices.Contains(w.seen, n.Request) || w.burst.isFirst(id)
	if w.burst != nil && !w.burst.isFirst(id) && now.Sub(w.burst.began) >= burstFor {
		w.burst = nil
	}
	if !known {
		w.seen = lastOf(append(w.seen, n.Request))
		if b := u.add(ctx, w, n, m, yields); b != nil {
			return b, false
		}
	}
	b = w.burst
	switch {
	case b == nil:
		return nil, false
	case now.Sub(b.began) >= maxQuietWait || b.isFirst(id) && now.Sub(b.last) >= quietFor:
		// The updates of the time of the repair begin another burst: they may undo it.
		w.burst = nil
		return b, false
	}
	return nil, b.isFirst(id)
}

// add adds an update to the server's burst, or begins one. It returns the keys to check without a wait, because nothing
// is to be written again. The caller holds the lock.
func (u *undone) add(ctx context.Context, w *watched, n lifecycle.Notice, m delivery.Message, yields bool) *burst {
	at := n.Time
	if at.IsZero() {
		at = time.Now()
	}
	var young, old []string
	lacks, waiting := false, false
	for _, key := range slices.Sorted(maps.Keys(w.keys)) {
		if _, there := n.Metadata[key]; there {
			continue
		}
		lacks = true
		switch age := at.Sub(w.keys[key].at); {
		case w.burst.has(key): // it is still missing, whatever its age
			waiting = true
		case age > undoneWithin:
			old = append(old, key)
		case age > -undoneWithin: // clocks differ, and the GET decides
			young = append(young, key)
		}
	}
	if len(old) > 0 {
		u.left(ctx, w, n, old, "removed more than 30s after Tagger wrote them: left as they are")
	}
	if waiting && m.Receives <= 1 {
		w.burst.last = time.Now()
	}
	var now *burst
	if len(young) > 0 {
		b := &burst{notice: n, message: m.Identity(), delivery: deliveryOf(m), keys: map[string]bool{},
			began: time.Now(), last: time.Now()}
		for _, key := range young {
			b.keys[key] = true
		}
		switch {
		case u.reason(w, b, young, yields) != "":
			now = b
		case w.burst != nil:
			maps.Copy(w.burst.keys, b.keys)
			w.burst.last = b.last
		default:
			b.waited, b.notice.Metadata = true, nil
			w.burst = b
			u.logKeys(ctx, slog.LevelInfo, logMissing, w, n, young)
		}
	}
	if now == nil && (!lacks || w.burst != nil) {
		w.others = w.fingerprint(n.Metadata)
	}
	return now
}

// has reports whether a repair of the key waits.
func (b *burst) has(key string) bool { return b != nil && b.keys[key] }

// isFirst reports whether the message is the one of the first update.
func (b *burst) isFirst(message string) bool { return b != nil && b.message == message }

// refuse returns why absent keys must not be written again, or "".
func (u *undone) refuse(ctx context.Context, b *burst, absent []string) string {
	yields := u.servers.YieldsTo(ctx, b.notice.Actor)
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.watched[b.notice.Server]
	if e == nil {
		return "the write is no longer remembered"
	}
	w := e.Value.(*watched)
	why := u.reason(w, b, absent, yields)
	if why == "" {
		w.count(b.notice.Actor, absent)
		w.repairs = append(w.repairs, time.Now())
		return ""
	}
	u.left(ctx, w, b.notice, absent, why)
	return why
}

// reason returns why keys must not be written again, or "". The caller holds the lock.
func (u *undone) reason(w *watched, b *burst, keys []string, yields bool) string {
	now := time.Now()
	w.repairs = slices.DeleteFunc(w.repairs, func(t time.Time) bool { return now.Sub(t) >= repairsPer })
	switch {
	case !b.waited && w.fingerprint(b.notice.Metadata) == w.others:
		return "removed on purpose: nothing else changed"
	case yields:
		return "yield_to lists who removed them"
	case u.conflict(w, b.notice, keys) != "":
		return u.conflict(w, b.notice, keys)
	case len(w.repairs) >= maxRepairs:
		return fmt.Sprintf("written again %d times in a day already", maxRepairs)
	}
	return ""
}

// conflict returns the message about a key that the actor has now removed too often, or "". The caller holds the lock.
func (u *undone) conflict(w *watched, n lifecycle.Notice, absent []string) string {
	for _, key := range absent {
		if times := w.removals[removal{key, n.Actor.ID}] + 1; times >= maxRemovals {
			return fmt.Sprintf("conflict: key %s removed %d times by user %s", key, times, who(n.Actor))
		}
	}
	return ""
}

// count counts removals by an actor.
func (w *watched) count(a lifecycle.Actor, keys []string) {
	for _, key := range keys {
		r := removal{key, a.ID}
		if _, known := w.removals[r]; known || len(w.removals) < maxRequests {
			w.removals[r]++
		}
	}
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

// checked records the result of a check, and of the keys that it was allowed to write.
func (u *undone) checked(n lifecycle.Notice, r *tagger.Result, granted []string) {
	u.note([]*tagger.Result{r})
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(r.Written) > 0 {
		for key := range r.Written {
			count(u.restored, key)
		}
		u.log.Info(LogRestored,
			"resource_id", n.Server, "project", r.Resource.Project, "keys", slices.Sorted(maps.Keys(r.Written)), "user_id",
			n.Actor.ID, "user_name", n.Actor.Name, "request_id", n.Request)
	}
	// An update whose repair failed is redelivered, and counts then.
	e := u.watched[n.Server]
	if e == nil || len(granted) == 0 || r.Outcome != apply.Deferred || len(r.WriteRequests()) > 0 {
		return
	}
	w := e.Value.(*watched)
	w.repairs = w.repairs[:max(0, len(w.repairs)-1)]
	for _, key := range granted {
		if of := (removal{key, n.Actor.ID}); w.removals[of] > 0 {
			w.removals[of]--
		}
	}
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
