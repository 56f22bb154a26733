package listen

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/config"
)

// Broker is what the broker reports about itself.
type Broker struct{ Host, Product, Version string }

// Broker returns what the broker reported when the connection was opened.
func (q *Queues) Broker() Broker {
	text := func(name string) string { s, _ := q.conn.Properties[name].(string); return s }
	return Broker{Host: q.conn.RemoteAddr().String(), Product: text("product"), Version: text("version")}
}

// minimumVersion is the first release with at-least-once dead-lettering, which the delay queues need.
// https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
var minimumVersion = [2]int{3, 10}

// Supported reports whether the broker's version has the features that the queues need. It is true if the version
// cannot be read.
func (b Broker) Supported() bool {
	var major, minor int
	if n, _ := fmt.Sscanf(b.Version, "%d.%d", &major, &minor); n != 2 {
		return true
	}
	return major > minimumVersion[0] || major == minimumVersion[0] && minor >= minimumVersion[1]
}

// Rights tries the operations of a listener on a queue of its own that is deleted with the connection: declare, bind to
// each exchange, publish and consume a message. It returns the existing and the missing exchanges. Its error names the
// missing right.
func (q *Queues) Rights(ctx context.Context) (exchanges, missing []string, err error) {
	name := q.topology.queue + ".check." + strings.ToLower(rand.Text()[:8])
	conn := q.conn.Connection
	if err := on(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, false, true, true, false, nil)
		return err
	}); err != nil {
		return nil, nil, q.topology.declareError(name, err)
	}
	exchanges, missing, err = q.bind(name)
	if err != nil {
		return exchanges, missing, err
	}
	sending, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := newConfirmed(conn).send(sending, name, amqp.Publishing{Body: []byte("{}")}); err != nil {
		return exchanges, missing, fmt.Errorf("put a message into queue %s (requires write permission on amq.default): %w",
			name, oneLine(err))
	}
	err = on(conn, func(ch *amqp.Channel) error {
		_, _, err := ch.Get(name, true)
		return err
	})
	if err != nil {
		return exchanges, missing, fmt.Errorf("get a message from queue %s (requires read permission): %w", name,
			oneLine(err))
	}
	return exchanges, missing, nil
}

// bind binds a queue to the exchanges that exist.
func (q *Queues) bind(name string) (exchanges, missing []string, err error) {
	for _, exchange := range q.topology.exchanges {
		err := on(q.conn.Connection, func(ch *amqp.Channel) error {
			for _, key := range q.topology.keys {
				if err := ch.QueueBind(name, key, exchange, false, nil); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case code(err) == amqp.NotFound:
			missing = append(missing, exchange)
			continue
		case err != nil:
			return exchanges, missing, fmt.Errorf("bind queue %s to exchange %s: %w", name, exchange, oneLine(err))
		}
		exchanges = append(exchanges, exchange)
	}
	return exchanges, missing, nil
}

// Management is the broker's HTTP API, of its management plugin: https://www.rabbitmq.com/docs/management#http-api.
type Management struct {
	address  string // without a slash at the end
	user     string
	password config.Secret
	vhost    string
	client   *http.Client
}

// managementTimeout limits a request: without the management plugin, a firewall often blocks the port.
const managementTimeout = 3 * time.Second

// NewManagement returns the HTTP API of the first broker: at TAGGER_AMQP_MANAGEMENT_URL, or at the broker's host on the
// plugin's own port.
func NewManagement(c config.Listen) (*Management, error) {
	brokers, err := c.Brokers()
	if err != nil {
		return nil, err
	}
	uri, err := amqp.ParseURI(brokers[0].Reveal())
	if err != nil {
		return nil, readable(brokers[0])
	}
	settings, err := tlsConfig(c.CACert)
	if err != nil {
		return nil, err
	}
	address := strings.TrimSuffix(c.ManagementURL, "/")
	if address == "" {
		scheme, port := "http", "15672"
		if uri.Scheme == "amqps" { // never send the password in the clear if AMQP does not
			scheme, port = "https", "15671"
		}
		address = scheme + "://" + net.JoinHostPort(uri.Host, port)
	}
	return &Management{
		address: address, user: uri.Username, password: config.NewSecret(uri.Password), vhost: uri.Vhost,
		client: &http.Client{Timeout: managementTimeout, Transport: &http.Transport{TLSClientConfig: settings,
			Proxy: http.ProxyFromEnvironment}},
	}, nil
}

// errNotFound reports that the API does not know an object.
var errNotFound = errors.New("404 Not Found")

func (m *Management) get(ctx context.Context, into any, path ...string) error {
	address := m.address + "/api"
	for _, p := range path {
		address += "/" + url.PathEscape(p)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errors.New("the address of the management API cannot be read")
	}
	req.SetBasicAuth(m.user, m.password.Reveal())
	resp, err := m.client.Do(req)
	if err != nil {
		return withoutAddress(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return errNotFound
	case http.StatusUnauthorized:
		return errors.New("401: the user lacks the tag management (rabbitmqctl set_user_tags)")
	default:
		return errors.New(resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxManagementResponse)).Decode(into); err != nil {
		return fmt.Errorf("read the response: %w", err)
	}
	return nil
}

const maxManagementResponse = 1 << 20

// Policy is the effect of policies and operator policies on one of Tagger's queues.
type Policy struct {
	Queue string
	// Names are the names of the policies, one or two.
	Names []string
	// Keys are the policies' keys. Those with a lifetime (message-ttl, expires) lose messages or whole queues; the
	// others limit a queue's size.
	Keys []string
	// Lifetime reports that a key sets a lifetime.
	Lifetime bool
}

// Policies returns the policies in force on the existing queues, if they change what Tagger relies on.
func (m *Management) Policies(ctx context.Context, queues []QueueState) ([]Policy, error) {
	var all []Policy
	for _, q := range queues {
		var response struct {
			Policy         string          `json:"policy"`
			OperatorPolicy string          `json:"operator_policy"`
			Effective      json.RawMessage `json:"effective_policy_definition"`
		}
		err := m.get(ctx, &response, "queues", m.vhost, q.Name)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask the management API at %s: %w", m.address, err)
		}
		var effective map[string]any
		_ = json.Unmarshal(response.Effective, &effective) // [] if there is none
		p := Policy{Queue: q.Name}
		for _, key := range slices.Sorted(maps.Keys(effective)) {
			switch key {
			case "message-ttl", "expires":
				p.Lifetime = true
			case "max-length", "max-length-bytes", "overflow", "delivery-limit", "dead-letter-exchange",
				"dead-letter-routing-key":
			default:
				continue
			}
			p.Keys = append(p.Keys, key)
		}
		for _, name := range []string{response.Policy, response.OperatorPolicy} {
			if name != "" {
				p.Names = append(p.Names, name)
			}
		}
		if len(p.Keys) > 0 {
			all = append(all, p)
		}
	}
	return all, nil
}

// DisabledFlags returns the feature flags that Tagger's queues need but that are not enabled.
func (m *Management) DisabledFlags(ctx context.Context) ([]string, error) {
	var flags []struct{ Name, State string }
	if err := m.get(ctx, &flags, "feature-flags"); err != nil {
		return nil, fmt.Errorf("ask the management API at %s: %w", m.address, err)
	}
	var disabled []string
	for _, f := range flags {
		if (f.Name == "quorum_queue" || f.Name == "stream_queue") && f.State != "enabled" {
			disabled = append(disabled, f.Name)
		}
	}
	return disabled, nil
}
