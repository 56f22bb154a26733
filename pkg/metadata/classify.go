package metadata

import (
	"net/http"
	"strings"
)

// classify returns the class of a response. Huawei Cloud's codes come first because its documentation warns that the
// HTTP status may be inaccurate: wrong state is a 400, flow control can be a 202.
func classify(r Request, status int, code, message string, isFault bool) Class {
	switch code {
	case "Ecs.0100", // 400: the ECS status does not meet requirements
		"EVS.2043": // 400: the snapshot is not available
		return NotReady
	case "Ecs.0605": // 400: locked
		return Locked
	case "Ecs.0603", // 501: other commands are being executed
		"Ecs.1000", "Ecs.1001", "Ecs.1002": // 400: a call inside the service failed or timed out
		return Unavailable
	case "Ecs.0114", "Ecs.0614", // no such ECS
		"EVS.5404":
		return Gone
	case "Common.0024", // 202: over the flow limit
		"Common.1503", // 503: API flow control
		"APIG.0308", "APIGW.0308":
		return Throttled
	case "Common.0013", "EVS.0002", // 400: the token is not valid
		"EVS.5401", "APIG.0301", "APIGW.0301":
		return Unauthenticated
	case "EVS.5403": // 403, but about this snapshot: its metadata cannot be operated
		return Invalid
	}

	switch {
	case status == http.StatusUnauthorized:
		return Unauthenticated
	case status == http.StatusForbidden && strings.Contains(message, "metadata items exceed"):
		return Quota
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound:
		return notFound(code, message, isFault)
	case status == http.StatusConflict && strings.HasSuffix(message, "is locked"):
		return Locked
	case status == http.StatusConflict:
		return NotReady
	case status == http.StatusTooManyRequests, status == 498, // 498: rate limit of Swift and some gateways
		status == http.StatusAccepted: // no operation here answers 202 for success, see remove
		return Throttled
	case status == http.StatusRequestEntityTooLarge && code == "overLimit" && !strings.Contains(message, "metadata"):
		return Throttled // the rate limit of old Nova; Cinder says overLimit for a value that is too long
	case status == http.StatusGatewayTimeout, status == http.StatusBadGateway:
		if r.Method != "GET" {
			return Unknown // the gateway timed out; the service may have continued
		}
		return Unavailable
	case status >= 500, status == http.StatusRequestTimeout:
		return Unavailable
	case status == http.StatusBadRequest && strings.Contains(message, "metadata is not allowed for volumes in"):
		return NotReady // Cinder, in status maintenance and uploading
	case status >= 300 && status < 400:
		return Unavailable // a redirect is never followed, because it would send the token elsewhere
	case status >= 400:
		return Invalid
	}
	return Unavailable
}

// notFound distinguishes a missing key, a missing resource, and a response from something other than the API. At a
// wrong endpoint everything is 404; treating that as "gone" would silently lose tags.
func notFound(code, message string, isFault bool) Class {
	switch {
	case !isFault, strings.HasPrefix(code, "APIG"): // APIG.0101: unknown API
		return Unavailable
	case strings.Contains(message, "Metadata item was not found"), // Nova
		strings.Contains(message, "has no metadata with key"): // Cinder
		return KeyNotFound
	}
	return Gone
}
