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

// Listen is the configuration of tagger listen, in addition to [Settings].
type Listen struct {
	URL         Secret `envconfig:"TAGGER_AMQP_URL" desc:"Address of the broker, such as amqps://user:password@host:5671/vhost, or several, separated by commas and tried in random order. The transport_url (rabbit://…) of an OpenStack service works too."`
	CACert      string `envconfig:"TAGGER_AMQP_CACERT" desc:"File with the PEM certificates of the CAs to trust for amqps instead of the system's, or the PEM text itself."`
	Exchanges   List   `envconfig:"TAGGER_AMQP_EXCHANGES" default:"nova,cinder,openstack" desc:"Exchanges to which the services send notifications (control_exchange in their configuration)."`
	RoutingKeys List   `envconfig:"TAGGER_AMQP_ROUTING_KEYS" default:"notifications.info,versioned_notifications.info" desc:"Routing keys of the notifications to receive: topic, dot, priority. One of the two formats is enough."`
	Queue       string `envconfig:"TAGGER_AMQP_QUEUE" default:"tagger" desc:"Queue for the notifications, and prefix of the other queues' names. Listeners with the same queue share its messages; listeners with different rules need different queues."`
	Repair      bool   `envconfig:"TAGGER_REPAIR" default:"true" desc:"Write keys again that another writer undid within 30 seconds; see docs/listener.md."`

	ManagementURL string `envconfig:"TAGGER_AMQP_MANAGEMENT_URL" desc:"Address of RabbitMQ's management plugin, where tagger check reads policies. The default is the broker's host and port 15672, or 15671 with amqps."`

	Sink        string `envconfig:"K_SINK" desc:"Address to send events to, instead of tagging: an HTTP receiver, or https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE. The flag --sink takes precedence."`
	CEOverrides string `envconfig:"K_CE_OVERRIDES" desc:"JSON object whose member extensions has attributes to set on each event that is sent to the sink."`
}

// ListenFromEnv reads the configuration from the environment. It unsets empty variables, because they count as unset.
func ListenFromEnv() (Listen, error) { return fromEnv[Listen]() }

// maxQueueName leaves room for the suffixes of the other queues within AMQP's limit of 255 bytes.
const maxQueueName = 200

func (l Listen) check() error {
	brokers, err := l.Brokers()
	switch {
	case err != nil:
		return err
	case len(brokers) == 0:
		return errors.New("TAGGER_AMQP_URL is not set: set it to amqp://user:password@host:5672/")
	case strings.HasPrefix(l.Queue, "amq."):
		return fmt.Errorf("TAGGER_AMQP_QUEUE=%.60q begins with amq., which is reserved for RabbitMQ", l.Queue)
	case len(l.Queue) > maxQueueName:
		return fmt.Errorf("TAGGER_AMQP_QUEUE has %d bytes; the maximum is %d", len(l.Queue), maxQueueName)
	case len(l.Exchanges) == 0:
		return errors.New("TAGGER_AMQP_EXCHANGES is an empty list")
	case l.ManagementURL != "" && !isHTTP(l.ManagementURL):
		return errors.New("TAGGER_AMQP_MANAGEMENT_URL is not http://host:15672 or https://host:15671")
	case len(l.RoutingKeys) == 0:
		return errors.New("TAGGER_AMQP_ROUTING_KEYS is an empty list")
	}
	return nil
}

// isHTTP reports whether the address is an HTTP URL without user and password, which belong into TAGGER_AMQP_URL.
func isHTTP(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// unsupported returns the alternative to a parameter of https://www.rabbitmq.com/docs/uri-query-parameters that has no
// effect here, "" for any other. Ignoring a TLS parameter would be worse than an error.
func unsupported(parameter string) string {
	switch parameter {
	case "cacertfile":
		return "which is not supported: set TAGGER_AMQP_CACERT to the file"
	case "certfile", "keyfile":
		return "but Tagger does not support client certificates: set user and password"
	case "server_name_indication":
		return "but the certificate must be for the host of the address"
	case "verify":
		return "but the certificate is always verified: set TAGGER_AMQP_CACERT to the CA, or use amqp:// without TLS"
	}
	return ""
}

// HasBroker reports whether the environment names a broker.
func HasBroker() bool {
	return os.Getenv("TAGGER_AMQP_URL") != "" || os.Getenv("TAGGER_AMQP_URL"+fileSuffix) != ""
}

// convertTransportURLs replaces each transport_url of oslo.messaging by RabbitMQ addresses. The form is
// rabbit://user:password@host:port,user:password@host:port/vhost?ssl=1, where path and parameters apply to all hosts.
// The parameter ssl selects amqps; the others are for oslo.messaging's own client and are dropped.
// https://docs.openstack.org/oslo.messaging/latest/reference/transport.html
func convertTransportURLs(addresses []string) []string {
	var all []string
	for i := 0; i < len(addresses); i++ {
		first := strings.TrimPrefix(addresses[i], "transport_url")
		if first != addresses[i] { // copied with the option's name
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
		if values, err := url.ParseQuery(query); err == nil {
			switch strings.ToLower(values.Get("ssl")) {
			case "1", "true", "yes":
				scheme = "amqps"
			}
		}
		for _, host := range hosts {
			all = append(all, scheme+"://"+host+"/"+path)
		}
	}
	return all
}

// Brokers returns the addresses. An error gives the position of the invalid address but does not quote it, because it
// may contain a password.
func (l Listen) Brokers() ([]Secret, error) {
	var brokers List
	_ = brokers.Decode(l.URL.Reveal()) // never fails
	brokers = convertTransportURLs(brokers)
	var all []Secret
	for i, address := range brokers {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "amqp" && u.Scheme != "amqps" || strings.ContainsAny(address, " \t\n") {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d is not amqp://user:password@host:5672/vhost "+
				"(percent-encode all but letters and digits in user, password and vhost: a comma is %%2C)", i+1, len(brokers))
		}
		if port := u.Port(); strings.Contains(u.Host, ":") && port == "" && !strings.HasSuffix(u.Host, "]") {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d has a colon and no port", i+1, len(brokers))
		}
		// In an address with an unencoded /, ? or # in the password, a part of the password would be shown as the host.
		_, rest, _ := strings.Cut(address, "://")
		if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.ContainsAny(rest[end:], "#@") {
			return nil, fmt.Errorf("TAGGER_AMQP_URL: address %d of %d has # or @ after its host "+
				"(percent-encode all but letters and digits in user, password and vhost: "+
				"/ is %%2F, ? is %%3F, # is %%23, @ is %%40)", i+1, len(brokers))
		}
		for _, name := range slices.Sorted(maps.Keys(u.Query())) {
			if instead := unsupported(name); instead != "" {
				const format = "TAGGER_AMQP_URL: address %d of %d has the parameter %s, %s"
				return nil, fmt.Errorf(format, i+1, len(brokers), name, instead)
			}
		}
		all = append(all, NewSecret(address))
	}
	return all, nil
}
