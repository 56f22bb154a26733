// Package delivery is the processor under every door. A door translates what its platform hands out into messages, and
// the decisions on them into the platform's acknowledgements; everything between is here, once: each event is planned
// once, the changes of one resource are worked on in the order of their times, every event of a message is tried once
// before any is waited for, a panic fails one change only, and a fault that keeps everything from working is told from
// one that concerns a single resource or project.
package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Tagger plans and applies single events; [tagger.Tagger] does.
type Tagger interface {
	Plan(ctx context.Context, e event.Event) []tagger.Plan
	Apply(ctx context.Context, p tagger.Plan, d tagger.Delivery) tagger.Result
	Failed(ctx context.Context, d tagger.Delivery, reason string) tagger.Result
	Unreadable(ctx context.Context, err error) tagger.Result
	GivenUp(ctx context.Context, d tagger.Delivery, last tagger.Result) tagger.Result
}

// Message is what a door acknowledges as a whole: an SQS record, an AMQP message, an HTTP request, an invocation.
type Message struct {
	// ID names the message in the log, "" where the platform has no name for it.
	ID string
	// Events is what could be read of it, nearly always one event. Err is why something could not be read.
	Events []event.Event
	Err    error
	// SentAt is when the carrier took the message, zero when it does not say: then it is never given up.
	SentAt time.Time
	// ReceivedAt is when the door took it. It orders changes whose event has no time.
	ReceivedAt time.Time
	// Receives is how often the carrier has handed the message out, this time included; 0 when it does not say.
	Receives int
	// Group is the FIFO message group, "" without one. The messages of a group are worked on in the order of the batch,
	// and what follows a message that has to come back is handed back too.
	Group string
	// Wait is how long the message may wait for resources that are not ready, in all.
	Wait time.Duration
}

// Identity identifies the first event: its source and its id, which alone is unique within its source only
// (https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md#id). It is "" where none could be read.
func (m Message) Identity() string {
	if len(m.Events) == 0 {
		return ""
	}
	return m.Events[0].Source() + "\n" + m.Events[0].ID()
}

// EventID is the id of the first event, "" where none could be read.
func (m Message) EventID() string {
	if len(m.Events) == 0 {
		return ""
	}
	return m.Events[0].ID()
}

// Planned is a message with what the rules want for it.
type Planned struct {
	Message
	// Key identifies the change that the message reports, whatever its format. It is "" where the message reports none,
	// or several.
	Key string
	// Pending reports that there is something to apply.
	Pending bool

	changes []change
}

// change is one plan of a message, with its event.
type change struct {
	event event.Event
	plan  tagger.Plan
	// broken is why there is no plan, "" when there is one. panicked reports that it was a panic.
	broken   string
	panicked bool
}

// Decision is what became of a message, and what to do next. A Fault with the scope everything holds for all messages:
// none of them is to be acknowledged because of it, and a person must correct configuration or credentials.
type Decision struct {
	apply.Decision
	// EventID is the id of the event that decides, "" where it could not be read.
	EventID string
	// Results are those of all changes that were worked on.
	Results []tagger.Result
	// Reached reports that the cloud answered at least one call of a change that has no fault.
	Reached bool
	// Panics counts the changes that broke off with a panic.
	Panics int
}

// Options is what a Processor is made of.
type Options struct {
	Tagger Tagger
	// Concurrency is how many changes are worked on at a time, by all calls together. Those that wait for their
	// resource do not count, up to ten times as many.
	Concurrency int
	// GiveUpAfter is how long after the carrier took a message a fault of its resource or project is put up with while
	// other messages are worked on.
	GiveUpAfter time.Duration
	// Tolerance is after how many messages in a row that fail for their resource, with no answer of the cloud for any
	// other between them, everything is taken to be at fault. A door that acknowledges a whole batch wants 1: no record of
	// the batch was worked on then.
	Tolerance int
	// Gather is how long the first change of a resource waits for others of it, so that changes which a carrier hands out
	// one by one, but at the same time, are put in order. A door that hands in a whole batch needs none.
	Gather time.Duration
	Log    *slog.Logger
}

// Processor works on messages. It is safe for concurrent use. [New] makes it.
type Processor struct {
	options  Options
	schedule *schedule
	streak   streak
	log      *slog.Logger
}

// New returns a Processor.
func New(o Options) *Processor {
	return &Processor{options: o, schedule: newSchedule(o.Concurrency, o.Gather), log: o.Log}
}

