package cloud_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/cloud"
	"github.com/cloudtagger/tagger/pkg/config"
)

// No error and no value of this package shows a secret, however it is printed and whatever the cloud quotes.
func TestNoSecretIsShown(t *testing.T) {
	var buf strings.Builder
	show := func(values ...any) {
		for _, v := range values {
			fmt.Fprintf(&buf, "%v\n%+v\n%#v\n%s\n%q\n", v, v, v, v, v)
			slog.New(slog.NewJSONHandler(&buf, nil)).Info("m", "v", v)
			slog.New(slog.NewTextHandler(&buf, nil)).Info("m", "v", v)
			if err, ok := v.(error); ok {
				for ; err != nil; err = errors.Unwrap(err) {
					fmt.Fprintf(&buf, "%v\n%+v\n%#v\n", err, err, err)
				}
			}
		}
	}
	bad := passwordCredentials()
	bad.Password = config.NewSecret(badPassword)
	badApp := applicationCredentials()
	badApp.ApplicationCredentialSecret = config.NewSecret(badSecret)
	token := config.Credentials{AuthURL: "http://keystone.test", Token: config.NewSecret(tokenPrefix + "given")}
	key := keyCredentials()
	key.SecurityToken = config.NewSecret(theSTSToken)
	for _, credentials := range []config.Credentials{passwordCredentials(), bad, applicationCredentials(), badApp, token,
		key} {
		var own []string
		for _, s := range []config.Secret{
			credentials.Password, credentials.ApplicationCredentialSecret, credentials.Token, credentials.SecretKey,
			credentials.SecurityToken,
		} {
			own = append(own, s.Reveal())
		}
		quoting := fmt.Sprintf(`{"error": {"code": 401, "message": "wrong: %s"}}`, own)
		quotingKeys := fmt.Sprintf(`{"error_code": "APIG.0301", "error_msg": "canonical request %s"}`, own)

		fakes := []*fake{newFake()}
		var transports []roundTripper
		for _, status := range []int{200, 201, 302, 400, 401, 403, 404, 429, 500, 503} {
			f := newFake()
			f.answers = []int{status, status} // quotes the request in an HTML body
			fakes = append(fakes, f)
			header := make(http.Header)
			if status == http.StatusFound {
				header.Set("Location", "https://x.test/?"+thePassword)
			}
			transports = append(transports, answer(status, header, quoting),
				answer(status, nil, quotingKeys), answer(status, nil, quoting[:len(quoting)-1]))
		}
		transports = append(transports, func(*http.Request) (*http.Response, error) { return nil, errors.New("broken pipe") })
		for _, f := range fakes {
			f.tokens[tokenPrefix+"given"] = "p-demo"
			transports = append(transports, f.RoundTrip) // a method value: fmt would print the fake's own secrets
		}
		for i, transport := range transports {
			o := cloud.Options{
				Credentials: credentials, Transport: transport, Projects: []string{"p-other"},
				ComputeEndpoint: "http://nova.test/v2.1",
			}
			c := cloud.New(o)
			show(o, c)
			for _, project := range []string{"", "p-other"} {
				s, err := c.Session(t.Context(), project)
				if err != nil {
					show(err)
					continue
				}
				show(s, *s, get(t.Context(), s))
				if i >= len(transports)-len(fakes) {
					f := fakes[i-(len(transports)-len(fakes))]
					f.revokeAll()
					f.set(func(f *fake) { f.password = "other" })
					show(get(t.Context(), s))
				}
				_, err = s.Volume()
				show(err)
				compute, err := s.Compute()
				show(err)
				show(compute, *compute, compute.ProviderClient, *compute.ProviderClient)
			}
		}
	}
	out := buf.String()
	if len(out) < 100_000 {
		t.Fatalf("only %d bytes were printed", len(out))
	}
	for _, secret := range []string{thePassword, badPassword, theSecret, badSecret, tokenPrefix, theKey, theSTSToken} {
		if i := strings.Index(out, secret); i >= 0 {
			t.Errorf("%s is shown: …%s…", secret, out[max(0, i-300):min(len(out), i+50)])
		}
	}
}
