// Package awssecret reads credentials for the cloud from a secret in AWS Secrets Manager.
package awssecret

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"golang.org/x/sync/semaphore"

	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

const (
	// readTimeout is how long reading the secret may take, retries included.
	readTimeout = 10 * time.Second
	// minReadInterval is the shortest time between two reads of the secret.
	minReadInterval = 30 * time.Second
)

// Secret is a secret whose SecretString is a JSON object with the names of [config.Credentials]. Its methods serve as
// Source and Refused of [cloud.Options], and are safe for concurrent use.
type Secret struct {
	arn    string
	reader Reader
	stale  atomic.Bool
	sem    *semaphore.Weighted // held while the fields below are used

	credentials config.Credentials
	known       bool      // credentials is valid
	refusal     error     // of the last read, if an operator has to fix it
	asked       time.Time // when the last read ended that gave credentials or a refusal
}

// Reader reads secrets; [awsapi.Client] does.
type Reader interface {
	SecretString(ctx context.Context, region, id string) (*string, error)
}

// New returns the secret with this ARN. It is read when it is first needed.
func New(arn string, r Reader) *Secret {
	return &Secret{arn: arn, reader: r, sem: semaphore.NewWeighted(1)}
}

// Opener returns a function that opens a secret by its ARN and returns its methods [Secret.Credentials] and
// [Secret.Refused].
func Opener(r Reader) func(arn string) (credentials func(context.Context) (config.Credentials, error), refused func()) {
	return func(arn string) (func(context.Context) (config.Credentials, error), func()) {
		s := New(arn, r)
		return s.Credentials, s.Refused
	}
}

// Refused marks the secret as stale, because the cloud refused its contents and it may have been rotated. It is read
// again before its next use, but not within 30 s of the last read.
func (s *Secret) Refused() { s.stale.Store(true) }

// Credentials returns the secret's credentials, cached if possible. The error is a [*cloud.RefusedError], cached for
// 30 s, if an operator has to fix the secret or the permissions.
func (s *Secret) Credentials(ctx context.Context) (config.Credentials, error) {
	if err := s.sem.Acquire(ctx, 1); err != nil {
		return config.Credentials{}, fmt.Errorf("read the secret %s: %w", s.arn, err)
	}
	defer s.sem.Release(1)
	if s.known && !s.stale.Load() {
		return s.credentials, nil
	}
	if time.Since(s.asked) < minReadInterval {
		return s.credentials, s.refusal
	}

	// Cleared before reading: a refusal during the read requires another read.
	s.stale.Store(false)
	credentials, err := s.read(ctx)
	if err == nil {
		s.credentials, s.known, s.refusal, s.asked = credentials, true, nil, time.Now()
		return credentials, nil
	}
	s.stale.Store(true)
	if refused, ok := errors.AsType[*cloud.RefusedError](err); ok {
		s.credentials, s.known, s.refusal, s.asked = config.Credentials{}, false, refused, time.Now()
	}
	return config.Credentials{}, err
}

func (s *Secret) read(ctx context.Context) (config.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	region, err := regionOf(s.arn)
	if err != nil {
		return config.Credentials{}, &cloud.RefusedError{Err: err}
	}
	text, err := s.reader.SecretString(ctx, region, s.arn)
	if err != nil {
		err = fmt.Errorf("read the secret %s: %w", s.arn, err)
		if permanent(err) {
			return config.Credentials{}, &cloud.RefusedError{Err: err}
		}
		return config.Credentials{}, err
	}
	if text == nil {
		err := fmt.Errorf("read the secret %s: it is binary; store a JSON object as its SecretString", s.arn)
		return config.Credentials{}, &cloud.RefusedError{Err: err}
	}
	credentials, err := config.ParseCredentials([]byte(*text))
	if err != nil {
		return config.Credentials{}, &cloud.RefusedError{Err: fmt.Errorf("secret %s: %w", s.arn, err)}
	}
	return credentials, nil
}

// regionOf returns the region in an ARN. The secret is there, whatever AWS_REGION is.
func regionOf(secret string) (string, error) {
	a, err := arn.Parse(secret)
	if err != nil || a.Service != "secretsmanager" || a.Region == "" {
		return "", fmt.Errorf("read the secret %.200q: not an ARN such as "+
			"arn:aws:secretsmanager:eu-central-1:123456789012:secret:tagger-AbCdEf", secret)
	}
	return a.Region, nil
}

// permanent reports whether a retry cannot help: missing permissions, a wrong name or key, a deleted secret.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html and CommonErrors.html there.
func permanent(err error) bool {
	response, ok := errors.AsType[*awsapi.Error](err)
	return ok && slices.Contains([]string{
		"AccessDeniedException", "DecryptionFailure", "IncompleteSignature", "InvalidClientTokenId",
		"InvalidParameterException", "InvalidRequestException", "InvalidSignatureException", "NotAuthorized",
		"OptInRequired", "ResourceNotFoundException", "UnrecognizedClientException", "ValidationError",
		"ValidationException",
	}, response.Code)
}
