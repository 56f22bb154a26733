package simcloud

import (
	"net/url"
	"slices"
	"time"
)

// Request is a request that was served, as [Cloud.Requests] and [Options.OnRequest] tell it.
type Request struct {
	// Time is when it came, Duration how long it took.
	Time     time.Time
	Duration time.Duration
	Service  string
	Method   string
	// Path is the decoded path, Query what came after it, nil for nothing.
	Path  string
	Query url.Values
	// Body is what was sent, without passwords, secrets and tokens: cut at 8 KiB.
	Body string
	// Status is the answer's, 0 when the client got no answer.
	Status int
	// User and Project are the names of who sent it, "" if that is not known.
	User, Project string
}

// maxJournalBody bounds a journal entry's body, in bytes.
const maxJournalBody = 8 << 10

// hidden is what stands for a secret in the journal.
const hidden = "(secret)"

// Requests returns the requests that were answered, in the order of the answers: the last Options.JournalSize of them.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.journal[c.journalStart:], c.journal[:c.journalStart])
}

// ForgetRequests empties the journal.
func (c *Cloud) ForgetRequests() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journal, c.journalStart = nil, 0
}

// remember writes a request into the journal and calls the hook. A nil response is that of a client who got none.
func (c *Cloud) remember(r *request, res *response) {
	entry := Request{
		Time: r.start, Duration: time.Since(r.start), Service: r.service, Method: r.method, Path: r.fullPath,
		Body: r.redactedBody(),
	}
	if len(r.query) > 0 {
		entry.Query = r.query
	}
	if res != nil {
		entry.Status = res.status
	}
	if r.who != nil {
		entry.User, entry.Project = r.who.user.Name, r.who.project.Name
	}
	c.mu.Lock()
	switch size := c.options.JournalSize; {
	case size < 0:
	case len(c.journal) < size:
		c.journal = append(c.journal, entry)
	default:
		c.journal[c.journalStart] = entry
		c.journalStart = (c.journalStart + 1) % len(c.journal)
	}
	hook := c.options.OnRequest
	c.mu.Unlock()
	if hook != nil {
		hook(entry)
	}
}

// redactedBody returns the body without what must not be seen. One that is not JSON shows only where it cannot hold a
// credential.
func (r *request) redactedBody() string {
	body := string(r.body)
	if v, err := decodeJSON(r.body); err == nil {
		if redact(v, r.service == serviceIdentity) {
			body = string(dumps(v))
		}
	} else if r.service == serviceIdentity && body != "" {
		body = hidden
	}
	return body[:min(len(body), maxJournalBody)]
}

// redact replaces secrets in a decoded body and reports whether it found any. Metadata is the client's own and stays as
// it is.
func redact(v any, identity bool) (found bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			found = redact(e, identity) || found
		}
	case object:
		for i, m := range v {
			_, nested := m.value.(object)
			switch {
			case slices.Contains([]string{"password", "secret", "adminPass", "original_password", "passcode"}, m.name) &&
				!nested:
				v[i].value, found = hidden, true
			case identity && m.name == "token" && nested:
				v[i].value, found = hidden, true
			case !identity && (m.name == "metadata" || m.name == "meta"):
			default:
				found = redact(m.value, identity) || found
			}
		}
	}
	return found
}
