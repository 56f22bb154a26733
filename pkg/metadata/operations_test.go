package metadata_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

const id = "95bf2490-5428-432c-ad9b-5e3406f869dd"

// wire answers requests in memory and records them as they would be sent.
type wire struct {
	status   int
	header   http.Header
	body     string
	err      error
	mu       sync.Mutex
	requests []string
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r.Method + " " + r.URL.EscapedPath()
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		sent += fmt.Sprintf(" %s %s (%d bytes)", r.Header.Get("Content-Type"), body, r.ContentLength)
	}
	w.mu.Lock()
	w.requests = append(w.requests, sent)
	w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(strings.NewReader(w.body)),
		Request: r}, nil
}

func service(rt http.RoundTripper, endpoint string) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{HTTPClient: http.Client{
			Transport:     rt,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}},
		Endpoint: endpoint,
	}
}

func serverAt(t *testing.T, s *gophercloud.ServiceClient, o metadata.Options) *metadata.Resource {
	return resourceAt(t, s, metadata.Server, o)
}

func snapshotAt(t *testing.T, s *gophercloud.ServiceClient, o metadata.Options) *metadata.Resource {
	return resourceAt(t, s, metadata.Snapshot, o)
}

func resourceAt(t *testing.T, s *gophercloud.ServiceClient, kind metadata.Kind, o metadata.Options) *metadata.Resource {
	t.Helper()
	o.Family = kind.Family(metadata.OpenStack)
	r, err := metadata.New(s, kind, id, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// written is for tests that look at a write's error only.
func written(_ map[string]string, err error) error { return err }

// The five operations of the API pages and the other ones, byte for byte.
func TestOperations(t *testing.T) {
	const compute, volume = "http://ecs/v2.1/p1/", "http://evs/v2/p1/"
	for _, tt := range []struct {
		name   string
		status int
		answer string
		do     func(context.Context, *metadata.Resource, *metadata.Resource) (any, error)
		sent   string
		want   any
	}{
		{
			"update server metadata", 200, `{"metadata": {"a": "<1> & 2", "b": "é", "other": "x"}}`,
			func(ctx context.Context, s, _ *metadata.Resource) (any, error) {
				return s.Write(ctx, map[string]string{"b": "é", "a": "<1> & 2"})
			},
			"POST /v2.1/p1/servers/" + id + `/metadata application/json {"metadata":{"a":"<1> & 2","b":"é"}} (37 bytes)`,
			map[string]string{"b": "é", "a": "<1> & 2"},
		},
		{
			"get one key of a server", 200, `{"meta": {"key1": "value1"}}`,
			func(ctx context.Context, s, _ *metadata.Resource) (any, error) {
				return s.Metadatum(ctx, "key1")
			},
			"GET /v2.1/p1/servers/" + id + "/metadata/key1", "value1",
		},
		{
			"delete one key of a server", 204, "",
			func(ctx context.Context, s, _ *metadata.Resource) (any, error) {
				return nil, s.Remove(ctx, "a b")
			},
			"DELETE /v2.1/p1/servers/" + id + "/metadata/a%20b", nil,
		},
		{
			"get server metadata", 200, `{"metadata": {"a": "1"}}`,
			func(ctx context.Context, s, _ *metadata.Resource) (any, error) {
				return s.Metadata(ctx)
			},
			"GET /v2.1/p1/servers/" + id + "/metadata", map[string]string{"a": "1"},
		},
		{
			"get server", 200, `{"server": {"id": "` + id +
				`", "name": "web-1", "tenant_id": "p1", "OS-EXT-STS:vm_state": "building", ` +
				`"OS-EXT-STS:task_state": null, "metadata": {}}}`,
			func(ctx context.Context, s, _ *metadata.Resource) (any, error) {
				return s.Get(ctx)
			},
			"GET /v2.1/p1/servers/" + id,
			metadata.View{ID: id, Name: "web-1", Project: "p1", State: "building", Metadata: map[string]string{}},
		},
		{
			"set one key of a snapshot", 200, `{"meta": {"a:b": "1"}}`,
			func(ctx context.Context, _, s *metadata.Resource) (any, error) {
				return s.Write(ctx, map[string]string{"a:b": "1"})
			},
			"PUT /v2/p1/snapshots/" + id + `/metadata/a:b application/json {"meta":{"a:b":"1"}} (20 bytes)`,
			map[string]string{"a:b": "1"},
		},
		{
			"get snapshot metadata", 200, `{"metadata": {}}`,
			func(ctx context.Context, _, s *metadata.Resource) (any, error) {
				return s.Metadata(ctx)
			},
			"GET /v2/p1/snapshots/" + id + "/metadata", map[string]string{},
		},
		{
			"delete one key of a snapshot: Cinder answers 200", 200, "",
			func(ctx context.Context, _, s *metadata.Resource) (any, error) {
				return nil, s.Remove(ctx, "k")
			},
			"DELETE /v2/p1/snapshots/" + id + "/metadata/k", nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{status: tt.status, body: tt.answer}
			var calls []metadata.Call
			observe := func(c metadata.Call) { calls = append(calls, c) }
			got, err := tt.do(t.Context(), serverAt(t, service(w, compute), metadata.Options{Observe: observe}),
				snapshotAt(t, service(w, volume), metadata.Options{Observe: observe}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{tt.sent}, w.requests); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if len(calls) != 1 {
				t.Fatalf("observed %+v", calls)
			}
			if calls[0].Status != tt.status || calls[0].Err != nil {
				t.Errorf("observed status %d, error %v", calls[0].Status, calls[0].Err)
			}
			if calls[0].Request.Body == nil && !strings.HasSuffix(tt.sent, calls[0].Request.Path) {
				t.Errorf("observed %s, sent %s", calls[0].Request.Path, tt.sent)
			}
		})
	}
}

// Keys and values outside the limits are never sent.
func TestNothingIsSentFor(t *testing.T) {
	long := strings.Repeat("v", 300)
	for name, do := range map[string]func(context.Context, *metadata.Resource, *metadata.Resource) error{
		"a key with a slash": func(ctx context.Context, s, _ *metadata.Resource) error {
			return written(s.Write(ctx, map[string]string{"a/b": "c"}))
		},
		"the key that would delete the server": func(ctx context.Context, s, _ *metadata.Resource) error {
			return s.Remove(ctx, "..")
		},
		"a long value": func(ctx context.Context, s, _ *metadata.Resource) error {
			return written(s.Write(ctx, map[string]string{"a": long}))
		},
		"a reserved key": func(ctx context.Context, s, _ *metadata.Resource) error {
			return written(s.Write(ctx, map[string]string{"agency_name": "admin"}))
		},
		"a snapshot key that Cinder would misread": func(ctx context.Context, _, s *metadata.Resource) error {
			return written(s.Write(ctx, map[string]string{"a.json": "v"}))
		},
		"a snapshot's long value": func(ctx context.Context, _, s *metadata.Resource) error {
			return written(s.Write(ctx, map[string]string{"a": long}))
		},
	} {
		w := &wire{status: 200, body: "{}"}
		err := do(t.Context(), serverAt(t, service(w, "http://c/"), metadata.Options{}),
			snapshotAt(t, service(w, "http://v/"), metadata.Options{}))
		if err == nil || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), long) {
			t.Errorf("%s: error %v", name, err)
		}
		if len(w.requests) != 0 {
			t.Errorf("%s: sent %q", name, w.requests)
		}
	}
}

