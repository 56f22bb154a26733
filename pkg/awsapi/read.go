package awsapi

import (
	"context"
	"fmt"
)

// Parameter reads a parameter of AWS Systems Manager and decrypts a SecureString
// (https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html).
func (c *Client) Parameter(ctx context.Context, name string) (string, error) {
	in := struct {
		Name           string
		WithDecryption bool
	}{name, true}
	var out struct{ Parameter struct{ Value string } }
	if err := c.call(ctx, operation{"ssm", "AmazonSSM.GetParameter", "1.1"}, place{}, in, &out); err != nil {
		return "", fmt.Errorf("get the parameter %s: %w", name, err)
	}
	return out.Parameter.Value, nil
}

// SecretString reads a secret of AWS Secrets Manager in a region, by its ARN or name. It returns nil if the secret is
// binary (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html).
func (c *Client) SecretString(ctx context.Context, region, id string) (*string, error) {
	in := struct{ SecretId string }{id}
	var out struct{ SecretString *string }
	o := operation{"secretsmanager", "secretsmanager.GetSecretValue", "1.1"}
	if err := c.call(ctx, o, place{region: region}, in, &out); err != nil {
		return nil, err
	}
	return out.SecretString, nil
}
