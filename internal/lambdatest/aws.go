package lambdatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// AWS fakes SQS and Secrets Manager, and records the calls.
type AWS struct {
	*httptest.Server

	mu     sync.Mutex
	secret string
	calls  []Call
	errors map[string]Error // by target
}

// Error is an error response of a service.
type Error struct {
	Status int
	Type   string // such as com.amazonaws.sqs#QueueDoesNotExist
}

// Call is a call by a function.
type Call struct {
	Target string // such as AmazonSQS.SendMessage
	Body   map[string]any
	// Scope is the region and service of the signature, such as eu-central-1/sqs.
	Scope string
}

// NewAWS starts the services on loopback. Close stops them.
func NewAWS() *AWS {
	a := &AWS{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		call := Call{Target: req.Header.Get("X-Amz-Target"), Scope: scope(req.Header.Get("Authorization"))}
		_ = json.NewDecoder(req.Body).Decode(&call.Body)
		a.mu.Lock()
		a.calls = append(a.calls, call)
		secret, fault := a.secret, a.errors[call.Target]
		a.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if fault != (Error{}) {
			w.WriteHeader(fault.Status)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": fault.Type, "message": "set by the test"})
			return
		}
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

// scope parses "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …".
func scope(authorization string) string {
	_, credential, _ := strings.Cut(authorization, "Credential=")
	parts := strings.Split(credential, "/")
	if len(parts) < 4 {
		return ""
	}
	return parts[2] + "/" + parts[3]
}

// SetCredentials stores the lines of an environment (NAME=value) that begin with OS_ as the secret.
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

// Fail makes all calls of a target fail with the error. The zero Error restores normal responses.
func (a *AWS) Fail(target string, e Error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.errors == nil {
		a.errors = map[string]Error{}
	}
	a.errors[target] = e
}

// Calls returns the calls since the previous Calls.
func (a *AWS) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls
	a.calls = nil
	return calls
}

// Environ returns a function's environment: the variables that AWS sets, the address of these services, and the secret.
func (a *AWS) Environ(runtime *RuntimeAPI) []string {
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + runtime.Host(), "AWS_ENDPOINT_URL=" + a.URL, "AWS_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID=AKIATEST", "AWS_SECRET_ACCESS_KEY=test-secret-key",
		"TAGGER_SECRET_ARN=arn:aws:secretsmanager:eu-central-1:123456789012:secret:tagger-AbCdEf",
	}
}
