package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// work is the state of one call: its messages, until they have decisions.
type work struct {
	processor *Processor
	ctx       context.Context
	messages  []*message
	// lanes are the messages that run one after the other: those of a group. Any other message has its own lane.
	lanes [][]*message
	ended sync.WaitGroup
}

// message is the state of one message.
type message struct {
	Plan
	attempts []attempt
	// immediate has the attempts that make no call, and so need no slot.
	immediate []*task
	// end is when the message stops waiting. Its wait counts from the start of its first change.
	end   time.Time
	start sync.Once
	// skipped is why none of its changes was started, "" if one was.
	skipped    string
	tried      sync.WaitGroup
	unreadable []*tagger.Result
}

// attempt is the state of one change of a message.
type attempt struct {
	*change
	result *tagger.Result
	begun  bool
	// brief means that the result is kept without details.
	brief bool
}

// detailed is the number of changes up to which a message is not bulk and its results are kept in full.
const detailed = 50

func (p *Processor) newWork(ctx context.Context, batch []Plan) *work {
	w := &work{processor: p, ctx: ctx, messages: make([]*message, len(batch)), lanes: make([][]*message, 0, len(batch))}
	states := make([]message, len(batch))
	groups := map[string]int{}
	for i, planned := range batch {
		m := &states[i]
		m.Plan, m.attempts = planned, make([]attempt, len(planned.changes))
		for k := range planned.changes {
			m.attempts[k] = attempt{change: &planned.changes[k], brief: len(planned.changes) > detailed}
		}
		w.messages[i] = m
		if planned.Group == "" {
			w.lanes = append(w.lanes, w.messages[i:i+1:i+1])
			continue
		}
		lane, known := groups[planned.Group]
		if !known {
			lane = len(w.lanes)
			w.lanes = append(w.lanes, nil)
			groups[planned.Group] = lane
		}
		w.lanes[lane] = append(w.lanes[lane], m)
	}
	return w
}

// begin schedules the first message of each lane, all at once, and starts the lanes that schedule more.
func (w *work) begin() {
	var tasks []*task
	for _, lane := range w.lanes {
		tasks = append(tasks, w.tasks(lane[0])...)
	}
	w.processor.schedule.add(tasks...)
	for _, lane := range w.lanes {
		if schedulesMore(lane) {
			w.ended.Go(func() { w.run(lane) })
		}
	}
}

// wait returns when all messages have been processed.
func (w *work) wait() {
	// No message waits for another one's call.
	for _, lane := range w.lanes {
		if !schedulesMore(lane) {
			lane[0].runImmediate()
		}
	}
	for _, lane := range w.lanes {
		if !schedulesMore(lane) {
			w.run(lane)
		}
	}
	w.ended.Wait()
}

// schedulesMore reports whether a lane schedules more than the first attempts of its first message. After its immediate
// attempts, another lane only waits, so it needs no goroutine.
func schedulesMore(lane []*message) bool { return len(lane) > 1 || len(lane[0].attempts) > 1 }

// runImmediate runs the attempts that make no call.
func (m *message) runImmediate() {
	for _, t := range m.immediate {
		t.run(func() {})
	}
	m.immediate = nil
}

// groupDeferred is the reason, and the log message, for the messages after a deferred one in a group.
const groupDeferred = "deferred: an earlier message of its group must be processed first"

// run processes the messages of a lane. The first is scheduled already.
func (w *work) run(lane []*message) {
	for i, m := range lane {
		if i > 0 {
			w.processor.schedule.add(w.tasks(m)...)
		}
		m.runImmediate()
		m.tried.Wait()
		if m.waits() {
			w.processor.schedule.add(w.again(m)...)
			m.tried.Wait()
		}
		if slices.ContainsFunc(m.attempts, func(a attempt) bool { return !a.begun }) {
			w.processor.log.Info("deferred: not started in time", "message", m.ID, "event_id", m.EventID())
		}
		if m.Err != nil {
			m.unreadable = append(m.unreadable, w.processor.options.Tagger.Unreadable(w.ctx, m.Err))
		}
		if i+1 == len(lane) {
			return
		}
		if d := m.decide(w.ctx); d.Outcome == apply.Deferred || d.Fault.Err != nil {
			for _, later := range lane[i+1:] {
				later.skipped = groupDeferred
				w.processor.log.Info(groupDeferred, "message", later.ID)
			}
			return
		}
	}
}

// tasks returns the first attempts of a message that call the cloud. If a message has several changes, none of them
// waits for its resource, so that no other starves behind it.
func (w *work) tasks(m *message) []*task {
	wait := m.Wait
	if len(m.attempts) > 1 {
		wait = 0
	}
	var tasks []*task
	m.tried.Add(len(m.attempts))
	for i := range m.attempts {
		a := &m.attempts[i]
		t := w.task(m, a, func() time.Duration { return wait })
		if a.calls() {
			tasks = append(tasks, t)
		} else {
			m.immediate = append(m.immediate, t)
		}
	}
	return tasks
}

