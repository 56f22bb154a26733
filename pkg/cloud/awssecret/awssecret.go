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

	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

const (
	// readTimeout is how long reading the secret may take, retries included.
	readTimeout = 10 * time.Second
	// reread is the shortest time between two reads of the secret.
	reread = 30 * time.Second
)

// Secret is a secret whose SecretString is a JSON object with the names of [config.Credentials]. Its methods are the
// Source and Refused of [cloud.Options], and safe for concurrent use.
type Secret struct {
	arn    string
	reader Reader
	stale  atomic.Bool
	turn   chan struct{} // held while the fields below are used

	credentials config.Credentials
	known       bool      // credentials were read, and nothing since says that they cannot be
	refusal     error     // of the last read, where a person has to mend it
	asked       time.Time // when the last read ended that gave credentials or a refusal
}

// Reader reads secrets; [awsapi.Client] does.
type Reader interface {
	SecretString(ctx context.Context, region, id string) (*string, error)
}

// New returns the secret with this ARN. It is first read when it is needed.
func New(arn string, r Reader) *Secret {
	return &Secret{arn: arn, reader: r, turn: make(chan struct{}, 1)}
}

// Opener returns a function that opens secrets by their ARNs, as what [Secret.Credentials] and [Secret.Refused] do.
func Opener(r Reader) func(arn string) (credentials func(context.Context) (config.Credentials, error), refused func()) {
	return func(arn string) (func(context.Context) (config.Credentials, error), func()) {
		s := New(arn, r)
		return s.Credentials, s.Refused
	}
}

// Refused has the secret read again before it is next used, but not sooner than 30 s after the last read: the cloud
// refused what was in it, so it may have been rotated.
func (s *Secret) Refused() { s.stale.Store(true) }

// Credentials returns what the secret holds, from memory where possible. An error is a [*cloud.RefusedError] when the
// secret cannot be read or understood until somebody mends it; that too is remembered for 30 s.
func (s *Secret) Credentials(ctx context.Context) (config.Credentials, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return config.Credentials{}, fmt.Errorf("read the secret %s: %w", s.arn, ctx.Err())
	}
	if s.known && !s.stale.Load() {
		return s.credentials, nil
	}
	if time.Since(s.asked) < reread {
		return s.credentials, s.refusal
	}

	// Cleared before reading: what is refused while the secret is read has to be read once more.
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

// regionOf returns the region that an ARN names: the secret is nowhere else, whatever AWS_REGION says.
func regionOf(secret string) (string, error) {
	a, err := arn.Parse(secret)
	if err != nil || a.Service != "secretsmanager" || a.Region == "" {
		return "", fmt.Errorf("read the secret %.200q: not an ARN such as "+
			"arn:aws:secretsmanager:eu-central-1:123456789012:secret:tagger-AbCdEf", secret)
	}
	return a.Region, nil
}

// permanent reports whether asking again will not help: permissions, a name, a key, a deleted secret.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html and CommonErrors.html there.
func permanent(err error) bool {
	answer, ok := errors.AsType[*awsapi.Error](err)
	return ok && slices.Contains([]string{
		"AccessDeniedException", "DecryptionFailure", "IncompleteSignature", "InvalidClientTokenId",
		"InvalidParameterException", "InvalidRequestException", "InvalidSignatureException", "NotAuthorized",
		"OptInRequired", "ResourceNotFoundException", "UnrecognizedClientException", "ValidationError",
		"ValidationException",
	}, answer.Code)
}
