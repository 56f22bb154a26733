package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudtagger/tagger/pkg/config"
)

func TestListen(t *testing.T) {
	t.Setenv("TAGGER_AMQP_URL", "amqp://a:b%2Cc%23@one:5672/v%40host, amqps://a:b@[::1]:5671/vhost?heartbeat=5")
	t.Setenv("TAGGER_AMQP_EXCHANGES", " ")
	t.Setenv("K_SINK", "http://broker/")
	got, err := config.ListenFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	want := config.Listen{
		URL: secret("amqp://a:b%2Cc%23@one:5672/v%40host, amqps://a:b@[::1]:5671/vhost?heartbeat=5"), Exchanges: config.List{"nova", "cinder", "openstack"},
		RoutingKeys: config.List{"notifications.info", "versioned_notifications.info"}, Queue: "tagger", Repair: true, Sink: "http://broker/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	brokers, err := got.Brokers()
	if err != nil || len(brokers) != 2 || brokers[1].Reveal() != "amqps://a:b@[::1]:5671/vhost?heartbeat=5" {
		t.Errorf("%d brokers: %v", len(brokers), err)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"TAGGER_AMQP_URL", "", "TAGGER_AMQP_URL is not set"},
		{"TAGGER_AMQP_URL", " , ", "TAGGER_AMQP_URL is not set"},
		{"TAGGER_AMQP_URL", "amqp://a:b@host/,hunter2", "address 2 of 2 is not amqp://"},
		{"TAGGER_AMQP_URL", "rabbit://a:hunter2@host/", "address 1 of 1 is not amqp://"},
		{"TAGGER_AMQP_URL", "amqp://a:hunter2%zz@host/", "address 1 of 1 is not amqp://"},
		{"TAGGER_AMQP_URL", "amqp://a:hun ter2@host/", "address 1 of 1 is not amqp://"},
		{"TAGGER_AMQP_URL", "amqp://a:hunter2@host:/", "has a colon and no port"},
		{"TAGGER_AMQP_URL", "amqp://hunter2:2026#x@rabbit/", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqp://hunter2:2026/x@rabbit/", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqp://hunter2:2026?x@rabbit/", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqp://a:b@host/vhost#hunter2", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?heartbeat=5&cacertfile=/hunter2", "address 1 of 1 has the parameter cacertfile, which is not read: set TAGGER_AMQP_CACERT"},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?certfile=/hunter2", "has the parameter certfile, but"},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?keyfile=/hunter2", "has the parameter keyfile, but"},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?server_name_indication=hunter2", "has the parameter server_name_indication, but"},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?verify=verify_none", "has the parameter verify, but"},
		{"TAGGER_AMQP_EXCHANGES", ",", "TAGGER_AMQP_EXCHANGES names none"},
		{"TAGGER_AMQP_ROUTING_KEYS", ",", "TAGGER_AMQP_ROUTING_KEYS names none"},
		{"TAGGER_AMQP_QUEUE", "amq.tagger", "begins with amq."},
		{"TAGGER_AMQP_QUEUE", strings.Repeat("q", 201), "has 201 bytes"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv("TAGGER_AMQP_URL", "amqp://a:b@host/")
			t.Setenv(tt.name, tt.value)
			_, err := config.ListenFromEnv()
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
