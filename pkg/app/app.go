// Package app is the composition root. It reads the configuration, builds a Tagger and the entry point for the platform
// of the process, and serves it. A binary detects its platform.
//
// AWS clients are injected, so that commands that do not need them do not link them. The command tagger listen builds
// the listener, so that functions do not link RabbitMQ's client.
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
	"sync"
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
	// Name is in the user agent and in logs.
	Name string
	// Actions are the actions that it handles; nil for all.
	Actions []lifecycle.Action
	// Bus means that its events come from a bus with events of all projects; see [tagger.Options].
	Bus bool
	// Credentials reads the credentials. nil means [config.CredentialsFromEnv].
	Credentials func() (config.Credentials, error)
	// RulesFile, if not "", takes precedence over the settings for the rules.
	RulesFile string
	AWS       AWS
	// Work, if not nil, returns the work of an invocation, instead of processing events.
	Work func(Composed) (Work, error)
}

// Work is [host.Work].
type Work = host.Work

// AWS has the AWS services that a process can use. A setting that needs a nil one is an error.
type AWS struct {
	// Secret opens a secret with the credentials, by its ARN. It returns Source and Refused of [cloud.Options].
	Secret func(arn string) (credentials func(context.Context) (config.Credentials, error), refused func())
	// Parameter reads a parameter of Systems Manager and decrypts a SecureString.
	Parameter config.ParameterReader
	// Queues are the account's SQS queues.
	Queues host.Queues
}

// platform is the platform that a process runs on.
type platform string

const (
	awsLambda     platform = "AWS Lambda"
	functionGraph platform = "FunctionGraph"
	overHTTP      platform = "HTTP"
	commandLine   platform = "a command"
)

// detectPlatform detects the platform by the variables that it sets.
func detectPlatform() (platform, error) {
	switch {
	case os.Getenv("AWS_LAMBDA_RUNTIME_API") != "":
		return awsLambda, nil
	case os.Getenv("RUNTIME_API_ADDR") != "":
		return functionGraph, nil
	case os.Getenv("PORT") != "":
		return overHTTP, nil
	}
	return "", errors.New("find the platform: neither AWS_LAMBDA_RUNTIME_API (AWS Lambda) nor RUNTIME_API_ADDR " +
		"(FunctionGraph) nor PORT (HTTP) is set; on the command line, use tagger invoke")
}

// Run reads the configuration, composes the function and serves the platform of the process. It returns nil when the
// context ends.
func Run(ctx context.Context, f Function) error {
	p, err := detectPlatform()
	if err != nil {
		return err
	}
	if p == functionGraph {
		if err := setEnvFromUserData(); err != nil {
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
	case awsLambda: // aws-lambda-go ends the process
		var handler lambda.Handler = c.lambda(f.AWS.Queues)
		if work != nil {
			handler = &host.LambdaWork{Work: work, Flush: c.flush}
		}
		lambda.StartWithOptions(handler, lambda.WithContext(ctx))
		return nil
	case functionGraph:
		ctx, stop := UntilInterrupted(ctx)
		defer stop()
		graph := c.functionGraph()
		graph.Work = work
		return graph.Run(ctx)
	}
	if work != nil {
		return fmt.Errorf("%s does not run over HTTP: a pass takes longer than a request (run tagger reconcile --scheduled)",
			f.Name)
	}
	ctx, stop := UntilInterrupted(ctx)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", os.Getenv("PORT")))
	if err != nil {
		return fmt.Errorf("listen on the port in PORT: %w", err)
	}
	return c.serve(ctx, listener)
}

// RunHTTP serves HTTP on an address, on any platform, until the context ends.
func RunHTTP(ctx context.Context, f Function, listener net.Listener) error {
	defer listener.Close()
	c, err := compose(ctx, f, overHTTP)
	if err != nil {
		return err
	}
	return c.serve(ctx, listener)
}

// Composed has what an entry point needs.
type Composed struct {
	Tagger   *tagger.Tagger
	Settings config.Settings
	Log      *slog.Logger
	Metrics  *metrics.Metrics
	// Cloud is the Tagger's cloud, Rules are the rules in force, Region is the configured region.
	Cloud  *cloud.Cloud
	Rules  tagger.Rulebook
	Region string
	// Held, if not nil, reports whether writing is on hold.
	Held func() bool
}

// Compose reads the configuration and builds what an entry point outside this package needs.
func Compose(ctx context.Context, f Function) (Composed, error) { return compose(ctx, f, commandLine) }

// Processor returns a processor of messages. See [delivery.Options] for tolerance and gather.
func (c Composed) Processor(tolerance int, gather time.Duration) *delivery.Processor {
	return delivery.New(delivery.Options{
		Tagger: c.Tagger, Concurrency: c.Settings.Concurrency, GiveUpAfter: c.Settings.GiveUpAfter,
		Tolerance: tolerance, Gather: gather, Log: c.Log,
	})
}

// wholeBatch is the tolerance of entry points that acknowledge a whole batch in one response.
const wholeBatch = 1

// requestsPerChange is the number of requests in flight for each change that is processed, because most requests wait
// for their servers.
const requestsPerChange = 10

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
		c.Log.Warn("TAGGER_HTTP_SECRET is not set; anyone who can reach the port can send events")
	}
	h := host.NewHTTP(host.HTTPOptions{
		Processor:     c.Processor(wholeBatch, 0),
		Requests:      requestsPerChange * c.Settings.Concurrency,
		Bytes:         c.Settings.BytesInFlight,
		Secret:        c.Settings.HTTPSecret,
		Wait:          c.Settings.Wait,
		Metrics:       c.Metrics.WritePrometheus,
		MetricsSecret: c.Settings.MetricsToken(),
		WebHook:       webHook,
	})
	// Beyond the requests that are processed, there is room for answering 503 and for probes.
	limited := newConnections(listener, 2*requestsPerChange*c.Settings.Concurrency+minConnections)
	err = serveConnections(ctx, limited, h, h.MaxRequestDuration())
	c.Log.Info("ended")
	return err
}

