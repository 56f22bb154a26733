package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Recorder is an in-memory resource that records the requests of operations on it. The code that sends requests to a
// cloud builds them, so a plan cannot differ from the run.
type Recorder struct {
	row  *row
	view View
	sent []Request
}

// NewRecorder returns the operations on an in-memory resource with the given view, and their recorder. Without a state,
// the resource is in one that allows writing.
func NewRecorder(kind Kind, id string, family Family, v View) (*Resource, *Recorder, error) {
	v.ID, v.Metadata = id, maps.Clone(v.Metadata)
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if v.State == "" {
		v.State = kind.row().readyState()
	}
	recorder := &Recorder{row: kind.row(), view: v}
	r, err := newResource(recorder, kind, id, family)
	return r, recorder, err
}

// Requests returns the requests in the order in which they were sent.
func (r *Recorder) Requests() []Request { return r.sent }

// do answers as the API does on success.
func (r *Recorder) do(_ context.Context, request Request, out any, _ ...int) error {
	r.sent = append(r.sent, request)
	rest := strings.TrimPrefix(request.Path, r.row.collection+"/"+url.PathEscape(r.view.ID))
	escaped, oneKey := strings.CutPrefix(rest, "/metadata/")
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return fmt.Errorf("record %s %s: %w", request.Method, request.Path, err)
	}
	value, there := r.view.Metadata[key]
	var response any
	switch {
	case request.Method == http.MethodPost || request.Method == http.MethodPut:
		var body struct{ Metadata, Meta map[string]string }
		if err := json.Unmarshal(request.Body, &body); err != nil {
			return fmt.Errorf("record %s %s: %w", request.Method, request.Path, err)
		}
		maps.Copy(r.view.Metadata, body.Metadata)
		maps.Copy(r.view.Metadata, body.Meta)
	case oneKey && !there:
		return &Error{Request: request, Status: http.StatusNotFound, Class: KeyNotFound, Message: "no such key"}
	case request.Method == http.MethodDelete:
		delete(r.view.Metadata, key)
	case oneKey:
		response = map[string]any{"meta": map[string]string{key: value}}
	case rest == "/metadata":
		response = map[string]any{"metadata": r.view.Metadata}
	default:
		response = map[string]any{r.row.member: r.row.encode(r.view)}
	}
	if out == nil {
		return nil
	}
	text, err := json.Marshal(response)
	if err != nil {
		return fmt.Errorf("record %s %s: %w", request.Method, request.Path, err)
	}
	return json.Unmarshal(text, out)
}
