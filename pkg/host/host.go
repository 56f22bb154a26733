// Package host is a platform's door: payload in, acknowledgement out. One binary finds out by itself where it runs.
package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/awssecret"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metrics"
	"github.com/cloudtagger/tagger/pkg/rules"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Function is one deployable function.
type Function struct {
	// Name is shown to the cloud's API and in logs.
	Name string
	// Actions are those that it handles; nil for all.
	Actions []lifecycle.Action
	// Bus says that its events come from a bus that carries every project's; see [tagger.Options].
	Bus bool
}

// platform is where a process runs.
type platform string

const (
	awsLambda     platform = "AWS Lambda"
	functionGraph platform = "FunctionGraph"
	overHTTP      platform = "HTTP"
	elsewhere     platform = "a door of its own"
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
	return "", errors.New("find the platform: neither AWS_LAMBDA_RUNTIME_API (AWS Lambda) nor RUNTIME_API_ADDR (FunctionGraph) nor PORT (HTTP) is set; " +
		"at a desk use: tagger invoke")
}

// Run reads the configuration, composes the function and serves the platform that the process runs on. It returns an error that says why it
// cannot serve, and nil when the context ended.
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
	c, err := compose(ctx, f, p, config.CredentialsFromEnv)
	if err != nil {
		return err
	}
	w := c.worker()
	switch p {
	case awsLambda: // which ends the process itself
		flush := func() { _ = c.Counts.FlushEMF(os.Stdout) }
		lambda.StartWithOptions(&Lambda{Worker: w, Queues: &awsQueues{}, Flush: flush}, lambda.WithContext(ctx))
		return nil
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if p == functionGraph {
		g := &FunctionGraph{
			Worker: w, Address: os.Getenv("RUNTIME_API_ADDR"), Timeout: runtimeTimeout(), Credentials: w.Settings.InvocationCredentials,
		}
		return g.Run(ctx)
	}
	return serve(ctx, net.JoinHostPort("", os.Getenv("PORT")), w, c.Counts)
}

// RunHTTP serves HTTP on an address, whatever the platform, with credentials from wherever read reads them.
func RunHTTP(ctx context.Context, f Function, address string, read func() (config.Credentials, error)) error {
	c, err := compose(ctx, f, overHTTP, read)
	if err != nil {
		return err
	}
	return serve(ctx, address, c.worker(), c.Counts)
}

// Composed is what a door needs.
type Composed struct {
	Tagger   *tagger.Tagger
	Settings config.Settings
	Log      *slog.Logger
	Counts   *metrics.Metrics
}

func (c Composed) worker() Worker { return Worker{Tagger: c.Tagger, Settings: c.Settings, Log: c.Log} }

// Compose makes of the configuration what a door needs that is not in this package.
func Compose(ctx context.Context, f Function, read func() (config.Credentials, error)) (Composed, error) {
	return compose(ctx, f, elsewhere, read)
}

func serve(ctx context.Context, address string, w Worker, counts *metrics.Metrics) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	w.Log.Info("listening", "address", listener.Addr().String())
	if w.Settings.HTTPSecret.IsZero() {
		w.Log.Warn("TAGGER_HTTP_SECRET is not set: everybody who reaches the port may send events")
	}
	h := NewHTTP(w, func(w io.Writer) error { return counts.WritePrometheus(w) })
	err = Serve(ctx, listener, h, h.LongestRequest())
	w.Log.Info("ended")
	return err
}

