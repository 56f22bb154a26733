package listen

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

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
	// expires is when the burst is forgotten unless its message has returned by then.
	expires time.Time
	// waited reports that only the wait for the other writer was missing for a repair.
	waited bool
	// confirmed reports that the server was read, others is the fingerprint before the first update.
	confirmed bool
	others    uint64
}

// check checks an update of a server, and rewrites those of our keys that it undid. The result is nil if there is
// nothing to do. It defers the message if the repair waits until the other writer is quiet.
func (u *undone) check(ctx context.Context, n lifecycle.Notice, m delivery.Message) *apply.Decision {
	if u.servers == nil || !n.Saved || n.Request == "" || n.Metadata == nil || !u.knows(n.Server) {
		return nil
	}
	if !u.idle(ctx, n.Server) {
		return &apply.Decision{Outcome: apply.Deferred, Reason: "a change of the server is under way", Delay: quietFor}
	}
	b, wait := u.suspect(ctx, n, m, u.servers.YieldsTo(ctx, n.Actor))
	if wait && u.confirm(ctx, n.Server, m) {
		return &apply.Decision{Outcome: apply.Deferred, Reason: logMissing, Delay: quietFor}
	}
	if b == nil {
		return nil
	}
	b.delivery = deliveryOf(m)
	failed, delay := true, time.Duration(0) // unless it ends otherwise; it may panic
	defer func() {
		if failed && b.waited {
			u.resume(b, delay) // the message is redelivered
		}
	}()
	r := u.restore(ctx, b)
	if r == nil {
		failed = false
		return nil
	}
	failed, delay = r.Outcome == apply.Deferred, r.Delay
	return r.Decision
}

// confirm reads the server once at the beginning of a burst, and forgets the keys that are there: Nova's map may differ
// from the database, and a user may remove them on purpose during the wait. It returns false if none is missing.
func (u *undone) confirm(ctx context.Context, server string, m delivery.Message) (wait bool) {
	u.mu.Lock()
	e := u.watched[server]
	if e == nil {
		u.mu.Unlock()
		return false
	}
	b := e.Value.(*watched).burst
	if !b.isFirst(m.Identity()) || b.confirmed {
		u.mu.Unlock()
		return b != nil
	}
	b.confirmed = true
	read, last := burst{notice: b.notice, keys: maps.Clone(b.keys)}, b.last
	u.mu.Unlock()
	write, keys := u.missing(&read)
	if len(keys) == 0 {
		return true
	}
	var absent []string
	r := u.servers.Restore(ctx, b.delivery, write, keys, func(a []string) string {
		absent = a
		return logMissing
	})
	if r.Outcome != apply.Unchanged && r.Outcome != apply.Ignored {
		return true // it could not be read; the repair reads it again
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	w := e.Value.(*watched)
	if w.burst != b || b.last.After(last) { // another update may have removed them since
		return w.burst != nil
	}
	maps.DeleteFunc(b.keys, func(key string, _ bool) bool {
		return slices.Contains(keys, key) && !slices.Contains(absent, key)
	})
	if len(b.keys) == 0 {
		w.burst, w.others = nil, b.others
	}
	return w.burst != nil
}

// deliveryOf returns a message's delivery, without its event.
func deliveryOf(m delivery.Message) tagger.Delivery {
	return tagger.Delivery{SentAt: m.SentAt, ReceivedAt: m.ReceivedAt, Receives: m.Receives}
}

// restore reads the server of a burst and rewrites its absent keys. The result is nil if no call was needed.
func (u *undone) restore(ctx context.Context, b *burst) *tagger.Result {
	write, keys := u.missing(b)
	if len(keys) == 0 {
		return nil
	}
	var granted []string
	r := u.servers.Restore(ctx, b.delivery, write, keys, func(absent []string) string {
		why := u.refuse(ctx, b, absent)
		if why == "" {
			granted = absent
		}
		return why
	})
	u.checked(b.notice, r, granted)
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

// resume makes a burst wait again; its message returns after the delay. Updates that came during its repair may have
// begun another; they are then one.
func (u *undone) resume(b *burst, delay time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b.expires = time.Now().Add(stepFor(delay) + burstFor)
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

// finish ends all waits: a listener that no longer consumes messages repairs at once, because another one may get the
// messages that wait, and does not remember the writes.
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
			} else if r := u.restore(ctx, b); r != nil && r.Outcome == apply.Deferred {
				left.Add(1)
			}
			return nil
		})
	}
	_ = group.Wait()
	if n := left.Load(); n > 0 {
		u.log.Warn("undone writes were not repaired; tagger reconcile finds the servers", "servers", n)
	}
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
	switch {
	case w.burst.isFirst(id):
		w.burst.expires = now.Add(burstFor)
	case w.burst != nil && !now.Before(w.burst.expires):
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
			began: time.Now(), last: time.Now(), expires: time.Now().Add(burstFor)}
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
			b.waited, b.notice.Metadata, b.others = true, nil, w.others
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
