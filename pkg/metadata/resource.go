package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gophercloud/gophercloud/v2"
)

// Resource performs the metadata operations on one resource of any kind.
type Resource struct {
	row    *row
	path   string
	family Family
	sender sender
	// microversion is that of Get, "" for the service's default.
	microversion string
}

// sender sends a request and decodes the response into out, unless out is nil. Any status that ok does not list is an
// *Error.
type sender interface {
	do(ctx context.Context, r Request, out any, ok ...int) error
}

// New returns the operations on a resource through a client for the kind's [Kind.Service]. The id must be a UUID.
func New(service *gophercloud.ServiceClient, kind Kind, id string, o Options) (*Resource, error) {
	r, err := newResource(client{Options: o, service: service}, kind, id, o.Family)
	if err == nil && o.FullView {
		r.microversion = r.row.apiVersion()
	}
	if err == nil && o.ListView && r.row.downCells != "" {
		r.microversion = string(r.row.service) + " " + r.row.downCells
	}
	return r, err
}

func newResource(s sender, kind Kind, id string, family Family) (*Resource, error) {
	r := kind.row()
	if r.kind == "" {
		return nil, fmt.Errorf("operate on metadata: unknown kind %.40q", kind)
	}
	if err := CheckID(id); err != nil {
		return nil, fmt.Errorf("operate on %s metadata: %w", r.member, err)
	}
	return &Resource{row: r, path: r.collection + "/" + url.PathEscape(id), family: family, sender: s}, nil
}

// Kind returns the resource's kind.
func (r *Resource) Kind() Kind { return r.row.kind }

// Path returns the resource's path under the service's endpoint: "servers/{id}". It identifies the resource.
func (r *Resource) Path() string { return r.path }

// request returns a request without a body for the resource's metadata, or for one key.
func (r *Resource) request(method string, key ...string) Request {
	request := Request{Method: method, Path: r.Path() + "/metadata"}
	for _, k := range key {
		request.Path += "/" + url.PathEscape(k)
	}
	return request
}

// Get reads the resource, completely if the options say so.
func (r *Resource) Get(ctx context.Context) (View, error) {
	request := Request{Method: http.MethodGet, Path: r.Path(), Microversion: r.microversion}
	var response map[string]json.RawMessage
	if err := r.sender.do(ctx, request, &response, http.StatusOK); err != nil {
		return View{}, err
	}
	v, err := r.row.decode(orNull(response[r.row.member]))
	if err != nil {
		return View{}, &Error{Request: request, Status: http.StatusOK, Class: Unavailable, Message: oneLine(err.Error()),
			err: err}
	}
	return v, nil
}

func orNull(text json.RawMessage) json.RawMessage {
	if text == nil {
		return json.RawMessage("null")
	}
	return text
}

// Metadata reads all keys. The map is empty for a resource without metadata.
func (r *Resource) Metadata(ctx context.Context) (map[string]string, error) {
	request := r.request(http.MethodGet)
	var response struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := r.sender.do(ctx, request, &response, http.StatusOK); err != nil {
		return nil, err
	}
	if response.Metadata == nil {
		return nil, &Error{Request: request, Status: http.StatusOK, Class: Unavailable,
			Message: `the response has no "metadata" object`}
	}
	return response.Metadata, nil
}

// Metadatum reads the value of one key. The error has class [KeyNotFound] if the resource lacks the key.
func (r *Resource) Metadatum(ctx context.Context, key string) (string, error) {
	if err := r.family.CheckKey(key); err != nil {
		return "", fmt.Errorf("get %s metadata: %w", r.row.member, err)
	}
	request := r.request(http.MethodGet, key)
	var response struct {
		Meta map[string]string `json:"meta"`
	}
	if err := r.sender.do(ctx, request, &response, http.StatusOK); err != nil {
		return "", err
	}
	value, ok := response.Meta[key]
	if !ok {
		return "", &Error{
			Request: request, Status: http.StatusOK, Class: Unavailable,
			Message: `the response's "meta" object lacks the requested key`,
		}
	}
	return value, nil
}

// Write adds or overwrites keys; other keys stay. It sends nothing unless every key and value is within the family's
// limits. It returns the keys that were certainly written, which may be only some of them on an error.
//
// If the API accepts all keys in one request, Write sends one, because one of two requests could undo the other.
// Otherwise it sends one request per key, sequentially, in sorted order. Both services merge by reading, changing and
// writing the whole map without a lock, so two concurrent writers can lose keys.
func (r *Resource) Write(ctx context.Context, metadata map[string]string) (written map[string]string, err error) {
	keys := sortedKeys(metadata)
	for _, key := range keys {
		if err := r.family.Check(key, metadata[key]); err != nil {
			return nil, fmt.Errorf("write %s metadata: %w", r.row.member, err)
		}
	}
	if !r.row.perKey {
		// The response is not evidence: it holds the map as this request left it, which another writer may have undone
		// already.
		request := r.request(http.MethodPost)
		request.Body = encode("metadata", metadata)
		if err := r.sender.do(ctx, request, nil, http.StatusOK); err != nil {
			return nil, err
		}
		return metadata, nil
	}
	written = make(map[string]string, len(metadata))
	for _, key := range keys {
		request := r.request(http.MethodPut, key)
		request.Body = encode("meta", map[string]string{key: metadata[key]})
		if err := r.sender.do(ctx, request, nil, http.StatusOK); err != nil {
			return written, err
		}
		written[key] = metadata[key]
	}
	return written, nil
}

// Remove deletes one key. The error has class [KeyNotFound] if there was none. Nova answers 204, Cinder 200 with an
// empty body; Huawei's table of return values allows both. 202 is an error: on Huawei Cloud it means flow control
// (Common.0024), and nothing was deleted.
func (r *Resource) Remove(ctx context.Context, key string) error {
	if err := r.family.CheckKey(key); err != nil {
		return fmt.Errorf("delete %s metadata: %w", r.row.member, err)
	}
	return r.sender.do(ctx, r.request(http.MethodDelete, key), nil, http.StatusOK, http.StatusNoContent)
}
