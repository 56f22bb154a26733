package awsapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQueueURL(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:sqs:eu-central-1:123456789012:q":         "https://sqs.eu-central-1.amazonaws.com/123456789012/q",
		"arn:aws-cn:sqs:cn-north-1:123456789012:q":        "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q",
		"arn:aws-us-gov:sqs:us-gov-west-1:123456789012:q": "https://sqs.us-gov-west-1.amazonaws.com/123456789012/q",
		"arn:aws:sns:eu-central-1:123456789012:q":         "",
		"q": "",
	} {
		got, err := queueURL(arn)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", arn, got, err)
		}
	}
}

func TestParseQueueURL(t *testing.T) {
	const other, wrong = "other", "wrong"
	for address, want := range map[string]string{ // the region, or other, or wrong
		"https://sqs.eu-west-3.amazonaws.com/123456789012/q":      "eu-west-3",
		"https://sqs.eu-west-3.amazonaws.com/123456789012/q.fifo": "eu-west-3",
		"https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q":  "cn-north-1",
		"https://sqs-fips.us-east-1.amazonaws.com/123456789012/q": "us-east-1",
		"http://sqs.eu-west-3.amazonaws.com/123456789012/q":       wrong,
		"https://sqs.eu-west-3.amazonaws.com/q":                   wrong,
		"https://sqs.eu-west-3.amazonaws.com/123456789012/q/x":    wrong,
		"https://sqs.eu-west-3.amazonaws.com/123456789012/q?x=y":  wrong,
		"https://u@sqs.eu-west-3.amazonaws.com/123456789012/q":    wrong,
		"https://sqs.eu-west-3.amazonaws.com.example.com/12/q":    other,
		"https://sqs.amazonaws.com/123456789012/q":                other,
		"https://abc.lambda-url.eu-west-3.on.aws/":                other,
		"https://broker-ingress.example.com/tagging/default":      other,
		"https://sns.eu-west-3.amazonaws.com/123456789012/q":      other,
	} {
		q, ok, err := ParseQueueURL(address)
		got := q.place.region
		switch {
		case err != nil:
			got = wrong
		case !ok:
			got = other
		}
		if got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestAWSQueues checks the requests: whole seconds up to SQS's maximum, and only attributes with a value.
func TestAWSQueues(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var compact map[string]any
		_ = json.Unmarshal(body, &compact)
		text, _ := json.Marshal(compact)
		got = append(got, r.Header.Get("X-Amz-Target")+" "+string(text))
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "eu-central-1",
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "k",
	} {
		t.Setenv(name, value)
	}
	q := &Client{}
	const arn = "arn:aws:sqs:eu-central-1:1:q"
	for _, d := range []time.Duration{1500 * time.Millisecond, 24 * time.Hour} {
		if err := q.ChangeVisibility(t.Context(), arn, "r", d); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Send(t.Context(), "https://dead", []byte("body"), map[string]string{"reason": "why", "event_id": ""}); err != nil {
		t.Fatal(err)
	}
	if err := q.Send(t.Context(), "https://dead.fifo", []byte("body"), nil); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`AmazonSQS.ChangeMessageVisibility {"QueueUrl":"https://sqs.eu-central-1.amazonaws.com/1/q",` +
			`"ReceiptHandle":"r","VisibilityTimeout":2}`,
		`AmazonSQS.ChangeMessageVisibility {"QueueUrl":"https://sqs.eu-central-1.amazonaws.com/1/q",` +
			`"ReceiptHandle":"r","VisibilityTimeout":42300}`,
		`AmazonSQS.SendMessage {"MessageAttributes":{"reason":{"DataType":"String","StringValue":"why"}},` +
			`"MessageBody":"body","QueueUrl":"https://dead"}`,
		`AmazonSQS.SendMessage {"MessageBody":"body",` +
			`"MessageDeduplicationId":"230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",` +
			`"MessageGroupId":"tagger","QueueUrl":"https://dead.fifo"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAttribute(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"valid", "a reason:\twith ünïcode \U0001f600\r\n", "a reason:\twith ünïcode \U0001f600\r\n"},
		{"characters that SQS refuses", "a\x00b\x1fc\ufffed\uffff", "a\ufffdb\ufffdc\ufffdd\ufffd"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
		{"long", strings.Repeat("x", 1023) + "ü", strings.Repeat("x", 1023)},
	} {
		if got := attribute(tt.value); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
