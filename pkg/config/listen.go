package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Listen is what taking notifications from RabbitMQ needs beside [Settings].
type Listen struct {
	URL         Secret `envconfig:"TAGGER_AMQP_URL" desc:"The broker, amqp://user:password@host:5672/vhost or amqps://…; several, separated by commas, are tried in a random order. The services' own form, transport_url = rabbit://…, is understood too."`
	CACert      string `envconfig:"TAGGER_AMQP_CACERT" desc:"File with the PEM certificates of the authorities to trust for amqps in place of the system's, or the PEM text itself."`
	Exchanges   List   `envconfig:"TAGGER_AMQP_EXCHANGES" default:"nova,cinder,openstack" desc:"The exchanges that the services send their notifications to (control_exchange in their configuration)."`
	RoutingKeys List   `envconfig:"TAGGER_AMQP_ROUTING_KEYS" default:"notifications.info,versioned_notifications.info" desc:"Which of their messages are taken: a topic, a dot and a priority. Only one of the two formats is enough."`
	Queue       string `envconfig:"TAGGER_AMQP_QUEUE" default:"tagger" desc:"The queue to take them from; the names of the others begin with it. Listeners with the same queue share its messages, listeners with other rules need another."`
	Repair      bool   `envconfig:"TAGGER_REPAIR" default:"true" desc:"Whether keys that another writer undid within 30 seconds are written again; see private-cloud.md."`

	ManagementURL string `envconfig:"TAGGER_AMQP_MANAGEMENT_URL" desc:"Where tagger check asks the management plugin for policies; by default the broker's host, port 15672 (15671 for amqps)."`

	Sink        string `envconfig:"K_SINK" desc:"Where to send the events to, in place of tagging: an HTTP receiver, or https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE; what --sink says goes first."`
	CEOverrides string `envconfig:"K_CE_OVERRIDES" desc:"A JSON object whose member extensions has attributes to set on each event that is sent to the sink."`
}

// ListenFromEnv reads them. A variable that is set and empty counts as unset, and is unset.
func ListenFromEnv() (Listen, error) { return fromEnv[Listen]() }

// maxQueueName leaves room for the endings within AMQP's 255 bytes.
const maxQueueName = 200

func (l Listen) check() error {
	brokers, err := l.Brokers()
	switch {
	case err != nil:
		return err
	case len(brokers) == 0:
		return errors.New("TAGGER_AMQP_URL is not set: set it to amqp://user:password@host:5672/")
	case strings.HasPrefix(l.Queue, "amq."):
		return fmt.Errorf("TAGGER_AMQP_QUEUE=%.60q begins with amq., which RabbitMQ keeps for itself", l.Queue)
	case len(l.Queue) > maxQueueName:
		return fmt.Errorf("TAGGER_AMQP_QUEUE has %d bytes; %d are the most", len(l.Queue), maxQueueName)
	case len(l.Exchanges) == 0:
		return errors.New("TAGGER_AMQP_EXCHANGES names none")
	case l.ManagementURL != "" && !isHTTP(l.ManagementURL):
		return errors.New("TAGGER_AMQP_MANAGEMENT_URL is not http://host:15672 or https://host:15671")
	case len(l.RoutingKeys) == 0:
		return errors.New("TAGGER_AMQP_ROUTING_KEYS names none")
	}
	return nil
}

// isHTTP reports whether a text is the address of a host over HTTP. User and password have their place in
// TAGGER_AMQP_URL.
func isHTTP(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// withoutEffect says what to do in place of a parameter of https://www.rabbitmq.com/docs/uri-query-parameters that
// would be without effect here, which for TLS is worse than an error; "" for others.
func withoutEffect(parameter string) string {
	switch parameter {
	case "cacertfile":
		return "which is not read: set TAGGER_AMQP_CACERT to the file"
	case "certfile", "keyfile":
		return "but Tagger has no client certificates: it logs in by user and password"
	case "server_name_indication":
		return "but the certificate must be for the host of the address"
	case "verify":
		return "but the certificate is always verified: set TAGGER_AMQP_CACERT to the file of its authority, or use " +
			"amqp:// without TLS"
	}
	return ""
}

// HasBroker reports whether the environment names a broker.
func HasBroker() bool {
	return os.Getenv("TAGGER_AMQP_URL") != "" || os.Getenv("TAGGER_AMQP_URL"+fileSuffix) != ""
}

// withoutTransport turns the transport_url of oslo.messaging into addresses of RabbitMQ's own form:
// rabbit://user:password@host:port,user:password@host:port/vhost?ssl=1, where path and parameters are all hosts'. Of
// the parameters only ssl is kept, as amqps; the others are for oslo.messaging's own client.
// https://docs.openstack.org/oslo.messaging/latest/reference/transport.html
func withoutTransport(addresses []string) []string {
	var all []string
	for i := 0; i < len(addresses); i++ {
		first := strings.TrimPrefix(addresses[i], "transport_url")
		if first != addresses[i] { // copied with its name
			first = strings.TrimLeft(first, " =")
		}
		first, ok := strings.CutPrefix(first, "rabbit://")
		if !ok {
			all = append(all, addresses[i])
			continue
		}
		hosts := []string{first}
		for i+1 < len(addresses) && !strings.Contains(addresses[i+1], "://") && !strings.Contains(hosts[len(hosts)-1], "/") {
			i++
			hosts = append(hosts, addresses[i])
		}
		last, query, _ := strings.Cut(hosts[len(hosts)-1], "?")
		last, path, _ := strings.Cut(last, "/")
		hosts[len(hosts)-1] = last
		scheme := "amqp"
		if values, err := url.ParseQuery(query); err == nil &&
			slices.Contains([]string{"1", "true", "yes"}, strings.ToLower(values.Get("ssl"))) {
			scheme = "amqps"
		}
		for _, host := range hosts {
			all = append(all, scheme+"://"+host+"/"+path)
		}
	}
	return all
}

// Brokers are the addresses, one by one. An error names the one that is wrong by its place and quotes nothing, for each
// may hold a password.
func (l Listen) Brokers() ([]Secret, error) {
	var brokers List
	_ = brokers.Decode(l.URL.Reveal()) // never fails
	brokers = withoutTransport(brokers)
	var all []Secret
	for i, address := range brokers {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "amqp" && u.Scheme != "amqps" || strings.ContainsAny(address, " \t\n") {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d is not amqp://user:password@host:5672/vhost "+
				"(write what is not a letter or a digit in user, password and vhost as %%XX; a comma is %%2C)", i+1, len(brokers))
		}
		if port := u.Port(); strings.Contains(u.Host, ":") && port == "" && !strings.HasSuffix(u.Host, "]") {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d has a colon and no port", i+1, len(brokers))
		}
		// A password with /, ? or # in it ends the host before it has begun, and a part of it would be shown as the host.
		_, rest, _ := strings.Cut(address, "://")
		if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.ContainsAny(rest[end:], "#@") {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d has # or @ after its host "+
				"(write what is not a letter or a digit in user, password and vhost as %%XX: / is %%2F, ? is %%3F, # is %%23, @ "+
				"is %%40)", i+1, len(brokers))
		}
		for _, name := range slices.Sorted(maps.Keys(u.Query())) {
			if instead := withoutEffect(name); instead != "" {
				return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d has the parameter %s, %s", i+1, len(brokers), name,
					instead)
			}
		}
		all = append(all, NewSecret(address))
	}
	return all, nil
}
