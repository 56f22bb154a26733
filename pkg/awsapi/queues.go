package awsapi

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/cloudtagger/tagger/pkg/awsenv"
)

// Queues are the account's SQS queues, as [host.Queues] wants them. The zero value is ready to use; it makes its client when it is first needed: where all goes well no call is made.
type Queues struct {
	mu     sync.Mutex
	client *sqs.Client
}

func (q *Queues) connect() *sqs.Client {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.client == nil {
		q.client = sqs.NewFromConfig(awsenv.Config(""))
	}
	return q.client
}

// longestVisibility is less than the 12 h that SQS takes, for these count from when the message was received (API reference,
// ChangeMessageVisibility), and working on it took its time.
const longestVisibility = 12*time.Hour - 15*time.Minute

// ChangeVisibility makes a message come back after the delay.
func (q *Queues) ChangeVisibility(ctx context.Context, queueARN, receipt string, delay time.Duration) error {
	url, err := queueURL(queueARN)
	if err != nil {
		return err
	}
	seconds := math.Ceil(min(delay, longestVisibility).Seconds())
	_, err = q.connect().ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: aws.String(url), ReceiptHandle: aws.String(receipt), VisibilityTimeout: int32(seconds),
	})
	return err
}

// Send puts a message into a queue. Attributes without a value are left out, and the others made such as SQS takes them.
func (q *Queues) Send(ctx context.Context, queueURL string, body []byte, attributes map[string]string) error {
	values := map[string]types.MessageAttributeValue{}
	for name, value := range attributes {
		if value != "" {
			values[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(attribute(value))}
		}
	}
	_, err := q.connect().SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: aws.String(queueURL), MessageBody: aws.String(string(body)), MessageAttributes: values,
	})
	return err
}

// longestAttribute is in bytes. Attributes count towards the size of a message, of which the body may need nearly all.
const longestAttribute = 1024

// attribute makes a text fit for an attribute: SQS refuses the whole message over a character that XML does not know, and a reason quotes what
// an event or an API said (API reference, SendMessage).
func attribute(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\ufffe' || r == '\uffff' {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) > longestAttribute {
		s = strings.ToValidUTF8(s[:longestAttribute], "") // without half a character at the end
	}
	return s
}

// queueURL makes a queue's URL of its ARN, which saves a call and a permission. (arn:aws:sqs:REGION:ACCOUNT:NAME)
func queueURL(arn string) (string, error) {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[2] != "sqs" {
		return "", fmt.Errorf("%.100q is not the ARN of a queue", arn)
	}
	domain := "amazonaws.com"
	if parts[1] == "aws-cn" {
		domain += ".cn"
	}
	return fmt.Sprintf("https://sqs.%s.%s/%s/%s", parts[3], domain, parts[4], parts[5]), nil
}
