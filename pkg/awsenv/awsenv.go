// Package awsenv makes the AWS SDK's configuration from a Lambda function's environment.
//
// The SDK's own config package would find the same there, and link besides every other way to credentials (SSO, profiles, instance metadata,
// web identity): 0.7 MiB of a zipped function, for code that never runs in one.
package awsenv

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config returns a configuration for a region, which by default is the function's own. Credentials are read from the environment when they
// are needed. AWS_ENDPOINT_URL takes the place of the services' endpoints, AWS_MAX_ATTEMPTS that of the SDK's three tries.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func Config(region string) aws.Config {
	if region == "" {
		region = os.Getenv("AWS_REGION")
	}
	c := aws.Config{Region: region, Credentials: aws.NewCredentialsCache(aws.CredentialsProviderFunc(credentials))}
	if endpoint := os.Getenv("AWS_ENDPOINT_URL"); endpoint != "" {
		c.BaseEndpoint = aws.String(endpoint)
	}
	if n, err := strconv.Atoi(os.Getenv("AWS_MAX_ATTEMPTS")); err == nil {
		c.RetryMaxAttempts = n
	}
	return c
}

func credentials(context.Context) (aws.Credentials, error) {
	c := aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
		Source: "environment",
	}
	if !c.HasKeys() {
		return aws.Credentials{}, errors.New("read AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, as they are on Lambda")
	}
	return c, nil
}
