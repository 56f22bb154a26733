package simcloud

import (
	"net/http"
	"strings"
)

// The services, by the first segment of a URL's path.
const (
	serviceIdentity = "identity"
	serviceCompute  = "compute"
	serviceVolume   = "volume"
	serviceImage    = "image"
	serviceNetwork  = "network"
)

// handler handles a routed request. The caller holds c.mu.
type handler func(*Cloud, *request) *response

// route is one operation. In the path, a segment in braces matches any one segment.
type route struct {
	method, path string
	handle       handler
}

type routes []route

// match finds the operation for a method and a path, with the path's variables.
func (rs routes) match(method, path string) (handler, map[string]string) {
	segments := strings.Split(path, "/")
next:
	for _, r := range rs {
		pattern := strings.Split(r.path, "/")
		if r.method != method || len(pattern) != len(segments) {
			continue
		}
		vars := map[string]string{}
		for i, p := range pattern {
			switch {
			case strings.HasPrefix(p, "{"):
				if segments[i] == "" {
					continue next
				}
				vars[strings.Trim(p, "{}")] = wsgiText(segments[i])
			case p != segments[i]:
				continue next
			}
		}
		return r.handle, vars
	}
	return nil, nil
}

// methods returns the methods of a path.
func (rs routes) methods(path string) []string {
	var out []string
	for _, m := range []string{http.MethodHead, http.MethodPost, http.MethodGet, http.MethodDelete, http.MethodPut,
		http.MethodPatch} {
		if h, _ := rs.match(m, path); h != nil {
			out = append(out, m)
		}
	}
	return out
}

// dispatch passes a request to its service. The caller holds c.mu.
func (c *Cloud) dispatch(r *request) *response {
	switch r.service {
	case serviceIdentity:
		return c.identity(r)
	case serviceCompute:
		return c.compute(r)
	case serviceVolume:
		return c.volume(r)
	case serviceImage:
		return c.image(r)
	case serviceNetwork:
		return c.network(r)
	}
	return r.webError(http.StatusNotFound, "The resource could not be found.")
}

// wsgiText returns a path as WSGI programs see it: each byte as a Latin-1 character (PEP 3333).
func wsgiText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// cutProject cuts a leading project id off a path. The APIs accept a first segment of hexadecimal digits and hyphens,
// as in Keystone's ids. A project of this cloud may have another id.
func (c *Cloud) cutProject(path string) (project, rest string) {
	first, rest, found := strings.Cut(path, "/")
	if !found || first == "" {
		return "", path
	}
	if _, known := c.directory.project(first, ""); !known && strings.Trim(first, "0123456789abcdef-") != "" {
		return "", path
	}
	return first, rest
}
