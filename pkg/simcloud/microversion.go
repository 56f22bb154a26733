package simcloud

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// microversion is a version of the Compute or Block Storage API, such as 2.93. The zero value means none.
type microversion struct{ major, minor int }

// The versions of Zed.
var (
	computeMin = microversion{2, 1}
	computeMax = microversion{2, 93}
	volumeMin  = microversion{3, 0}
	volumeMax  = microversion{3, 70}
)

func (v microversion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// atLeast reports whether the version is at least another.
func (v microversion) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// setHeaders sets the version headers of a response.
func (v microversion) setHeaders(h http.Header, service string) {
	if service == serviceVolume {
		h.Set("OpenStack-API-Version", "volume "+v.String())
		h.Set("Vary", "OpenStack-API-Version")
		return
	}
	h.Set("OpenStack-API-Version", "compute "+v.String())
	h.Set("X-OpenStack-Nova-API-Version", v.String())
	h["Vary"] = []string{"OpenStack-API-Version", "X-OpenStack-Nova-API-Version"}
}

// negotiateCompute parses the requested version, or returns an error response.
// Source: https://docs.openstack.org/api-guide/compute/microversions.html, microversion_parse.
func (r *request) negotiateCompute() *response {
	asked := ""
	for _, line := range r.header.Values("OpenStack-API-Version") {
		for part := range strings.SplitSeq(line, ",") {
			service, v, found := strings.Cut(strings.TrimSpace(part), " ")
			if found && strings.EqualFold(service, "compute") {
				asked = strings.TrimSpace(v)
			}
		}
	}
	if asked == "" {
		asked = r.header.Get("X-OpenStack-Nova-API-Version")
	}
	return r.negotiate(asked, computeMin, computeMax)
}

// negotiateVolume does the same for Cinder, which fails on a header without its name.
func (r *request) negotiateVolume() *response {
	asked := r.header.Get("OpenStack-API-Version")
	if asked == "" {
		return r.negotiate("", volumeMin, volumeMax)
	}
	for part := range strings.SplitSeq(asked, ",") {
		if strings.Contains(part, "volume") {
			words := strings.Fields(part)
			if len(words) != 2 {
				return r.internalError("")
			}
			return r.negotiate(words[1], volumeMin, volumeMax)
		}
	}
	return r.malformed()
}

var versionPattern = regexp.MustCompile(`^([1-9]\d*)\.([1-9]\d*|0)$`)

func (r *request) negotiate(asked string, lowest, highest microversion) *response {
	switch asked {
	case "":
		r.version = lowest
	case "latest":
		r.version = highest
	default:
		m := versionPattern.FindStringSubmatch(asked)
		if m == nil {
			return r.refuse(refusal{status: http.StatusBadRequest,
				message: "API Version String " + asked + " is of invalid format. Must be of format MajorNum.MinorNum."})
		}
		r.version.major, _ = strconv.Atoi(m[1]) // digits; on overflow it is an unsupported version
		r.version.minor, _ = strconv.Atoi(m[2])
		if r.version.major != lowest.major || r.version.minor < lowest.minor || r.version.minor > highest.minor {
			// Cinder reports a version only from its version 3 API, which this is not.
			r.versioned = r.service == serviceCompute || r.version.major == lowest.major
			return r.refuse(refusal{status: http.StatusNotAcceptable,
				message: fmt.Sprintf("Version %s is not supported by the API. Minimum is %s and maximum is %s.", asked, lowest,
					highest)})
		}
	}
	r.versioned = true
	return nil
}
