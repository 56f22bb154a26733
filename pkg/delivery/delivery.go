// Package delivery processes the messages of every entry point: functions, the HTTP server, queue consumers. An entry
// point translates its platform's input into messages, and the decisions on them into acknowledgements. This package
// plans each event once and works on the changes of one resource in the order of their times. It tries every event of a
// message once before it waits for any. A panic fails one change only. A fault that stops all work is separate from a
// fault of one resource or project.
package delivery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Tagger plans and applies single events. [tagger.Tagger] implements it.
type Tagger interface {
	Plan(ctx context.Context, e event.Event) []*tagger.Plan
	Apply(ctx context.Context, p *tagger.Plan, d tagger.Delivery) *tagger.Result
	Failed(ctx context.Context, d tagger.Delivery, reason string) *tagger.Result
	Unreadable(ctx context.Context, err error) *tagger.Result
	GivenUp(ctx context.Context, d tagger.Delivery, last *tagger.Result) *tagger.Result
}

// Message is the unit that an entry point acknowledges: an SQS record, an AMQP message, an HTTP request, an invocation.
type Message struct {
	// ID names the message in the log. It is "" if the platform has no name for it.
	ID string
	// Events are the readable events, nearly always one. Err is why something could not be read.
	Events []event.Event
	Err    error
	// SentAt is when the carrier accepted the message. If it is zero, the message is never given up.
	SentAt time.Time
	// ReceivedAt is when the entry point received it. It orders changes whose event has no time.
	ReceivedAt time.Time
	// Receives is the number of deliveries so far, including this one. It is 0 if the carrier does not report it.
	Receives int
	// Group is the FIFO message group, "" without one. The messages of a group are processed in the order of the batch.
	// If one must be redelivered, those after it are redelivered too.
	Group string
	// Wait is the total time that the message may wait for resources that are not ready.
	Wait time.Duration
}

// Identity identifies the first event by its source and id, because an id is unique only within its source
// (https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md#id). It is "" if no event could be read. Entry
// points remember thousands of identities, so a digest stands for a long one.
func (m Message) Identity() string {
	if len(m.Events) == 0 {
		return ""
	}
	const longest = 512
	identity := m.Events[0].Source() + "\n" + m.Events[0].ID()
	if len(identity) > longest {
		sum := sha256.Sum256([]byte(identity))
		return "sha256\n" + hex.EncodeToString(sum[:])
	}
	return identity
}

// EventID returns the id of the first event, "" if no event could be read.
func (m Message) EventID() string {
	if len(m.Events) == 0 {
		return ""
	}
	return m.Events[0].ID()
}

// Plan is a message with the plans of its events.
type Plan struct {
	Message
	// Key identifies the change that the message reports, whatever its format. It is "" if the message reports no
	// change or several.
	Key string
	// Pending reports that there is something to apply.
	Pending bool

	changes []change
	// release releases the memory of the plans; nil if there are none.
	release func()
}

// change is one plan of a message, with its event.
type change struct {
	event event.Event
	plan  *tagger.Plan
	// failure is why there is no plan, "" if there is one. panicked reports that a panic is the reason.
	failure  string
	panicked bool
}

// Decision is the outcome of a message and what to do next. A Fault with the scope everything applies to all messages:
// do not acknowledge any of them. An operator must correct the configuration or the credentials.
type Decision struct {
	apply.Decision
	// EventID is the id of the event that decides, "" if it could not be read.
	EventID string
	// Results are those of all changes that were processed.
	Results []*tagger.Result
	// Reached reports that the cloud answered at least one call of a change without a fault.
	Reached bool
	// Panics counts the changes that ended with a panic.
	Panics int
}

// Options configure a Processor.
type Options struct {
	Tagger Tagger
	// Concurrency limits how many changes are processed at a time, by all calls together. Changes that wait for their
	// resource do not count, up to ten times as many.
	Concurrency int
	// GiveUpAfter limits how long a message may fail because of its resource or project while other messages succeed.
	// It counts from SentAt.
	GiveUpAfter time.Duration
	// Tolerance is the number of consecutive messages, failing for their resource without an answer of the cloud for
	// any other, after which the fault is taken to affect everything. An entry point that acknowledges a whole batch
	// sets 1: then no record of the batch was processed.
	Tolerance int
	// Gather is how long the first change of a resource waits for others of it, so that changes which a carrier
	// delivers one by one, but at the same time, are put in order. An entry point that passes whole batches needs none.
	Gather time.Duration
	Log    *slog.Logger
}

