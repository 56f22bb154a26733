//go:build sqs

package functions_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const sqsRegion = "eu-central-1"

// startMoto starts moto's server, which implements SQS, on a free port for the duration of the test. It returns its
// address.
func startMoto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Fatal("moto_server, this test's SQS, is not on PATH; install it with: pip install 'moto[server]'")
	}
	cmd := exec.Command(path, "-H", "127.0.0.1", "-p", "0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running, ended := make(chan string, 1), make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		var output []string
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, address, ok := strings.Cut(lines.Text(), "Running on "); ok && len(running) == 0 {
				running <- strings.TrimSpace(address)
			}
			if len(output) < 50 {
				output = append(output, lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, stderr) // a line that is too long must not block the process
		ended <- strings.Join(output, "\n")
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
	})
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	select {
	case address := <-running:
		return address
	case output := <-ended:
		t.Fatalf("moto_server ended:\n%s", output)
	case <-timeout.C:
		t.Fatal("moto_server does not listen after a minute")
	}
	return ""
}

func awsConfig(address string) aws.Config {
	return aws.Config{
		Region: sqsRegion, BaseEndpoint: aws.String(address),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: "test-secret-key"}, nil
		}),
	}
}

// makeSecret stores the lines NAME=value as a secret for template.yaml's functions, and returns its ARN.
func makeSecret(t *testing.T, address string, lines []string) string {
	t.Helper()
	values := map[string]string{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	out, err := secretsmanager.NewFromConfig(awsConfig(address)).CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{
			Name: aws.String("tagger"), SecretString: aws.String(marshal(values)),
		})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

// queues are a queue of template.yaml and its dead-letter queue.
type queues struct {
	client   *sqs.Client
	url, arn string
	deadURL  string
}

// makeQueues creates the queues of a function as in template.yaml, but with another visibility timeout.
func makeQueues(t *testing.T, address, id string, visibility time.Duration) queues {
	t.Helper()
	client := sqs.NewFromConfig(awsConfig(address))
	create := func(name string, attributes map[string]string) (url, arn string) {
		t.Helper()
		q, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		return *q.QueueUrl, queueAttribute(t, client, *q.QueueUrl, types.QueueAttributeNameQueueArn)
	}
	resources := template(t).at("Resources")
	queue, dead := resources.at(id+"Queue", "Properties"), resources.at(id+"DeadLetterQueue", "Properties")
	deadURL, deadARN := create("tagger-dead", map[string]string{
		"MessageRetentionPeriod": dead.at("MessageRetentionPeriod").Value,
		"SqsManagedSseEnabled":   dead.at("SqsManagedSseEnabled").Value,
	})
	url, arn := create("tagger", map[string]string{
		"MessageRetentionPeriod": queue.at("MessageRetentionPeriod").Value,
		"SqsManagedSseEnabled":   queue.at("SqsManagedSseEnabled").Value,
		"VisibilityTimeout":      strconv.Itoa(int(visibility.Seconds())),
		"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn": %q, "maxReceiveCount": %d}`, deadARN,
			queue.at("RedrivePolicy", "maxReceiveCount").number(t)),
	})
	return queues{client, url, arn, deadURL}
}

func queueAttribute(t *testing.T, client *sqs.Client, url string, name types.QueueAttributeName) string {
	t.Helper()
	out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(url),
		AttributeNames: []types.QueueAttributeName{name}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes[string(name)]
}

// receiveAll receives all visible messages and hides them for an hour.
func receiveAll(t *testing.T, client *sqs.Client, url string) []types.Message {
	t.Helper()
	var all []types.Message
	for {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: aws.String(url), MaxNumberOfMessages: 10, VisibilityTimeout: 3600, MessageAttributeNames: []string{"All"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return all
		}
		all = append(all, out.Messages...)
	}
}

// tap is a proxy between the functions and AWS. It counts calls, records the requested visibility, and fails on
// request.
type tap struct {
	*httptest.Server

	mu         sync.Mutex
	calls      map[string]int           // by operation
	visibility map[string]time.Duration // by receipt handle
	refusals   map[string]int           // by message body: how many more sends fail
}

func newTap(t *testing.T, address string) *tap {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{calls: map[string]int{}, visibility: map[string]time.Duration{}, refusals: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: log.New(io.Discard, "", 0), // killed processes leave unfinished calls
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if p.refuses(r.Header.Get("X-Amz-Target"), body) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"__type": "com.amazonaws.sqs#ServiceUnavailable", "message": "try again"}`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *tap) refuses(operation string, body []byte) bool {
	var call struct {
		ReceiptHandle, MessageBody string
		VisibilityTimeout          int
		MessageAttributes          map[string]struct{ StringValue string }
	}
	_ = json.Unmarshal(body, &call)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[operation]++
	if operation == "AmazonSQS.ChangeMessageVisibility" {
		p.visibility[call.ReceiptHandle] = time.Duration(call.VisibilityTimeout) * time.Second
	}
	if operation == "AmazonSQS.SendMessage" && p.refusals[call.MessageBody] > 0 {
		p.refusals[call.MessageBody]--
		return true
	}
	for _, attribute := range call.MessageAttributes {
		if strings.ContainsFunc(attribute.StringValue, invalidInSQS) {
			return true
		}
	}
	return false
}

// invalidInSQS reports the characters that SQS rejects in a message and moto accepts
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
func invalidInSQS(r rune) bool {
	return r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == '\ufffe' || r == '\uffff'
}

// refuse makes the next attempts to send a body fail.
func (p *tap) refuse(body string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals[body] = times
}

// asked returns the visibility that was requested for a receipt handle, 0 for none.
func (p *tap) asked(receipt string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.visibility[receipt]
}
