package lifecycle

import "github.com/cloudtagger/tagger/pkg/document"

// Limits bound the cost of one event. A zero field means the default. An event that exceeds a limit is malformed: its
// *MalformedError wraps a [*document.LimitError].
type Limits struct {
	// Bytes limits the size of an event's data. The default, 1 MiB, is the largest message that SQS and Lambda's
	// asynchronous invocation accept.
	Bytes int
	// Values limits the number of JSON values (objects, arrays, scalars) in an event's data, at any depth and inside
	// strings that are JSON. The default, 50,000, takes at most about 16 MB; a trace of 1,000 servers has about 12,000.
	Values int
	// Changes limits the number of resources that one event reports. The default, 2,000, is twice the largest documented
	// bulk operation (Huawei Cloud starts and stops up to 1,000 servers at a time,
	// https://support.huaweicloud.com/intl/en-us/api-ecs/ecs_02_0301.html).
	Changes int
	// Text limits the size in bytes of a field that rules see, such as a resource's name, and of a request's id. The
	// default is 1,024: Nova's and Keystone's longest names have 255 characters of up to 4 bytes.
	Text int
}

// DefaultLimits returns the limits that apply unless [Options] sets others.
func DefaultLimits() Limits {
	return Limits{Bytes: 1 << 20, Values: 50_000, Changes: 2_000, Text: 1_024}
}

// withDefaults returns the limits with zero fields replaced by those of d.
func (l Limits) withDefaults(d Limits) Limits {
	set := func(limit *int, otherwise int) {
		if *limit == 0 {
			*limit = otherwise
		}
	}
	set(&l.Bytes, d.Bytes)
	set(&l.Values, d.Values)
	set(&l.Changes, d.Changes)
	set(&l.Text, d.Text)
	return l
}

// payload decodes an event's data, and JSON in the data's strings, within the limits.
type payload struct {
	raw    []byte
	limits Limits
	left   int // JSON values that may still be decoded
}

// decode decodes the event's data as Change.Data describes, nil if there is none.
func (p *payload) decode() (any, error) {
	if len(p.raw) > p.limits.Bytes {
		return nil, &document.LimitError{What: "bytes", Max: p.limits.Bytes}
	}
	return p.embedded(p.raw)
}

// embedded is decode for a document in one of the data's strings.
func (p *payload) embedded(b []byte) (any, error) {
	n := document.CountValues(b, p.left)
	if n > p.left {
		return nil, &document.LimitError{What: "JSON values", Max: p.limits.Values}
	}
	p.left -= n
	return decode(b)
}
