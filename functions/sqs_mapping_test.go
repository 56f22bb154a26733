//go:build sqs

package functions_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/internal/lambdatest"
)

var errEnded = errors.New("the function's process ended")

// bootstrap is one running process of a function. Its context ends with it.
type bootstrap struct {
	runtime *lambdatest.RuntimeAPI
	life    context.Context
	kill    func()
}

// startBootstrap starts a process that ends with the context at the latest. It passes the lines of the log to logged,
// all of them before it closes done.
func startBootstrap(ctx context.Context, t *testing.T, done *sync.WaitGroup, env []string,
	logged func(map[string]any)) (*bootstrap, error) {
	runtime := lambdatest.NewRuntimeAPI()
	t.Cleanup(runtime.Close)
	cmd := exec.CommandContext(ctx, executable("server-created"))
	cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + runtime.Host()}, env...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the function: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the function: %w", err)
	}
	life, end := context.WithCancelCause(ctx)
	done.Go(func() {
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var entry map[string]any
			if json.Unmarshal(lines.Bytes(), &entry) == nil {
				logged(entry)
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		end(errEnded)
	})
	return &bootstrap{runtime, life, func() { _ = cmd.Process.Kill() }}, nil
}

// mapping does what AWS's event source mapping of a queue and a function does
// (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
type mapping struct {
	t       *testing.T
	queues  queues
	env     []string
	timeout time.Duration // the function's
	ledger  *ledger

	// turn serialises the calls, because moto's queues are not safe for concurrent receives and deletions.
	turn      sync.Mutex
	processes sync.WaitGroup
}

// run polls the queue until the ledger is settled. Each poller has a process of the function. When run returns, no
// process is left, and the ledger has every line of their logs.
func (m *mapping) run(ctx context.Context, pollers int, settled func() bool) error {
	polling, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(polling)
	for range pollers {
		group.Go(func() error { return m.poll(running) })
	}
	for running.Err() == nil && !settled() {
		select {
		case <-m.ledger.changed:
		case <-running.Done():
		}
	}
	stop()
	err := group.Wait()
	m.processes.Wait()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("poll the queue until all is settled: %w", context.Cause(ctx))
	}
	return err
}

func (m *mapping) poll(ctx context.Context) error {
	var b *bootstrap
	for {
		messages, err := m.receive(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case len(messages) == 0:
			continue
		}
		if b == nil || b.life.Err() != nil {
			if b, err = startBootstrap(ctx, m.t, &m.processes, m.env, m.ledger.log); err != nil {
				return err
			}
		}
		done, err := m.deliver(b, messages)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := m.remove(ctx, messages, done); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
}

func (m *mapping) receive(ctx context.Context) ([]types.Message, error) {
	m.turn.Lock()
	defer m.turn.Unlock()
	out, err := m.queues.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(m.queues.url), MaxNumberOfMessages: 10, WaitTimeSeconds: 1,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"},
	})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// deliver invokes the function and returns the acknowledged messages: none if the invocation fails or the test kills
// the process. Any other end of the process is an error, and so is a timeout.
func (m *mapping) deliver(b *bootstrap, messages []types.Message) ([]types.Message, error) {
	payload, err := json.Marshal(m.event(messages))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(b.life, m.timeout, fmt.Errorf("the function has not answered within %s",
		m.timeout))
	defer cancel()
	crashes := m.ledger.received(messages)
	for _, crash := range crashes {
		defer context.AfterFunc(crash, b.kill)()
	}
	a, err := b.runtime.Invoke(ctx, payload, m.timeout)
	if err == nil {
		m.ledger.answered(a)
		return acknowledged(a, messages), nil
	}
	for _, crash := range crashes {
		if crash.Err() != nil {
			<-b.life.Done()
			m.ledger.killed()
			return nil, nil
		}
	}
	return nil, err
}

func (m *mapping) event(messages []types.Message) events.SQSEvent {
	var e events.SQSEvent
	for _, message := range messages {
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: *message.MessageId, ReceiptHandle: *message.ReceiptHandle, Body: *message.Body,
			Md5OfBody:  *message.MD5OfBody,
			Attributes: message.Attributes, EventSource: "aws:sqs", EventSourceARN: m.queues.arn, AWSRegion: sqsRegion,
		})
	}
	return e
}

// acknowledged returns the messages that the response does not name. An error, an invalid response and one with an
// unknown message acknowledge nothing.
func acknowledged(a lambdatest.Response, messages []types.Message) []types.Message {
	var response events.SQSEventResponse
	if a.Failed || json.Unmarshal(a.Body, &response) != nil {
		return nil
	}
	open := map[string]types.Message{}
	for _, message := range messages {
		open[*message.MessageId] = message
	}
	for _, failure := range response.BatchItemFailures {
		if _, ok := open[failure.ItemIdentifier]; !ok {
			return nil
		}
		delete(open, failure.ItemIdentifier)
	}
	var done []types.Message
	for _, message := range open {
		done = append(done, message)
	}
	return done
}

// remove deletes the acknowledged messages and records that in the ledger.
func (m *mapping) remove(ctx context.Context, batch, done []types.Message) error {
	if len(done) > 0 {
		m.turn.Lock()
		defer m.turn.Unlock()
		var entries []types.DeleteMessageBatchRequestEntry
		for i, message := range done {
			entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)),
				ReceiptHandle: message.ReceiptHandle})
		}
		out, err := m.queues.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(m.queues.url),
			Entries: entries})
		if err != nil {
			return err
		}
		if len(out.Failed) > 0 {
			return fmt.Errorf("%s", aws.ToString(out.Failed[0].Message))
		}
	}
	m.ledger.returned(batch, done)
	return nil
}
