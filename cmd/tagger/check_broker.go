package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/listen"
)

// checkBroker checks what tagger listen needs of RabbitMQ. Nothing that stays is created.
func checkBroker(ctx context.Context, note func(name string, err error, detail string) bool,
	warn func(check, text string)) {
	c, err := config.ListenFromEnv()
	if err != nil {
		note("broker", err, "")
		return
	}
	for _, w := range c.Warnings() {
		warn("broker", w.String())
	}
	q, err := listen.OpenQueues(ctx, c)
	if err != nil {
		note("broker", err, "")
		return
	}
	defer q.Close()
	b := q.Broker()
	if err = nil; !b.Supported() {
		err = fmt.Errorf("%s %s at %s is too old; RabbitMQ 3.10 is the oldest that will do", b.Product, b.Version, b.Host)
	}
	note("broker", err, fmt.Sprintf("%s %s at %s, logged in", b.Product, b.Version, b.Host))

	exchanges, missing, err := q.Rights(ctx)
	if note("rights", err, "queues can be declared and bound, messages sent and taken") {
		if err = nil; len(exchanges) == 0 {
			err = fmt.Errorf("none exists of %s: set TAGGER_AMQP_EXCHANGES to the control_exchange of your services",
				strings.Join(missing, ", "))
		}
		note("exchanges", err, strings.Join(exchanges, ", "))
		if err == nil && len(missing) > 0 {
			warn("exchanges", "there is none named "+strings.Join(missing, ", ")+
				"; leave out of TAGGER_AMQP_EXCHANGES what no service has")
		}
	}
	states, err := q.List()
	detail, missingErr := describeQueues(c.Queue, states)
	if err == nil {
		err = missingErr
	}
	if !note("queues", err, detail) {
		return
	}
	if n := len(states); n > 0 && states[n-1].Messages > 0 && strings.HasSuffix(states[n-1].Name, ".rejected") {
		warn("queues", plural(states[n-1].Messages, "message")+" rejected; tagger queues show has the reasons")
	}
	checkPolicies(ctx, c, states, note, warn)
}

// describeQueues returns the sums of the queues. It is an error if the main queue alone is missing, as after tagger
// queues delete was interrupted.
func describeQueues(name string, states []listen.QueueState) (string, error) {
	if len(states) == 0 {
		return "there is no queue " + name + " yet; tagger listen creates its queues", nil
	}
	if states[0].Name != name {
		return "", fmt.Errorf("the main queue %s is missing, but %s exists: start tagger listen, which creates it, or end "+
			"tagger queues delete", name, states[0].Name)
	}
	waiting := 0
	for _, s := range states {
		waiting += s.Messages
	}
	return fmt.Sprintf("%s, %s, %s", plural(len(states), "queue"), plural(waiting, "message"),
		plural(states[0].Consumers, "listener")), nil
}

func checkPolicies(ctx context.Context, c config.Listen, states []listen.QueueState,
	note func(string, error, string) bool, warn func(check, text string)) {
	m, err := listen.NewManagement(c)
	if err != nil {
		note("policies", err, "")
		return
	}
	disabled, err := m.DisabledFlags(ctx)
	if err != nil {
		warn("policies", "not checked, nor feature flags: "+err.Error()+
			"; look yourself: rabbitmqctl list_policies and list_operator_policies must "+
			"give no message-ttl and no expires to "+c.Queue+"*")
		return
	}
	if err = nil; len(disabled) > 0 {
		err = fmt.Errorf("not enabled: %s (rabbitmqctl enable_feature_flag)", strings.Join(disabled, ", "))
	}
	note("flags", err, "the feature flags that the queues need are enabled")
	policies, err := m.Policies(ctx, states)
	if err != nil {
		note("policies", err, "")
		return
	}
	var deadly []string
	for _, p := range policies {
		text := fmt.Sprintf("%s gives %s to queue %s", strings.Join(p.Names, " with "), strings.Join(p.Keys, " and "),
			p.Queue)
		if p.Lifetime {
			deadly = append(deadly, text)
		} else {
			warn("policies", text)
		}
	}
	if err = nil; len(deadly) > 0 {
		err = errors.New("events are lost: policy " + strings.Join(deadly, "; ") + "; exclude these queues from its pattern")
	}
	detail := "none gives a lifetime to these queues or their messages"
	if len(states) == 0 {
		detail = "there are no queues yet that one could apply to; check again after the first start of tagger listen"
	}
	note("policies", err, detail)
}

const (
	listenerTimeout = 5 * time.Second
	maxMetrics      = 4 << 20
	// quietStart is how long after its start a listener may have got no notification.
	quietStart = 10 * time.Minute
)

var lastNotification = regexp.MustCompile(
	`^tagger_listen_last_notification_timestamp_seconds\{routing_key="([^"]*)"\} (\d+)$`)

// checkListener asks a running listener when the last notifications came, and in which formats.
// fresh reports that none has come, and that the listener has just started.
func checkListener(ctx context.Context, address string, settings config.Settings) (detail string, fresh bool,
	err error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false, fmt.Errorf("--listener wants an address such as http://127.0.0.1:8080, not %.60q", address)
	}
	ctx, cancel := context.WithTimeout(ctx, listenerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"/metrics", nil)
	if err != nil {
		return "", false, fmt.Errorf("ask the listener: %w", err)
	}
	if secret := settings.MetricsToken(); !secret.IsZero() {
		req.Header.Set("Authorization", "Bearer "+secret.Reveal())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false, fmt.Errorf("ask the listener: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", false, fmt.Errorf("ask the listener: %s", resp.Status)
	}
	var all []string
	listens := false
	var started time.Time
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxMetrics))
	for lines.Scan() {
		listens = listens || strings.HasPrefix(lines.Text(), "tagger_listen_")
		if seconds, ok := strings.CutPrefix(lines.Text(), "process_start_time_seconds "); ok {
			if at, err := strconv.ParseFloat(seconds, 64); err == nil {
				started = time.UnixMilli(int64(at * 1000))
			}
		}
		if m := lastNotification.FindStringSubmatch(lines.Text()); m != nil {
			seconds, _ := strconv.ParseInt(m[2], 10, 64)
			at := time.Unix(seconds, 0)
			all = append(all, fmt.Sprintf("%s %s ago (%s)", m[1], time.Since(at).Round(time.Second),
				at.UTC().Format(time.RFC3339)))
		}
	}
	switch {
	case !listens:
		return "", false, errors.New("ask the listener: the answer is not that of tagger listen")
	case len(all) == 0 && time.Since(started) < quietStart:
		return fmt.Sprintf("no notification has come since the listener started %s ago; check again in some minutes",
			time.Since(started).Round(time.Second)), true, nil
	case len(all) == 0:
		return "", false,
			errors.New("no notification has come since the listener started: see that the services send them " +
				"([oslo_messaging_notifications] " +
				"driver = messagingv2), to exchanges that are checked here")
	}
	return "the last came by " + strings.Join(all, ", "), false, nil
}
