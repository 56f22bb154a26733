package simcloud

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// refusal is an error response of Compute or Block Storage, with Huawei Cloud's variant.
type refusal struct {
	status  int
	message string
	// ecs is Huawei Cloud's code, "" where it responds as OpenStack does; ecsStatus is its HTTP status.
	ecs       string
	ecsStatus int
}

// refuse returns the response of a refusal.
// Sources: Fault in nova/api/openstack/wsgi.py and cinder/api/openstack/wsgi.py; the ECS and EVS pages of error codes.
func (r *request) refuse(f refusal) *response {
	if r.huawei && f.ecs != "" {
		if r.service == serviceVolume {
			return r.json(f.ecsStatus, object{{faultName(f.ecsStatus), object{{"message", f.message}, {"code", f.ecs}}}})
		}
		return r.json(f.ecsStatus, object{{"error", object{{"code", f.ecs}, {"message", ecsMessage(f.ecs, f.message)}}}})
	}
	contentType := "application/json"
	if r.service == serviceCompute {
		contentType = "application/json; charset=UTF-8"
	}
	return r.respond(f.status, contentType,
		dumps(object{{faultName(f.status), object{{"code", f.status}, {"message", f.message}}}}))
}

func (r *request) badRequest(format string, args ...any) *response {
	f := refusal{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
	if r.service == serviceCompute {
		f.ecs, f.ecsStatus = "Ecs.0005", http.StatusBadRequest
	}
	return r.refuse(f)
}

func (r *request) notFound(format string, args ...any) *response {
	return r.refuse(refusal{status: http.StatusNotFound, message: fmt.Sprintf(format, args...)})
}

func (r *request) forbidden(format string, args ...any) *response {
	return r.refuse(refusal{status: http.StatusForbidden, message: fmt.Sprintf(format, args...)})
}

// conflict is the response to what the resource's state does not allow.
func (r *request) conflict(format string, args ...any) *response {
	return r.refuse(refusal{http.StatusConflict, fmt.Sprintf(format, args...), "Ecs.0100", http.StatusBadRequest})
}

// malformed is the services' response to an internal error without a message.
func (r *request) malformed() *response {
	return r.badRequest("The server could not comply with the request " +
		"since it is either malformed or otherwise incorrect.")
}

// internalError is the response to an unhandled exception; kind is its Python class.
func (r *request) internalError(kind string) *response {
	message := "The server has either erred or is incapable of performing the requested operation."
	if r.service == serviceCompute && kind != "" {
		message = "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log " +
			"if possible.\n<class '" + kind + "'>"
	}
	return r.refuse(refusal{status: http.StatusInternalServerError, message: message})
}

func faultName(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "badRequest"
	case http.StatusUnauthorized:
		return "unauthorized"
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusNotFound:
		return "itemNotFound"
	case http.StatusMethodNotAllowed:
		return "badMethod"
	case http.StatusConflict:
		return "conflictingRequest"
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return "overLimit"
	case http.StatusUnsupportedMediaType:
		return "badMediaType"
	case http.StatusNotImplemented:
		return "notImplemented"
	case http.StatusServiceUnavailable:
		return "serviceUnavailable"
	}
	return "computeFault"
}

// webError is an error of the web library below the APIs. Its format follows the Accept header: HTML if anything is
// accepted, JSON if only that is, text otherwise. The JSON resembles an API's error, but is not one. Source:
// webob/exc.py.
func (r *request) webError(status int, explanation string) *response {
	res := r.webErrorBody(status, explanation)
	r.stripAPIHeaders(res)
	return res
}

// stripAPIHeaders removes the headers that only the API itself, not the layers before it, adds to a response.
func (r *request) stripAPIHeaders(res *response) {
	if r.service == serviceVolume {
		res.header.Del("X-Compute-Request-Id")
	}
}

func (r *request) webErrorBody(status int, explanation string) *response {
	title := http.StatusText(status)
	line := fmt.Sprintf("%d %s", status, title)
	preferred := preferredType(r.header.Get("Accept"))
	if r.method == http.MethodHead {
		preferred = "text/html"
	}
	switch preferred {
	case "text/html":
		return r.respond(status, "text/html; charset=UTF-8", fmt.Appendf(nil,
			"<html>\n <head>\n  <title>%s</title>\n </head>\n <body>\n  <h1>%s</h1>\n  %s<br /><br />\n\n\n\n </body>\n</html>",
			line, line, explanation))
	case "application/json":
		return r.json(status, object{{"message", explanation + "<br /><br />\n\n\n"}, {"code", line}, {"title", title}})
	}
	return r.respond(status, "text/plain; charset=UTF-8", fmt.Appendf(nil, "%s\n\n%s\n\n   ", line, explanation))
}

// preferredType returns the one of text/html and application/json that an Accept header ranks first, "" for neither.
// Without the header, the library writes text.
func preferredType(accept string) string {
	best, bestQ := "", 0.0
	for _, offer := range []string{"text/html", "application/json"} {
		major, _, _ := strings.Cut(offer, "/")
		q, specific := 0.0, -1
		for part := range strings.SplitSeq(accept, ",") {
			media, parameters, _ := strings.Cut(part, ";")
			specificity := map[string]int{"*/*": 0, major + "/*": 1, offer: 2}
			s, matches := specificity[strings.ToLower(strings.TrimSpace(media))]
			if !matches || s <= specific {
				continue
			}
			q, specific = 1, s
			if v, found := strings.CutPrefix(strings.TrimSpace(parameters), "q="); found {
				q, _ = strconv.ParseFloat(v, 64)
			}
		}
		if q > bestQ {
			best, bestQ = offer, q
		}
	}
	return best
}
