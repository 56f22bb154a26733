//go:build chaos

package host_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// queue fakes SQS with visibility, receive counts and a dead-letter queue, on the test's clock.
type queue struct {
	mu       sync.Mutex
	messages map[string]*message
	order    []string
	dead     map[string]string // body by message id, with the reason before it
	received int
}

type message struct {
	id, body string
	sent     time.Time
	visible  time.Time
	receives int
	receipt  string
}

const (
	visibilityTimeout = 6 * time.Minute
	maxReceives       = 200
	queueARN          = "arn:aws:sqs:eu-central-1:1:chaos"
)

func newQueue() *queue {
	return &queue{messages: map[string]*message{}, dead: map[string]string{}}
}

// send adds a message to the queue, visible after a delay.
func (q *queue) send(id, body string, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.messages[id] = &message{id: id, body: body, sent: now, visible: now.Add(delay)}
	q.order = append(q.order, id)
}

// receive returns up to ten visible messages, or how long until the next one is visible. ok is false if the queue is
// empty.
func (q *queue) receive(r *rand.Rand) (batch []message, until time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	until = time.Hour
	kept := q.order[:0]
	var visible []*message
	for _, id := range q.order {
		m, there := q.messages[id]
		if !there {
			continue
		}
		kept = append(kept, id)
		if wait := m.visible.Sub(now); wait > 0 {
			until = min(until, wait)
		} else {
			visible = append(visible, m)
		}
	}
	q.order = kept
	// A standard queue has no order.
	r.Shuffle(len(visible), func(i, j int) { visible[i], visible[j] = visible[j], visible[i] })
	for _, m := range visible[:min(10, len(visible))] {
		if m.receives++; m.receives > maxReceives {
			q.dead[m.id] = "received too often: " + m.body
			delete(q.messages, m.id)
			continue
		}
		q.received++
		m.visible = now.Add(visibilityTimeout)
		m.receipt = fmt.Sprintf("%s#%d", m.id, m.receives)
		batch = append(batch, *m)
	}
	return batch, until, len(q.order) > 0
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages)
}

func (q *queue) delete(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.messages, id)
}

// ChangeVisibility and Send implement host.Queues.
func (q *queue) ChangeVisibility(_ context.Context, _, receipt string, delay time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if m.receipt == receipt {
			m.visible = time.Now().Add(delay)
			return nil
		}
	}
	return fmt.Errorf("no message in flight with receipt %s", receipt)
}

func (q *queue) Send(_ context.Context, _ string, body []byte, attributes map[string]string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dead[fmt.Sprintf("sent-%d", len(q.dead))] = attributes["reason"] + ": " + string(body)
	return nil
}
