// Package host is a platform's door: payload in, acknowledgement out.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/cloud/awssecret"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/tagger"
)

// Function is one deployable function.
type Function struct {
	// Name is shown to the cloud's API and in logs.
	Name string
	// Actions are those that it handles.
	Actions []lifecycle.Action
}

// Run reads the configuration, composes the function and serves the platform that the process runs on. It returns only with an error that
// says why it cannot serve.
func Run(ctx context.Context, f Function) error {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return err
	}
	log := newLog(settings.LogLevel, f.Name)
	for _, warning := range config.Unknown(os.Environ()) {
		log.Warn(warning)
	}
	text, err := settings.ReadRules()
	if err != nil {
		return err
	}
	credentials, err := config.CredentialsFromEnv()
	if err != nil {
		return err
	}
	options := cloud.Options{
		Credentials: credentials, ComputeEndpoint: settings.ComputeEndpoint, VolumeEndpoint: settings.VolumeEndpoint,
		Projects: settings.Projects, UserAgent: "tagger/" + f.Name,
	}
	if settings.SecretARN != "" {
		secret := awssecret.New(settings.SecretARN)
		options.Refused = secret.Refused
		options.Source = func(ctx context.Context) (config.Credentials, error) {
			c, err := secret.Credentials(ctx)
			if c.RegionName == "" {
				c.RegionName = credentials.RegionName // no secret, and another function of the same secret may have another
			}
			return c, err
		}
	}
	t, err := tagger.Compose(settings, text, tagger.Parts{
		Cloud: cloud.New(options), Actions: f.Actions, Log: log, Region: credentials.RegionName,
	})
	if err != nil {
		return err
	}
	if settings.SecretARN == "" {
		if _, err := credentials.Resolve(); err != nil {
			return fmt.Errorf("read the environment: %w", err)
		}
	}
	if _, onLambda := os.LookupEnv("AWS_LAMBDA_RUNTIME_API"); !onLambda {
		return fmt.Errorf("start %s: AWS_LAMBDA_RUNTIME_API is not set, so this is not AWS Lambda; at a desk use: tagger invoke", f.Name)
	}
	handler := &Lambda{Tagger: t, Settings: settings, Queues: &awsQueues{}, Log: log}
	lambda.StartWithOptions(handler, lambda.WithContext(ctx))
	return nil
}

func newLog(level, function string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // the settings allow only levels
	return slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: l})).With("function", function)
}
