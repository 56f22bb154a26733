package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/host"
)

// UntilInterrupted returns a context that ends on SIGINT or SIGTERM. A second signal ends the process immediately. stop
// releases the signal handler.
func UntilInterrupted(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		var cause error
		select {
		case s := <-signals:
			cause = fmt.Errorf("%s signal received", s)
		case <-ctx.Done():
		}
		signal.Stop(signals) // before the context ends, so that signals have their default effect from then on
		cancel(cause)
	}()
	return ctx, func() { cancel(nil) }
}

// ProtectMetrics requires the secret, unless it is zero, as the bearer token of requests for /metrics.
func ProtectMetrics(next http.Handler, secret config.Secret) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" && !host.Authorized(r, secret) {
			host.Unauthorized(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxHeader is the maximum size of a request's header; the response to a larger one is 431. It is more than proxies
// allow (Envoy: 60 KiB), and less than Go's default of 1 MiB, with which a hundred requests would fill a small
// container.
const maxHeader = 64 << 10

// Serve serves the handler until the context ends, then waits for requests in flight.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, longest time.Duration) error {
	return serveConnections(ctx, newConnections(listener, minConnections), handler, longest)
}

func serveConnections(ctx context.Context, limited *connections, handler http.Handler, longest time.Duration) error {
	server := &http.Server{
		Handler: track(handler), ConnContext: remember, ConnState: note, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: longest, IdleTimeout: 2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(limited) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("shut down the HTTP server: %w", err)
	}
	return nil
}
