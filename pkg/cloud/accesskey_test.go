package cloud_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

const huaweiRefusal = `{"error_msg": "Incorrect IAM authentication information: verify aksk signature fail", ` +
	`"error_code": "APIG.0301", "request_id": "r1"}`

// gateway is a fake of Huawei Cloud's API gateway. It checks the key in Authorization, not the signature.
type gateway struct {
	mu        sync.Mutex
	status    int
	body      string
	delay     time.Duration
	signed    []string // Authorization of each request
	inFlight  int
	mostAtOne int // requests at a time
}

func (g *gateway) RoundTrip(req *http.Request) (*http.Response, error) {
	g.mu.Lock()
	g.signed = append(g.signed, req.Header.Get("Authorization"))
	g.inFlight++
	g.mostAtOne = max(g.mostAtOne, g.inFlight)
	g.mu.Unlock()
	time.Sleep(g.delay)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	return answer(g.status, nil, g.body)(req)
}

func (g *gateway) set(status int, body string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status, g.body, g.mostAtOne = status, body, 0
}

func keyOptions(g *gateway) cloud.Options {
	return cloud.Options{Credentials: keyCredentials(), Transport: g,
		ComputeEndpoint: "https://ecs.test/v2.1/{project_id}"}
}

func TestAccessKeySession(t *testing.T) {
	g := &gateway{status: 200, body: `{}`}
	s := mustSession(t, cloud.New(keyOptions(g)), "")
	if len(g.signed) != 0 {
		t.Error("a session with an access key needs no request")
	}
	got := []any{s.Project, s.Method, s.User, s.Cloud}
	if diff := cmp.Diff([]any{"p-demo", config.AccessKey, "access key AK1", "ecs.test"}, got); diff != "" {
		t.Errorf("session (-want +got)\n%s", diff)
	}
	if err := get(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	want := "SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host;x-project-id;x-sdk-date, Signature="
	if !strings.HasPrefix(g.signed[0], want) {
		t.Errorf("Authorization %q", g.signed[0])
	}
}

func TestRefusedSignatureHoldsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{status: 401, body: huaweiRefusal, delay: time.Second}
		s := mustSession(t, cloud.New(keyOptions(g)), "")

		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, ok := errors.AsType[*cloud.RefusedError](get(t.Context(), s)); !ok {
					t.Error("no RefusedError")
				}
			})
		}
		wg.Wait()
		if n := len(g.signed); n != 1 {
			t.Errorf("%d signatures for ten parallel requests, want 1", n)
		}

		time.Sleep(5 * time.Minute)
		err := get(t.Context(), s)
		refused, ok := errors.AsType[*cloud.RefusedError](err)
		if !ok {
			t.Fatalf("error = %v, want a RefusedError", err)
		}
		for _, want := range []string{
			"its use is paused for another 10m0s",
			"ecs.test refuses access key AK1: 401 APIG.0301 Incorrect IAM authentication information",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error = %v, want %q in it", err, want)
			}
		}
		if left := time.Until(refused.Until); left != 10*time.Minute {
			t.Errorf("held for another %s, want 10m", left)
		}
		if !gophercloud.ResponseCodeIs(err, 401) {
			t.Error("the status cannot be read from the error")
		}
		if len(g.signed) != 1 {
			t.Error("a request was signed during the hold")
		}

		g.set(200, `{}`)
		time.Sleep(10*time.Minute + time.Second)
		if err := get(t.Context(), s); err != nil {
			t.Errorf("after the hold: %v", err)
		}
	})
}

func TestKeyIsProvenByOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{status: 503, body: `{}`, delay: time.Second}
		s := mustSession(t, cloud.New(keyOptions(g)), "")
		five := func() {
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() { _ = get(t.Context(), s) })
			}
			wg.Wait()
		}
		five()
		if g.mostAtOne != 1 {
			t.Errorf("%d at a time before a response proved the key", g.mostAtOne)
		}
		g.set(404, `{}`) // authenticated, but not there
		if err := get(t.Context(), s); !gophercloud.ResponseCodeIs(err, 404) {
			t.Errorf("error = %v", err)
		}
		five()
		if g.mostAtOne != 5 {
			t.Errorf("%d at a time with a good key, want 5", g.mostAtOne)
		}
	})
}

func TestWaitingForTheFirstAnswerCanBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{status: 200, body: `{}`, delay: 10 * time.Second}
		s := mustSession(t, cloud.New(keyOptions(g)), "")
		first := make(chan error)
		go func() { first <- get(t.Context(), s) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := get(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v", err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

type credentialsKey struct{}

// A platform can pass credentials with each invocation's context. A refused key does not hold another.
func TestCredentialsOfTheInvocation(t *testing.T) {
	g := &gateway{status: 200, body: `{}`}
	o := keyOptions(g)
	o.Source = func(ctx context.Context) (config.Credentials, error) {
		c, ok := ctx.Value(credentialsKey{}).(config.Credentials)
		if !ok {
			return c, errors.New("no credentials in this invocation")
		}
		return c, nil
	}
	refusals := 0
	o.Refused = func() { refusals++ }
	c := cloud.New(o)
	with := func(key, project string) context.Context {
		return context.WithValue(t.Context(), credentialsKey{}, config.Credentials{
			AccessKey: key, SecretKey: config.NewSecret(theKey), SecurityToken: config.NewSecret(theSTSToken),
			AccessKeyProjectID: project,
		})
	}
	s, err := c.Session(with("STS1", "p-demo"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := get(with("STS1", "p-demo"), s); err != nil {
		t.Fatal(err)
	}
	g.set(401, huaweiRefusal)
	if err := get(with("STS2", "p-demo"), s); err == nil || refusals != 1 {
		t.Errorf("error = %v, the source was called %d times", err, refusals)
	}
	g.set(200, `{}`)
	if err := get(with("STS3", "p-demo"), s); err != nil {
		t.Error(err)
	}
	if err := get(with("STS2", "p-demo"), s); err == nil ||
		!strings.Contains(err.Error(), "its use is paused for another 15m0s") {
		t.Errorf("error = %v", err)
	}
	if err := get(with("STS4", "p-other"), s); err == nil || !strings.Contains(err.Error(), "open a new session") {
		t.Errorf("error = %v", err)
	}
	again, err := c.Session(with("STS4", "p-other"), "")
	if err != nil || again.Project != "p-other" {
		t.Fatalf("session of %+v, %v", again, err)
	}
	if err := get(with("STS4", "p-other"), again); err != nil {
		t.Errorf("begun again: %v", err)
	}
	if err := get(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no credentials in this invocation") {
		t.Errorf("error = %v", err)
	}
	if n := len(g.signed); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}
