package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/tagger"
)

// planTimeout limits planning one message. Rules have their own limits, and reading them again takes up to five
// seconds. This is the last resort: a message that evades those limits does not hold up others.
const planTimeout = 10 * time.Second

// planner plans messages one after the other, in another goroutine. Planning that does not end in time keeps that
// goroutine; the next message gets a new one.
type planner struct {
	processor *Processor
	timeout   *time.Timer
	parent    context.Context

	// Those of the current goroutine.
	ctx    context.Context
	cancel context.CancelFunc
	work   chan func()
	done   chan planning
}

// planning is the result of planning a message.
type planning struct {
	changes     []change
	reservation reservation
}

func newPlanner(ctx context.Context, p *Processor) *planner {
	planner := &planner{processor: p, timeout: time.NewTimer(planTimeout), parent: ctx}
	planner.start()
	return planner
}

func (p *planner) start() {
	work := make(chan func())
	p.work, p.done = work, make(chan planning)
	p.ctx, p.cancel = context.WithCancel(p.parent)
	go func() {
		growStack()
		for plan := range work {
			plan()
		}
	}()
}

// stop ends the goroutine, at once if it is idle.
func (p *planner) stop() {
	p.cancel()
	close(p.work)
}

// close ends the planner. Call it when no message is being planned.
func (p *planner) close() {
	p.timeout.Stop()
	p.stop()
}

func (p *planner) plan(m Message) Plan {
	ctx, done := p.ctx, p.done
	p.timeout.Reset(planTimeout)
	p.work <- func() {
		r := planning{reservation: reservation{memory: &p.processor.memory}}
		r.changes = p.processor.plans(ctx, m.Events, &r.reservation)
		select {
		case done <- r:
		case <-ctx.Done():
			r.reservation.release()
		}
	}
	plan := Plan{Message: m}
	select {
	case r := <-done:
		plan.changes, plan.release = r.changes, r.reservation.release
	case <-ctx.Done():
		plan.changes = p.leave(m)
	case <-p.timeout.C:
		plan.changes = p.leave(m)
	}
	plan.Pending = slices.ContainsFunc(plan.changes, func(c change) bool { return c.failure != "" || c.plan.Pending() })
	if len(plan.changes) == 1 && m.Err == nil && plan.changes[0].failure == "" {
		plan.Key = plan.changes[0].plan.Key()
	}
	return plan
}

// leave leaves the goroutine to a message whose planning did not end in time, and returns the message's changes.
func (p *planner) leave(m Message) (failed []change) {
	p.stop()
	p.start()
	for _, e := range m.Events {
		failed = append(failed, change{event: e, failure: errPlanning.Error()})
	}
	return failed
}

var errPlanning = errors.New("planning did not end in time")

// plans plans as many events as time and memory allow.
func (p *Processor) plans(ctx context.Context, events []event.Event, s *reservation) (all []change) {
	if err := s.reserve(eventSize * len(events)); err != nil {
		return []change{refused(events[0], err)}
	}
	for _, e := range events {
		planned := p.plan(ctx, e)
		if ctx.Err() != nil {
			all = append(all, change{event: e, failure: errPlanning.Error()})
			continue
		}
		size := 0
		for _, c := range planned {
			if c.failure == "" {
				size += c.plan.Size()
			}
		}
		if err := s.reserve(size); err != nil {
			planned = []change{refused(e, err)}
		}
		all = append(all, planned...)
	}
	return all
}

// refused returns the change in place of those whose plans would exceed the memory limit.
func refused(e event.Event, err error) change {
	if errors.Is(err, errTooLarge) {
		return change{event: e, plan: tagger.RejectedPlan(e, err.Error())}
	}
	return change{event: e, failure: err.Error()}
}

func (p *Processor) plan(ctx context.Context, e event.Event) (all []change) {
	defer func() {
		if r := recover(); r != nil {
			all = []change{{event: e, failure: p.panicked(e, r), panicked: true}}
		}
	}()
	for _, plan := range p.options.Tagger.Plan(ctx, e) {
		all = append(all, change{event: e, plan: plan})
	}
	return all
}
