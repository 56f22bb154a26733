package lambdatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// AWS answers what the functions ask of SQS and Secrets Manager, and keeps it.
type AWS struct {
	*httptest.Server

	mu     sync.Mutex
	secret string
	calls  []Call
}

// Call is one that a function has made.
type Call struct {
	Target string // such as AmazonSQS.SendMessage
	Body   map[string]any
}

// NewAWS starts the services on loopback. Close ends them.
func NewAWS() *AWS {
	a := &AWS{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		call := Call{Target: req.Header.Get("X-Amz-Target")}
		_ = json.NewDecoder(req.Body).Decode(&call.Body)
		a.mu.Lock()
		a.calls = append(a.calls, call)
		secret := a.secret
		a.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		switch call.Target {
		case "AmazonSQS.ChangeMessageVisibility":
			fmt.Fprint(w, "{}")
		case "AmazonSQS.SendMessage":
			fmt.Fprint(w, `{"MessageId": "m"}`)
		case "secretsmanager.GetSecretValue":
			_ = json.NewEncoder(w).Encode(map[string]string{"SecretString": secret})
		default:
			http.Error(w, "unknown target", http.StatusBadRequest)
		}
	}))
	return a
}

// SetCredentials makes the secret of the lines of an environment (NAME=value) that are the cloud's: those with OS_.
func (a *AWS) SetCredentials(environ []string) error {
	secret := map[string]string{}
	for _, line := range environ {
		if key, value, _ := strings.Cut(line, "="); strings.HasPrefix(key, "OS_") {
			secret[key] = value
		}
	}
	text, err := json.Marshal(secret)
	if err != nil {
		return fmt.Errorf("encode the secret: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.secret = string(text)
	return nil
}

// Calls returns the calls since the last time, and forgets them.
func (a *AWS) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls
	a.calls = nil
	return calls
}

// Environ is what AWS sets in a function's environment, and where the function finds these services and its secret.
func (a *AWS) Environ(runtime *RuntimeAPI) []string {
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + runtime.Host(), "AWS_ENDPOINT_URL=" + a.URL, "AWS_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID=AKIATEST", "AWS_SECRET_ACCESS_KEY=test-secret-key",
		"TAGGER_SECRET_ARN=arn:aws:secretsmanager:eu-central-1:123456789012:secret:tagger-AbCdEf",
	}
}
