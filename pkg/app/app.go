// Package app is the composition root: it reads the configuration, builds a Tagger and the door of the platform that
// the process runs on, and serves it. One binary finds out by itself where it runs.
//
// What only AWS has is injected, so that a command that does without it does not link it. The listener's door is
// composed by the command that has it: no function links RabbitMQ's client.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/host"
	"github.com/cloudtagger/tagger/pkg/journal"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Function is one deployable function, or a command that works like one.
type Function struct {
	// Name is shown to the cloud's API and in logs.
	Name string
	// Actions are those that it handles; nil for all.
	Actions []lifecycle.Action
	// Bus says that its events come from a bus that carries every project's; see [tagger.Options].
	Bus bool
	// Credentials reads the credentials of the environment; [config.CredentialsFromEnv] when nil.
	Credentials func() (config.Credentials, error)
	// RulesFile, if not "", goes before what the settings say of the rules.
	RulesFile string
	AWS       AWS
	// Work, if not nil, makes what an invocation does in place of working on events.
	Work func(Composed) (Work, error)
}

// Work is [host.Work].
type Work = host.Work

// AWS is what a process uses of AWS. What is nil it cannot use, and a setting that needs it is an error.
type AWS struct {
	// Secret opens a secret that holds the credentials, by its ARN. The functions are the Source and Refused of
	// [cloud.Options].
	Secret func(arn string) (credentials func(context.Context) (config.Credentials, error), refused func())
	// Parameter reads a parameter of Systems Manager, decrypted where it is a SecureString.
	Parameter func(ctx context.Context, name string) (string, error)
	// Queues are the account's SQS queues.
	Queues host.Queues
}

// platform is where a process runs.
type platform string

const (
	awsLambda     platform = "AWS Lambda"
	functionGraph platform = "FunctionGraph"
	overHTTP      platform = "HTTP"
	byCommand     platform = "a command"
)

// where finds the platform by the variables that it sets.
func where() (platform, error) {
	switch {
	case os.Getenv("AWS_LAMBDA_RUNTIME_API") != "":
		return awsLambda, nil
	case os.Getenv("RUNTIME_API_ADDR") != "":
		return functionGraph, nil
	case os.Getenv("PORT") != "":
		return overHTTP, nil
	}
	return "", errors.New("find the platform: neither AWS_LAMBDA_RUNTIME_API (AWS Lambda) nor RUNTIME_API_ADDR " +
		"(FunctionGraph) nor PORT (HTTP) is set; at a desk use: tagger invoke")
}

// Run reads the configuration, composes the function and serves the platform that the process runs on. It returns an
// error that says why it cannot serve, and nil when the context ended.
func Run(ctx context.Context, f Function) error {
	p, err := where()
	if err != nil {
		return err
	}
	if p == functionGraph {
		if err := adoptUserData(); err != nil {
			return err
		}
	}
	c, err := compose(ctx, f, p)
	if err != nil {
		return err
	}
	var work Work
	if f.Work != nil {
		if work, err = f.Work(c); err != nil {
			return err
		}
	}
	switch p {
	case awsLambda: // which ends the process itself
		var handler lambda.Handler = c.lambda(f.AWS.Queues)
		if work != nil {
			handler = &host.LambdaWork{Work: work, Flush: c.flush}
		}
		lambda.StartWithOptions(handler, lambda.WithContext(ctx))
		return nil
	case functionGraph:
		ctx, stop := UntilInterrupted(ctx)
		defer stop()
		door := c.functionGraph()
		door.Work = work
		return door.Run(ctx)
	}
	if work != nil {
		return fmt.Errorf("%s is no function for HTTP: a pass takes longer than a request (run tagger reconcile --scheduled)", f.Name)
	}
	ctx, stop := UntilInterrupted(ctx)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", os.Getenv("PORT")))
	if err != nil {
		return fmt.Errorf("listen on the port that PORT names: %w", err)
	}
	return c.serve(ctx, listener)
}

// RunHTTP serves HTTP on a listener, which it closes, whatever the platform, until the context ends.
func RunHTTP(ctx context.Context, f Function, listener net.Listener) error {
	defer listener.Close()
	c, err := compose(ctx, f, overHTTP)
	if err != nil {
		return err
	}
	return c.serve(ctx, listener)
}

// Composed is what a door needs.
type Composed struct {
	Tagger   *tagger.Tagger
	Settings config.Settings
	Log      *slog.Logger
	Metrics  *metrics.Metrics
	// Cloud is the Tagger's, with its bounds; Rules are those in force; Region is the configured one.
	Cloud  *cloud.Cloud
	Rules  tagger.Rulebook
	Region string
	// Held, if not nil, reports whether writing is on hold.
	Held func() bool
}

// Compose reads the configuration and composes what a door needs that this package does not have.
func Compose(ctx context.Context, f Function) (Composed, error) { return compose(ctx, f, byCommand) }