// An id becomes part of a path, and a kind decides which.
func TestNewRefuses(t *testing.T) {
	s := service(&wire{}, "http://c/")
	for _, tt := range []struct {
		kind metadata.Kind
		id   string
	}{
		{metadata.Server, "../../x"},
		{metadata.Server, "95bf2490-5428-432c-ad9b-5e3406f869d/"},
		{metadata.Snapshot, ""},
		{"", id},
		{"volume-type", id},
	} {
		if _, err := metadata.New(s, tt.kind, tt.id, metadata.Options{}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("kind %q, id %q: error %v", tt.kind, tt.id, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		status int
		header http.Header
		body   string
		class  metadata.Class
		code   string
		after  time.Duration
		text   string // in the error
	}{
		{"Nova: building", "POST", 409, nil,
			`{"conflictingRequest": {"code": 409, "message": "Cannot 'update metadata' instance X while it is in ` +
				`vm_state building"}}`, metadata.NotReady, "conflictingRequest", 0, "vm_state building"},
		{"Nova: never launched", "POST", 409, nil,
			`{"conflictingRequest": {"code": 409, "message": "Instance X is in an invalid state for 'update metadata'"}}`,
			metadata.NotReady, "conflictingRequest", 0, "invalid state"},
		{"Nova: locked", "POST", 409, nil, `{"conflictingRequest": {"code": 409, "message": "Instance X is locked"}}`,
			metadata.Locked, "conflictingRequest", 0, "locked"},
		{"Nova: no such key", "DELETE", 404, nil, `{"itemNotFound": {"code": 404, "message": "Metadata item was not found"}}`,
			metadata.KeyNotFound, "itemNotFound", 0, ""},
		{"Nova: no such server", "POST", 404, nil,
			`{"itemNotFound": {"code": 404, "message": "Instance X could not be found."}}`, metadata.Gone, "itemNotFound", 0,
			""},
		{"Cinder: no such key", "DELETE", 404, nil,
			`{"itemNotFound": {"code": 404, "message": "Snapshot X has no metadata with key k."}}`, metadata.KeyNotFound,
			"itemNotFound", 0, ""},
		{"Cinder: no such snapshot", "PUT", 404, nil,
			`{"itemNotFound": {"code": 404, "message": "Snapshot X could not be found."}}`, metadata.Gone, "itemNotFound", 0,
			""},
		{"wrong endpoint: HTML", "POST", 404, nil,
			"<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The resource " +
				"could not be found.<br /><br />\n\n\n\n </body>\n</html>", metadata.Unavailable, "", 0,
			"404 404 Not Found The resource could not be found. (the response is not the API's own: check the endpoint)"},
		{"wrong endpoint: JSON from below the API", "POST", 404, nil,
			`{"message": "The resource could not be found.<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"}`,
			metadata.Unavailable, "", 0,
			"404 The resource could not be found. (the response is not the API's own: check the endpoint)"},
		{"body too large: JSON", "POST", 413, nil,
			`{"message": "Request is too large.<br /><br />", "code": "413 Request Entity Too Large", "title": "x"}`,
			metadata.Invalid, "", 0, "Request is too large."},
		{"wrong endpoint: nothing", "POST", 404, nil, "", metadata.Unavailable, "", 0, "check the endpoint"},
		{"gateway: no such API", "POST", 404, nil,
			`{"error_code":"APIG.0101","error_msg":"The API does not exist","request_id":"x"}`, metadata.Unavailable,
			"APIG.0101", 0, ""},
		{"Nova: quota", "POST", 403, nil,
			`{"forbidden": {"code": 403, "message": "Maximum number of metadata items exceeds 128"}}`, metadata.Quota,
			"forbidden", 0, "128"},
		{"policy", "POST", 403, nil,
			`{"forbidden": {"code": 403, "message": "Policy doesn't allow os_compute_api:server-metadata:create to ` +
				`be performed."}}`, metadata.Forbidden, "forbidden", 0, ""},
		{"token expired", "POST", 401, nil,
			`{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}`,
			metadata.Unauthenticated, "", 0, "401 The request you have made"},
		{"Nova: bad key", "POST", 400, nil,
			`{"badRequest": {"code": 400, "message": "Invalid input for field/attribute metadata."}}`, metadata.Invalid,
			"badRequest", 0, ""},
		{"Cinder: long value", "PUT", 413, nil,
			`{"overLimit": {"code": 413, "message": "Invalid metadata size: Metadata property key k value greater ` +
				`than 255 characters."}}`, metadata.Invalid, "overLimit", 0, ""},
		{"old Nova: rate limit", "POST", 413, nil,
			`{"overLimit": {"code": 413, "message": "This request was rate-limited.", "retryAfter": "7"}}`, metadata.Throttled,
			"overLimit", 7 * time.Second, ""},
		{"body too large: HTML", "POST", 413, nil, "<html><body>Request is too large.</body></html>", metadata.Invalid, "", 0,
			"Request is too large."},
		{"throttled", "POST", 429, http.Header{"Retry-After": {"3"}}, `{"overLimit": {"code": 429, "message": "slow down"}}`,
			metadata.Throttled, "overLimit", 3 * time.Second, "slow down"},
		{"throttled without a word", "GET", 429, nil, "", metadata.Throttled, "", 0, "Too Many Requests"},
		{"gateway throttles", "POST", 429, nil,
			`{"error_msg": "The throttling threshold has been reached", "error_code": "APIG.0308"}`, metadata.Throttled,
			"APIG.0308", 0, ""},
		{"Nova: a value it cannot store", "POST", 500, nil,
			`{"computeFault": {"code": 500, "message": "Unexpected API Error.\n<class 'oslo_db.exception.DBError'>"}}`,
			metadata.Unavailable, "computeFault", 0, "Unexpected API Error. <class"},
		{"Keystone is down", "POST", 503, http.Header{"Retry-After": {"Fri, 31 Dec 1999 23:59:59 GMT"}},
			"<html>\n<title>503 Service Unavailable</title>\nThe Keystone service is temporarily unavailable.</html>",
			metadata.Unavailable, "", 0, "503 The Keystone service is temporarily unavailable."},
		{"gateway gave up on a write", "POST", 504, nil, "", metadata.Unknown, "", 0, ""},
		{"gateway gave up on a read", "GET", 504, nil, "", metadata.Unavailable, "", 0, ""},
		{"redirect", "POST", 302, http.Header{"Location": {"http://elsewhere/"}}, "", metadata.Unavailable, "", 0,
			"302 Found"},
		{"ECS: wrong state is a 400", "POST", 400, nil,
			`{"error": {"message": "The ECS status does not meet requirements.", "code": "Ecs.0100"}}`, metadata.NotReady,
			"Ecs.0100", 0, ""},
		{"ECS: locked", "POST", 400, nil, `{"error": {"message": "locked", "code": "Ecs.0605"}}`, metadata.Locked, "Ecs.0605",
			0, ""},
		{"ECS: busy", "POST", 501, nil, `{"error": {"message": "Other commands are being executed", "code": "Ecs.0603"}}`,
			metadata.Unavailable, "Ecs.0603", time.Minute, ""},
		{"ECS: gone", "POST", 404, nil, `{"error": {"message": "no", "code": "Ecs.0114"}}`, metadata.Gone, "Ecs.0114", 0, ""},
		{"ECS: inner time-out is a 400", "POST", 400, nil, `{"error": {"message": "Nova", "code": "Ecs.1001"}}`,
			metadata.Unavailable, "Ecs.1001", 0, ""},
		{"flow control is a 202", "DELETE", 202, nil, `{"code": "Common.0024", "message": "exceeds flow over limit"}`,
			metadata.Throttled, "Common.0024", 0, ""},
		{"flow control is a 503", "POST", 503, nil, `{"error": {"code": "Common.1503", "message": "flow"}}`,
			metadata.Throttled, "Common.1503", 0, ""},
		{"EVS: token", "PUT", 400, nil, `{"badRequest": {"message": "XXXX", "code": "EVS.0002"}}`, metadata.Unauthenticated,
			"EVS.0002", 0, ""},
		{"EVS: gone", "PUT", 404, nil, `{"itemNotFound": {"message": "XXXX", "code": "EVS.5404"}}`, metadata.Gone, "EVS.5404",
			0, ""},
		{"signature", "POST", 401, nil,
			`{"error_msg": "Incorrect IAM authentication information: verify aksk signature fail", "error_code": ` +
				`"APIG.0301", "request_id": "x"}`, metadata.Unauthenticated, "APIG.0301", 0, ""},
		{"JSON of another kind", "POST", 400, nil, `[1, 2]`, metadata.Invalid, "", 0, "400 [1, 2]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{status: tt.status, header: tt.header, body: tt.body}
			servers := serverAt(t, service(w, "http://c/"), metadata.Options{})
			var err error
			switch tt.method {
			case "GET":
				_, err = servers.Metadata(t.Context())
			case "DELETE":
				err = servers.Remove(t.Context(), "k")
			case "POST":
				_, err = servers.Write(t.Context(), map[string]string{"k": "v"})
			case "PUT":
				_, err = snapshotAt(t, service(w, "http://v/"), metadata.Options{}).Write(t.Context(), map[string]string{"k": "v"})
			}
			var e *metadata.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Class != tt.class || e.RetryAfter != tt.after {
				t.Errorf("class %q, retry after %s; want %q, %s", e.Class, e.RetryAfter, tt.class, tt.after)
			}
			if e.Status != tt.status || e.Code != tt.code {
				t.Errorf("status %d, code %q; want %d, %q", e.Status, e.Code, tt.status, tt.code)
			}
			scope := map[metadata.Class]fault.Scope{
				metadata.Forbidden: fault.Resource, metadata.Unauthenticated: fault.Everything,
			}[tt.class]
			if got := fault.ScopeOf(err); got != scope {
				t.Errorf("scope %q, want %q", got, scope)
			}
			if !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q does not say %q in one line", err, tt.text)
			}
		})
	}
}

