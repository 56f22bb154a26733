package awsapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// longestVisibility is less than SQS's maximum of 12 h, because that counts from when the message was received (API
// reference, ChangeMessageVisibility), and processing took some time.
const longestVisibility = 12*time.Hour - 15*time.Minute

// ChangeVisibility makes a message visible again after the delay
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html).
func (c *Client) ChangeVisibility(ctx context.Context, queueARN, receipt string, delay time.Duration) error {
	address, err := queueURL(queueARN)
	if err != nil {
		return err
	}
	in := struct {
		QueueUrl, ReceiptHandle string
		VisibilityTimeout       int
	}{address, receipt, int(math.Ceil(min(delay, longestVisibility).Seconds()))}
	return c.call(ctx, operation{"sqs", "AmazonSQS.ChangeMessageVisibility", "1.0"}, place{}, in, &struct{}{})
}

// Send sends a message to a queue in the environment's region. It omits empty attributes and makes the others valid
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
func (c *Client) Send(ctx context.Context, queueURL string, body []byte, attributes map[string]string) error {
	in := message{QueueUrl: queueURL, MessageBody: string(body), MessageAttributes: map[string]attributeValue{}}
	if isFIFO(queueURL) {
		in.MessageGroupId, in.MessageDeduplicationId = "tagger", digest(body)
	}
	for name, value := range attributes {
		if value != "" {
			in.MessageAttributes[name] = attributeValue{"String", attribute(value)}
		}
	}
	return c.call(ctx, sendMessage, place{}, in, &struct{}{})
}

var sendMessage = operation{"sqs", "AmazonSQS.SendMessage", "1.0"}

// message is the input of SendMessage. A FIFO queue requires a group and an id; other queues reject them.
type message struct {
	QueueUrl, MessageBody                  string
	MessageAttributes                      map[string]attributeValue `json:",omitempty"`
	MessageGroupId, MessageDeduplicationId string                    `json:",omitempty"`
}

type attributeValue struct{ DataType, StringValue string }

func isFIFO(queueURL string) bool { return strings.HasSuffix(queueURL, ".fifo") }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Queue is the destination of [Client.SendEvent].
type Queue struct {
	url   string
	place place
}

// ParseQueueURL parses the URL of a queue, https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE
// (https://docs.aws.amazon.com/general/latest/gr/sqs-service.html). It reports false for an address of
// another service, and returns an error for an address of SQS that names no queue.
func ParseQueueURL(address string) (Queue, bool, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Queue{}, false, nil
	}
	service, rest, _ := strings.Cut(u.Host, ".")
	region, top, _ := strings.Cut(rest, ".")
	if service != "sqs" && service != "sqs-fips" || top != domain(strings.HasPrefix(region, "cn-")) {
		return Queue{}, false, nil
	}
	account, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Scheme != "https" || u.User != nil || u.RawQuery != "" || account == "" || name == "" ||
		strings.Contains(name, "/") {
		return Queue{}, false, fmt.Errorf("%s is SQS, where the address of a queue is https://%[1]s/ACCOUNT/QUEUE", u.Host)
	}
	return Queue{url: address, place: place{region: region, endpoint: "https://" + u.Host + "/"}}, true, nil
}

// SendEvent sends an event, a JSON document, to a queue. A FIFO queue keeps the order of events in a group, and drops
// events with an id that it received within five minutes. Both may be any string; other queues ignore them.
func (c *Client) SendEvent(ctx context.Context, q Queue, event []byte, group, id string) error {
	in := message{QueueUrl: q.url, MessageBody: withoutNoncharacters(event)}
	if isFIFO(q.url) {
		in.MessageGroupId, in.MessageDeduplicationId = digest([]byte(group)), digest([]byte(id))
	}
	return c.call(ctx, sendMessage, q.place, in, &struct{}{})
}

// withoutNoncharacters escapes the two characters that are valid in JSON but not in SQS.
func withoutNoncharacters(doc []byte) string {
	return strings.NewReplacer("\ufffe", `\ufffe`, "\uffff", `\uffff`).Replace(string(doc))
}

// longestAttribute is in bytes. It is small because attributes count towards the size of a message.
const longestAttribute = 1024

// attribute makes a string a valid attribute. SQS rejects the whole message if an attribute has a character that XML
// does not allow (API reference, SendMessage), and reasons quote events and APIs.
func attribute(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\ufffe' || r == '\uffff' {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) > longestAttribute {
		s = strings.ToValidUTF8(s[:longestAttribute], "") // without an incomplete character at the end
	}
	return s
}

// queueURL converts the ARN of a queue (arn:aws:sqs:REGION:ACCOUNT:NAME) to its URL, which saves a call and a
// permission.
func queueURL(arn string) (string, error) {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[2] != "sqs" {
		return "", fmt.Errorf("%.100q is not the ARN of a queue", arn)
	}
	return fmt.Sprintf("https://sqs.%s.%s/%s/%s", parts[3], domain(parts[1] == "aws-cn"), parts[4], parts[5]), nil
}
