package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/simcloud"
)

func simcloudCommand(s streams) *cobra.Command {
	var listen string
	var o simcloud.Options
	cmd := &cobra.Command{
		Use:   "simcloud [--listen ADDR]",
		Short: "Run an embedded OpenStack to try Tagger on",
		Long: "Serve an OpenStack in memory (identity, compute, volume) until interrupted. Its first lines are what to " +
			"put into the environment of an OpenStack client, or of tagger invoke --cloud env. Everything is gone when it " +
			"ends.",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8774", "address to listen on; port 0 takes a free one")
	cmd.Flags().DurationVar(&o.BuildTime, "build-time", 10*time.Second, "how long a new server is building")
	cmd.Flags().DurationVar(&o.SnapshotTime, "snapshot-time", 2*time.Second, "how long a new snapshot is creating")
	cmd.Flags().BoolVar(&o.LostUpdates, "lost-updates", false,
		"let writers of one resource overwrite each other, as the real services do")
	cmd.Flags().DurationVar(&o.Latency, "latency", 0, "how long every request takes")
	cmd.Flags().BoolVar(&o.HuaweiCloud, "huaweicloud", false, "answer as Huawei Cloud does, and take signed requests")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, one := range []struct {
			flag  string
			value time.Duration
		}{{"--build-time", o.BuildTime}, {"--snapshot-time", o.SnapshotTime}, {"--latency", o.Latency}} {
			if err := checkDuration(one.flag, one.value); err != nil {
				return fmt.Errorf("simcloud: %w", err)
			}
		}
		listener, err := bind(cmd.Context(), listen, "8774")
		if err != nil {
			return err
		}
		c := simcloud.New(o)
		for _, line := range c.Env("http://" + listener.Addr().String()) {
			fmt.Fprintln(s.out, "export", line)
		}
		fmt.Fprintf(s.err, "the embedded cloud listens on %s; interrupt it to end\n", listener.Addr())
		return serve(cmd.Context(), listener, c)
	}
	return cmd
}

// serve serves HTTP until the context ends, then waits for requests in progress.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return undone{err}
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return undone{err}
	}
	return nil
}
