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
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Sink is the worker that posts events to an HTTP receiver and tags nothing: Knative's brokers, or Tagger's own functions. Each event goes as a
// structured CloudEvent in a request of its own. Only events that report a change are sent; the others of a bus are ignored.
type Sink struct {
	options SinkOptions
	client  *http.Client
	posts   atomic.Int64
}

// SinkOptions is what a Sink is made of.
type SinkOptions struct {
	// URL is where to post.
	URL string
	// Overrides is Knative's K_CE_OVERRIDES, "" for none.
	Overrides string
	// Secret, if set, is sent as a bearer token.
	Secret      config.Secret
	Registry    *lifecycle.Registry
	GiveUpAfter time.Duration
	Log         *slog.Logger
}

// answerTimeout is more than a function waits for a resource before it answers.
const answerTimeout = 100 * time.Second

// NewSink returns a Sink, and what is wrong with its options in one sentence that does not quote the address.
func NewSink(o SinkOptions) (*Sink, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("read the sink's address: it is not http://host/path or https://host/path")
	}
	if _, err := overrides(o.Overrides); err != nil {
		return nil, err
	}
	return &Sink{options: o, client: &http.Client{
		Timeout: answerTimeout,
		// A redirect would carry the secret to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// WritePrometheus writes how often the sink was posted to in Prometheus' text format.
func (s *Sink) WritePrometheus(w io.Writer) error {
	const name = "tagger_listen_posts_total"
	_, err := fmt.Fprintf(w, "# HELP %s Events posted to the sink.\n# TYPE %[1]s counter\n%[1]s %d\n", name, s.posts.Load())
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

// Describe says which change the message reports.
func (s *Sink) Describe(_ context.Context, m Message) Description {
	if len(m.Events) != 1 || m.Err != nil {
		return Description{Pending: true}
	}
	reading, err := s.options.Registry.Read(m.Events[0])
	if err != nil || len(reading.Changes) != 1 {
		return Description{}
	}
	return Description{Key: reading.Changes[0].Key(), Pending: true}
}

// Work posts each event of the message; the worst answer is the message's.
func (s *Sink) Work(ctx context.Context, m Message) Verdict {
	var all []Verdict
	for _, e := range m.Events {
		v := s.event(ctx, m, e)
		all = append(all, v)
		s.report(ctx, e, m, v)
	}
	if m.Err != nil {
		v := Verdict{Outcome: apply.Rejected, Reason: m.Err.Error()}
		all = append(all, v)
		s.report(ctx, event.New(), m, v)
	}
	order := apply.Outcomes()
	return slices.MaxFunc(all, func(a, b Verdict) int {
		if (a.Fault == nil) != (b.Fault == nil) {
			if a.Fault != nil {
				return 1
			}
			return -1
		}
		return slices.Index(order, a.Outcome) - slices.Index(order, b.Outcome)
	})
}

// sent is what becomes of an event that its receiver has taken. It is no outcome of tagging: that is the receiver's to say.
const sent apply.Outcome = "sent"

func (s *Sink) event(ctx context.Context, m Message, e event.Event) Verdict {
	reading, err := s.options.Registry.Read(e)
	switch {
	case err != nil:
		return Verdict{Outcome: apply.Rejected, Reason: err.Error()}
	case len(reading.Changes) == 0 && reading.Known:
		return Verdict{Outcome: apply.Ignored, Reason: reading.Why}
	case len(reading.Changes) == 0:
		return Verdict{Outcome: apply.Unrecognised, Reason: reading.Why}
	}
	return s.post(ctx, m, e)
}

func (s *Sink) post(ctx context.Context, m Message, e event.Event) Verdict {
	e = e.Clone()
	extensions, _ := overrides(s.options.Overrides) // read once already
	for name, value := range extensions {
		e.SetExtension(name, value)
	}
	body, err := encode(e)
	if err != nil {
		return Verdict{Outcome: apply.Rejected, Reason: "write the event as JSON: " + err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.URL, bytes.NewReader(body))
	if err != nil {
		return Verdict{Outcome: apply.Rejected, Reason: "make the request to the sink: " + withoutAddress(err).Error()}
	}
	// The structured mode keeps attributes as they are that are no ASCII.
	req.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	if secret := s.options.Secret.Reveal(); secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	s.posts.Add(1)
	resp, err := s.client.Do(req)
	if err != nil {
		return again(s.options.GiveUpAfter, m, metadata.Unavailable, "post to the sink: "+withoutAddress(err).Error(), 0)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection can be used again
	return s.judge(m, resp)
}

const maxAnswer = 64 << 10

// judge says what an answer means, by the table of https://github.com/knative/specs/blob/main/specs/eventing/data-plane.md: what is tried again is 404, 409,
// 429, 5xx, and what HTTP does not know. Two differ here: 401 and 403 say that the secret is wrong, which is no event's fault, and 408 that the receiver
// has not even read the request.
func (s *Sink) judge(m Message, resp *http.Response) Verdict {
	said := "the sink answers " + resp.Status
	v := Verdict{}
	switch status := resp.StatusCode; {
	case status >= 200 && status < 300:
		v.Outcome = sent
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Verdict{
			Outcome: apply.Deferred, Reason: said, Delay: steps()[0], NothingWorks: true,
			Fault: fmt.Errorf("%s: set TAGGER_HTTP_SECRET to the bearer token that it wants", said),
		}
	case status == http.StatusTooManyRequests:
		v = again(s.options.GiveUpAfter, m, metadata.Throttled, said, retryAfter(resp.Header))
	case status == http.StatusNotFound || status == http.StatusRequestTimeout || status == http.StatusConflict || status >= 500:
		v = again(s.options.GiveUpAfter, m, metadata.Unavailable, said, retryAfter(resp.Header))
	default:
		v.Outcome, v.Reason = apply.Rejected, said
	}
	v.Reached = true
	return v
}

// retryAfter reads the header's two forms (RFC 9110, section 10.2.3); 0 without it.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return time.Duration(min(n, 24*60*60)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
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

func (s *Sink) report(ctx context.Context, e event.Event, m Message, v Verdict) {
	level := slog.LevelInfo
	switch {
	case v.Fault != nil, v.Outcome == apply.Rejected:
		level = slog.LevelError
	case v.Outcome == apply.Unrecognised:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("event_id", e.ID()), slog.String("source", e.Source()), slog.String("type", e.Type()),
		slog.String("outcome", string(v.Outcome)), slog.String("reason", v.Reason), slog.Int("receives", m.Receives),
	}
	if v.Delay > 0 {
		attrs = append(attrs, slog.String("again_in", v.Delay.Round(time.Second).String()))
	}
	s.options.Log.LogAttrs(ctx, level, "event "+string(v.Outcome), attrs...)
}

var _ Worker = (*Sink)(nil)
