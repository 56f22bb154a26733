package awssecret_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/awssecret"
	"github.com/cloudtagger/tagger/pkg/config"
)

const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tagger-AbCdEf"

// secretsManager answers GetSecretValue.
type secretsManager struct {
	t      *testing.T
	mu     sync.Mutex
	secret any    // the SecretString; nil: the secret is binary
	fault  string // __type of an error to answer with
	status int
	reads  int
	region string // that the requests were signed for
}

func (m *secretsManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if target := r.Header.Get("X-Amz-Target"); target != "secretsmanager.GetSecretValue" {
		m.t.Errorf("X-Amz-Target %q", target)
	}
	var in struct { // SecretID is SecretId in the API; JSON ignores case
		SecretID string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.SecretID != arn {
		m.t.Errorf("asked for %q, %v", in.SecretID, err)
	}
	// …Credential=AKID/20260101/eu-central-1/secretsmanager/aws4_request…
	if parts := strings.Split(r.Header.Get("Authorization"), "/"); len(parts) > 2 {
		m.region = parts[2]
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if m.fault != "" {
		w.WriteHeader(m.status)
		fmt.Fprintf(w, `{"__type": %q, "message": "no"}`, m.fault)
		return
	}
	out := map[string]any{"ARN": arn, "Name": "tagger", "VersionId": "v1"}
	if m.secret != nil {
		out["SecretString"] = m.secret
	} else {
		out["SecretBinary"] = "AAAA"
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		m.t.Error(err)
	}
}

func (m *secretsManager) set(secret any, fault string, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.secret, m.fault, m.status = secret, fault, status
}

func (m *secretsManager) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// environment is that of a function, without anything of the machine that the test runs on.
func environment(t *testing.T, endpoint string) {
	nowhere := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_ENDPOINT_URL_SECRETS_MANAGER": "", "AWS_ACCESS_KEY_ID": "AKID",
		"AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_PROFILE": "", "AWS_CA_BUNDLE": "", "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
}

func serve(t *testing.T, secret any) *secretsManager {
	m := &secretsManager{t: t, secret: secret}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	environment(t, server.URL)
	return m
}

func object(password string) string {
	return fmt.Sprintf(`{"OS_AUTH_URL": "https://keystone/v3", "OS_USERNAME": "tagger", "OS_PASSWORD": %q}`, password)
}

func TestCredentials(t *testing.T) {
	m := serve(t, object("hunter2"))
	s := awssecret.New(arn, &awsapi.Client{})
	if m.count() != 0 {
		t.Error("the secret was read before it was needed")
	}
	want := config.Credentials{AuthURL: "https://keystone/v3", Username: "tagger", Password: config.NewSecret("hunter2")}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if got, err := s.Credentials(t.Context()); err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := m.count(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
	if m.region != "eu-central-1" {
		t.Errorf("signed for region %q", m.region)
	}
}

func TestRegionIsTheARNs(t *testing.T) {
	m := serve(t, object("hunter2"))
	t.Setenv("AWS_REGION", "us-east-1")
	if _, err := awssecret.New(arn, &awsapi.Client{}).Credentials(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.region != "eu-central-1" {
		t.Errorf("signed for region %q", m.region)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name    string
		arn     string
		secret  any
		fault   string
		status  int
		refused bool
		want    string
	}{
		{name: "no permission", fault: "AccessDeniedException", status: 400, refused: true, want: "read the secret " + arn},
		{name: "no such secret", fault: "ResourceNotFoundException", status: 400, refused: true,
			want: "ResourceNotFoundException"},
		{name: "to be deleted", fault: "InvalidRequestException", status: 400, refused: true,
			want: "InvalidRequestException"},
		{name: "key not usable", fault: "DecryptionFailure", status: 400, refused: true, want: "DecryptionFailure"},
		{name: "throttled", fault: "ThrottlingException", status: 400, refused: false, want: "ThrottlingException"},
		{name: "broken", fault: "InternalServiceError", status: 500, refused: false, want: "InternalServiceError"},
		{name: "binary", secret: nil, refused: true, want: "it is binary"},
		{name: "text", secret: "hunter2", refused: true, want: "not a JSON object"},
		{name: "misspelt", secret: `{"OS_PASWORD": "hunter2"}`, refused: true,
			want: `unknown name "OS_PASWORD"; did you mean OS_PASSWORD?`},
		{name: "not an ARN", arn: "tagger", refused: true,
			want: `read the secret "tagger": not an ARN such as arn:aws:secretsmanager:`},
		{name: "ARN of something else", arn: "arn:aws:ssm:eu-central-1:123456789012:parameter/tagger", refused: true,
			want: "not an ARN such as"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := serve(t, tt.secret)
			m.set(tt.secret, tt.fault, tt.status)
			name := arn
			if tt.arn != "" {
				name = tt.arn
			}
			_, err := awssecret.New(name, &awsapi.Client{}).Credentials(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want %q in it", err, tt.want)
			}
			if _, ok := errors.AsType[*cloud.RefusedError](err); ok != tt.refused {
				t.Errorf("refused = %t, want %t", ok, tt.refused)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q holds a secret", err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	serve(t, object("hunter2"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := awssecret.New(arn, &awsapi.Client{})
	if _, err := s.Credentials(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	if _, err := s.Credentials(t.Context()); err != nil {
		t.Errorf("after another caller was cancelled: %v", err)
	}
}

func TestRotation(t *testing.T) {
	m := &secretsManager{t: t}
	environment(t, "http://secretsmanager.test")
	synctest.Test(t, func(t *testing.T) {
		step := func(s *awssecret.Secret, want string, reads int) {
			t.Helper()
			got, err := s.Credentials(t.Context())
			if err != nil || got.Password.Reveal() != want || m.count() != reads {
				t.Errorf("password %q, %v after %d reads; want %q after %d", got.Password.Reveal(), err, m.count(), want, reads)
			}
		}
		m.set(object("old"), "", 0)
		s := awssecret.New(arn, &awsapi.Client{HTTP: &http.Client{Transport: inMemory{m}}})
		step(s, "old", 1)
		time.Sleep(time.Hour)
		step(s, "old", 1) // not marked as refused

		m.set(object("new"), "", 0)
		s.Refused()
		step(s, "new", 2)
		m.set(object("newer"), "", 0)
		s.Refused()
		step(s, "new", 2) // read only a moment ago
		time.Sleep(30 * time.Second)
		step(s, "newer", 3)

		// A read that fails for now is not held against the secret.
		s.Refused()
		time.Sleep(30 * time.Second)
		m.set(nil, "InternalServiceError", 500)
		if _, err := s.Credentials(t.Context()); err == nil {
			t.Error("no error")
		}
		m.set(object("newest"), "", 0)
		step(s, "newest", 5)

		// A permanent error is cached.
		s.Refused()
		time.Sleep(30 * time.Second)
		m.set(nil, "AccessDeniedException", 400)
		for range 10 {
			if _, err := s.Credentials(t.Context()); err == nil {
				t.Error("no error")
			}
		}
		if n := m.count(); n != 6 {
			t.Errorf("%d reads, want 6", n)
		}
		m.set(object("fixed"), "", 0)
		time.Sleep(30 * time.Second)
		step(s, "fixed", 7)
	})
}

// inMemory needs no sockets, so that testing/synctest can tell when everything waits.
type inMemory struct{ handler http.Handler }

func (t inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	in := req.Clone(req.Context())
	in.Body = io.NopCloser(strings.NewReader(string(body)))
	t.handler.ServeHTTP(rec, in)
	return rec.Result(), nil
}