// Processor processes messages. It is safe for concurrent use. Create one with [New].
type Processor struct {
	options  Options
	schedule *schedule
	streak   streak
	memory   planMemory
	log      *slog.Logger
}

// New returns a Processor.
func New(o Options) *Processor {
	return &Processor{options: o, schedule: newSchedule(o.Concurrency, o.Gather), log: o.Log}
}

// Process plans and processes messages. It returns the decisions in the order of the messages. A message that was not
// started when the context ended is deferred without a delay, and its decision gives that reason.
func (p *Processor) Process(ctx context.Context, messages []Message) []Decision {
	batch := make([]Plan, len(messages))
	var next atomic.Int64
	var planners sync.WaitGroup
	// Planning waits for nothing, and decoded events take memory.
	for range min(MaxPlanning, len(messages)) {
		planners.Go(func() {
			planner := newPlanner(ctx, p)
			defer planner.close()
			for i := next.Add(1) - 1; i < int64(len(messages)); i = next.Add(1) - 1 {
				batch[i] = planner.plan(messages[i])
			}
		})
	}
	planners.Wait()
	return p.Work(ctx, batch)
}

// MaxPlanning is the number of messages planned at a time.
const MaxPlanning = 2

// Plan plans each event of a message, once. It does not call the cloud. A change that cannot be planned in time fails.
func (p *Processor) Plan(ctx context.Context, m Message) Plan {
	planner := newPlanner(ctx, p)
	defer planner.close()
	return planner.plan(m)
}

// panicked logs a panic and returns the reason for the event's result.
func (p *Processor) panicked(e event.Event, r any) string {
	p.log.Error("panic", "event_id", e.ID(), "panic", fmt.Sprintf("%.1000s", fmt.Sprint(r)),
		"stack", string(debug.Stack()))
	return "panic; see the log"
}

// Work processes messages that [Processor.Plan] planned, and returns when all have a decision.
func (p *Processor) Work(ctx context.Context, batch []Plan) []Decision {
	return p.Begin(ctx, batch)()
}

// Begin queues messages and returns a function that waits for their decisions and releases the plans. The order of the
// calls of Begin breaks ties: if two changes of one resource have the same time, or the first has already started, the
// one queued first runs first.
func (p *Processor) Begin(ctx context.Context, batch []Plan) (finish func() []Decision) {
	w := p.newWork(ctx, batch)
	w.begin()
	return func() []Decision {
		w.wait()
		for _, m := range batch {
			m.Release()
		}
		decisions := make([]Decision, len(w.messages))
		for i, m := range w.messages {
			decisions[i] = m.decide(ctx)
		}
		p.classifyFaults(ctx, batch, decisions)
		return decisions
	}
}

// Release releases the memory of the plan. The function that [Processor.Begin] returns does that; call it for a plan
// that is not begun. It may be called again.
func (p Plan) Release() {
	if p.release != nil {
		p.release()
	}
}

// Worst returns the index of the decision that decides for a message with all of these: the fault with the widest
// scope, otherwise the worst outcome. Among outcomes that are redelivered, the longest delay decides. decisions must
// not be empty.
func Worst(all []apply.Decision) int {
	outcomes := apply.Outcomes()
	scopes := []fault.Scope{"", fault.Resource, fault.Project, fault.Everything}
	worst := 0
	for i, d := range all[1:] {
		w := all[worst]
		if cmp.Or(
			cmp.Compare(slices.Index(scopes, d.Fault.Scope), slices.Index(scopes, w.Fault.Scope)),
			cmp.Compare(slices.Index(outcomes, d.Outcome), slices.Index(outcomes, w.Outcome)),
			cmp.Compare(d.Delay, w.Delay),
		) > 0 {
			worst = i + 1
		}
	}
	return worst
}

// Whole returns the decision on a batch that is acknowledged as one message: the worst, with all results.
func Whole(decisions []Decision) Decision {
	all := make([]apply.Decision, len(decisions))
	for i, d := range decisions {
		all[i] = d.Decision
	}
	whole := decisions[Worst(all)]
	if len(decisions) == 1 {
		return whole
	}
	whole.Results = nil
	for _, d := range decisions {
		whole.Results = append(whole.Results, d.Results...)
	}
	return whole
}