// Process plans messages and works on them. The decisions are in the order of the messages. A message that was not
// begun when the context ended is deferred with that reason, and without a delay.
func (p *Processor) Process(ctx context.Context, messages []Message) []Decision {
	batch := make([]Planned, len(messages))
	var group errgroup.Group
	group.SetLimit(max(1, p.options.Concurrency))
	for i, m := range messages {
		group.Go(func() error {
			batch[i] = p.Plan(ctx, m)
			return nil
		})
	}
	_ = group.Wait()
	return p.Work(ctx, batch)
}

// planTimeout is how long planning one message may take. Rules are limited themselves, and reading them anew takes up
// to five seconds; this keeps a message that gets around all that from holding up others.
const planTimeout = 10 * time.Second

// Plan plans each event of a message, once. It asks nothing of the cloud. What cannot be planned in time is a change
// that fails.
func (p *Processor) Plan(ctx context.Context, m Message) Planned {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	done := make(chan []change, 1)
	go func() { done <- p.plans(ctx, m.Events) }()
	planned := Planned{Message: m}
	select {
	case planned.changes = <-done:
	case <-ctx.Done():
		for _, e := range m.Events {
			planned.changes = append(planned.changes, change{event: e, broken: errPlanning.Error()})
		}
	}
	planned.Pending = slices.ContainsFunc(planned.changes, func(c change) bool {
		return c.broken != "" || c.plan.Pending()
	})
	if len(planned.changes) == 1 && m.Err == nil && planned.changes[0].broken == "" {
		planned.Key = planned.changes[0].plan.Key()
	}
	return planned
}

var errPlanning = errors.New("planning did not end in time")

// plans plans events, as far as there is time.
func (p *Processor) plans(ctx context.Context, events []event.Event) (all []change) {
	for _, e := range events {
		if ctx.Err() != nil {
			all = append(all, change{event: e, broken: errPlanning.Error()})
			continue
		}
		all = append(all, p.plan(ctx, e)...)
	}
	return all
}

func (p *Processor) plan(ctx context.Context, e event.Event) (all []change) {
	defer func() {
		if r := recover(); r != nil {
			all = []change{{event: e, broken: p.panicked(e, r), panicked: true}}
		}
	}()
	for _, plan := range p.options.Tagger.Plan(ctx, e) {
		all = append(all, change{event: e, plan: plan})
	}
	return all
}

// panicked logs a panic, and returns the reason for the event's result.
func (p *Processor) panicked(e event.Event, r any) string {
	p.log.Error("panic", "event_id", e.ID(), "panic", fmt.Sprintf("%.1000s", fmt.Sprint(r)),
		"stack", string(debug.Stack()))
	return "panic; see the log"
}

// Work works on messages that [Processor.Plan] planned, and returns when all have their decision.
func (p *Processor) Work(ctx context.Context, batch []Planned) []Decision {
	return p.Begin(ctx, batch)()
}

// Begin takes messages into the order of work, and returns a function that waits for their decisions. Calls of Begin,
// one after the other, give the messages their places: of two changes of one resource that have the same time, or of
// which the first is under way already, the one that came first is worked on first.
func (p *Processor) Begin(ctx context.Context, batch []Planned) (finish func() []Decision) {
	w := p.newWork(ctx, batch)
	w.begin()
	return func() []Decision {
		w.wait()
		decisions := make([]Decision, len(w.messages))
		for i, m := range w.messages {
			decisions[i] = m.decide(ctx)
		}
		p.judge(ctx, batch, decisions)
		return decisions
	}
}

// Worst returns the index of the decision that decides for a message with all of these: the one with the fault of the
// widest scope, else the one with the worst outcome, and of those that come back the one with the longest delay. There
// must be one at least.
func Worst(all []apply.Decision) int {
	outcomes := apply.Outcomes()
	scopes := []fault.Scope{"", fault.Resource, fault.Project, fault.Everything}
	worst := 0
	for i, d := range all {
		w := all[worst]
		if cmp.Or(
			cmp.Compare(slices.Index(scopes, d.Fault.Scope), slices.Index(scopes, w.Fault.Scope)),
			cmp.Compare(slices.Index(outcomes, d.Outcome), slices.Index(outcomes, w.Outcome)),
			cmp.Compare(d.Delay, w.Delay),
		) > 0 {
			worst = i
		}
	}
	return worst
}

// Whole returns the decision on a batch that is acknowledged as one message: the worst of all, with all results.
func Whole(decisions []Decision) Decision {
	all := make([]apply.Decision, len(decisions))
	for i, d := range decisions {
		all[i] = d.Decision
	}
	whole := decisions[Worst(all)]
	whole.Results = nil
	for _, d := range decisions {
		whole.Results = append(whole.Results, d.Results...)
	}
	return whole
}
