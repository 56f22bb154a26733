package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Sink is the processor that posts events to an HTTP receiver and tags nothing: Knative's brokers, or Tagger's own
// functions. Each event goes as a structured CloudEvent in a request of its own. Only events that report a change are
// sent; the others of a bus are ignored.
type Sink struct {
	extensions map[string]string // which K_CE_OVERRIDES adds to each event
	options    SinkOptions
	client     *http.Client
	posts      atomic.Int64
}

// SinkOptions is what a Sink is made of.
type SinkOptions struct {
	// URL is where to post.
	URL string
	// Overrides is Knative's K_CE_OVERRIDES, "" for none.
	Overrides string
	// Secret, if set, is sent as a bearer token.
	Secret config.Secret
	// Sign, if not nil, signs each request, in place of Secret.
	Sign        func(ctx context.Context, req *http.Request, body []byte) error
	Registry    *lifecycle.Registry
	GiveUpAfter time.Duration
	// Held, if not nil, reports whether posting is on hold: events are then deferred.
	Held func() bool
	Log  *slog.Logger
}

// answerTimeout is more than a function waits for a resource before it answers.
const answerTimeout = 100 * time.Second

// NewSink returns a Sink, and what is wrong with its options in one sentence that does not quote the address.
func NewSink(o SinkOptions) (*Sink, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("read the sink's address: it is not http://host/path or https://host/path")
	}
	extensions, err := overrides(o.Overrides)
	if err != nil {
		return nil, err
	}
	return &Sink{options: o, extensions: extensions, client: &http.Client{
		Timeout: answerTimeout,
		// A redirect would carry the secret to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// WritePrometheus writes how often the sink was posted to in Prometheus' text format.
func (s *Sink) WritePrometheus(w io.Writer) error {
	const name = "tagger_listen_posts_total"
	_, err := fmt.Fprintf(w, "# HELP %s Events posted to the sink.\n# TYPE %[1]s counter\n%[1]s %d\n", name, s.posts.Load())
	if s.options.Held != nil && err == nil {
		on := 0
		if s.options.Held() {
			on = 1
		}
		_, err = fmt.Fprintf(w, "# HELP tagger_on_hold Whether posting is on hold.\n# TYPE tagger_on_hold gauge\ntagger_on_hold %d\n", on)
	}
	return err
}

// overrides reads Knative's convention: https://knative.dev/docs/eventing/custom-event-source/sinkbinding/
func overrides(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	var o struct {
		Extensions map[string]string `json:"extensions"`
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, errors.New(`read K_CE_OVERRIDES: it is not a JSON object such as {"extensions": {"name": "value"}}`)
	}
	probe := event.New()
	for _, name := range slices.Sorted(maps.Keys(o.Extensions)) {
		if probe.SetExtension(name, o.Extensions[name]); probe.FieldErrors["extension:"+name] != nil {
			return nil, fmt.Errorf("read K_CE_OVERRIDES: %.40q cannot be the name of an attribute: lower-case letters and digits only", name)
		}
	}
	return o.Extensions, nil
}

// Plan says which change the message reports.
func (s *Sink) Plan(_ context.Context, m delivery.Message) delivery.Planned {
	p := delivery.Planned{Message: m, Pending: true}
	if len(m.Events) != 1 || m.Err != nil {
		return p
	}
	reading, err := s.options.Registry.Read(m.Events[0])
	if err != nil || len(reading.Changes) != 1 {
		p.Pending = false
		return p
	}
	p.Key = reading.Changes[0].Key()
	return p
}

// Begin posts the messages' events, one after the other, when the decisions are waited for.
func (s *Sink) Begin(ctx context.Context, batch []delivery.Planned) func() []delivery.Decision {
	return func() []delivery.Decision {
		decisions := make([]delivery.Decision, len(batch))
		for i, p := range batch {
			decisions[i] = s.work(ctx, p.Message)
		}
		return decisions
	}
}

// work posts each event of the message; the worst answer is the message's.
func (s *Sink) work(ctx context.Context, m delivery.Message) delivery.Decision {
	var all []apply.Decision
	var reached []bool
	for _, e := range m.Events {
		reading, err := s.options.Registry.Read(e)
		d, answered := s.event(ctx, m, e, reading, err)
		all, reached = append(all, d), append(reached, answered)
		s.report(ctx, e, reading.Changes, m, d)
	}
	if m.Err != nil {
		d := apply.Decision{Outcome: apply.Rejected, Reason: m.Err.Error()}
		all, reached = append(all, d), append(reached, false)
		s.report(ctx, event.New(), nil, m, d)
	}
	worst := delivery.Worst(all)
	return delivery.Decision{Decision: all[worst], EventID: m.EventID(), Reached: reached[worst]}
}

// sent is what becomes of an event that its receiver has taken. It is no outcome of tagging: that is the receiver's to
// say.
const sent apply.Outcome = "sent"

// event returns the decision on an event, and whether the receiver answered.
func (s *Sink) event(ctx context.Context, m delivery.Message, e event.Event, reading lifecycle.Reading, err error,
) (d apply.Decision, answered bool) {
	switch {
	case err != nil:
		return apply.Decision{Outcome: apply.Rejected, Reason: err.Error()}, false
	case len(reading.Changes) == 0 && reading.Known:
		return apply.Decision{Outcome: apply.Ignored, Reason: reading.Why}, false
	case len(reading.Changes) == 0:
		return apply.Decision{Outcome: apply.Unrecognised, Reason: reading.Why}, false
	case s.options.Held != nil && s.options.Held():
		return apply.Decision{Outcome: apply.Deferred, Reason: "posting is on hold (TAGGER_HOLD_FILE)", Delay: time.Minute}, false
	}
	return s.post(ctx, m, e)
}

func (s *Sink) post(ctx context.Context, m delivery.Message, e event.Event) (d apply.Decision, answered bool) {
	e = e.Clone()
	for name, value := range s.extensions {
		e.SetExtension(name, value)
	}
	body, err := encode(e)
	if err != nil {
		return apply.Decision{Outcome: apply.Rejected, Reason: "write the event as JSON: " + err.Error()}, false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.URL, bytes.NewReader(body))
	if err != nil {
		return apply.Decision{Outcome: apply.Rejected, Reason: "make the request to the sink: " + withoutAddress(err).Error()}, false
	}
	// The structured mode keeps attributes as they are that are no ASCII.
	req.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	if sign := s.options.Sign; sign != nil {
		if err := sign(ctx, req, body); err != nil {
			return apply.Decision{
				Outcome: apply.Deferred, Reason: err.Error(), Delay: steps()[0], Fault: apply.Fault{Err: err, Scope: fault.Everything},
			}, false
		}
	} else if secret := s.options.Secret.Reveal(); secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	s.posts.Add(1)
	resp, err := s.client.Do(req)
	if err != nil {
		return again(s.options.GiveUpAfter, m, metadata.Unavailable, "post to the sink: "+withoutAddress(err).Error(), 0), false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection can be used again
	return s.judge(m, resp), true
}

const maxAnswer = 64 << 10

// judge says what an answer means, by the table of
// https://github.com/knative/specs/blob/main/specs/eventing/data-plane.md: what is tried again is 404, 409, 429, 5xx,
// and what HTTP does not know. Two differ here: 401 and 403 say that the secret is wrong, which is no event's fault,
// and 408 that the receiver has not even read the request.
func (s *Sink) judge(m delivery.Message, resp *http.Response) apply.Decision {
	said := "the sink answers " + resp.Status
	switch status := resp.StatusCode; {
	case status >= 200 && status < 300:
		return apply.Decision{Outcome: sent}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return apply.Decision{
			Outcome: apply.Deferred, Reason: said, Delay: steps()[0],
			Fault: apply.Fault{
				Err: fmt.Errorf("%s: set TAGGER_HTTP_SECRET to the bearer token that it wants", said), Scope: fault.Everything,
			},
		}
	case status == http.StatusTooManyRequests:
		return again(s.options.GiveUpAfter, m, metadata.Throttled, said, retryAfter(resp.Header))
	case status == http.StatusNotFound || status == http.StatusRequestTimeout || status == http.StatusConflict || status >= 500:
		return again(s.options.GiveUpAfter, m, metadata.Unavailable, said, retryAfter(resp.Header))
	}
	return apply.Decision{Outcome: apply.Rejected, Reason: said}
}

// again is the decision on what did not work for now, or no more after so long.
func again(giveUpAfter time.Duration, m delivery.Message, class metadata.Class, message string, retryAfter time.Duration) apply.Decision {
	return apply.Options{GiveUpAfter: giveUpAfter}.Judge(apply.Situation{
		Class: class, Message: message, CarrierAge: time.Since(m.SentAt), Receives: m.Receives, RetryAfter: retryAfter,
	}).Decision
}

// longestRetryAfter bounds what a receiver can ask.
const longestRetryAfter = 24 * time.Hour

// retryAfter reads the header's two forms (RFC 9110, section 10.2.3); 0 without it.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return min(time.Duration(min(n, 1<<30))*time.Second, longestRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, time.Until(at)), longestRetryAfter)
	}
	return 0
}

// withoutAddress takes the request's address out of an error: a user or a key can be in it.
func withoutAddress(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// report logs one line for each change that the event reports, and one at least. Most of what a bus carries is no change,
// and is of interest to those only who look for something.
func (s *Sink) report(ctx context.Context, e event.Event, changes []lifecycle.Change, m delivery.Message, d apply.Decision) {
	level := slog.LevelInfo
	switch {
	case d.Fault.Err != nil, d.Outcome == apply.Rejected:
		level = slog.LevelError
	case d.Outcome == apply.Unrecognised:
		level = slog.LevelWarn
	case d.Outcome == apply.Ignored:
		level = slog.LevelDebug
	}
	if len(changes) == 0 {
		changes = make([]lifecycle.Change, 1)
	}
	for _, c := range changes {
		attrs := []slog.Attr{
			slog.String("event_id", e.ID()), slog.String("source", e.Source()), slog.String("type", e.Type()),
			slog.String("action", string(c.Action)), slog.String("kind", string(c.Resource.Kind)), slog.String("resource_id", c.Resource.ID),
			slog.String("resource_name", c.Resource.Name), slog.String("project", c.Resource.Project),
			slog.String("outcome", string(d.Outcome)), slog.String("reason", d.Reason), slog.Int("receives", m.Receives),
		}
		if d.Delay > 0 {
			attrs = append(attrs, slog.String("again_in", d.Delay.Round(time.Second).String()))
		}
		s.options.Log.LogAttrs(ctx, level, "event "+string(d.Outcome), attrs...)
	}
}

var _ Processor = (*Sink)(nil)
