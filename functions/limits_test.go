package functions_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

const mebibyte = 1 << 20

// The sizes in the manifests fit the code's limits, and make soak uses the same sizes.
func TestManifestsFitTheLimits(t *testing.T) {
	limits := lifecycle.DefaultLimits()
	if limits.Bytes > ingress.MaxPayload {
		t.Errorf("an event may have %d bytes, a payload only %d", limits.Bytes, ingress.MaxPayload)
	}

	root := template(t)
	resources := root.at("Resources")
	queues := 0
	for _, name := range resources.keys() {
		id, isQueue := strings.CutSuffix(name, "Queue")
		if !isQueue || resources.at(name, "Type").Value != "AWS::SQS::Queue" {
			continue
		}
		queues++
		largest := resources.at(name, "Properties", "MaximumMessageSize").number(t)
		if strings.HasSuffix(id, "DeadLetter") {
			// A dead letter has its reason in message attributes.
			if source := resources.at(strings.TrimSuffix(id, "DeadLetter")+"Queue", "Properties",
				"MaximumMessageSize").number(t); largest < source+64<<10 {
				t.Errorf("%s takes %d bytes, too few for a record of %d with its reason", name, largest, source)
			}
			continue
		}
		batch := resources.at(id+"Function", "Properties", "Events", "Queue", "Properties", "BatchSize").number(t)
		// In the invocation, a record is a JSON string in an envelope; escaping can double its size.
		if payload := batch * (2*largest + 2<<10); payload > ingress.MaxPayload {
			t.Errorf("%s: %d records of %d bytes can make a payload of %d bytes, more than the %d that are read", name, batch,
				largest, payload, ingress.MaxPayload)
		}
		if largest > limits.Bytes {
			t.Errorf("%s takes messages of %d bytes, but an event may have only %d", name, largest, limits.Bytes)
		}
	}
	if queues < 6 {
		t.Errorf("%d queues", queues)
	}

	var httpBytes int64
	for _, v := range config.Variables[config.Settings]() {
		if v.Name == "TAGGER_BYTES_IN_FLIGHT" {
			httpBytes, _ = strconv.ParseInt(v.Default, 10, 64)
		}
	}
	if httpBytes < ingress.MaxPayload {
		t.Errorf("TAGGER_BYTES_IN_FLIGHT is %d by default, less than one payload of %d", httpBytes, ingress.MaxPayload)
	}
	// make soak runs these processes with these sizes under hostile load.
	soak := string(read(t, "../soak/soak_test.go"))
	for _, m := range []struct {
		constant, file, pattern string
	}{
		{"serveMemory", "../deploy/knative/tagger.yaml", `limits: \{memory: (\d+)Mi\}`},
		{"functionMemory", "../template.yaml", `MemorySize: (\d+)`},
		{"functionMemory", "../deploy/functiongraph/main.tf", `memory_size\s*= (\d+)`},
		{"listenMemory", "../deploy/kubernetes/chart/values.yaml", `limits: \{memory: (\d+)Mi\}`},
		{"listenMemory", "../deploy/systemd/tagger-listen.service", `MemoryMax=(\d+)M`},
	} {
		tried := number(t, "../soak/soak_test.go", soak, m.constant+` += (\d+)`)
		if given := number(t, m.file, string(read(t, m.file)), m.pattern); given < tried {
			t.Errorf("%s gives %d MiB, less than the %d that make soak tries", m.file, given, tried)
		} else if int64(given)*mebibyte < 8*httpBytes {
			t.Errorf("%s gives %d MiB, less than eight times the %d bytes of requests", m.file, given, httpBytes)
		}
	}
	documented := string(read(t, "../docs/events.md"))
	for what, n := range map[string]int{
		"bytes of a payload, of an HTTP body, and of what gzip inflates to": ingress.MaxPayload,
		"bytes of an event's data":         limits.Bytes,
		"resources that one event reports": limits.Changes,
	} {
		if !strings.Contains(documented, "| "+what+" | "+strconv.Itoa(n)+" |") {
			t.Errorf("docs/events.md does not say that the limit for %q is %d", what, n)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// number returns the least number that the pattern finds.
func number(t *testing.T, file, text, pattern string) int {
	t.Helper()
	least := 0
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if least == 0 || n < least {
			least = n
		}
	}
	if least == 0 {
		t.Fatalf("%s has no %s", file, pattern)
	}
	return least
}