// compose reads the configuration and builds what the platform's entry point needs.
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
	limitProcessors(log)
	for _, warning := range config.Unknown(os.Environ()) {
		log.Warn(warning)
	}
	// On AWS use the deployed name, because several stacks of an account have the same functions.
	counts := metrics.New(cmp.Or(os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), f.Name))
	source, err := openRules(ctx, settings, f.AWS.Parameter, log, counts)
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
		if err := requireSecretARN(settings, credentials); err != nil {
			return Composed{}, err
		}
	}
	options, err := cloudOptions(settings, credentials, f)
	if err != nil {
		return Composed{}, err
	}
	options.Log = log
	if options.Source != nil {
		options.Source = warnOnce(options.Source, log)
	}
	for _, w := range append(settings.Warnings(), credentials.Warnings()...) {
		log.Warn(w.String())
	}
	made := cloud.New(options)
	if p == overHTTP || p == commandLine { // a function logs in with its first event
		if err := made.CheckBounds(ctx); err != nil {
			return Composed{}, err
		}
		go warnEntries(ctx, made, log)
	}
	var held func() bool
	if p == overHTTP || p == commandLine { // a function is frozen between events, and has no place for a file
		held = WatchHold(ctx, settings.HoldFile, log)
		counts.Hold(held)
		if reloader, ok := source.(*rules.Reloader); ok {
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
	t, err := tagger.Compose(ctx, settings, source, tagger.Parts{
		Cloud: made, Actions: f.Actions, Held: held, Log: log, Observe: counts.Observe, Journal: audit,
		Region: credentials.RegionName, Bus: f.Bus,
	})
	if err != nil {
		return Composed{}, err
	}
	log.Info("started", "platform", string(p), "api", settings.API, "dry_run", settings.DryRun)
	return Composed{
		Tagger: t, Settings: settings, Log: log, Metrics: counts,
		Cloud: made, Rules: source, Region: credentials.RegionName, Held: held,
	}, nil
}

// warnEntries logs each entry of TAGGER_PROJECTS that allows no project. It fails silently: an event reports that the
// cloud cannot be reached.
func warnEntries(ctx context.Context, c *cloud.Cloud, log *slog.Logger) {
	entries, _ := c.CheckProjects(ctx)
	for _, e := range entries {
		log.Warn("an entry of TAGGER_PROJECTS matches no project", "entry", e.Entry, "why", e.Why)
	}
}

// OpenAudit opens the audit file in the settings; nil if there is none. It calls failed for each record that could not
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

// requireSecretARN rejects credentials in a Lambda function's environment, because anyone who may view the function can
// read them. Under the SAM CLI, the function runs on the user's own machine, so they are allowed.
func requireSecretARN(settings config.Settings, credentials config.Credentials) error {
	const way = "put the credentials into a Secrets Manager secret, a JSON object of these variables, and set " +
		"TAGGER_SECRET_ARN to its ARN"
	names := credentials.SecretNames()
	switch {
	case os.Getenv("AWS_SAM_LOCAL") == "true":
		return nil
	case !settings.HTTPSecret.IsZero():
		return errors.New("read the environment: TAGGER_HTTP_SECRET is not for AWS Lambda: " +
			"unset it, and use the authorisation (IAM) of the function URL or HTTP API")
	case len(names) > 0:
		return fmt.Errorf("read the environment: %s would be readable in the function's configuration: %s",
			strings.Join(names, ", "), way)
	case settings.SecretARN == "":
		return fmt.Errorf("read the environment: there are no credentials: %s", way)
	}
	return nil
}

// openRules opens the rules in the settings. Rules in a file or a parameter are reloaded periodically.
func openRules(
	ctx context.Context, settings config.Settings, parameter config.ParameterReader,
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
			log.Warn("cannot reload the rules; the previous ones stay in force", "error", err.Error())
		},
		Refused: func(err error, again bool) {
			counts.RulesRefused()
			level := slog.LevelError
			if again { // logged once; counted each time, so that the alarm lasts
				level = slog.LevelDebug
			}
			log.Log(ctx, level, "new rules rejected; the previous ones stay in force", "error", err.Error())
		},
	})
}

