package simcloud

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault makes some requests fail or slow. See [Cloud.Inject].
type Fault struct {
	// Service (identity, compute, volume, image or network), Method and Path (a part of the decoded URL path) select
	// requests. Empty ones match all.
	Service, Method, Path string
	// Skip is how many matching requests pass first.
	Skip int
	// Times is how many requests are affected; 0 is unlimited.
	Times int
	// Probability is the share of requests affected, between 0 and 1; 0 means all. Options.Seed makes the choice
	// repeatable.
	Probability float64
	// Delay is added to the cloud's latency.
	Delay time.Duration
	// Answer replaces the service's response. If nil, the service responds as usual.
	Answer *Answer
}

// Answer replaces a service's response.
type Answer struct {
	// Served has the service process the request first; only its response is lost.
	Served bool
	// Drop closes the connection without a response. Over [Cloud.Transport] it is a *net.OpError.
	Drop bool
	// Hang holds the request until its context ends.
	Hang bool

	Status int
	Header http.Header
	Body   string
}

// Inject adds a fault. The first active fault that matches a request affects it.
func (c *Cloud) Inject(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &f)
}

// ClearFaults removes all faults.
func (c *Cloud) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// faultFor returns the fault for a request, the zero Fault if none matches. The caller holds c.mu.
func (c *Cloud) faultFor(r *request) Fault {
	for i, f := range c.faults {
		switch {
		case f.Service != "" && f.Service != r.service, f.Method != "" && f.Method != r.method,
			!strings.Contains(r.fullPath, f.Path):
			continue
		case f.Skip > 0:
			f.Skip--
			continue
		case f.Probability > 0 && c.rand.Float64() >= f.Probability:
			continue
		}
		if f.Times == 1 {
			c.faults = slices.Delete(slices.Clone(c.faults), i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return *f
	}
	return Fault{}
}

// respond returns the response, or the error if there is none.
func (a *Answer) respond(ctx context.Context, r *request) (*response, error) {
	switch {
	case a.Drop:
		return nil, errDropped
	case a.Hang:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	res := &response{status: a.Status, header: a.Header.Clone(), body: []byte(a.Body)}
	if res.header == nil {
		res.header = http.Header{}
	}
	res.header.Set("X-Openstack-Request-Id", r.id)
	return res, nil
}

// Drop closes the connection before the service acts.
func Drop() *Answer { return &Answer{Drop: true} }

// DropServed closes the connection after the service acts.
func DropServed() *Answer { return &Answer{Drop: true, Served: true} }

// Hang never responds, and the service does not act.
func Hang() *Answer { return &Answer{Hang: true} }

// HangServed never responds although the service acts, as Nova does when its message broker is down.
func HangServed() *Answer { return &Answer{Hang: true, Served: true} }

// jsonAnswer returns a JSON response. retryAfter is rounded up to seconds; 0 omits the header.
func jsonAnswer(status int, retryAfter time.Duration, body string) *Answer {
	return answer(status, retryAfter, "application/json", body)
}

func answer(status int, retryAfter time.Duration, contentType, body string) *Answer {
	h := http.Header{}
	h.Set("Content-Type", contentType)
	if retryAfter > 0 {
		h.Set("Retry-After", seconds(retryAfter))
	}
	return &Answer{Status: status, Header: h, Body: body}
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// Throttled is 429 in Nova's form.
func Throttled(retryAfter time.Duration) *Answer {
	fault := object{{"code", http.StatusTooManyRequests}, {"message", "This request was rate-limited."}}
	if retryAfter > 0 {
		fault = append(fault, member{"retryAfter", seconds(retryAfter)})
	}
	return jsonAnswer(http.StatusTooManyRequests, retryAfter, string(dumps(object{{"overLimit", fault}})))
}

// ThrottledByGateway is the 429 of Huawei Cloud's API gateway, without Retry-After.
func ThrottledByGateway() *Answer {
	return jsonAnswer(http.StatusTooManyRequests, 0,
		`{"error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:200,`+
			`time:1 second","error_code":"APIG.0308","request_id":"0123456789abcdef0123456789abcdef"}`)
}

// FlowControl is Huawei Cloud's Common.0024: an error with status 202.
func FlowControl() *Answer {
	return jsonAnswer(http.StatusAccepted, 0, `{"error":{"code":"Common.0024","message":"exceeds flow over limit"}}`)
}

// ServerError is 500 in Nova's form.
func ServerError() *Answer {
	return jsonAnswer(http.StatusInternalServerError, 0,
		`{"computeFault": {"code": 500, "message": "Unexpected API Error. Please report this at `+
			`http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n`+
			`<class 'oslo_db.exception.DBConnectionError'>"}}`)
}

// Unavailable is 503 in JSON.
func Unavailable(retryAfter time.Duration) *Answer {
	return jsonAnswer(http.StatusServiceUnavailable, retryAfter,
		`{"serviceUnavailable": {"code": 503, "message": "The server is currently unavailable. `+
			`Please try again at a later time."}}`)
}

// UnavailableHTML is the 503 of services that cannot reach Keystone, or of a proxy.
func UnavailableHTML(retryAfter time.Duration) *Answer {
	return answer(http.StatusServiceUnavailable, retryAfter, "text/html; charset=UTF-8",
		"<html>\n <head>\n  <title>503 Service Unavailable</title>\n </head>\n "+
			"<body>\n  <h1>503 Service Unavailable</h1>\n  "+
			"The server is currently unavailable. Please try again at a later time.<br /><br />\n"+
			"The Keystone service is temporarily unavailable.\n\n\n </body>\n</html>")
}

// NotFoundHTML is the 404 of something other than the API, such as a web server at a wrong endpoint.
func NotFoundHTML() *Answer {
	return answer(http.StatusNotFound, 0, "text/html", "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n"+
		"<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
}

// Redirect is a 302 to another URL.
func Redirect(location string) *Answer {
	a := answer(http.StatusFound, 0, "text/html", "")
	a.Header.Set("Location", location)
	return a
}