func TestAnswersThatAreNotTheAPIs(t *testing.T) {
	for _, body := range []string{"", "<html>", "null", "{}", `{"metadata": null}`, `{"meta": {"other": "v"}}`,
		`{"server": {"id": "x"}}`} {
		servers := serverAt(t, service(&wire{status: 200, body: body}, "http://c/"), metadata.Options{})
		_, err1 := servers.Metadata(t.Context())
		_, err2 := servers.Metadatum(t.Context(), "k")
		_, err3 := servers.Get(t.Context())
		for _, err := range []error{err1, err2, err3} {
			if !metadata.IsClass(err, metadata.Unavailable) {
				t.Errorf("200 with %q: error %v", body, err)
			}
		}
	}
}

// refused is the authentication's error for rejected credentials.
type refused struct{ error }

func (refused) FaultScope() fault.Scope { return fault.Project }

func (r refused) Unwrap() error { return r.error }

func TestTransportErrors(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	dial := service(http.DefaultTransport, closed.URL+"/")
	for _, tt := range []struct {
		name    string
		service *gophercloud.ServiceClient
		write   metadata.Class
		read    metadata.Class
	}{
		{"connection refused: nothing was sent", dial, metadata.Unavailable, metadata.Unavailable},
		{"connection lost", service(&wire{err: io.ErrUnexpectedEOF}, "http://c/"), metadata.Unknown, metadata.Unavailable},
		{"credentials refused", service(&wire{err: refused{errors.New("signs nothing")}}, "http://c/"),
			metadata.Unauthenticated, metadata.Unauthenticated},
	} {
		servers := serverAt(t, tt.service, metadata.Options{})
		if _, err := servers.Write(t.Context(), map[string]string{"k": "v"}); !metadata.IsClass(err, tt.write) {
			t.Errorf("%s: write: %v", tt.name, err)
		}
		if _, err := servers.Metadata(t.Context()); !metadata.IsClass(err, tt.read) {
			t.Errorf("%s: read: %v", tt.name, err)
		}
	}
}

