package config_test

import (
	"fmt"
	"os"
	"path/filepath"
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
		URL:         secret("amqp://a:b%2Cc%23@one:5672/v%40host, amqps://a:b@[::1]:5671/vhost?heartbeat=5"),
		Exchanges:   config.List{"nova", "cinder", "openstack"},
		RoutingKeys: config.List{"notifications.info", "versioned_notifications.info"},
		Queue:       "tagger",
		Repair:      true,
		Sink:        "http://broker/",
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
		{"TAGGER_AMQP_URL", "rabbits://a:hunter2@host/", "address 1 of 1 is not amqp://"},
		{"TAGGER_AMQP_URL", "rabbit://a:hunter2@one:5672,a:hunter2@:x/", "address 2 of 2 is not amqp://"},
		{"TAGGER_AMQP_URL", "amqp://a:hunter2%zz@host/", "address 1 of 1 is not amqp://"},
		{"TAGGER_AMQP_URL", "amqp://a:hun ter2@host/", "address 1 of 1 is not amqp://"},
		{"TAGGER_AMQP_URL", "amqp://a:hunter2@host:/", "has a colon and no port"},
		{"TAGGER_AMQP_URL", "amqp://hunter2:2026#x@rabbit/", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqp://hunter2:2026/x@rabbit/", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqp://hunter2:2026?x@rabbit/", "address 1 of 1 has # or @ after its host"},
		{"TAGGER_AMQP_URL", "amqp://a:b@host/vhost#hunter2", "address 1 of 1 has # or @ after its host"},
		{
			"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?heartbeat=5&cacertfile=/hunter2",
			"address 1 of 1 has the parameter cacertfile, which is not supported: set TAGGER_AMQP_CACERT",
		},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?certfile=/hunter2", "has the parameter certfile, but"},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?keyfile=/hunter2", "has the parameter keyfile, but"},
		{
			"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?server_name_indication=hunter2",
			"has the parameter server_name_indication, but",
		},
		{"TAGGER_AMQP_URL", "amqps://a:hunter2@host/?verify=verify_none", "has the parameter verify, but"},
		{"TAGGER_AMQP_EXCHANGES", ",", "TAGGER_AMQP_EXCHANGES is an empty list"},
		{"TAGGER_AMQP_ROUTING_KEYS", ",", "TAGGER_AMQP_ROUTING_KEYS is an empty list"},
		{"TAGGER_AMQP_QUEUE", "amq.tagger", "begins with amq."},
		{"TAGGER_AMQP_QUEUE", strings.Repeat("q", 201), "has 201 bytes"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv("TAGGER_AMQP_URL", "amqp://a:b@host/")
			t.Setenv(tt.name, tt.value)
			_, err := config.ListenFromEnv()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q has a secret or several lines", err)
			}
		})
	}
}

// TestTransportURL reads addresses in the form of nova.conf.
func TestTransportURL(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  []string
	}{
		{"rabbit://a:b@one", []string{"amqp://a:b@one/"}},
		{"rabbit://a:b@one:5672/", []string{"amqp://a:b@one:5672/"}},
		{
			"rabbit://a:b@one:5672,c:d@two:5673/my%2Fhost",
			[]string{"amqp://a:b@one:5672/my%2Fhost", "amqp://c:d@two:5673/my%2Fhost"},
		},
		{
			"rabbit://a:b@one:5671,a:b@[::1]:5671//?ssl=1&ssl_version=TLSv1_2",
			[]string{"amqps://a:b@one:5671//", "amqps://a:b@[::1]:5671//"},
		},
		{"transport_url = rabbit://a:b@one/", []string{"amqp://a:b@one/"}},
		{"rabbit://a:b@one/x, amqp://a:b@two/y", []string{"amqp://a:b@one/x", "amqp://a:b@two/y"}},
	} {
		brokers, err := config.Listen{URL: secret(tt.value)}.Brokers()
		var got []string
		for _, b := range brokers {
			got = append(got, b.Reveal())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.value, err, diff)
		}
	}
}

