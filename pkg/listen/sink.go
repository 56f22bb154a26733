package listen

import (
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
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/cloudtagger/tagger/pkg/apply"
	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/delivery"
	"github.com/cloudtagger/tagger/pkg/fault"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/metadata"
)

// Sink is the processor that forwards events and tags nothing. It sends to an HTTP receiver, such as Knative's brokers
// or Tagger's own functions, or to an SQS queue. Each event is sent by itself, as a structured CloudEvent. Only events
// that report a change are sent. The events of one resource are sent one after the other, in order of arrival.
type Sink struct {
	extensions map[string]string // that K_CE_OVERRIDES adds to each event
	options    SinkOptions
	receiver   receiver
	turns      keyedQueue
	posts      atomic.Int64
}

// receiver accepts events.
type receiver interface {
	// send sends an event about a resource, encoded as body, and returns the receiver's response.
	send(ctx context.Context, e event.Event, resource string, body []byte) response
}

// response is a receiver's response to an event.
type response struct {
	// class is "" for an accepted event, metadata.Invalid for one that this receiver will never accept, and
	// metadata.Unavailable or metadata.Throttled for one that it may accept later.
	class      metadata.Class
	reason     string
	retryAfter time.Duration
	// fault, if not nil, is why the receiver accepts no event at all. class is then meaningless.
	fault error
	// reached reports that the receiver itself answered.
	reached bool
}

// SinkOptions are the settings and parts of a Sink.
type SinkOptions struct {
	// URL is where to post: https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE is an SQS queue, any other address a
	// receiver of CloudEvents over HTTP.
	URL string
	// Overrides is Knative's K_CE_OVERRIDES, "" for none.
	Overrides string
	// Secret, if set, is sent as a bearer token.
	Secret config.Secret
	// Sign, if not nil, signs each request; Secret is then not sent.
	Sign        func(ctx context.Context, req *http.Request, body []byte) error
	Registry    *lifecycle.Registry
	GiveUpAfter time.Duration
	// Held, if not nil, reports whether posting is on hold: events are then deferred.
	Held func() bool
	Log  *slog.Logger
}

// NewSink returns a Sink. Its error is one sentence, and does not quote the address.
func NewSink(o SinkOptions) (*Sink, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("read the sink's address: it is not http://host/path or https://host/path")
	}
	extensions, err := overrides(o.Overrides)
	if err != nil {
		return nil, err
	}
	s := &Sink{options: o, extensions: extensions, receiver: newHTTPReceiver(o)}
	switch queue, ok, err := awsapi.ParseQueueURL(o.URL); {
	case err != nil:
		return nil, fmt.Errorf("read the sink's address: %w", err)
	case ok:
		s.receiver = &queueReceiver{queue: queue}
	}
	return s, nil
}

// WritePrometheus writes the number of posts in Prometheus' text format.
func (s *Sink) WritePrometheus(w io.Writer) error {
	const name = "tagger_listen_posts_total"
	_, err := fmt.Fprintf(w, "# HELP %s Events posted to the sink.\n# TYPE %[1]s counter\n%[1]s %d\n", name,
		s.posts.Load())
	if s.options.Held != nil && err == nil {
		on := 0
		if s.options.Held() {
			on = 1
		}
		_, err = fmt.Fprintf(w, "# HELP tagger_on_hold Whether posting is on hold.\n"+
			"# TYPE tagger_on_hold gauge\ntagger_on_hold %d\n", on)
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
			return nil, fmt.Errorf("read K_CE_OVERRIDES: %.40q cannot be the name of an attribute: "+
				"lower-case letters and digits only", name)
		}
	}
	return o.Extensions, nil
}

