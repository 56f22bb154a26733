package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/listen"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

const (
	// maxLookedAt is the most messages that a queue may have to be searched. maxQueueEntries limits the shown messages
	// about the resource.
	maxLookedAt     = 2000
	maxQueueEntries = 10
	// longestLook limits the search, because other consumers do not get the messages meanwhile.
	longestLook = 20 * time.Second
)

// queueEntry is a message about the resource.
type queueEntry struct {
	queue, action string
	// since is when a listener first consumed the message. tried counts the attempts, 0 if unknown.
	since time.Time
	tried int
	// delay is the longest wait until the next attempt. It is 0 for a rejected message, which has a reason.
	delay  time.Duration
	reason string
}

// queueFindings has the messages about a resource in the broker's queues.
type queueFindings struct {
	// asked means that the broker answered, unset that none is configured. err is why the broker could not be asked.
	asked, unset bool
	err          error
	// looked counts the messages read. complete means that there were no more.
	looked   int
	complete bool
	entries  []queueEntry
}

// readQueues searches the delay queues and the queue of rejected messages for a resource. All messages stay in their
// queues.
func readQueues(ctx context.Context, settings config.Settings, region, id string) (f queueFindings) {
	if !config.HasBroker() {
		return queueFindings{unset: true}
	}
	c, err := config.ListenFromEnv()
	if err != nil {
		return queueFindings{err: err}
	}
	registry, err := tagger.Dialects(settings, region)
	if err != nil {
		return queueFindings{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	q, err := listen.OpenQueues(ctx, c)
	if err != nil {
		return queueFindings{err: err}
	}
	defer q.Close()
	f.asked = true
	about := func(m listen.Message) (lifecycle.Action, bool) {
		f.looked++
		for _, e := range m.Events {
			reading, err := registry.Read(e)
			if err != nil {
				continue
			}
			for _, change := range reading.Changes {
				if change.Resource.ID == id {
					return change.Action, true
				}
			}
		}
		return "", false
	}
	f.complete, f.err = q.Waiting(ctx, maxLookedAt, func(w listen.Waiting) {
		if action, ok := about(w.Message); ok && len(f.entries) < maxQueueEntries {
			f.entries = append(f.entries, queueEntry{
				queue: w.Queue, action: string(action), since: w.SentAt, tried: w.Receives - 1, delay: w.Delay,
			})
		}
	})
	if f.err == nil {
		rejected := 0
		f.err = q.Rejected(ctx, func(r listen.Rejected) bool {
			if rejected++; rejected > maxLookedAt {
				f.complete = false
				return false
			}
			if action, ok := about(r.Message); ok {
				f.entries = append(f.entries, queueEntry{
					queue: c.Queue + ".rejected", action: string(action), since: r.RejectedAt, reason: r.Reason,
				})
			}
			return len(f.entries) < maxQueueEntries
		})
	}
	if ctx.Err() != nil && f.err != nil {
		f.err = fmt.Errorf("it took longer than %s", longestLook)
	}
	return f
}

// cause returns a clause about the messages of a resource that lacks keys, or "" if there are none.
func (f *queueFindings) cause() string {
	if len(f.entries) == 0 {
		return ""
	}
	e := f.entries[len(f.entries)-1]
	if e.delay == 0 {
		return fmt.Sprintf("its event (%s) was rejected: %s", e.action, e.reason)
	}
	return fmt.Sprintf("its event (%s) was tried %s and waits in %s: next try within %s", e.action,
		plural(e.tried, "time"), e.queue, label(e.delay))
}

func label(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// printQueues shows the messages, and why the queues could not be searched.
func (e *explanation) printQueues() {
	f := e.queues
	for i, entry := range f.entries {
		text := fmt.Sprintf("%s waits in %s, tried %s since %s", entry.action, entry.queue,
			plural(entry.tried, "time"), clock(entry.since))
		if entry.delay == 0 {
			text = fmt.Sprintf("%s is in %s", entry.action, entry.queue)
			if !entry.since.IsZero() {
				text += " since " + clock(entry.since)
			}
			text += ": " + entry.reason
		}
		e.line(first(i, "queues"), "%s", text)
	}
	switch {
	case f.unset:
		e.line("queues", "not checked: TAGGER_AMQP_URL is not set")
	case f.err != nil:
		e.line("queues", "could not be checked: %s", f.err)
	case f.asked:
		text := fmt.Sprintf("%s in the delay queues and the one of rejected ones, %d about it", plural(f.looked, "message"),
			len(f.entries))
		if !f.complete {
			text += fmt.Sprintf("; a delay queue of more than %[1]d is not checked, and no more than %[1]d rejected ones are",
				maxLookedAt)
		}
		e.line("looked", "%s", text)
	}
}
