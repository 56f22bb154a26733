package awsapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// longestVisibility is less than the 12 h that SQS takes, for these count from when the message was received (API
// reference, ChangeMessageVisibility), and working on it took its time.
const longestVisibility = 12*time.Hour - 15*time.Minute

// ChangeVisibility makes a message come back after the delay
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html).
func (c *Client) ChangeVisibility(ctx context.Context, queueARN, receipt string, delay time.Duration) error {
	url, err := queueURL(queueARN)
	if err != nil {
		return err
	}
	in := struct {
		QueueUrl, ReceiptHandle string
		VisibilityTimeout       int
	}{url, receipt, int(math.Ceil(min(delay, longestVisibility).Seconds()))}
	return c.call(ctx, operation{"sqs", "AmazonSQS.ChangeMessageVisibility", "1.0"}, "", in, &struct{}{})
}

// Send puts a message into a queue. Attributes without a value are left out, and the others made such as SQS takes them
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
func (c *Client) Send(ctx context.Context, queueURL string, body []byte, attributes map[string]string) error {
	type attributeValue struct{ DataType, StringValue string }
	in := struct {
		QueueUrl, MessageBody                  string
		MessageAttributes                      map[string]attributeValue
		MessageGroupId, MessageDeduplicationId string `json:",omitempty"`
	}{QueueUrl: queueURL, MessageBody: string(body), MessageAttributes: map[string]attributeValue{}}
	if strings.HasSuffix(queueURL, ".fifo") { // which takes no message without them
		sum := sha256.Sum256(body)
		in.MessageGroupId, in.MessageDeduplicationId = "tagger", hex.EncodeToString(sum[:])
	}
	for name, value := range attributes {
		if value != "" {
			in.MessageAttributes[name] = attributeValue{"String", attribute(value)}
		}
	}
	return c.call(ctx, operation{"sqs", "AmazonSQS.SendMessage", "1.0"}, "", in, &struct{}{})
}

// longestAttribute is in bytes. Attributes count towards the size of a message, and the body may need nearly all of it.
const longestAttribute = 1024

// attribute makes a text fit for an attribute: SQS refuses the whole message over a character that XML does not know,
// and a reason quotes what an event or an API said (API reference, SendMessage).
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
	return fmt.Sprintf("https://sqs.%s.%s/%s/%s", parts[3], domain(parts[1] == "aws-cn"), parts[4], parts[5]), nil
}
