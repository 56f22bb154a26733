package contract_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is one request. Placeholders in braces stand for values that differ between clouds: service roots and the ids of
// projects and resources.
type step struct {
	name string
	// as is the sending user, the member by default.
	as           string
	method, path string
	body         string
	// header sets headers, or removes those with the value "". The defaults are Accept, and Content-Type with a body.
	header map[string]string
	// chunked sends the body without its length.
	chunked bool
	// keep saves parts of the response for later steps: a placeholder, and the path of its value in the body
	// ("transfer/id"), or a header.
	keep map[string]string
	// settle waits, after the response, until the cloud has completed the request.
	settle func(ctx context.Context, s *session, names map[string]string) error
}

// answer is the comparable part of a response: everything that does not depend on time, cloud and user.
type answer struct {
	Case    string            `json:"case"`
	Request string            `json:"request"`
	Status  int               `json:"status"`
	Header  map[string]string `json:"header"`
	Body    any               `json:"body,omitempty"`
	// After is the metadata after a request that may have changed it, or the status of reading it.
	After any `json:"after,omitempty"`
}

// diffResponses returns the difference of two responses, a line for each: the statuses, or else the members that
// differ.
func diffResponses(a, b answer) (string, string) {
	if a.Status != b.Status {
		return strconv.Itoa(a.Status), strconv.Itoa(b.Status)
	}
	var inA, inB []string
	members, others := flat("", map[string]any{"header": a.Header, "body": a.Body, "after": a.After}),
		flat("", map[string]any{"header": b.Header, "body": b.Body, "after": b.After})
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] != others[name] {
			inA = append(inA, path.Base(name)+" "+members[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if members[name] != others[name] {
			inB = append(inB, path.Base(name)+" "+others[name])
		}
	}
	return strings.Join(inA, ", "), strings.Join(inB, ", ")
}

// flat returns the leaf values below a value, by path.
func flat(at string, v any) map[string]string {
	out := map[string]string{}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			maps.Copy(out, flat(at+"/"+name, value))
		}
	case map[string]string:
		for name, value := range v {
			out[at+"/"+name] = value
		}
	default:
		out[at] = fmt.Sprint(v)
	}
	return out
}

// comparedHeaders are the headers that clients use.
var comparedHeaders = []string{
	"Content-Type", "OpenStack-API-Version", "X-OpenStack-Nova-API-Version", "Vary", "Allow", "Location",
	"WWW-Authenticate", "Retry-After", "X-OpenStack-Request-Id", "X-Compute-Request-Id", "ETag",
}

// exchange sends a step and returns its comparable response. Unless the path is "", it then reads the metadata there.
func (s *session) exchange(ctx context.Context, st step, names map[string]string, metadata string) (answer, error) {
	who := st.as
	if who == "" {
		who = "member"
	}
	fill, _ := replacers(names)
	header := http.Header{"Accept": {"application/json"}}
	if token := s.tokens[who]; token != "" {
		header.Set("X-Auth-Token", token)
	}
	var body io.Reader
	if st.body != "" {
		header.Set("Content-Type", "application/json")
		body = strings.NewReader(fill.Replace(st.body))
		if st.chunked {
			body = io.MultiReader(body) // net/http cannot see its length
		}
	}
	for name, value := range st.header {
		if header.Del(name); value != "" {
			header.Set(name, fill.Replace(value))
		}
	}
	res, text, err := s.do(ctx, st.method, fill.Replace(st.path), body, header)
	if err != nil {
		return answer{}, err
	}
	st.save(res.Header, text, names)
	_, hide := replacers(names)
	a := answer{Case: st.name, Request: st.describe(who), Status: res.StatusCode, Header: map[string]string{},
		Body: decoded(hide.Replace(string(text)))}
	for _, name := range comparedHeaders {
		value := strings.Join(res.Header.Values(name), ", ")
		switch {
		case value == "":
			continue
		case strings.HasSuffix(name, "-Request-Id"):
			value = "(id)"
		case name == "Content-Type":
			value = strings.ToLower(value)
		case name == "ETag":
			value = "(etag)" // a hash of the body, whose members have no fixed order
		}
		a.Header[name] = shorten(hide.Replace(value))
	}
	if metadata == "" || st.method == http.MethodGet {
		return a, nil
	}
	var after struct{ Metadata any }
	err = s.send(ctx, http.MethodGet, fill.Replace(metadata), "demo admin", nil, &after)
	if r, ok := err.(*refused); ok { //nolint:errorlint // it is never wrapped
		a.After, err = r.status, nil
	} else {
		a.After = shortenAll(map[string]any{"metadata": after.Metadata}).(map[string]any)["metadata"]
	}
	return a, err
}

// save adds the parts that the step keeps to the names.
func (st step) save(header http.Header, body []byte, names map[string]string) {
	for name, at := range st.keep {
		if value := header.Get(at); value != "" {
			names[name] = value
			continue
		}
		var v any
		if json.Unmarshal(body, &v) != nil {
			continue
		}
		for part := range strings.SplitSeq(at, "/") {
			o, _ := v.(map[string]any)
			v = o[part]
		}
		if text, ok := v.(string); ok && text != "" {
			names[name] = text
		}
	}
}

