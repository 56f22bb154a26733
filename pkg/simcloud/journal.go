package simcloud

import (
	"net/url"
	"slices"
	"time"
)

// Request is a served request, for [Cloud.Requests] and [Options.OnRequest].
type Request struct {
	// Time is when the request arrived, Duration how long it took.
	Time     time.Time
	Duration time.Duration
	Service  string
	Method   string
	// Path is the decoded path, Query the parameters, nil if there are none.
	Path  string
	Query url.Values
	// Body is the request's body without passwords, secrets and tokens, truncated at 8 KiB.
	Body string
	// Status is the response's, 0 if there was none.
	Status int
	// User and Project are the sender's names, "" if unknown.
	User, Project string
}

// maxJournalBody limits a journal entry's body, in bytes.
const maxJournalBody = 8 << 10

// hidden replaces secrets in the journal.
const hidden = "(secret)"

// Requests returns the last Options.JournalSize requests, in the order of their responses.
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

// record adds a request to the journal and calls the hook. A nil response means that the client got none.
func (c *Cloud) record(r *request, res *response) {
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

// redactedBody returns the body without secrets. A body that is not JSON is shown only if it cannot contain
// credentials.
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

// redact replaces secrets in a decoded body and reports whether it found any. It does not touch metadata.
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
