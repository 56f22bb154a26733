// Package awsapi makes the few calls of AWS that a function needs.
package awsapi

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/cloudtagger/tagger/pkg/awsenv"
)

// Parameter reads a parameter of AWS Systems Manager, decrypted where it is a SecureString.
func Parameter(ctx context.Context, name string) (string, error) {
	out, err := ssm.NewFromConfig(awsenv.Config("")).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name), WithDecryption: aws.Bool(true)})
	if err != nil {
		return "", fmt.Errorf("get the parameter %s: %w", name, err)
	}
	return aws.ToString(out.Parameter.Value), nil
}
