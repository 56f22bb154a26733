package lifecycle

import "github.com/cloudtagger/tagger/pkg/document"

// Limits bound what one event can cost. A field that is 0 is the default. An event that exceeds a limit is malformed:
// its *MalformedError wraps a [*document.LimitError].
type Limits struct {
	// Bytes is how long an event's data may be. The default, 1 MiB, is the longest message that SQS and Lambda's
	// asynchronous invocation take.
	Bytes int
	// Values is how many JSON values (objects, arrays, scalars) an event's data may have, at any depth and inside strings
	// that are JSON. The default, 50,000, is some 16 MB in the worst case; a trace of 1,000 servers has about 12,000.
	Values int
	// Changes is how many resources one event may report. The default, 2,000, is twice the largest bulk operation that a
	// cloud documents (Huawei Cloud starts and stops up to 1,000 servers at a time,
	// https://support.huaweicloud.com/intl/en-us/api-ecs/ecs_02_0301.html).
	Changes int
	// Text is how many bytes a field that rules see may have, such as a resource's name. The default is 1,024; Nova's and
	// Keystone's longest names have 255 characters of up to 4 bytes.
	Text int
}

// DefaultLimits are those that hold where [Options] say nothing else.
func DefaultLimits() Limits {
	return Limits{Bytes: 1 << 20, Values: 50_000, Changes: 2_000, Text: 1_024}
}

// or returns the limits with d's in place of those that are 0.
func (l Limits) or(d Limits) Limits {
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

// payload decodes an event's data and what is JSON in its strings, all of it within the limits.
type payload struct {
	raw    []byte
	limits Limits
	left   int // JSON values that may still be decoded
}

// decode reads the event's data as Change.Data describes it, nil for no data.
func (p *payload) decode() (any, error) {
	if len(p.raw) > p.limits.Bytes {
		return nil, &document.LimitError{What: "bytes", Max: p.limits.Bytes}
	}
	return p.embedded(p.raw)
}

// embedded is decode for a document that lies in one of the data's strings.
func (p *payload) embedded(b []byte) (any, error) {
	n := document.CountValues(b, p.left)
	if n > p.left {
		return nil, &document.LimitError{What: "JSON values", Max: p.limits.Values}
	}
	p.left -= n
	return decode(b)
}
