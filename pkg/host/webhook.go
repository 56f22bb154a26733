package host

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// WebHook handles validation requests. With such a request, a sender asks for permission to deliver events to a URL
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md, section 4). Azure Event Grid does that.
// The permission is not authentication: it protects the sender from delivering to a site that does not expect its
// events. The bearer token protects Tagger. Use [NewWebHook].
//
// WebHook never calls the callback URL in a request (WebHook-Request-Callback), because anyone could use it to make
// Tagger send requests to any address.
type WebHook struct {
	origins []string
	rate    int
}

// The headers of the handshake.
const (
	requestOriginHeader = "WebHook-Request-Origin"
	requestRateHeader   = "WebHook-Request-Rate"
	allowedOriginHeader = "WebHook-Allowed-Origin"
	allowedRateHeader   = "WebHook-Allowed-Rate"
)

// maxOrigin is the longest DNS name (RFC 1035, section 3.1).
const maxOrigin = 253

// NewWebHook returns a handler for OPTIONS requests. It permits the given origins: a DNS name, *.example.com for every
// name below example.com, or * for all. Without origins, it responds as if OPTIONS were not supported. rate is the
// permitted number of requests per minute, 0 for any number. The error names the invalid entry.
func NewWebHook(origins []string, rate int) (*WebHook, error) {
	if rate < 0 {
		return nil, fmt.Errorf("permit web hooks: a rate of %d requests a minute is negative", rate)
	}
	h := &WebHook{rate: rate}
	for _, origin := range origins {
		if origin != "*" && !isDNSName(strings.TrimPrefix(origin, "*.")) {
			return nil, fmt.Errorf("permit web hooks: %.60q is not a DNS name, *.NAME or *", origin)
		}
		h.origins = append(h.origins, strings.ToLower(origin))
	}
	return h, nil
}

func (h *WebHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	if r.Method != http.MethodOptions || len(h.origins) == 0 {
		http.Error(w, "POST a CloudEvent", http.StatusMethodNotAllowed)
		return
	}
	asked := r.Header.Values(requestOriginHeader)
	if len(asked) == 0 {
		w.WriteHeader(http.StatusOK) // an OPTIONS request other than the handshake
		return
	}
	origin := strings.TrimSpace(asked[0])
	if len(asked) > 1 || !isDNSName(origin) {
		http.Error(w, requestOriginHeader+" is not one DNS name", http.StatusBadRequest)
		return
	}
	granted := h.permits(origin)
	if granted == "" {
		http.Error(w, "the origin is not allowed", http.StatusForbidden)
		return
	}
	rate, err := h.grantedRate(r.Header.Get(requestRateHeader))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set(allowedOriginHeader, granted)
	w.Header().Set(allowedRateHeader, rate)
	w.WriteHeader(http.StatusOK)
}

// permits returns the value of WebHook-Allowed-Origin for an origin, "" without permission.
func (h *WebHook) permits(origin string) string {
	answer := ""
	for _, permitted := range h.origins {
		below, wildcard := strings.CutPrefix(permitted, "*")
		switch {
		case permitted == "*":
			if answer == "" {
				answer = "*"
			}
		case wildcard && len(origin) > len(below) && strings.EqualFold(origin[len(origin)-len(below):], below),
			strings.EqualFold(origin, permitted):
			answer = origin
		}
	}
	return answer
}

// grantedRate returns the value of WebHook-Allowed-Rate: requests per minute, or * for any number.
func (h *WebHook) grantedRate(asked string) (string, error) {
	if asked == "" {
		if h.rate == 0 {
			return "*", nil
		}
		return strconv.Itoa(h.rate), nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(asked))
	switch {
	case err != nil || n <= 0:
		return "", fmt.Errorf("%s is not a positive number of requests a minute", requestRateHeader)
	case h.rate == 0:
		return "*", nil
	}
	return strconv.Itoa(min(n, h.rate)), nil
}

// isDNSName reports whether s consists of labels of letters, digits, hyphens and underscores.
func isDNSName(s string) bool {
	if s == "" || len(s) > maxOrigin {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