// compose makes of the configuration what a platform's door needs.
func compose(ctx context.Context, f Function, p platform, read func() (config.Credentials, error)) (Composed, error) {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return Composed{}, err
	}
	log := NewLog(settings.LogLevel, f.Name)
	for _, warning := range config.Unknown(os.Environ()) {
		log.Warn(warning)
	}
	counts := metrics.New(cmp.Or(os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), f.Name)) // two stacks of an account have the same functions
	book, err := openRules(ctx, settings, log, counts)
	if err != nil {
		return Composed{}, err
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
	options, err := cloudOptions(settings, credentials, f.Name)
	if err != nil {
		return Composed{}, err
	}
	options.Log = log
	for _, w := range append(settings.Warnings(), credentials.Warnings()...) {
		log.Warn(w.String())
	}
	made := cloud.New(options)
	if p == overHTTP || p == elsewhere { // elsewhere the login waits for the first event
		if err := made.CheckBounds(ctx); err != nil {
			return Composed{}, err
		}
	}
	t, err := tagger.Compose(ctx, settings, book, tagger.Parts{
		Cloud: made, Actions: f.Actions, Log: log, Observe: counts.Observe, Region: credentials.RegionName, Bus: f.Bus,
	})
	if err != nil {
		return Composed{}, err
	}
	log.Info("started", "platform", string(p), "api", settings.API, "dry_run", settings.DryRun)
	return Composed{Tagger: t, Settings: settings, Log: log, Counts: counts}, nil
}

// onlyFromASecret refuses credentials in a Lambda function's environment, where everybody who may look at the function reads them. On a desk, under
// the SAM CLI, there is no such reader.
func onlyFromASecret(settings config.Settings, credentials config.Credentials) error {
	const way = "put the credentials into a Secrets Manager secret, a JSON object of these variables, and set TAGGER_SECRET_ARN to its ARN"
	names := credentials.SecretNames()
	switch {
	case os.Getenv("AWS_SAM_LOCAL") == "true":
		return nil
	case !settings.HTTPSecret.IsZero():
		return errors.New("read the environment: TAGGER_HTTP_SECRET is not for AWS Lambda, where function URLs and HTTP APIs have authorisation of their own (IAM): " +
			"unset it, and see that they use it")
	case len(names) > 0:
		return fmt.Errorf("read the environment: %s would be readable in the function's configuration: %s", strings.Join(names, ", "), way)
	case settings.SecretARN == "":
		return fmt.Errorf("read the environment: there are no credentials: %s", way)
	}
	return nil
}

// openRules opens the rules that the settings name. Those in a file or a parameter are read again from time to time.
func openRules(ctx context.Context, settings config.Settings, log *slog.Logger, counts *metrics.Metrics) (tagger.Rulebook, error) {
	read := func(ctx context.Context) (rules.Source, error) { return settings.ReadRules(ctx, parameter) }
	compile := func(source rules.Source) (*rules.Set, error) { return tagger.Compile(settings, source) }
	if !settings.CanChange() {
		source, err := read(ctx)
		if err != nil {
			return nil, err
		}
		return compile(source)
	}
	return rules.Open(ctx, read, compile, settings.RulesRefresh, rules.Notices{
		Unread: func(err error) {
			log.Warn("the rules cannot be read again; those in force stay", "error", err.Error())
		},
		Refused: func(err error) {
			counts.RulesRefused()
			log.Error("the rules have changed and are refused; the last good ones stay in force", "error", err.Error())
		},
	})
}

// cloudOptions are those of the cloud that these credentials, the invocation's or those of a secret are for.
func cloudOptions(settings config.Settings, credentials config.Credentials, function string) (cloud.Options, error) {
	o := cloud.Options{
		Credentials: credentials, ComputeEndpoint: settings.ComputeEndpoint, VolumeEndpoint: settings.VolumeEndpoint,
		Projects: settings.Projects, WriteRate: settings.Rate, UserAgent: "tagger/" + function,
	}
	switch {
	case settings.InvocationCredentials:
		if credentials.AccessKeyProjectID == "" {
			credentials.AccessKeyProjectID = os.Getenv("RUNTIME_PROJECT_ID")
		}
		o.Source = CredentialsOf(credentials)
	case settings.SecretARN != "":
		secret := awssecret.New(settings.SecretARN)
		o.Refused = secret.Refused
		o.Source = func(ctx context.Context) (config.Credentials, error) {
			c, err := secret.Credentials(ctx)
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