// Processor returns a processor of messages. Tolerance and gather are those of [delivery.Options].
func (c Composed) Processor(tolerance int, gather time.Duration) *delivery.Processor {
	return delivery.New(delivery.Options{
		Tagger: c.Tagger, Concurrency: c.Settings.Concurrency, GiveUpAfter: c.Settings.GiveUpAfter,
		Tolerance: tolerance, Gather: gather, Log: c.Log,
	})
}

// wholeBatch is the tolerance of doors that acknowledge all they were given in one answer.
const wholeBatch = 1

// underWay is how many requests may be under way for each change that is worked on: most of them wait for their
// servers.
const underWay = 10

func (c Composed) lambda(queues host.Queues) *host.Lambda {
	return &host.Lambda{
		Processor: c.Processor(wholeBatch, 0), Queues: queues, DeadLetterQueueURL: c.Settings.DeadLetterQueueURL,
		Wait: c.Settings.Wait, Flush: c.flush, Log: c.Log,
	}
}

func (c Composed) flush() { _ = c.Metrics.FlushEMF(os.Stdout) }

func (c Composed) functionGraph() *host.FunctionGraph {
	return &host.FunctionGraph{
		Processor: c.Processor(wholeBatch, 0), Address: os.Getenv("RUNTIME_API_ADDR"), Timeout: runtimeTimeout(),
		Credentials: c.Settings.InvocationCredentials, Wait: c.Settings.Wait, Log: c.Log,
	}
}

func (c Composed) serve(ctx context.Context, listener net.Listener) error {
	webHook, err := host.NewWebHook(c.Settings.WebHookOrigins, c.Settings.WebHookRate)
	if err != nil {
		return err
	}
	c.Log.Info("listening", "address", listener.Addr().String())
	if c.Settings.HTTPSecret.IsZero() {
		c.Log.Warn("TAGGER_HTTP_SECRET is not set: everybody who reaches the port may send events")
	}
	h := host.NewHTTP(host.HTTPOptions{
		WebHook:   webHook,
		Processor: c.Processor(wholeBatch, 0), Requests: underWay * c.Settings.Concurrency, Bytes: c.Settings.BytesInFlight,
		Secret: c.Settings.HTTPSecret, Wait: c.Settings.Wait, Metrics: c.Metrics.WritePrometheus, MetricsSecret: c.Settings.MetricsToken(),
	})
	err = Serve(ctx, listener, h, h.LongestRequest())
	c.Log.Info("ended")
	return err
}

// compose makes of the configuration what a platform's door needs.
func compose(ctx context.Context, f Function, p platform) (Composed, error) {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return Composed{}, err
	}
	if f.RulesFile != "" {
		settings.Rules, settings.RulesFile, settings.RulesParameter = "", f.RulesFile, ""
	}
	log := NewLog(settings.LogLevel, f.Name)
	LimitMemory(log)
	for _, warning := range config.Unknown(os.Environ()) {
		log.Warn(warning)
	}
	// By the name in AWS: two stacks of an account have the same functions.
	counts := metrics.New(cmp.Or(os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), f.Name))
	book, err := openRules(ctx, settings, f.AWS.Parameter, log, counts)
	if err != nil {
		return Composed{}, err
	}
	read := f.Credentials
	if read == nil {
		read = config.CredentialsFromEnv
	}
	credentials, err := read()
	if err != nil {
		return Composed{}, err
	}
	if p == awsLambda {
		if err := onlyFromASecret(settings, credentials); err != nil {
			return Composed{}, err
		}
	}
	options, err := cloudOptions(settings, credentials, f)
	if err != nil {
		return Composed{}, err
	}
	options.Log = log
	for _, w := range append(settings.Warnings(), credentials.Warnings()...) {
		log.Warn(w.String())
	}
	made := cloud.New(options)
	if p == overHTTP || p == byCommand { // a function logs in with its first event
		if err := made.CheckBounds(ctx); err != nil {
			return Composed{}, err
		}
	}
	var held func() bool
	if p == overHTTP || p == byCommand { // a function's process is frozen between events, and nobody puts a file beside it
		held = WatchHold(ctx, settings.HoldFile, log)
		counts.Hold(held)
		if reloader, ok := book.(*rules.Reloader); ok {
			go watchRules(ctx, reloader, log)
		}
	}
	audit, err := OpenAudit(settings, func(err error) {
		counts.AuditFailed()
		log.Error("a write is not in the audit file", "error", err.Error())
	})
	if err != nil {
		return Composed{}, err
	}
	t, err := tagger.Compose(ctx, settings, book, tagger.Parts{
		Cloud: made, Actions: f.Actions, Held: held, Log: log, Observe: counts.Observe, Journal: audit,
		Region: credentials.RegionName, Bus: f.Bus,
	})
	if err != nil {
		return Composed{}, err
	}
	log.Info("started", "platform", string(p), "api", settings.API, "dry_run", settings.DryRun)
	return Composed{
		Tagger: t, Settings: settings, Log: log, Metrics: counts,
		Cloud: made, Rules: book, Region: credentials.RegionName, Held: held,
	}, nil
}

