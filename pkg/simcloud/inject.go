package simcloud

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong with some requests. See [Cloud.Inject].
type Fault struct {
	// Service, Method and Path select requests: identity, compute, volume, image or network; an HTTP method; and a part
	// of the decoded URL path. Each empty one selects all.
	Service, Method, Path string
	// Skip lets that many selected requests pass first.
	Skip int
	// Times is how many requests are affected before the fault is over; 0 is all of them.
	Times int
	// Probability affects that share of the requests, between 0 and 1; 0 is every one. Options.Seed makes the choice
	// repeatable.
	Probability float64
	// Delay comes on top of the cloud's latency.
	Delay time.Duration
	// Answer replaces the service's answer. Without one the service answers as ever.
	Answer *Answer
}

// Answer is what a client gets in place of a service's answer.
type Answer struct {
	// Served lets the service act on the request first; only its answer is lost.
	Served bool
	// Drop closes the connection without an answer. Over [Cloud.Transport] it is a *net.OpError.
	Drop bool
	// Hang answers when the request's context ends, which is never for most clients without a timeout.
	Hang bool

	Status int
	Header http.Header
	Body   string
}

// Inject adds a fault. Of several that select a request, the one that was added first and is not over affects it.
func (c *Cloud) Inject(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &f)
}

// ClearFaults ends every fault.
func (c *Cloud) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// faultFor returns what goes wrong with a request, the zero Fault for nothing. The caller holds c.mu.
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

// give makes the answer, or the error of there being none.
func (a *Answer) give(ctx context.Context, r *request) (*response, error) {
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

// Drop closes the connection before the service acted.
func Drop() *Answer { return &Answer{Drop: true} }

// DropServed closes the connection after the service acted.
func DropServed() *Answer { return &Answer{Drop: true, Served: true} }

// Hang never answers, and the service does not act.
func Hang() *Answer { return &Answer{Hang: true} }

// HangServed never answers although the service acted, as Nova does when its message broker is down.
func HangServed() *Answer { return &Answer{Hang: true, Served: true} }

// jsonAnswer is an answer of JSON. A retryAfter of 0 leaves the header away; it is rounded up to seconds.
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

func seconds(d time.Duration) string { return fmt.Sprint(int64((d + time.Second - 1) / time.Second)) }

// Throttled is 429 in Nova's form.
func Throttled(retryAfter time.Duration) *Answer {
	fault := object{{"code", http.StatusTooManyRequests}, {"message", "This request was rate-limited."}}
	if retryAfter > 0 {
		fault = append(fault, member{"retryAfter", seconds(retryAfter)})
	}
	return jsonAnswer(http.StatusTooManyRequests, retryAfter, string(dumps(object{{"overLimit", fault}})))
}

// ThrottledByGateway is 429 of Huawei Cloud's API gateway, which names no time.
func ThrottledByGateway() *Answer {
	return jsonAnswer(http.StatusTooManyRequests, 0,
		`{"error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:200,`+
			`time:1 second","error_code":"APIG.0308","request_id":"0123456789abcdef0123456789abcdef"}`)
}

// FlowControl is Huawei Cloud's Common.0024: a refusal with the status 202.
func FlowControl() *Answer {
	return jsonAnswer(http.StatusAccepted, 0, `{"error":{"code":"Common.0024","message":"exceeds flow over limit"}}`)
}

// ServerError is 500 in Nova's form.
func ServerError() *Answer {
	return jsonAnswer(http.StatusInternalServerError, 0,
		`{"computeFault": {"code": 500, "message": "Unexpected API Error. Please report this at `+
			`http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n<class 'oslo_db.exception.DBConnectionError'>"}}`)
}

// Unavailable is 503 in JSON.
func Unavailable(retryAfter time.Duration) *Answer {
	return jsonAnswer(http.StatusServiceUnavailable, retryAfter,
		`{"serviceUnavailable": {"code": 503, "message": "The server is currently unavailable. Please try again at a later time."}}`)
}

// UnavailableHTML is 503 as the services answer while Keystone cannot be reached, or as a proxy does.
func UnavailableHTML(retryAfter time.Duration) *Answer {
	return answer(http.StatusServiceUnavailable, retryAfter, "text/html; charset=UTF-8",
		"<html>\n <head>\n  <title>503 Service Unavailable</title>\n </head>\n "+
			"<body>\n  <h1>503 Service Unavailable</h1>\n  "+
			"The server is currently unavailable. Please try again at a later time.<br /><br />\n"+
			"The Keystone service is temporarily unavailable.\n\n\n </body>\n</html>")
}

// NotFoundHTML is the 404 of something that is not the API, such as a web server at a wrong endpoint.
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
