package cloud

import (
	"bytes"
	"fmt"
	"net/http"
)

// tokenTransport adds the current token, and gets another when the cloud no longer takes it.
//
// gophercloud can do this too (AllowReauth), but runs the login in the context of whichever request came first, so that
// its cancellation fails all that wait, and hides the reason of a failure from errors.Is and errors.As.
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
	// The token has expired or was revoked. Once is enough: a new token that is refused too will not get better.
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
			"the credentials have changed, and their project with them, from %s to %s: begin again", t.project, g.project)}
	}
	return g, nil
}

// noTokenError is the error of a request that was not sent because there was no token or access key to send it with. It
// says nothing about the service that the request was for.
type noTokenError struct{ error }

// Unwrap returns the login's error.
func (e noTokenError) Unwrap() error { return e.error }

// NoToken tells package metadata.
func (noTokenError) NoToken() bool { return true }

// do sends the request with the grant's token, and reports whether the answer says that the token is not valid: 401,
// and on Huawei Cloud's EVS 400 with the code EVS.0002.
func (g *grant) do(req *http.Request) (resp *http.Response, refused bool, err error) {
	req = req.Clone(req.Context())
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