// OpenAudit opens the audit file of the settings; nil where there is none. Failed is told of each record that could not
// be written.
func OpenAudit(s config.Settings, failed func(error)) (tagger.Journal, error) {
	if s.AuditFile == "" {
		return nil, nil
	}
	a, err := journal.OpenAudit(s.AuditFile, failed)
	if err != nil {
		return nil, fmt.Errorf("TAGGER_AUDIT_FILE: %w", err)
	}
	return a, nil
}

// onlyFromASecret refuses credentials in a Lambda function's environment, where everybody who may look at the function
// reads them. On a desk, under the SAM CLI, there is no such reader.
func onlyFromASecret(settings config.Settings, credentials config.Credentials) error {
	const way = "put the credentials into a Secrets Manager secret, a JSON object of these variables, and set " +
		"TAGGER_SECRET_ARN to its ARN"
	names := credentials.SecretNames()
	switch {
	case os.Getenv("AWS_SAM_LOCAL") == "true":
		return nil
	case !settings.HTTPSecret.IsZero():
		return errors.New("read the environment: TAGGER_HTTP_SECRET is not for AWS Lambda, where function URLs and HTTP " +
			"APIs have authorisation of their own (IAM): unset it, and see that they use it")
	case len(names) > 0:
		return fmt.Errorf("read the environment: %s would be readable in the function's configuration: %s",
			strings.Join(names, ", "), way)
	case settings.SecretARN == "":
		return fmt.Errorf("read the environment: there are no credentials: %s", way)
	}
	return nil
}

// openRules opens the rules that the settings name. Those in a file or a parameter are read again from time to time.
func openRules(
	ctx context.Context, settings config.Settings, parameter func(context.Context, string) (string, error),
	log *slog.Logger, counts *metrics.Metrics,
) (tagger.Rulebook, error) {
	inForce := func(v rules.Version) {
		counts.RulesInForce(v)
		log.Info("rules in force", "from", v.Name, "hash", v.Hash, "rules", v.Rules)
	}
	read := func(ctx context.Context) (rules.Source, error) { return settings.ReadRules(ctx, parameter) }
	compile := func(source rules.Source) (*rules.Set, error) { return tagger.Compile(settings, source) }
	if !settings.CanReloadRules() {
		source, err := read(ctx)
		if err != nil {
			return nil, err
		}
		set, err := compile(source)
		if err != nil {
			return nil, err
		}
		inForce(set.Version(source.Name))
		return set, nil
	}
	return rules.Open(ctx, read, compile, settings.RulesRefresh, rules.Notices{
		InForce: inForce,
		Unread: func(err error) {
			log.Warn("the rules cannot be read again; those in force stay", "error", err.Error())
		},
		Refused: func(err error) {
			counts.RulesRefused()
			log.Error("the rules have changed and are refused; the last good ones stay in force", "error", err.Error())
		},
	})
}

// watchRules has the rules read again from time to time and on SIGHUP.
func watchRules(ctx context.Context, r *rules.Reloader, log *slog.Logger) {
	signals, now := make(chan os.Signal, 1), make(chan os.Signal)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	go r.Watch(ctx, now)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			log.Info("SIGHUP: reading the rules again")
			select {
			case now <- s:
			case <-ctx.Done():
				return
			}
		}
	}
}

// cloudOptions are those of the cloud that these credentials, the invocation's or those of a secret are for.
func cloudOptions(settings config.Settings, credentials config.Credentials, f Function) (cloud.Options, error) {
	o := cloud.Options{
		Credentials: credentials, ComputeEndpoint: settings.ComputeEndpoint, VolumeEndpoint: settings.VolumeEndpoint,
		Projects: settings.Projects, WriteRate: settings.Rate, UserAgent: "tagger/" + f.Name,
	}
	switch {
	case settings.InvocationCredentials:
		if credentials.AccessKeyProjectID == "" {
			credentials.AccessKeyProjectID = os.Getenv("RUNTIME_PROJECT_ID")
		}
		o.Source = host.CredentialsOf(credentials)
	case settings.SecretARN != "" && f.AWS.Secret == nil:
		return cloud.Options{}, errors.New("read the environment: TAGGER_SECRET_ARN is not read here: unset it, and give " +
			"the credentials as OS_* variables")
	case settings.SecretARN != "":
		read, refused := f.AWS.Secret(settings.SecretARN)
		o.Refused = refused
		o.Source = func(ctx context.Context) (config.Credentials, error) {
			c, err := read(ctx)
			if c.RegionName == "" {
				c.RegionName = credentials.RegionName // no secret, and another function of the same secret may have another
			}
			return c, err
		}
	default:
		if _, err := credentials.Resolve(); err != nil {
			return cloud.Options{}, fmt.Errorf("read the environment: %w", err)
		}
	}
	return o, nil
}

// NewLog returns a logger that writes JSON to the standard output.
func NewLog(level, function string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // the settings allow only levels
	return slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: l})).With("function", function)
}
