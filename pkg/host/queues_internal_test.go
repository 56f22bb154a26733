package host

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
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

// What goes over the wire: whole seconds, never more than SQS takes, and attributes that have a value.
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
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "k"} {
		t.Setenv(name, value)
	}
	q := &awsQueues{}
	const arn = "arn:aws:sqs:eu-central-1:1:q"
	for _, d := range []time.Duration{1500 * time.Millisecond, 24 * time.Hour} {
		if err := q.ChangeVisibility(t.Context(), arn, "r", d); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Send(t.Context(), "https://dead", []byte("body"), map[string]string{"reason": "why", "event_id": ""}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`AmazonSQS.ChangeMessageVisibility {"QueueUrl":"https://sqs.eu-central-1.amazonaws.com/1/q","ReceiptHandle":"r","VisibilityTimeout":2}`,
		`AmazonSQS.ChangeMessageVisibility {"QueueUrl":"https://sqs.eu-central-1.amazonaws.com/1/q","ReceiptHandle":"r","VisibilityTimeout":42300}`,
		`AmazonSQS.SendMessage {"MessageAttributes":{"reason":{"DataType":"String","StringValue":"why"}},"MessageBody":"body","QueueUrl":"https://dead"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAttribute(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"as it is", "a reason:\twith ünïcode \U0001f600\r\n", "a reason:\twith ünïcode \U0001f600\r\n"},
		{"characters that SQS refuses", "a\x00b\x1fc\ufffed\uffff", "a\ufffdb\ufffdc\ufffdd\ufffd"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
		{"long", strings.Repeat("x", 1023) + "ü", strings.Repeat("x", 1023)},
	} {
		if got := attribute(tt.value); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FunctionGraph hands variables over as JSON; what is in them is taken as it was written.
func TestAdoptUserData(t *testing.T) {
	t.Setenv("TAGGER_TEST_SET", "before")
	for _, name := range []string{"TAGGER_TEST_TEXT", "TAGGER_TEST_NUMBER", "TAGGER_TEST_TRUTH"} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
	t.Setenv("RUNTIME_USERDATA", `{"TAGGER_TEST_TEXT": "a \"b\"", "TAGGER_TEST_NUMBER": 123456789012, "TAGGER_TEST_TRUTH": true, "TAGGER_TEST_SET": "after"}`)
	if err := adoptUserData(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"TAGGER_TEST_TEXT": `a "b"`, "TAGGER_TEST_NUMBER": "123456789012", "TAGGER_TEST_TRUTH": "true", "TAGGER_TEST_SET": "before",
	} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, bad := range []string{`{"TAGGER_TEST_X": null}`, `{"TAGGER_TEST_X": {"secret": "s3cret"}}`, `{"TAGGER_TEST_X": ["s3cret"]}`, `s3cret`} {
		t.Setenv("RUNTIME_USERDATA", bad)
		if err := adoptUserData(); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What would be readable, or not be checked, is refused before anything starts.
func TestOnlyFromASecret(t *testing.T) {
	plain := config.Credentials{Username: "u", Password: config.NewSecret("p")}
	for _, tt := range []struct {
		name        string
		settings    config.Settings
		credentials config.Credentials
		sam         string
		says        string
	}{
		{"a secret's ARN", config.Settings{SecretARN: "arn"}, config.Credentials{}, "", ""},
		{"a password in the environment", config.Settings{SecretARN: "arn"}, plain, "", "OS_PASSWORD would be readable"},
		{"nothing", config.Settings{}, config.Credentials{}, "", "there are no credentials"},
		{"at a desk", config.Settings{}, plain, "true", ""},
		{"a shared secret", config.Settings{SecretARN: "arn", HTTPSecret: config.NewSecret("s")}, config.Credentials{}, "", "TAGGER_HTTP_SECRET is not for AWS Lambda"},
	} {
		t.Setenv("AWS_SAM_LOCAL", tt.sam)
		if err := onlyFromASecret(tt.settings, tt.credentials); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
