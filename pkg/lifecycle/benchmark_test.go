package lifecycle_test

import (
	"testing"

	"github.com/cloudtagger/tagger/pkg/ingress"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
)

func BenchmarkRead(b *testing.B) {
	for name, file := range map[string]string{
		"plain":          "../../events/server-created.json",
		"nova":           "testdata/docs/zed-unversioned.compute.instance.create.end.json",
		"nova-versioned": "testdata/docs/zed-versioned.instance.create.end.json",
		"nova-start":     "testdata/zed/compute.instance.create.start.json",
		"cts":            "../../events/cts-server-created.json",
	} {
		e := ingress.Decode(readFile(b, file)).Records[0].Events[0]
		registry := lifecycle.New(lifecycle.Options{})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if reading, err := registry.Read(e); err != nil || !reading.Known {
					b.Fatal(reading, err)
				}
			}
		})
	}
}
