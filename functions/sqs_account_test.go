//go:build sqs

package functions_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/internal/lambdatest"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

// ledger records every message that was sent to the queue, and every line that the functions logged.
type ledger struct {
	// changed receives an element after each change.
	changed chan struct{}

	mu          sync.Mutex
	messages    map[string]*message // by message id
	outcomes    map[string][]string // by event id, as logged
	invocations int
	kills       int
	errors      []string
}

// message is one in the queue.
type message struct {
	sent     *sent
	receipt  string // the last one
	receives int
	busy     bool // an invocation has it
	deleted  bool
}

func newLedger() *ledger {
	return &ledger{changed: make(chan struct{}, 1), messages: map[string]*message{}, outcomes: map[string][]string{}}
}

func (l *ledger) sending(id string, s *sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[id] = &message{sent: s}
}

// received records a batch and returns the crashes to inject.
func (l *ledger) received(batch []types.Message) []context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.invocations++
	var crashes []context.Context
	for _, m := range batch {
		known := l.messages[*m.MessageId]
		known.receipt = *m.ReceiptHandle
		known.receives++
		known.busy = true
		if crash := known.sent.crash; crash != nil && crash.Err() == nil {
			crashes = append(crashes, crash)
		}
	}
	return crashes
}

// answered records a response. An error in it is unexpected.
func (l *ledger) answered(a lambdatest.Response) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.Failed {
		l.errors = append(l.errors, string(a.Body))
	}
}

func (l *ledger) killed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills++
}

// returned records the end of an invocation and the messages that were deleted.
func (l *ledger) returned(batch, deleted []types.Message) {
	l.mu.Lock()
	for _, m := range batch {
		l.messages[*m.MessageId].busy = false
	}
	for _, m := range deleted {
		l.messages[*m.MessageId].deleted = true
	}
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *ledger) log(entry map[string]any) {
	id, _ := entry["event_id"].(string)
	outcome, _ := entry["outcome"].(string)
	reason, _ := entry["reason"].(string)
	if outcome == "" || id == "" {
		return
	}
	if reason == "" && outcome != isTagged {
		outcome += " without a reason"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[id] = append(l.outcomes[id], outcome)
}

// settled reports whether each message is deleted, or deferred for so long that it needs an operator.
func (l *ledger) settled(asked func(receipt string) time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		if !m.deleted && (m.busy || asked(m.receipt) < 10*time.Minute) {
			return false
		}
	}
	return true
}

// waiting returns the messages that are still in the queue, in the order of their servers.
func (l *ledger) waiting() []*message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*message
	for _, m := range l.messages {
		if !m.deleted {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *message) int { return strings.Compare(a.sent.server, b.sent.server) })
	return all
}

// became returns the result of an event. Queues, log and cloud must agree on exactly one.
func (l *ledger) became(s *sent, dead bool, sim *simcloud.Cloud) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var is []string
	if dead {
		is = append(is, isDead)
	}
	receives := 0
	waiting := false
	for _, m := range l.messages {
		if m.sent == s {
			receives = max(receives, m.receives)
			waiting = waiting || !m.deleted
		}
	}
	if waiting {
		is = append(is, isHandedBack)
	}
	// Check the metadata in the cloud, not the function's log.
	server, _ := sim.Server(s.server)
	carries := s.server != "" && cmp.Equal(server.Metadata, s.planned)
	logged := l.outcomes[s.id]
	switch last := append([]string{"not logged"}, logged...)[len(logged)]; {
	case carries && slices.Contains(logged, isTagged):
		is = append(is, isTagged)
	case carries:
		is = append(is, last)
	case len(is) == 0 && (last == isGone || last == isIgnored || last == isUnrecognised):
		is = append(is, last)
	case len(is) == 0:
		is = append(is, fmt.Sprintf("LOST: last logged as %s; metadata %v", last, server.Metadata))
	}
	if receives < s.receives {
		is = append(is, fmt.Sprintf("after %d receives, not %d", receives, s.receives))
	}
	return strings.Join(is, " and ")
}

// deliveries returns how many records were sent with an event, and how often they were received in all.
func (l *ledger) deliveries(s *sent) (records, receives int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		if m.sent == s {
			records++
			receives += m.receives
		}
	}
	return records, receives
}

// account prints the results of all events, and fails for each unexpected one.
func (l *ledger) account(t *testing.T, title string, all []*sent, became func(*sent) string,
	want func(*sent) []string) {
	t.Helper()
	columns := []string{isTagged, isUnchanged, isGone, isIgnored, isUnrecognised, isDead, isHandedBack}
	var kinds []string
	counts := map[[2]string]int{}
	var wrong []string
	for _, s := range all {
		if !slices.Contains(kinds, s.kind) {
			kinds = append(kinds, s.kind)
		}
		is := became(s)
		if !slices.Contains(want(s), is) {
			wrong = append(wrong, fmt.Sprintf("%s (%s): %s; want %s", s.name, s.id, is, strings.Join(want(s), " or ")))
		}
		if !slices.Contains(columns, is) {
			is = "else"
		}
		records, receives := l.deliveries(s)
		for _, kind := range []string{s.kind, "sum"} {
			counts[[2]string{kind, "records"}] += records
			counts[[2]string{kind, "receives"}] += receives
			counts[[2]string{kind, "events"}]++
			counts[[2]string{kind, is}]++
		}
	}
	var b strings.Builder
	line := func(title string, cells []string) {
		fmt.Fprintf(&b, "\n%-20s", title)
		for _, cell := range cells {
			fmt.Fprintf(&b, "%13s", cell)
		}
	}
	columns = slices.Concat([]string{"records", "receives", "events"}, columns, []string{"else"})
	line(title, columns)
	for _, kind := range append(kinds, "sum") {
		var cells []string
		for _, column := range columns {
			cell := "."
			if n := counts[[2]string{kind, column}]; n > 0 {
				cell = fmt.Sprint(n)
			}
			cells = append(cells, cell)
		}
		line(kind, cells)
	}
	t.Log(b.String())
	for _, line := range wrong {
		t.Error(line)
	}
}