// describe returns the request in readable form.
func (st step) describe(who string) string {
	text := st.method + " " + shorten(st.path)
	if st.body != "" {
		text += " " + shorten(st.body)
	}
	if st.chunked {
		text += " (chunked)"
	}
	for _, name := range slices.Sorted(maps.Keys(st.header)) {
		text += fmt.Sprintf(" (%s: %s)", name, st.header[name])
	}
	return text + " as " + who
}

// replacers replace placeholders by values, and values by placeholders.
func replacers(names map[string]string) (fill, hide *strings.Replacer) {
	var in, out []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] == "" {
			continue
		}
		in = append(in, "{"+name+"}", names[name])
		out = append(out, names[name], "{"+name+"}")
	}
	return strings.NewReplacer(in...), strings.NewReplacer(out...)
}

// decoded returns JSON as a value, and other bodies as words. Of a server, with its dozens of members, it keeps the
// types of the members and the values that matter.
func decoded(text string) any {
	text = requestID.ReplaceAllString(text, "(request id)")
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		if text = strings.Join(strings.Fields(text), " "); text == "" {
			return nil
		}
		return shorten(text)
	}
	if o, ok := v.(map[string]any); ok {
		for _, kind := range []string{"server", "snapshot"} {
			if resource, ok := o[kind].(map[string]any); ok {
				for name, value := range resource {
					resource[name] = shape(name, value)
				}
			}
		}
		for name, value := range o {
			if slices.Contains(shownMembers, name) {
				o[name] = shown(name, value)
			}
		}
	}
	return shortenAll(v)
}

// requestID matches the request ids of the services.
var requestID = regexp.MustCompile(`req-[0-9a-f-]{36}`)

// shownMembers are the members of responses that are compared in full, except for values that differ between clouds.
var shownMembers = []string{
	"volume",
	"volumes",
	"snapshots",
	"servers",
	"transfer",
	"transfers",
	"volumeAttachment",
	"volumeAttachments",
	"user",
	"users",
	"project",
	"projects",
	"domain",
	"domains",
	"os-volume_upload_image",
}

// varying are the members whose values differ between clouds or over time.
var varying = []string{
	"created_at",
	"updated_at",
	"created",
	"updated",
	"attached_at",
	"OS-SRV-USG:launched_at",
	"hostId",
	"service_uuid",
	"volume_type_id",
	"adminPass",
	"attachment_id",
	"bdm_uuid",
	"host_name",
	"os-vol-host-attr:host",
	"OS-EXT-SRV-ATTR:host",
	"OS-EXT-SRV-ATTR:hypervisor_hostname",
	"auth_key",
	"OS-EXT-SRV-ATTR:instance_name",
	"OS-EXT-SRV-ATTR:reservation_id",
	"image_id",
	"volume_image_metadata",
	"device",
}

// shown returns a value with varying members replaced by their types.
func shown(name string, value any) any {
	if slices.Contains(varying, name) {
		return shape(name, value)
	}
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = shown(name, value[i])
		}
	case map[string]any:
		for member, v := range value {
			value[member] = shown(member, v)
		}
		if _, isUser := value["password_expires_at"]; isUser {
			value["name"] = shape("user", value["name"])
		}
	}
	return value
}

// shape returns the value of a server's or snapshot's member if it matters, otherwise its type.
func shape(name string, value any) any {
	switch name {
	case "status", "OS-EXT-STS:vm_state", "OS-EXT-STS:task_state", "OS-EXT-STS:power_state", "locked", "metadata",
		"progress",
		"os-extended-snapshot-attributes:progress", "name", "config_drive", "locked_reason", "description", "host_status",
		"OS-EXT-SRV-ATTR:hostname", "OS-EXT-SRV-ATTR:launch_index", "OS-EXT-SRV-ATTR:root_device_name",
		"OS-EXT-SRV-ATTR:user_data", "os-extended-volumes:volumes_attached":
		return value
	}
	switch value.(type) {
	case nil:
		return "(null)"
	case bool:
		return "(boolean)"
	case float64:
		return "(number)"
	case string:
		return "(string)"
	case []any:
		return "(list)"
	}
	return "(object)"
}

// shortenAll shortens all strings, and replaces a large metadata map by its size.
func shortenAll(v any) any {
	switch v := v.(type) {
	case string:
		return shorten(v)
	case []any:
		for i := range v {
			v[i] = shortenAll(v[i])
		}
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			if m, ok := value.(map[string]any); ok && name == "metadata" && len(m) > 20 {
				value = fmt.Sprintf("(%d items)", len(m))
			}
			out[shorten(name)] = shortenAll(value)
		}
		return out
	}
	return v
}

// shorten shortens long runs of one character: 255 times k is "k{255}".
func shorten(text string) string {
	var b strings.Builder
	runes := []rune(text)
	for i := 0; i < len(runes); {
		j := i
		for j < len(runes) && runes[j] == runes[i] {
			j++
		}
		if j-i >= 32 {
			fmt.Fprintf(&b, "%c{%d}", runes[i], j-i)
		} else {
			b.WriteString(string(runes[i:j]))
		}
		i = j
	}
	return b.String()
}
