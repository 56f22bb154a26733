// Package metadata performs the metadata operations of the native OpenStack / Huawei Cloud APIs, knows each API
// family's limits for keys and values, and turns every refusal into a typed [Error].
//
// The operations are those of these API pages:
//
//   - ECS, "Updating ECS Metadata": POST /v2.1/{project_id}/servers/{server_id}/metadata
//   - BMS, "Updating BMS Metadata (Native OpenStack API)": the same URI
//   - EVS, "Updating a Single Piece of Metadata of an EVS Snapshot": PUT
//     /v2/{project_id}/snapshots/{snapshot_id}/metadata/{key}
//   - ECS, "Obtaining the Metadata of an ECS with a Specified Key": GET
//     /v2.1/{project_id}/servers/{server_id}/metadata/{key}
//   - ECS, "Deleting Specified Metadata of an ECS": DELETE /v2.1/{project_id}/servers/{server_id}/metadata/{key}
//
// and the reads that verification needs. It never sends PUT to a metadata collection, which would delete every key that
// the request does not name.
package metadata

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/breaker"
)

// CallTimeout is the timeout of one API call, including re-authentication. A write that times out may have been saved:
// its error has class [Unknown].
const CallTimeout = 15 * time.Second

// Call describes one request that was sent, for logs and results.
type Call struct {
	Request Request
	// Endpoint is the base URL of the request's path.
	Endpoint string
	// Status is the HTTP status of the response, 0 when there was none.
	Status int
	// RequestID is the service's id of the request, from X-Openstack-Request-Id, "" if the response has none.
	RequestID string
	// Err is nil if the call succeeded.
	Err error
	// Start is when the call began; Duration includes re-authentication.
	Start    time.Time
	Duration time.Duration
}

// Options are shared by the operations on resources.
type Options struct {
	// Family selects the limits for keys and values.
	Family Family
	// Observe, if not nil, is called with every request sent.
	Observe func(Call)
	// Breaker, if not nil, is consulted before each call and receives its result. Share one per process.
	Breaker *breaker.Breaker
	// Project is the id of the token's project. A refusal applies to this project only.
	Project string
	// FullView makes [Resource.Get] request the microversion in which a [View] is complete: Nova's default does not show
	// whether a server is locked. Huawei Cloud does not support microversions.
	FullView bool
	// ListView makes Resource.Get request the microversion of [ListOptions].DownCells, which has the flavor's name in
	// place of its id.
	ListView bool
}

// client sends requests to one service.
type client struct {
	Options
	service *gophercloud.ServiceClient
}

var errNoResponse = fmt.Errorf("no response within %s", CallTimeout)

// do sends one request and decodes a JSON response into out, unless out is nil. Any status that okCodes does not list
// is an *Error.
func (c client) do(ctx context.Context, r Request, out any, okCodes ...int) error {
	planned := breaker.Call{Endpoint: c.service.Endpoint, Project: c.Project, Write: r.Method != http.MethodGet}
	if err := c.Breaker.Allow(ctx, planned); err != nil {
		return unsentError(r, err)
	}
	call := Call{Request: r, Endpoint: c.service.Endpoint, Start: time.Now()}
	call.Status, call.RequestID, call.Err = c.send(ctx, r, out, okCodes)
	call.Duration = time.Since(call.Start)
	err := call.Err
	failure, _ := errors.AsType[*Error](err)
	if ctx.Err() == nil && !failure.unreached() { // else the caller's deadline passed, or the login failed
		c.Breaker.Record(planned, failure.result(call.Duration))
	}
	if c.Observe != nil {
		c.Observe(call)
	}
	return err
}

func (c client) send(ctx context.Context, r Request, out any, okCodes []int) (status int, id string, err error) {
	callCtx, cancel := context.WithTimeoutCause(ctx, CallTimeout, errNoResponse)
	defer cancel()
	noResponse := func(err error) *Error {
		e := newError(r, err)
		if ctx.Err() == nil && callCtx.Err() != nil {
			e.Message = context.Cause(callCtx).Error()
		}
		return e
	}

	resp, err := c.roundTrip(callCtx, r)
	if err != nil {
		e := noResponse(err)
		return e.Status, "", e
	}
	defer resp.Body.Close()
	status, id = resp.StatusCode, resp.Header.Get("X-Openstack-Request-Id")
	// A connection is reused only after its response was read to the end.
	if out == nil && slices.Contains(okCodes, status) {
		_, _ = io.Copy(io.Discard, resp.Body)
		return status, id, nil
	}
	body, err := io.ReadAll(resp.Body) // the transport limits its length
	if !slices.Contains(okCodes, status) {
		return status, "", responseError(r, status, resp.Header, body) // a truncated error text is better than none
	}
	if err == nil {
		err = json.Unmarshal(body, out)
	}
	if err != nil {
		// A 200 with an undocumented body comes from a proxy, not from the service.
		return status, id, &Error{Request: r, Status: status, Class: Unavailable,
			Message: "the response is not the JSON that the API documents", err: err}
	}
	return status, id, nil
}

// roundTrip sends a request with the service's transport: it needs neither gophercloud's retries and renewal of tokens
// nor http.Client's redirects and cookies.
func (c client) roundTrip(ctx context.Context, r Request) (*http.Response, error) {
	var body io.Reader
	if r.Body != nil {
		// A *bytes.Reader gives the request its Content-Length: Nova answers 400 to a chunked body.
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.service.ServiceURL(r.Path), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.service.UserAgent.Join())
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Microversion != "" {
		req.Header.Set("OpenStack-API-Version", r.Microversion)
	}
	if token := c.service.Token(); token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	return cmp.Or(c.service.HTTPClient.Transport, http.DefaultTransport).RoundTrip(req)
}

// IsClass reports whether err is an *Error of one of the classes.
func IsClass(err error, classes ...Class) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && slices.Contains(classes, e.Class)
}