// watchRules reloads the rules periodically and on SIGHUP.
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
			log.Info("SIGHUP received; reloading the rules")
			select {
			case now <- s:
			case <-ctx.Done():
				return
			}
		}
	}
}

// CloudOptions returns the options of the configured cloud. name is for the user agent.
func CloudOptions(settings config.Settings, credentials config.Credentials, name string) cloud.Options {
	return cloud.Options{
		Credentials: credentials, ComputeEndpoint: settings.ComputeEndpoint, VolumeEndpoint: settings.VolumeEndpoint,
		Projects: settings.Projects, WriteRate: settings.Rate, UserAgent: name,
	}
}

// cloudOptions returns the options for the given credentials, those of the invocation, or those in a secret.
func cloudOptions(settings config.Settings, credentials config.Credentials, f Function) (cloud.Options, error) {
	o := CloudOptions(settings, credentials, "tagger/"+f.Name)
	switch {
	case settings.InvocationCredentials:
		if credentials.AccessKeyProjectID == "" {
			credentials.AccessKeyProjectID = os.Getenv("RUNTIME_PROJECT_ID")
		}
		o.Source = host.CredentialsOf(credentials)
	case settings.SecretARN != "" && f.AWS.Secret == nil:
		return cloud.Options{}, errors.New(
			"read the environment: TAGGER_SECRET_ARN is not supported here: unset it, and set " +
				"the credentials as OS_* variables")
	case settings.SecretARN != "":
		read, refused := f.AWS.Secret(settings.SecretARN)
		o.Refused = refused
		o.Source = func(ctx context.Context) (config.Credentials, error) {
			c, err := read(ctx)
			if c.RegionName == "" {
				c.RegionName = credentials.RegionName // not secret, and functions that share the secret may have different ones
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

// warnOnce logs the warnings about the first credentials that a source returns: those in a secret are known only then.
func warnOnce(
	read func(context.Context) (config.Credentials, error), log *slog.Logger,
) func(context.Context) (config.Credentials, error) {
	var once sync.Once
	return func(ctx context.Context) (config.Credentials, error) {
		c, err := read(ctx)
		if err == nil {
			once.Do(func() {
				for _, w := range c.Warnings() {
					log.Warn(w.String())
				}
			})
		}
		return c, err
	}
}

// NewLog returns a logger that writes JSON to standard output.
func NewLog(level, function string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // the settings allow only levels
	return slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: l})).With("function", function)
}
