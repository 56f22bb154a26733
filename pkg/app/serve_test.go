package app_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/config"
)

// startServer serves a handler on loopback until stop is called or the test ends. ended gets the result of Serve.
func startServer(t *testing.T, handler http.Handler) (address string, stop func(), ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- app.Serve(ctx, listener, handler, time.Minute) }()
	return listener.Addr().String(), stop, result
}

// TestServeEndsInOrder: shutting down waits for requests in flight.
func TestServeEndsInOrder(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	address, stop, ended := startServer(t, handler)
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + address)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	stop()
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("answer %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestServeLimitsHeaders: a header that is too large is rejected before it fills the memory.
func TestServeLimitsHeaders(t *testing.T) {
	address, stop, ended := startServer(t, http.NotFoundHandler())
	for size, want := range map[int]int{60 << 10: 404, 100 << 10: 431} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Ce-Subject", strings.Repeat("x", size))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a header of %d bytes: %d, want %d", size, resp.StatusCode, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestProtectMetrics(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for _, tt := range []struct {
		path, secret, token string
		want                int
	}{
		{"/metrics", "", "", 200},
		{"/metrics", "s3cret", "", 401},
		{"/metrics", "s3cret", "Bearer s3cret", 200},
		{"/healthz", "s3cret", "", 200},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", tt.path, nil)
		r.Header.Set("Authorization", tt.token)
		w := httptest.NewRecorder()
		app.ProtectMetrics(next, config.NewSecret(tt.secret)).ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%+v: %d", tt, w.Code)
		}
	}
}

// TestUntilInterrupted: the first interrupt ends the context, the second has its default effect and ends the process.
func TestUntilInterrupted(t *testing.T) {
	if os.Getenv("TAGGER_TEST_INTERRUPTED") != "" {
		ctx, stop := app.UntilInterrupted(context.Background())
		defer stop()
		_, _ = os.Stdout.WriteString("ready\n")
		<-ctx.Done()
		_, _ = os.Stdout.WriteString("ending\n")
		select {} // simulates work that does not end
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUntilInterrupted$")
	cmd.Env = append(os.Environ(), "TAGGER_TEST_INTERRUPTED=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"ready", "ending"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("%q, want %q", lines.Text(), want)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if want == "ending" {
			break
		}
	}
	err = cmd.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("ended with %v", err)
	}
}
