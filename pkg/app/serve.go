package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve serves the handler until the context ends, and lets requests that are under way finish.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, longest time.Duration) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: longest, IdleTimeout: 2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("end the HTTP server: %w", err)
	}
	return nil
}