// A broker on another host is warned about if its address has no TLS. The warning names the hosts, and no password.
func TestWarnsAboutBrokersWithoutTLS(t *testing.T) {
	for addresses, hosts := range map[string]string{
		"amqp://a:hunter2@rabbit-1:5672/v":                                    "rabbit-1",
		"amqp://a:hunter2@10.0.0.1/,amqps://a:hunter2@two/,amqp://a:b@three/": "10.0.0.1, three",
		"amqp://a:hunter2@one:5672/,amqp://a:hunter2@one:5673/":               "one",
		"rabbit://a:hunter2@one:5672,a:hunter2@two:5672/":                     "one, two",
		"amqp://a:hunter2@localhost.example.com/":                             "localhost.example.com",
		"rabbit://a:hunter2@one:5671/?ssl=1":                                  "",
		"amqps://a:hunter2@rabbit-1:5671/v":                                   "",
		"amqp://a:hunter2@localhost:5672/,amqp://127.1.2.3/,amqp://[::1]:1/":  "",
		"hunter2": "",
		"":        "",
	} {
		got := config.Listen{URL: secret(addresses)}.Warnings()
		if hosts == "" {
			if len(got) > 0 {
				t.Errorf("%s: %v", addresses, got)
			}
			continue
		}
		text := fmt.Sprint(got)
		if len(got) != 1 || !strings.Contains(text, "TAGGER_AMQP_URL has addresses without TLS") ||
			!strings.Contains(text, "go to "+hosts+" unencrypted; use amqps://") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", addresses, text)
		}
	}
}

func TestWarnsAboutManagementWithoutTLS(t *testing.T) {
	for address, warned := range map[string]bool{
		"http://rabbit-1:15672":   true,
		"https://rabbit-1:15671":  false,
		"http://127.0.0.1:15672/": false,
		"":                        false,
	} {
		got := fmt.Sprint(config.Listen{ManagementURL: address}.Warnings())
		const text = "TAGGER_AMQP_MANAGEMENT_URL begins with http://: the broker's password goes to rabbit-1 unencrypted"
		if strings.Contains(got, text) != warned {
			t.Errorf("%q: %s", address, got)
		}
	}
}

// TestSecretFiles: each secret can be in a file.
func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Setenv("TAGGER_AMQP_URL", "")
	t.Setenv("OS_PASSWORD", "")
	t.Setenv("TAGGER_AMQP_URL_FILE", write("url", "amqp://a:hunter2@host/\n"))
	t.Setenv("TAGGER_HTTP_SECRET_FILE", write("http", " hunter3\r\n"))
	t.Setenv("OS_PASSWORD_FILE", write("password", "hunter4"))
	if l, err := config.ListenFromEnv(); err != nil || l.URL.Reveal() != "amqp://a:hunter2@host/" {
		t.Errorf("%v", err)
	}
	if s, err := config.SettingsFromEnv(); err != nil || s.HTTPSecret.Reveal() != " hunter3" {
		t.Errorf("%v", err)
	}
	if c, err := config.CredentialsFromEnv(); err != nil || c.Password.Reveal() != "hunter4" {
		t.Errorf("%v", err)
	}
	if warnings := config.Unknown([]string{"TAGGER_AMQP_URL_FILE=x", "TAGGER_HTTP_SECRET_FILE=x"}); len(warnings) != 0 {
		t.Errorf("%v", warnings)
	}
	for file, want := range map[string]string{
		write("empty", "\n"):                        "names a file that is empty",
		write("large", strings.Repeat("x", 70_000)): "names a file that has more than 65536 bytes",
		dir: "names no file that can be read (is a directory)",
		filepath.Join(dir, "none"): "names no file that can be read (no such file or directory): it wants the path of a " +
			"file with the secret, not the secret itself",
	} {
		t.Setenv("OS_PASSWORD_FILE", file)
		_, err := config.CredentialsFromEnv()
		if err == nil || !strings.Contains(err.Error(), "OS_PASSWORD_FILE "+want) || strings.Contains(err.Error(), file) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	t.Setenv("OS_PASSWORD_FILE", write("password", "hunter4"))
	t.Setenv("OS_PASSWORD", "hunter5")
	_, err := config.CredentialsFromEnv()
	if err == nil || !strings.Contains(err.Error(), "both set") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("error %v", err)
	}
}