// silent never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := serverAt(t, service(silent{}, "http://c/"), metadata.Options{})
		start := time.Now()
		_, err := servers.Write(t.Context(), map[string]string{"k": "v"})
		if !metadata.IsClass(err, metadata.Unknown) || !strings.Contains(err.Error(), "no response within 15s") {
			t.Errorf("error %v", err)
		}
		if d := time.Since(start); d != metadata.CallTimeout {
			t.Errorf("gave up after %s", d)
		}
	})
}

// A request whose login fails has the login's error, not an error of the API.
func TestLoginFails(t *testing.T) {
	keystone := func(status int) error {
		return fmt.Errorf("log in at keystone: %w", gophercloud.ErrUnexpectedResponseCode{Actual: status,
			ResponseHeader: http.Header{"Retry-After": {"9"}}})
	}
	for _, tt := range []struct {
		name  string
		err   error
		class metadata.Class
		after time.Duration
	}{
		{"password changed", refused{keystone(401)}, metadata.Unauthenticated, 9 * time.Second},
		{"no such user or project", refused{keystone(404)}, metadata.Unauthenticated, 9 * time.Second},
		{"malformed", refused{keystone(400)}, metadata.Unauthenticated, 9 * time.Second},
		{"Keystone is down", keystone(503), metadata.Unavailable, 9 * time.Second},
		{"Keystone throttles", keystone(429), metadata.Unavailable, 9 * time.Second},
	} {
		_, err := serverAt(t, service(&wire{err: tt.err}, "http://c/"), metadata.Options{}).Write(t.Context(),
			map[string]string{"k": "v"})
		var e *metadata.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if e.Class != tt.class || e.RetryAfter != tt.after || e.Status != 0 {
			t.Errorf("%s: %v (%+v)", tt.name, err, e)
		}
		if tt.class == metadata.Unauthenticated && !errors.Is(err, tt.err) {
			t.Errorf("%s: %v does not wrap %v", tt.name, err, tt.err)
		}
		if !strings.Contains(err.Error(), "log in at keystone") || strings.Contains(err.Error(), "http://c/") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// noToken is the error of a transport that has no token.
type noToken struct{ error }

func (e noToken) Unwrap() error { return e.error }

func (noToken) NoToken() bool { return true }

// A login fails because of another request. The write was not sent, whatever the error of that request.
func TestWriteWithoutAToken(t *testing.T) {
	inner := &url.Error{Op: "Post", URL: "https://secrets.example.com/", Err: errors.New("timeout")}
	w := &wire{err: noToken{fmt.Errorf("get the credentials: read the secret: %w", inner)}}
	_, err := serverAt(t, service(w, "http://nova.example.com/v2.1/"), metadata.Options{}).
		Write(t.Context(), map[string]string{"a": "b"})
	e, _ := errors.AsType[*metadata.Error](err)
	if e == nil || e.Class != metadata.Unavailable || !strings.Contains(e.Message, "get the credentials") {
		t.Errorf("%v", err)
	}
}

// Bodies are as encoding/json writes them, without escapes of <, > and &.
func TestBodies(t *testing.T) {
	pieces := []string{"a", "Z", " ", "~", `"`, `\`, "<", "&", "/", "\x00", "\x1f", "\x7f", "\n", "\t", "\b", "\u2028", "é",
		"😀", "\ufffd", "\xff", "\xed\xa0\x80"}
	written := 0
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		keys := map[string]string{}
		for n := range 1 + random.IntN(12) {
			var value string
			for range random.IntN(4) {
				value += pieces[random.IntN(len(pieces))]
			}
			keys[fmt.Sprint("key:", n)] = value
		}
		resource, recorder, err := metadata.NewRecorder(metadata.Server, id, metadata.Nova, metadata.View{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resource.Write(t.Context(), keys); err != nil {
			continue // the family does not allow one of the values
		}
		written++
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(map[string]map[string]string{"metadata": keys}); err != nil {
			t.Fatal(err)
		}
		if got := recorder.Requests()[0].Body; string(got)+"\n" != want.String() {
			t.Errorf("%q: %s, want %s", keys, got, &want)
		}
	}
	if written < 100 {
		t.Errorf("only %d bodies were compared", written)
	}
}