// Plan returns the change that the message reports.
func (s *Sink) Plan(_ context.Context, m delivery.Message) delivery.Plan {
	p := delivery.Plan{Message: m, Pending: true}
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

// Begin gives each message its turn. The returned function sends the messages' events, one after the other.
func (s *Sink) Begin(ctx context.Context, batch []delivery.Plan) func() []delivery.Decision {
	begun := make([]func() delivery.Decision, len(batch))
	for i, p := range batch {
		begun[i] = s.begin(ctx, p.Message)
	}
	return func() []delivery.Decision {
		decisions := make([]delivery.Decision, len(batch))
		for i, finish := range begun {
			decisions[i] = finish()
		}
		return decisions
	}
}

// begin gives a message its turn among the messages about its first event's resource.
func (s *Sink) begin(ctx context.Context, m delivery.Message) (finish func() delivery.Decision) {
	readings := make([]reading, len(m.Events))
	for i, e := range m.Events {
		readings[i].Reading, readings[i].err = s.options.Registry.Read(e)
	}
	resource := ""
	if len(readings) > 0 {
		resource = readings[0].resource()
	}
	ready, done := s.turns.enqueue(resource)
	return func() delivery.Decision {
		defer done()
		select {
		case <-ready:
		case <-ctx.Done():
		}
		return s.work(ctx, m, readings)
	}
}

// reading is a decoded event.
type reading struct {
	lifecycle.Reading
	err error
}

// resource returns the first resource of the event, or "".
func (r reading) resource() string {
	if r.err != nil || len(r.Changes) == 0 {
		return ""
	}
	of := r.Changes[0].Resource
	return string(of.Kind) + "/" + of.ID
}

// work sends each event of the message. The worst decision is the message's.
func (s *Sink) work(ctx context.Context, m delivery.Message, readings []reading) delivery.Decision {
	var all []apply.Decision
	var reached []bool
	for i, e := range m.Events {
		d, answered := s.event(ctx, m, e, readings[i])
		all, reached = append(all, d), append(reached, answered)
		s.report(ctx, e, readings[i].Changes, m, d)
	}
	if m.Err != nil {
		d := apply.Decision{Outcome: apply.Rejected, Reason: m.Err.Error()}
		all, reached = append(all, d), append(reached, false)
		s.report(ctx, event.New(), nil, m, d)
	}
	worst := delivery.Worst(all)
	return delivery.Decision{Decision: all[worst], EventID: m.EventID(), Reached: reached[worst]}
}

// sent is the outcome of an event that the receiver accepted. It is no outcome of tagging, which only the receiver
// knows.
const sent apply.Outcome = "sent"

// event returns the decision on an event, and whether the receiver answered.
func (s *Sink) event(ctx context.Context, m delivery.Message, e event.Event, r reading) (d apply.Decision,
	reached bool) {
	switch {
	case r.err != nil:
		return apply.Decision{Outcome: apply.Rejected, Reason: r.err.Error()}, false
	case len(r.Changes) == 0 && r.Known:
		return apply.Decision{Outcome: apply.Ignored, Reason: r.Why}, false
	case len(r.Changes) == 0:
		return apply.Decision{Outcome: apply.Unrecognised, Reason: r.Why}, false
	case s.options.Held != nil && s.options.Held():
		return apply.Decision{Outcome: apply.Deferred, Reason: "posting is on hold (TAGGER_HOLD_FILE)", Delay: time.Minute},
			false
	}
	e = e.Clone()
	for name, value := range s.extensions {
		e.SetExtension(name, value)
	}
	body, err := encode(e)
	if err != nil {
		return apply.Decision{Outcome: apply.Rejected, Reason: "write the event as JSON: " + err.Error()}, false
	}
	s.posts.Add(1)
	a := s.receiver.send(ctx, e, r.resource(), body)
	switch {
	case a.fault != nil:
		d = apply.Decision{
			Outcome: apply.Deferred, Reason: a.reason, Delay: steps()[0],
			Fault: apply.Fault{Err: a.fault, Scope: fault.Everything},
		}
	case a.class == "":
		d = apply.Decision{Outcome: sent}
	case a.class == metadata.Invalid:
		d = apply.Decision{Outcome: apply.Rejected, Reason: a.reason}
	default:
		d = again(s.options.GiveUpAfter, m, a.class, a.reason, a.retryAfter)
	}
	return d, a.reached
}

// again returns the decision on a failed send: retry, or give up after giveUpAfter.
func again(giveUpAfter time.Duration, m delivery.Message, class metadata.Class, message string,
	retryAfter time.Duration) apply.Decision {
	return apply.Options{GiveUpAfter: giveUpAfter}.Decide(apply.Situation{
		Class: class, Message: message, CarrierAge: time.Since(m.SentAt), Receives: m.Receives, RetryAfter: retryAfter,
	}).Decision
}

// report logs one line for each change that the event reports, and at least one. Most events of a bus report no change,
// and are logged at debug level.
func (s *Sink) report(ctx context.Context, e event.Event, changes []lifecycle.Change, m delivery.Message,
	d apply.Decision) {
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
			slog.String("action", string(c.Action)), slog.String("kind", string(c.Resource.Kind)),
			slog.String("resource_id", c.Resource.ID),
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
