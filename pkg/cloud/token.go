package cloud

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
)

// tokenTransport adds the current token, and renews it when the cloud rejects it.
//
// gophercloud can do this too (AllowReauth), but it logs in with the context of the first request, so that cancelling
// that one fails all that wait, and it hides the cause of a failure from errors.Is and errors.As.
type tokenTransport struct {
	login   *login
	project string
}

func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req, err := replayable(req)
	if err != nil {
		return nil, err
	}
	g, err := t.grant(req, nil)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, refused, err := g.do(req)
	if err != nil || !refused {
		return resp, err
	}
	// The token has expired or was revoked. Retry once: if a new token is refused too, another will be as well.
	if g, err = t.grant(req, g); err != nil {
		return nil, err
	}
	if req, err = rewind(req); err != nil {
		return nil, err
	}
	resp, _, err = g.do(req)
	return resp, err
}

func (t *tokenTransport) grant(req *http.Request, stale *grant) (*grant, error) {
	g, err := t.login.grant(req.Context(), stale)
	if err != nil {
		return nil, noTokenError{err}
	}
	if g.project != t.project {
		return nil, noTokenError{fmt.Errorf(
			"the credentials have changed to another project, from %s to %s: open a new session", t.project, g.project)}
	}
	return g, nil
}

// noTokenError is the error of a request that was not sent because there was no token or access key. It is no evidence
// about the service.
type noTokenError struct{ error }

// Unwrap returns the login's error.
func (e noTokenError) Unwrap() error { return e.error }

// NoToken marks the error for package metadata.
func (noTokenError) NoToken() bool { return true }

// do sends the request with the grant's token. refused reports whether the response rejects the token: 401, or on
// Huawei Cloud's EVS 400 with the code EVS.0002.
func (g *grant) do(req *http.Request) (resp *http.Response, refused bool, err error) {
	// A RoundTripper must not change the request. Only the headers differ.
	req = req.WithContext(req.Context())
	req.Header = maps.Clone(req.Header)
	req.Header.Set("X-Auth-Token", g.token.Reveal())
	resp, err = g.send.RoundTrip(req)
	if err != nil {
		return nil, false, err
	}
	body := redactResponse(resp, g.token)
	refused = resp.StatusCode == http.StatusUnauthorized ||
		resp.StatusCode == http.StatusBadRequest && bytes.Contains(body, []byte(`"EVS.0002"`))
	return resp, refused, nil
}
