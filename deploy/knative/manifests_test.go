package knative

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"knative.dev/eventing/pkg/kncloudevents"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// manifests returns the Services and Triggers of a file. Unknown members are errors.
func manifests(t *testing.T, file string) (services []servingv1.Service, triggers []eventingv1.Trigger) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return services, triggers
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "Service":
			services = append(services, strictly[servingv1.Service](t, document))
		case "Trigger":
			triggers = append(triggers, strictly[eventingv1.Trigger](t, document))
		default:
			t.Fatalf("%s: a %s", file, kind.Kind)
		}
	}
}

func strictly[T any](t *testing.T, document []byte) T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict(document, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestServices(t *testing.T) {
	names := map[string]bool{}
	for _, file := range []string{"tagger.yaml", "dead-letters.yaml"} {
		services, _ := manifests(t, file)
		for _, s := range services {
			names[s.Name] = true
			s.SetDefaults(context.Background())
			if err := s.Validate(context.Background()); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
	}
	_, triggers := manifests(t, "tagger.yaml")
	for _, trigger := range triggers {
		if to := trigger.Spec.Subscriber.Ref.Name; !names[to] {
			t.Errorf("%s: there is no subscriber %s", trigger.Name, to)
		}
		if to := trigger.Spec.Delivery.DeadLetterSink.Ref.Name; !names[to] || to == trigger.Spec.Subscriber.Ref.Name {
			t.Errorf("%s: dead letters go to %s", trigger.Name, to)
		}
	}
}

// Each event type that a function handles matches exactly one Trigger; other types match none.
func TestTriggers(t *testing.T) {
	_, triggers := manifests(t, "tagger.yaml")
	if len(triggers) != 5 {
		t.Fatalf("%d triggers", len(triggers))
	}
	filters := map[string]eventfilter.Filter{}
	for _, trigger := range triggers {
		trigger.Namespace = "tagging"
		trigger.SetDefaults(context.Background())
		if err := trigger.Validate(context.Background()); err != nil {
			t.Errorf("%s: %v", trigger.Name, err)
		}
		filters[trigger.Name] = subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), trigger.Spec.Filters)

		config, err := kncloudevents.RetryConfigFromDeliverySpec(*trigger.Spec.Delivery)
		if err != nil {
			t.Fatal(err)
		}
		var all time.Duration
		for i := range config.RetryMax {
			all += config.Backoff(i, nil)
		}
		if config.Backoff(0, nil) != 15*time.Second || all.Round(30*time.Minute) != 8*time.Hour+30*time.Minute {
			t.Errorf("%s: delivered again first after %s, and for %s", trigger.Name, config.Backoff(0, nil), all)
		}
	}
	for name, types := range eventTypes(t) {
		for _, kind := range types {
			e := event.New()
			e.SetID("1")
			e.SetSource("//inventory.example.com/provisioning")
			e.SetType(kind)
			var passed []string
			for trigger, f := range filters {
				if f.Filter(t.Context(), e) == eventfilter.PassFilter {
					passed = append(passed, trigger)
				}
			}
			var want []string
			if name != "" {
				want = []string{"tagger-" + name}
			}
			if !slices.Equal(passed, want) {
				t.Errorf("%s passes %q, want %q", kind, passed, want)
			}
		}
	}
}

// eventTypes returns the types of docs/events.md, by Trigger.
func eventTypes(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	triggers := map[string]string{
		"server.created": "server-created", "snapshot.created": "snapshot-created",
		"server.started": "server-changed", "server.stopped": "server-changed", "server.resized": "server-changed",
		"server.rebuilt": "server-changed",
		"volume.created": "volumes", "volume.attached": "volumes", "volume.detached": "volumes", "volume.resized": "volumes",
		"volume.transferred": "volumes",
	}
	types := map[string][]string{
		"":              {"com.example.other", "io.github.cloudtagger.server.created.too"},
		"notifications": {"dev.knative.rabbitmq.event"},
	}
	rows := regexp.MustCompile("(?m)^\\| `(\\w+\\.\\w+)` \\| `([\\w.]+)` \\|([^|]*)\\|([^|]*)\\|").FindAllStringSubmatch(
		string(text), -1)
	seen := map[string]bool{}
	for _, row := range rows {
		trigger := triggers[row[1]]
		seen[trigger] = true
		found := []string{"io.github.cloudtagger." + row[2]}
		for _, name := range regexp.MustCompile("`([a-z][\\w.]+)`").FindAllStringSubmatch(row[3]+row[4], -1) {
			found = append(found, "org.openstack."+name[1])
		}
		for _, kind := range found {
			if !slices.Contains(types[trigger], kind) {
				types[trigger] = append(types[trigger], kind)
			}
		}
	}
	for _, function := range []string{"server-created", "snapshot-created", "server-changed", "volumes"} {
		if !seen[function] {
			t.Fatalf("docs/events.md has no event types for %s", function)
		}
	}
	return types
}
