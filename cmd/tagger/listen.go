package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/listen"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/scheduled"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

func listenCommand() *cobra.Command {
	var address, sink string
	var reconcileEvery time.Duration
	cmd := &cobra.Command{
		Use:   "listen [--listen ADDR] [--sink URL] [--reconcile PERIOD]",
		Short: "Process OpenStack's notifications from RabbitMQ",
		Long: "Take the notifications of Nova and Cinder from RabbitMQ (TAGGER_AMQP_URL) until interrupted, and tag what " +
			"they report. Both notification " +
			"formats are understood; a change that comes in both counts once. Events that are not ready wait in delay queues " +
			"of the broker, and " +
			"those that an operator must look at go to a queue for that, with the reason. All queues are Tagger's own and " +
			"begin with TAGGER_AMQP_QUEUE (tagger); those of the services are left alone. Run two listeners for safety: " +
			"one consumes the messages, the other takes over when it is gone.\n\n" +
			"Everything is configured as for the functions, by TAGGER_* and OS_* variables (or OS_CLOUD). An administrator's " +
			"credentials serve " +
			"all projects, or those in TAGGER_PROJECTS. With --sink nothing is tagged: each event that reports a change is " +
			"sent as a " +
			"CloudEvent to a receiver (with TAGGER_HTTP_SECRET as bearer token, if set) or to a queue of SQS " +
			"(https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE), and neither rules nor credentials of the cloud are needed. " +
			"docs/private-cloud.md has it step by step.",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&address, "listen", "",
		"address for GET /healthz and GET /metrics (default: none, or all interfaces on the port that PORT names)")
	cmd.Flags().StringVar(&sink, "sink", "",
		"send events to this URL, of an HTTP receiver or an SQS queue, in place of tagging (default: K_SINK)")
	cmd.Flags().DurationVar(&reconcileEvery, "reconcile", 0,
		"run a reconcile this often, in one of the listeners (docs/reconcile.md)")
	moved := map[string]string{"delete-topology": "tagger queues delete", "replay-rejected": "tagger queues replay"}
	for name := range moved {
		cmd.Flags().Bool(name, false, "")
		_ = cmd.Flags().MarkHidden(name) // the flag is there
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, instead := range moved {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("listen --%s is a command of its own now: %s", name, instead)
			}
		}
		c, err := config.ListenFromEnv()
		if err != nil {
			return err
		}
		c.Sink = cmp.Or(sink, c.Sink)
		var listener net.Listener // nil for none
		if port := os.Getenv("PORT"); address != "" || port != "" {
			if listener, err = bind(cmd.Context(), address, port); err != nil {
				return err
			}
			defer listener.Close()
		}
		switch {
		case reconcileEvery != 0 && reconcileEvery < shortestPeriod:
			return fmt.Errorf("listen --reconcile %s: want at least %s", label(reconcileEvery), label(shortestPeriod))
		case reconcileEvery != 0 && c.Sink != "":
			return errors.New("listen --reconcile: with a sink nothing is tagged here")
		}
		return runListener(cmd.Context(), c, listener, reconcileEvery)
	}
	return cmd
}

// underWay is how many messages may be under way for each change that is worked on: most of them wait for their
// servers.
const underWay = 10

// closeHTTP is how long requests for health and metrics may take at the end.
const closeHTTP = 5 * time.Second

// shortestPeriod is how often a reconcile may run: a pass lists all resources.
const shortestPeriod = 5 * time.Minute

// runListener runs a listener, and HTTP beside it where there is something to serve it on. Reconcile is how often it
// reconciles, 0 for never.
func runListener(ctx context.Context, c config.Listen, listener net.Listener, reconcile time.Duration) error {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return err
	}
	o := listen.Options{
		Config: c, Repair: c.Repair, Concurrency: underWay * settings.Concurrency, Wait: listen.DefaultWait,
		Bytes: settings.BytesInFlight, GiveUpAfter: settings.GiveUpAfter,
	}
	if settings.Wait != nil {
		o.Wait = *settings.Wait
	}
	var others func(io.Writer) error
	if c.Sink != "" {
		o.Log = app.NewLog(settings.LogLevel, "listen")
		o.Concurrency = settings.Concurrency // each of them is a post, none waits for a server here
		app.LimitMemory(o.Log)
		o.Processor, others, err = newSink(ctx, settings, c, o.Log)
	} else {
		o.Period = reconcile
		others, err = newTagging(ctx, &o)
	}
	if err != nil {
		return err
	}
	l, err := listen.New(o)
	if err != nil {
		return err
	}
	for _, w := range c.Warnings() {
		o.Log.Warn(w.String())
	}
	group, ctx := errgroup.WithContext(ctx)
	if listener != nil {
		o.Log.Info("listening", "address", listener.Addr().String())
		group.Go(func() error {
			return app.Serve(ctx, listener, app.ProtectMetrics(l.Counts().Handler(others), settings.MetricsToken()), closeHTTP)
		})
	}
	ended := errors.New("ended")
	group.Go(func() error {
		if err := l.Run(ctx); err != nil {
			return err
		}
		return ended
	})
	if err := group.Wait(); !errors.Is(err, ended) {
		return undone{err}
	}
	o.Log.Info("ended")
	return nil
}

func newSink(ctx context.Context, settings config.Settings, c config.Listen, log *slog.Logger) (listen.Processor,
	func(io.Writer) error, error) {
	registry, err := tagger.Dialects(settings, os.Getenv("OS_REGION_NAME"))
	if err != nil {
		return nil, nil, err
	}
	sink, err := listen.NewSink(listen.SinkOptions{
		URL: c.Sink, Overrides: c.CEOverrides, Secret: settings.HTTPSecret, Registry: registry,
		GiveUpAfter: settings.GiveUpAfter,
		Sign:        awsapi.FunctionURLSigner(c.Sink),
		Held:        app.WatchHold(ctx, settings.HoldFile, log), Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	write := func(w io.Writer) error { return errors.Join(metrics.WriteProcess(w), sink.WritePrometheus(w)) }
	return sink, write, nil
}

// newTagging sets what a listener that tags needs, and returns what writes the worker's metrics.
func newTagging(ctx context.Context, o *listen.Options) (func(io.Writer) error, error) {
	read := func() (config.Credentials, error) { return processCredentials(ctx) }
	c, err := app.Compose(ctx, app.Function{Name: "listen", Bus: true, Credentials: read, AWS: onAWS()})
	if err != nil {
		return nil, err
	}
	o.Log, o.Processor, o.Servers = c.Log, c.Processor(listen.Tolerance, listen.Gather), c.Tagger
	if o.Period > 0 {
		r, err := scheduled.New(c)
		if err != nil {
			return nil, err
		}
		o.Periodic = func(ctx context.Context) { _, _ = r.Run(ctx) } // which reports its error
		gauges := coverage.NewGauges(false)
		r.Coverage = gauges.Set
		return func(w io.Writer) error {
			return errors.Join(c.Metrics.WritePrometheus(w), gauges.WritePrometheus(w))
		}, nil
	}
	return c.Metrics.WritePrometheus, nil
}
