package ingress_test

import (
	"strings"
	"testing"

	"github.com/cloudtagger/tagger/pkg/ingress"
)

func BenchmarkDecode(b *testing.B) {
	plain := string(readFile(b, "../../events/server-created.json"))
	nova := string(readFile(b, "../lifecycle/testdata/docs/zed-unversioned.compute.instance.create.end.json"))
	versioned := string(readFile(b, "../lifecycle/testdata/docs/zed-versioned.instance.create.end.json"))
	scheduler := string(readFile(b, "../lifecycle/testdata/zed/scheduler.select_destinations.start.json"))
	bodies := strings.Split(strings.Repeat(plain+"\x00", 9)+plain, "\x00")
	for _, c := range []struct {
		name    string
		payload string
		events  int
	}{
		{"plain", plain, 1},
		{"nova", nova, 1},
		{"nova-versioned", versioned, 1},
		{"nova-scheduler", scheduler, 1},
		{"cts", string(readFile(b, "../../events/cts-server-created.json")), 1},
		{"eventgrid", string(readFile(b, "../../events/eventgrid-server-created.json")), 1},
		{"functionurl", string(readFile(b, "../../events/functionurl-server-created.json")), 1},
		{"sqs-of-10", sqsPayload(b, bodies...), 10},
	} {
		payload := []byte(c.payload)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			events := 0
			for b.Loop() {
				events = 0
				for _, r := range ingress.Decode(payload).Records {
					events += len(r.Events)
				}
			}
			if events != c.events {
				b.Fatalf("%d events, want %d", events, c.events)
			}
		})
	}
}