// waits reports whether the changes of a message with several are retried with a wait.
func (m *message) waits() bool {
	return len(m.attempts) > 1 && time.Now().Before(m.end) && slices.ContainsFunc(m.attempts, attempt.notReady)
}

// again returns the attempts that wait, for as long as the message may.
func (w *work) again(m *message) []*task {
	var tasks []*task
	for i := range m.attempts {
		if a := &m.attempts[i]; a.notReady() {
			tasks = append(tasks, w.task(m, a, func() time.Duration { return time.Until(m.end) }))
		}
	}
	m.tried.Add(len(tasks))
	return tasks
}

// calls reports whether the attempt calls the cloud.
func (a attempt) calls() bool { return a.failure == "" && a.plan.Pending() }

func (a attempt) notReady() bool {
	return a.begun && a.failure == "" && a.result.Outcome == apply.Deferred && a.result.Fault.Err == nil
}

func (w *work) task(m *message, a *attempt, wait func() time.Duration) *task {
	t := &task{at: m.ReceivedAt, bulk: len(m.attempts) > detailed}
	if a.calls() {
		if at := a.plan.Time(); !at.IsZero() {
			t.at = at
		}
		if a.plan.Resource.ID != "" {
			t.resource = string(a.plan.Resource.Kind) + " " + a.plan.Resource.ID
		}
	}
	t.run = func(pausing func()) {
		defer m.tried.Done()
		if w.ctx.Err() != nil {
			return
		}
		m.start.Do(func() { m.end = time.Now().Add(m.Wait) })
		left := wait()
		if left > 0 && a.calls() {
			if w.processor.schedule.mayWait() {
				defer w.processor.schedule.waited()
			} else {
				left = 0
			}
		}
		if a.begun && left <= 0 {
			return // the first attempt's result stays
		}
		a.begun = true
		w.processor.attempt(w.ctx, a, tagger.Delivery{
			Event: a.event, SentAt: m.SentAt, ReceivedAt: m.ReceivedAt, Receives: m.Receives, Wait: left,
			Progress: tagger.Progress{Pausing: func(string, time.Duration) { pausing() }},
		})
	}
	return t
}

// attempt applies one change. A panic fails only that change.
func (p *Processor) attempt(ctx context.Context, a *attempt, d tagger.Delivery) {
	reason := a.failure
	a.panicked = reason != "" && a.panicked // not that of an earlier attempt
	if reason == "" {
		reason = p.apply(ctx, a, d)
	}
	if reason != "" {
		a.result = p.options.Tagger.Failed(ctx, d, reason)
	}
	if a.brief {
		if a.result = a.result.Brief(); !a.notReady() {
			a.plan = &tagger.Plan{}
		}
	}
}

func (p *Processor) apply(ctx context.Context, a *attempt, d tagger.Delivery) (failure string) {
	defer func() {
		if r := recover(); r != nil {
			failure, a.panicked = p.panicked(a.event, r), true
		}
	}()
	a.result = p.options.Tagger.Apply(ctx, a.plan, d)
	return ""
}

// decide returns the decision on a message: the worst of its changes.
func (m *message) decide(ctx context.Context) Decision {
	if m.skipped != "" {
		return Decision{Decision: apply.Decision{Outcome: apply.Deferred, Reason: m.skipped}, EventID: m.EventID()}
	}
	d := Decision{Results: make([]*tagger.Result, 0, len(m.attempts)+len(m.unreadable))}
	var all []apply.Decision
	var ids []string
	add := func(one apply.Decision, id string) { all, ids = append(all, one), append(ids, id) }
	for _, a := range m.attempts {
		if !a.begun {
			reason := "deferred: not started in time: " + context.Cause(ctx).Error()
			add(apply.Decision{Outcome: apply.Deferred, Reason: reason}, a.event.ID())
			continue
		}
		d.Results = append(d.Results, a.result)
		add(*a.result.Decision, a.event.ID())
		d.Reached = d.Reached || a.result.Fault.Err == nil && a.result.Calls > 0
		if a.panicked {
			d.Panics++
		}
	}
	for _, r := range m.unreadable {
		d.Results = append(d.Results, r)
		add(*r.Decision, "")
	}
	if len(all) == 0 { // a batch of no events is done
		empty := tagger.EmptyBatch()
		d.Decision, d.Results = *empty.Decision, []*tagger.Result{empty}
		return d
	}
	worst := Worst(all)
	d.Decision, d.EventID = all[worst], ids[worst]
	return d
}
