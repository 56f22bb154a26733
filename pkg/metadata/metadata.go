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
// and what verifying needs beside them. It never sends PUT to a metadata collection, which would delete every key
// that the request does not name.
package metadata

import (
	"bytes"
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

// CallTimeout is how long one API call may take, re-authentication included. A write that takes longer may still
// have been saved: its error has class [Unknown].
const CallTimeout = 15 * time.Second

// Call is one request that was sent, for logs and results.
type Call struct {
	Request Request
	// Endpoint is the address that the request's path is relative to.
	Endpoint string
	// Status is the HTTP status of the answer, 0 when there was none.
	Status int
	// RequestID is the service's own id of the request, from X-Openstack-Request-Id, "" where the answer has none.
	RequestID string
	// Err is nil when the call did what it should.
	Err error
	// Start is when the call began; Duration is how long it took, re-authentication included.
	Start    time.Time
	Duration time.Duration
}

// Options are what operations share.
type Options struct {
	// Family says whose limits apply.
	Family Family
	// Observe, if not nil, is told of every request sent.
	Observe func(Call)
	// Breaker, if not nil, is asked before each call and told of its result. It should be the whole process's.
	Breaker *breaker.Breaker
	// Project is the id of the project that the service's token is for. What it is refused says nothing about others.
	Project string
	// FullView lets [Resource.Get] ask for the microversion in which a [View] is complete: by default Nova does not say
	// whether a server is locked. Huawei Cloud knows no microversions.
	FullView bool
	// ListView lets Resource.Get ask for the microversion that [ListOptions].DownCells asks for, which has the flavor's
	// name in place of its id.
	ListView bool
}

// client sends requests to one service.
type client struct {
	Options
	service *gophercloud.ServiceClient
}

// do sends one request and decodes a JSON answer into out, unless out is nil. Any status that okCodes does not list
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
	if ctx.Err() == nil && !failure.unreached() { // else it is the caller's time that ended, or the login that failed
		c.Breaker.Record(planned, failure.result(call.Duration))
	}
	if c.Observe != nil {
		c.Observe(call)
	}
	return err
}

func (c client) send(ctx context.Context, r Request, out any, okCodes []int) (status int, id string, err error) {
	callCtx, cancel := context.WithTimeoutCause(ctx, CallTimeout, fmt.Errorf("no answer within %s", CallTimeout))
	defer cancel()

	opts := &gophercloud.RequestOpts{OkCodes: okCodes, KeepResponseBody: true}
	if r.Body != nil {
		// A *bytes.Reader gives the request its Content-Length: Nova answers 400 to a chunked body.
		opts.RawBody = bytes.NewReader(r.Body)
		opts.MoreHeaders = map[string]string{"Content-Type": "application/json"}
	}
	if r.Microversion != "" {
		if opts.MoreHeaders == nil {
			opts.MoreHeaders = map[string]string{}
		}
		opts.MoreHeaders["OpenStack-API-Version"] = r.Microversion
	}
	resp, err := c.service.Request(callCtx, r.Method, c.service.ServiceURL(r.Path), opts)
	if err != nil {
		e := newError(r, err)
		if ctx.Err() == nil && callCtx.Err() != nil {
			e.Message = context.Cause(callCtx).Error()
		}
		return e.Status, "", e
	}
	id = resp.Header.Get("X-Openstack-Request-Id")
	defer func() {
		_, _ = io.Copy(io.Discard, resp.Body) // a connection is used again only when its answer was read to the end
		_ = resp.Body.Close()
	}()
	if out == nil {
		return resp.StatusCode, id, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		// A 200 whose body is not what the API documents comes from something in between, not from the service.
		return resp.StatusCode, id, &Error{Request: r, Status: resp.StatusCode, Class: Unavailable,
			Message: "the answer is not the JSON that the API documents", err: err}
	}
	return resp.StatusCode, id, nil
}

// IsClass reports whether err is an *Error of one of the classes.
func IsClass(err error, classes ...Class) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && slices.Contains(classes, e.Class)
}
